"""Every name that an option may take, and every limit that more than one option has; light, for `--help`.

What a lower package decides is defined there and only passed on here.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from bmodel.compiler.compiler_tools import CalibrationMethod
from bmodel.layouts import LayoutName
from bmodel.sidecar import MODEL_SUFFIXES, Precision
from data.format_names import DetectionFormat, LabelFormat, TruthFormat, WrittenFormat
from tpu_worker.option_values import (
    CARD_DEVICES,
    CONF_ABOVE,
    CONF_BELOW,
    DEFAULT_CONF,
    DEFAULT_DETECTIONS,
    DEFAULT_IOU,
    IOU_LEAST,
    IOU_MOST,
    MOST_DETECTIONS,
    DeviceName,
    PreprocessName,
)

__all__ = [
    "CALIBRATION_METHODS",
    "CARD_DEVICES",
    "CONF_ABOVE",
    "CONF_BELOW",
    "DEFAULT_CONF",
    "DEFAULT_DETECTIONS",
    "DEFAULT_EVALUATOR",
    "DEFAULT_IOU",
    "DEFAULT_SCORE_PROTOCOL",
    "IOU_LEAST",
    "IOU_MOST",
    "LAYOUTS",
    "MODEL_SUFFIXES",
    "MOST_BATCH",
    "MOST_CARDS",
    "MOST_DETECTIONS",
    "MOST_SHARD_SIZE",
    "PRECISIONS",
    "CalibrationMethod",
    "DetectionFormat",
    "DeviceChoice",
    "DeviceName",
    "Evaluator",
    "ExportFormat",
    "LabelFormat",
    "LayoutName",
    "Precision",
    "PreprocessName",
    "ScoreProtocol",
    "TruthFormat",
    "WrittenFormat",
]

DeviceChoice = Literal["auto", DeviceName]
Evaluator = Literal["hotcoco", "pycocotools"]
ScoreProtocol = Literal["voc", "yolo", "coco"]
ExportFormat = Literal["coco", "csv"]

DEFAULT_EVALUATOR: Final[Evaluator] = "hotcoco"
DEFAULT_SCORE_PROTOCOL: Final[ScoreProtocol] = "voc"

PRECISIONS: Final = get_args(Precision)
LAYOUTS: Final = get_args(LayoutName)
CALIBRATION_METHODS: Final = get_args(CalibrationMethod)

MOST_CARDS: Final = 4096
MOST_SHARD_SIZE: Final = 65_536
MOST_BATCH: Final = 256
