"""Anybody's detection files and a truth → mAP and score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bmodel.errors import ConfigurationError
from data.columns import GroundTruth
from data.detection_files import DetectionFiles, read_detections
from data.formats import CocoBoxes, DetectionFormat, FormatError, find_files, plain_name, read_coco, shown
from data.ground_truth import read_coco_truth, read_label_truth
from jobs.config.choices import DEFAULT_EVALUATOR, DEFAULT_SCORE_PROTOCOL, Evaluator, ScoreProtocol
from jobs.inputs.images import list_images
from jobs.inputs.resolve import read_class_names
from jobs.measure.evaluation import Evaluation, evaluation_of
from jobs.measure.mean_ap import evaluate
from tpu_worker.image_header import ImageError, read_header
from tpu_worker.read_image import read_bytes

FILES_TIME = "time_cost_ms of the files"

Size = tuple[int, int]


def evaluate_files(
    detections: Path,
    label_format: DetectionFormat,
    *,
    ground_truth: Path,
    images: str | None = None,
    class_names: Path | None = None,
    evaluator: Evaluator = DEFAULT_EVALUATOR,
    score_protocol: ScoreProtocol = DEFAULT_SCORE_PROTOCOL,
) -> Evaluation:
    """Score a folder of detection files, one per image, against a truth in any of its forms.

    The images are those of `images`, else those that a COCO JSON lists, else those that have a file on either
    side. Raises ConfigurationError where something is missing, FormatError for a bad line.
    """
    names = None if class_names is None else read_class_names(class_names)
    coco = read_coco(ground_truth) if ground_truth.is_file() else None
    sizes = _sizes(detections, ground_truth, images, coco)
    if coco is not None:
        truth = read_coco_truth(coco, ground_truth, images=sizes, class_names=names)
    else:
        truth = read_label_truth(ground_truth, None, images=sizes, class_names=names)
    _check_names(truth, label_format, are_given=names is not None, are_ordered=coco is not None)
    files = read_detections(
        detections, label_format, images=sizes.only(truth.image_ids), class_names=truth.class_names
    )
    _check_classes(truth, files, detections)
    mean_ap = evaluate(replace(truth, class_names=files.class_names), files.detections, evaluator=evaluator)
    return evaluation_of(
        mean_ap,
        images=len(truth.image_ids),
        detections=len(files.detections),
        i_time_ms=files.i_time_ms,
        i_time_source="none" if files.i_time_ms is None else FILES_TIME,
        score_protocol=score_protocol,
    )


class LazySizes(Mapping[str, "Size | None"]):
    """Image id → size, looked up only when asked: most files need none."""

    def __init__(self, image_ids: Iterable[str], size_of: Callable[[str], Size | None]) -> None:
        """Keep the ids in their order; size_of must know each of them."""
        self._ids = dict.fromkeys(image_ids)
        self._size_of = size_of

    def __getitem__(self, image_id: str) -> Size | None:
        if image_id not in self._ids:
            raise KeyError(image_id)
        return self._size_of(image_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def only(self, image_ids: Iterable[str]) -> LazySizes:
        """The same for some of the images."""
        return LazySizes(image_ids, self._size_of)


def _sizes(detections: Path, ground_truth: Path, images: str | None, coco: CocoBoxes | None) -> LazySizes:
    if images is not None:
        listed = list_images(images)
        paths = dict(zip(listed.image_ids.to_pylist(), listed.paths.to_pylist(), strict=True))
        return LazySizes(paths, lambda image_id: _size_in_file(paths[image_id]))
    if coco is not None:
        known = {name: (int(h), int(w)) for name, (h, w) in zip(coco.image_ids, coco.size_hw, strict=True)}
        return LazySizes(known, known.get)
    labelled, detected = find_files(ground_truth, ".txt"), find_files(detections, ".txt")
    if labelled and detected and not labelled.keys() & detected.keys():
        raise FormatError(
            "truth and detections must be of the same images, got files like "
            f"'{next(iter(labelled))}.txt' in '{ground_truth}' and '{next(iter(detected))}.txt' in '{detections}'"
        )
    return LazySizes(sorted(labelled.keys() | detected.keys()), _unknown_size)


def _unknown_size(image_id: str) -> Size | None:
    raise ConfigurationError(
        f"--images: is required, since YOLO labels are fractions of images and nobody knows the size of '{image_id}'"
    )


def _size_in_file(path: str) -> Size:
    """The size of the image as a detector sees it, turned as its EXIF orientation says."""
    try:
        header = read_header(read_bytes(path))
    except ImageError as error:
        raise FormatError(f"cannot tell the size of the image '{path}': {error}") from error
    height, width = header.size_hw
    return (width, height) if header.sideways else (height, width)


def _check_names(
    truth: GroundTruth, label_format: DetectionFormat, *, are_given: bool, are_ordered: bool
) -> None:
    """Refuse to compare numbers with names when nothing says which number a name has."""
    by_name = label_format == "competition"
    if by_name and truth.class_names is None:
        raise ConfigurationError(
            "--class-names: is required, since the truth has class numbers and the files have names"
        )
    if not by_name and truth.class_names is not None and not (are_given or are_ordered):
        raise ConfigurationError(
            "--class-names: is required, since the truth has class names and the files have numbers"
        )


def _check_classes(truth: GroundTruth, files: DetectionFiles, folder: Path) -> None:
    """Refuse files that share not one class name with the truth: they would score 0 for a matter of spelling."""
    if truth.class_names is None or files.class_names is None or not len(files.detections):
        return
    if files.detections.class_id.min() >= len(truth.class_names):
        new = files.class_names[len(truth.class_names) :]
        raise FormatError(
            f"{folder}: the classes must be the truth's, {shown(map(plain_name, truth.class_names))}, got {shown(new)}"
        )
