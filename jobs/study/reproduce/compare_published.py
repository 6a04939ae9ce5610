"""Two folders of detection files in the competition's format, file by file: what was published, and ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ConfigurationError
from bmodel.sidecar import Frozen
from data.formats import FormatError, NamedBoxes, find_files, mean_time_ms, parse_named, read_text
from jobs.study.reproduce.compare_boxes import (
    IOUS,
    Difference,
    confidence_gaps,
    explain,
    match,
    overlaps,
    same_class,
)

NO_BOXES = NamedBoxes(names=(), confidence=np.zeros(0), xyxy=np.zeros((0, 4)), time_ms=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileComparison:
    """One image's files; `theirs` or `ours` is None where there is no file.

    matched: pairs at each of IOUS. confidence_change: (P,) float64, ours minus theirs, of the pairs at the last.
    differences: what became of the boxes without a partner there.
    """

    name: str
    theirs: NamedBoxes | None
    ours: NamedBoxes | None
    matched: tuple[int, ...]
    confidence_change: NDArray[np.float64]
    differences: tuple[Difference, ...]


class Share(Frozen):
    """Boxes matched one to one at an overlap, as shares of either side; null where a side has no boxes."""

    iou: float
    matched: int
    of_published: float | None
    of_ours: float | None


class ConfidenceChange(Frozen):
    """Ours minus the published confidence, over the boxes matched at the strictest overlap."""

    mean: float
    mean_absolute: float
    largest_absolute: float


class FileTimes(Frozen):
    """The inference times that files tell, ms. i_time_ms: the mean over images; lines: each image once a line."""

    images: int
    i_time_ms: float
    over_lines_ms: float
    least_ms: float
    most_ms: float


class ComparisonSummary(Frozen):
    """Two folders side by side; files are named without their suffix."""

    files_in_both: int
    files_published_only: tuple[str, ...]
    files_ours_only: tuple[str, ...]
    boxes_published: int
    boxes_ours: int
    shares: tuple[Share, ...]
    confidence: ConfidenceChange | None
    kinds: dict[str, int]
    times_published: FileTimes | None
    times_ours: FileTimes | None


def read_folder(folder: Path, option: str) -> dict[str, NamedBoxes]:
    """Every detection file below a folder, by its relative name without suffix, sorted.

    Raises ConfigurationError, naming `option`, for a folder without such files, FormatError for a bad line.
    """
    try:
        files = find_files(folder, ".txt")
    except FormatError as error:
        raise ConfigurationError(f"{option}: {error}") from None
    if not files:
        raise ConfigurationError(f"{option}: must hold detection files, and '{folder}' has no .txt file")
    return {name: parse_named(read_text(path), "detections", place=str(path)) for name, path in files.items()}


def compare(
    published: Mapping[str, NamedBoxes], ours: Mapping[str, NamedBoxes]
) -> tuple[FileComparison, ...]:
    """Compare files by name, sorted; one may be on one side alone.

    Raises ConfigurationError where no name is on both sides.
    """
    if not published.keys() & ours.keys():
        raise ConfigurationError(
            f"--published: files must be named after the same images, got '{next(iter(published), None)}' there and "
            f"'{next(iter(ours), None)}' among ours"
        )
    return tuple(
        compare_file(name, published.get(name), ours.get(name))
        for name in sorted(published.keys() | ours.keys())
    )


def compare_file(name: str, theirs: NamedBoxes | None, ours: NamedBoxes | None) -> FileComparison:
    """Match the boxes of one image at each of IOUS."""
    left, right = theirs or NO_BOXES, ours or NO_BOXES
    iou, gaps, same = overlaps(left, right), confidence_gaps(left, right), same_class(left, right)
    partners = [match(same & (iou >= least), -iou, gaps) for least in IOUS]
    rows = np.flatnonzero(partners[-1] >= 0)
    return FileComparison(
        name=name,
        theirs=theirs,
        ours=ours,
        matched=tuple(int((partner >= 0).sum()) for partner in partners),
        confidence_change=right.confidence[partners[-1][rows]] - left.confidence[rows],
        differences=tuple(explain(left, right, partners[-1])),
    )


def summarise(files: Sequence[FileComparison]) -> ComparisonSummary:
    """Add the files up."""
    theirs = [file.theirs for file in files if file.theirs is not None]
    ours = [file.ours for file in files if file.ours is not None]
    boxes_theirs, boxes_ours = (sum(len(boxes.names) for boxes in side) for side in (theirs, ours))
    matched = [sum(file.matched[position] for file in files) for position in range(len(IOUS))]
    kinds = Counter(difference.kind for file in files for difference in file.differences)
    return ComparisonSummary(
        files_in_both=sum(file.theirs is not None and file.ours is not None for file in files),
        files_published_only=tuple(file.name for file in files if file.ours is None),
        files_ours_only=tuple(file.name for file in files if file.theirs is None),
        boxes_published=boxes_theirs,
        boxes_ours=boxes_ours,
        shares=tuple(
            Share(
                iou=iou,
                matched=pairs,
                of_published=_ratio(pairs, boxes_theirs),
                of_ours=_ratio(pairs, boxes_ours),
            )
            for iou, pairs in zip(IOUS, matched, strict=True)
        ),
        confidence=_confidence(np.concatenate([np.zeros(0), *(file.confidence_change for file in files)])),
        kinds={kind: kinds[kind] for kind in ("moved", "relabelled", "missing", "added")},
        times_published=file_times(theirs),
        times_ours=file_times(ours),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _confidence(change: NDArray[np.float64]) -> ConfidenceChange | None:
    if not len(change):
        return None
    return ConfidenceChange(
        mean=float(change.mean()),
        mean_absolute=float(np.abs(change).mean()),
        largest_absolute=float(np.abs(change).max()),
    )


def file_times(files: Iterable[NamedBoxes]) -> FileTimes | None:
    """What the files of a folder say of i_time; None when no file tells a time."""
    timed = [(boxes.time_ms, len(boxes.names)) for boxes in files if boxes.time_ms is not None]
    times = np.array([time_ms for time_ms, _ in timed])
    i_time_ms = mean_time_ms(times.tolist())
    if i_time_ms is None:
        return None
    return FileTimes(
        images=len(timed),
        i_time_ms=i_time_ms,
        over_lines_ms=float(np.average(times, weights=[lines for _, lines in timed])),
        least_ms=float(times.min()),
        most_ms=float(times.max()),
    )
