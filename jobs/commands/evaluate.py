"""`raysail evaluate`: mAP and score of a finished run, computed again, or of any detection files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, get_args

import typer

from bmodel.errors import ConfigurationError
from jobs.config.choices import (
    DEFAULT_EVALUATOR,
    DEFAULT_SCORE_PROTOCOL,
    DetectionFormat,
    Evaluator,
    ScoreProtocol,
)
from jobs.measure.evaluation import Evaluation

RunArgument = Annotated[str | None, typer.Argument(metavar="RUN", help="folder of a finished run")]
DetectionsOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="detection files to score instead of a run's")
]
FormatOption = Annotated[
    DetectionFormat | None, typer.Option(help="format of the detection files; required with --detections")
]
TruthOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="COCO JSON, folder of YOLO labels or of the VOC tool's files [the run's]"
    ),
]
ImagesOption = Annotated[
    str | None, typer.Option(metavar="PATH", help="the images, if YOLO labels need their sizes")
]
NamesOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="text file with one name per line, if neither side names the classes"),
]
WhoOption = Annotated[
    Evaluator | None, typer.Option(help="library that computes COCO's mAP [hotcoco, or the run's]")
]
ProtocolOption = Annotated[
    ScoreProtocol | None, typer.Option(help="protocol whose mAP enters the score [voc, or the run's]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


def command(
    run: RunArgument = None,
    *,
    detections: DetectionsOption = None,
    label_format: FormatOption = None,
    ground_truth: TruthOption = None,
    images: ImagesOption = None,
    class_names: NamesOption = None,
    evaluator: WhoOption = None,
    score_protocol: ProtocolOption = None,
    json: JsonOption = False,
) -> None:
    """Score a finished run again (updating its metrics.json and report), or a folder of detection files."""
    _check_options(run, detections, label_format, ground_truth, images, class_names)
    if run is not None:
        from jobs.derive import evaluate_run

        result = evaluate_run(
            run, ground_truth=ground_truth, evaluator=evaluator, score_protocol=score_protocol
        )
    elif detections is not None and label_format is not None and ground_truth is not None:
        from jobs.measure.evaluate_files import evaluate_files

        result = evaluate_files(
            detections,
            label_format,
            ground_truth=ground_truth,
            images=images,
            class_names=class_names,
            evaluator=evaluator or DEFAULT_EVALUATOR,
            score_protocol=score_protocol or DEFAULT_SCORE_PROTOCOL,
        )
    if json:
        sys.stdout.write(result.model_dump_json(indent=2) + "\n")
    else:
        print_evaluation(result)


def _check_options(
    run: str | None,
    detections: Path | None,
    label_format: DetectionFormat | None,
    ground_truth: Path | None,
    images: str | None,
    class_names: Path | None,
) -> None:
    if (run is None) == (detections is None):
        raise ConfigurationError("RUN or --detections: exactly one of the two must be given")
    if ground_truth is not None and not ground_truth.exists():
        raise ConfigurationError(
            f"--ground-truth: must be a file or folder, and '{ground_truth}' does not exist"
        )
    if run is not None:
        given = {"--label-format": label_format, "--images": images, "--class-names": class_names}
        for name, value in given.items():
            if value is not None:
                raise ConfigurationError(f"{name}: is only for --detections; a run has its own")
        return
    if detections is not None and not detections.is_dir():
        raise ConfigurationError(f"--detections: must be a folder, and '{detections}' is not one")
    if label_format is None:
        raise ConfigurationError(
            f"--label-format: is required with --detections: {', '.join(get_args(DetectionFormat))} "
            "(the two yolo formats look alike)"
        )
    if ground_truth is None:
        raise ConfigurationError("--ground-truth: is required with --detections")


def print_evaluation(result: Evaluation) -> None:
    """Print the main figures; `--json` has all of them."""
    coco, yolo, voc = result.map.coco, result.map.yolo, result.map.voc
    rows = [
        ("images", f"{result.images}, {result.objects} objects, {result.detections} detections"),
        ("COCO protocol", f"AP50 {_shown(coco.ap50)}, AP {_shown(coco.ap)}, AP75 {_shown(coco.ap75)}"),
        (
            "by object size",
            f"S {_shown(coco.ap_small)}, M {_shown(coco.ap_medium)}, L {_shown(coco.ap_large)}",
        ),
        ("YOLO protocol", f"AP50 {_shown(yolo.ap50)}, AP {_shown(yolo.ap)}"),
        ("at highest F1", f"precision {_shown(yolo.precision)}, recall {_shown(yolo.recall)}"),
        ("VOC protocol", f"AP50 {_shown(voc.ap50)}, {len(voc.per_class)} classes"),
        ("i_time (ms)", f"{_shown(result.i_time_ms, '.2f')} ({result.i_time_source})"),
        ("score", f"{_shown(result.score, '.2f')} ({result.score_protocol} mAP@0.5)"),
    ]
    sys.stdout.write("".join(f"{name:<16}{text}\n" for name, text in rows))


def _shown(value: float | None, form: str = ".4f") -> str:
    return "unknown" if value is None else f"{value:{form}}"
