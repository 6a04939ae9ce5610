"""DetectConfig: every option of a detection job, parsed once, whether it comes from the command line or YAML.

An option's name, default, limits and help text stand here and nowhere else: `jobs/config/command_options.py` builds
the command line from it, and a YAML key is the option's name without the leading dashes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bmodel.errors import ConfigurationError
from cluster.address import cluster_address
from cluster.cards.card_slots import card_numbers
from jobs.config.choices import (
    CONF_ABOVE,
    CONF_BELOW,
    DEFAULT_CONF,
    DEFAULT_DETECTIONS,
    DEFAULT_EVALUATOR,
    DEFAULT_IOU,
    DEFAULT_SCORE_PROTOCOL,
    IOU_LEAST,
    IOU_MOST,
    LAYOUTS,
    MODEL_SUFFIXES,
    MOST_CARDS,
    MOST_DETECTIONS,
    MOST_SHARD_SIZE,
    DeviceChoice,
    Evaluator,
    LabelFormat,
    LayoutName,
    PreprocessName,
    ScoreProtocol,
)
from jobs.config.paths import why_not_a_file
from jobs.config.yaml_file import OptionsModel, read_yaml_mapping


class DetectConfig(OptionsModel):
    """The options of `raysail detect`, checked; fields keep the order of the help text."""

    images: str = Field(
        min_length=1,
        description="folder (recursive), text list, COCO JSON, Parquet file with a column of paths, or a URL "
        "(s3://, gs://, hdfs://, file://) of a folder",
    )
    model: Path | None = Field(
        default=None, description="x.bmodel or x.onnx, with its sidecar beside it if there is one"
    )
    ground_truth: str | None = Field(
        default=None,
        description="COCO JSON, folder of YOLO labels, or folder of the VOC tool's files; enables mAP",
    )
    device: DeviceChoice = Field(default="auto", description="auto: a card if there is one, otherwise cpu")
    cards: int | None = Field(
        default=None,
        ge=1,
        le=MOST_CARDS,
        description="most cards to use; on a host without cards, virtual cards to start [all, or 1]",
    )
    exclude: str | None = Field(
        default=None,
        description="numbers of this host's cards to leave alone, like 0,3; on a cluster, use node start --exclude",
        json_schema_extra={"metavar": "IDS"},
    )
    conf: float = Field(
        default=DEFAULT_CONF,
        gt=CONF_ABOVE,
        lt=CONF_BELOW,
        description="confidence that a detection must exceed",
    )
    iou: float = Field(
        default=DEFAULT_IOU,
        ge=IOU_LEAST,
        le=IOU_MOST,
        description="IoU above which NMS drops the weaker of two boxes",
    )
    max_detections: int = Field(
        default=DEFAULT_DETECTIONS,
        ge=1,
        le=MOST_DETECTIONS,
        description="detections to keep per image, best first",
    )
    single_label: bool = Field(
        default=False, description="keep only the best class of each box instead of every class"
    )
    anchors: str | None = Field(
        default=None,
        description="anchors of raw heads without a sidecar: yolov7, yolov5 or a file",
    )
    layout: LayoutName | None = Field(
        default=None,
        description="how to read the outputs, if file and shapes leave a choice (docs/models.md)",
        json_schema_extra={"metavar": "|".join(LAYOUTS)},
    )
    class_names: Path | None = Field(
        default=None, description="text file with one name per line, instead of the sidecar's names"
    )
    preprocess: PreprocessName = Field(default="opencv", description="where images are decoded and resized")
    reduced_jpeg: bool = Field(
        default=False, description="decode large JPEGs at reduced scale: faster, slightly different pixels"
    )
    ignore_exif: bool = Field(
        default=False, description="do not rotate images according to their EXIF orientation"
    )
    output: str | None = Field(default=None, description="folder of the run [result/<date>-<model>]")
    resume: bool = Field(
        default=False, description="resume the run in --output, or start it if there is none"
    )
    shard_size: int | None = Field(
        default=None, ge=1, le=MOST_SHARD_SIZE, description="images per shard [depends on images and cards]"
    )
    shard_deadline: float | None = Field(
        default=None, gt=0, description="seconds that a shard may take [from measured times]"
    )
    max_failed: int | None = Field(
        default=None, ge=0, description="exit with code 3 if more images than this fail [only if all fail]"
    )
    limit: int | None = Field(default=None, ge=1, description="only the first N images")
    label_format: LabelFormat = Field(default="yolo", description="format of the label files")
    evaluator: Evaluator = Field(default=DEFAULT_EVALUATOR, description="library that computes COCO's mAP")
    score_protocol: ScoreProtocol = Field(
        default=DEFAULT_SCORE_PROTOCOL, description="protocol whose mAP enters the score"
    )
    save_images: int = Field(default=0, ge=0, description="annotated images to write, worst first")
    service_ms: float | None = Field(
        default=None, gt=0, description="time that the timed device takes per launch (one batch), ms"
    )
    fault_file: Path | None = Field(
        default=None, description="file that arms faults of the timed device, for rehearsals"
    )
    address: str | None = Field(default=None, description="Ray cluster to join [start a local one]")
    no_wait: bool = Field(
        default=False, description="fail instead of waiting for a card that another job holds"
    )

    @field_validator("model", "class_names", "fault_file")
    @classmethod
    def _is_a_file(cls, path: Path | None) -> Path | None:
        if path is not None and (reason := why_not_a_file(path)):
            raise ValueError(f"must be a file, and '{path}' {reason}")
        return path

    @field_validator("exclude", mode="before")
    @classmethod
    def _is_card_numbers(cls, value: Any) -> Any:
        """A single card may be given as a number in YAML."""
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str):
            try:
                card_numbers(text)
            except ConfigurationError as error:
                raise ValueError(str(error).partition(": ")[2]) from None
        return text

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse YAML's `yes` and `true` where a number is wanted: pydantic would take them for 1."""
        wants_truth = cls.model_fields[str(info.field_name)].annotation is bool
        if isinstance(value, bool) and not wants_truth:
            raise ValueError(f"must not be {str(value).lower()}")
        if wants_truth and not isinstance(value, bool):
            raise ValueError(f"must be true or false, got {value!r}")
        return value

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> DetectConfig:
        if self.model is None and self.device != "timed":
            raise ValueError("model: is required (a .bmodel or .onnx file)")
        if self.model is not None and self.model.suffix.lower() not in MODEL_SUFFIXES:
            raise ValueError(f"model: must end in .bmodel or .onnx, got '{self.model}'")
        if self.service_ms is not None and self.device != "timed":
            raise ValueError(f"service-ms: needs device timed, got device {self.device}")
        if self.device == "timed" and self.service_ms is None:
            raise ValueError("service-ms: is required with device timed")
        if self.fault_file is not None and self.device != "timed":
            raise ValueError(f"fault-file: needs device timed, got device {self.device}")
        if self.preprocess == "bmcv" and self.device not in ("auto", "sail"):
            raise ValueError(f"preprocess: bmcv needs device sail, got device {self.device}")
        self._check_exclude()
        if self.output == "":
            raise ValueError("output: must not be empty")
        if self.resume and self.output is None:
            raise ValueError("resume: needs output, the folder of the run to resume")
        self._check_output_under_a_job()
        return self

    def _check_exclude(self) -> None:
        if self.exclude is None:
            return
        if self.device not in ("auto", "sail", "libbmrt"):
            raise ValueError(f"exclude: needs a device with real cards, got device {self.device}")
        if address := cluster_address(self.address):
            raise ValueError(
                f"exclude: applies to this host's cards in a local job, but this job joins the cluster at '{address}'; "
                "use 'raysail node start --exclude' on its hosts"
            )

    def _check_output_under_a_job(self) -> None:
        if not running_as_ray_job():
            return
        if self.output is None:
            raise ValueError(
                "output: is required under ray job: the default lies in the job's temporary folder"
            )
        if "://" not in self.output and not Path(self.output).is_absolute():
            raise ValueError(
                "output: must be absolute or a URL under ray job, since a relative path lies in the job's "
                f"temporary package folder and is deleted with it, got '{self.output}'"
            )


def running_as_ray_job() -> bool:
    """Whether this process is the entrypoint of a submitted Ray job."""
    return bool(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"))


def parse_config(given: Mapping[str, Any], *, config_file: Path | None = None) -> DetectConfig:
    """Make a DetectConfig from options given by name; a YAML file supplies what they leave out.

    Raises ConfigurationError with one line that names the option, rule and value, and the YAML file if the value
    is from there.
    """
    from_file = read_yaml_mapping(config_file) if config_file else {}
    merged = {**from_file, **given}
    try:
        return DetectConfig.model_validate(merged)
    except ValidationError as error:
        message = describe_validation_error(error)
        key = message.split(":", 1)[0].removeprefix("--")
        if config_file and key in from_file and key not in given:
            message = f"{message} in '{config_file}'"
        raise ConfigurationError(message) from None


def describe_validation_error(error: ValidationError) -> str:
    """The first fault as one line: `--option: rule, got value`."""
    fault = error.errors(include_url=False)[0]
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not fault["loc"]:  # a rule about several options names its own
        return f"--{message}"
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"--{name}: is not an option of this job"
    if fault["type"] == "missing":
        return f"--{name}: is required"
    if fault["type"] == "path_type":
        message = "must be a path"
    message = re.sub("^(Input|String) should", "must", message)
    shown = "" if fault["type"] == "value_error" else f", got {fault['input']!r:.200}"
    return f"--{name}: {message}{shown}"
