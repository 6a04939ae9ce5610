"""Two folders of detection files in the competition's format, file by file: what was published, and ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ConfigurationError
from bmodel.validation import ExactModel
from data.formats import FormatError, NamedBoxes, find_files, mean_time_ms, parse_named, read_text

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


class Share(ExactModel):
    """Boxes matched one to one at an overlap, as shares of either side; null where a side has no boxes."""

    iou: float
    matched: int
    of_published: float | None
    of_ours: float | None


class ConfidenceChange(ExactModel):
    """Ours minus the published confidence, over the boxes matched at the strictest overlap."""

    mean: float
    mean_absolute: float
    largest_absolute: float


class FileTimes(ExactModel):
    """The inference times that files tell, ms. i_time_ms: the mean over images; lines: each image once a line."""

    images: int
    i_time_ms: float
    over_lines_ms: float
    least_ms: float
    most_ms: float


class ComparisonSummary(ExactModel):
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


IOUS: Final = (0.5, 0.75, 0.9)
"""Overlaps that boxes are matched at. NMS leaves neighbours of a class that overlap up to its own limit (0.65 as a
rule), so only the last tells a box from its neighbour for certain."""
STRICTEST: Final = IOUS[-1]

MOVED_IOU: Final = 0.1
SAME_SIDE_PX: Final = 1.0
SAME_CONFIDENCE: Final = 1e-4

Kind = Literal["moved", "relabelled", "missing", "added"]
Matrix = NDArray[np.float64]
Allowed = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A box without a counterpart at the strictest overlap.

    theirs, ours: rows in the two lists, None where there is none. kind: `moved`, the same class elsewhere;
    `relabelled`, another class in the same place; `missing`, theirs alone; `added`, ours alone.
    """

    kind: Kind
    theirs: int | None
    ours: int | None


def overlaps(one: NamedBoxes, other: NamedBoxes) -> Matrix:
    """(N, M) intersection over union in whole pixels, both edges counted in, as the VOC tool measures it."""
    low = np.maximum(one.xyxy[:, None, :2], other.xyxy[None, :, :2])
    high = np.minimum(one.xyxy[:, None, 2:], other.xyxy[None, :, 2:])
    shared = np.clip(high - low + 1, 0, None).prod(axis=2)
    union = _areas(one)[:, None] + _areas(other)[None, :] - shared
    return np.asarray(shared / union, np.float64)


def _areas(boxes: NamedBoxes) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2] + 1).prod(axis=1)
    return areas


def same_class(one: NamedBoxes, other: NamedBoxes) -> Allowed:
    """(N, M) whether two boxes bear the same name."""
    names = np.array(one.names, dtype=str)[:, None] == np.array(other.names, dtype=str)[None, :]
    return np.asarray(names, np.bool_).reshape(len(one.names), len(other.names))


def confidence_gaps(one: NamedBoxes, other: NamedBoxes) -> Matrix:
    """(N, M) how far two confidences are apart."""
    return np.abs(one.confidence[:, None] - other.confidence[None, :])


def match(allowed: Allowed, *by: Matrix) -> NDArray[np.int64]:
    """(N,) each row's partner among the columns, -1 for none: as many pairs as `allowed` has room for.

    Of equally many, the pairs that `by` puts first are preferred: smallest value first, the first matrix above the
    second. Those are taken one after another; where that leaves rows over, partners are passed on until no more
    pairs are possible (augmenting paths).
    """
    rows, columns = np.nonzero(allowed)
    order = np.lexsort([matrix[rows, columns] for matrix in reversed(by)]) if by else np.arange(len(rows))
    partner = np.full(allowed.shape[0], -1, np.int64)
    taken = np.full(allowed.shape[1], -1, np.int64)
    choices: list[list[int]] = [[] for _ in range(allowed.shape[0])]
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        choices[row].append(column)
        if partner[row] < 0 and taken[column] < 0:
            partner[row], taken[column] = column, row
    for row in np.flatnonzero(partner < 0).tolist():
        _augment(row, choices, partner, taken)
    return partner


def _augment(
    row: int, choices: list[list[int]], partner: NDArray[np.int64], taken: NDArray[np.int64]
) -> None:
    """Find a partner for one more row, if need be by moving others to their other choices; breadth first."""
    reached_from: dict[int, int] = {}
    queue = [row]
    for current in queue:
        for column in choices[current]:
            if column in reached_from:
                continue
            reached_from[column] = current
            if taken[column] < 0:
                _pass_on(column, reached_from, partner, taken)
                return
            queue.append(int(taken[column]))


def _pass_on(
    column: int, reached_from: dict[int, int], partner: NDArray[np.int64], taken: NDArray[np.int64]
) -> None:
    while column >= 0:
        row = reached_from[column]
        before = int(partner[row])
        partner[row], taken[column] = column, row
        column = before


def explain(theirs: NamedBoxes, ours: NamedBoxes, partner: NDArray[np.int64]) -> list[Difference]:
    """What became of the boxes that have no partner at the strictest overlap, theirs in order and then ours.

    A box of the same class, size and confidence elsewhere was moved, however far; so was one that still overlaps a
    little. A box of another class in the same place was relabelled. Each counts once.
    """
    iou, gaps, same = overlaps(theirs, ours), confidence_gaps(theirs, ours), same_class(theirs, ours)
    kinds: list[tuple[Kind, Allowed, tuple[Matrix, ...]]] = [
        ("moved", same & _same_size(theirs, ours) & (gaps <= SAME_CONFIDENCE), (gaps, -iou)),
        ("relabelled", ~same & (iou >= STRICTEST), (gaps, -iou)),
        ("moved", same & (iou >= MOVED_IOU), (-iou, gaps)),
    ]
    partner = partner.copy()
    found: dict[int, Difference] = {}
    for kind, allowed, by in kinds:
        free = (partner < 0)[:, None] & ~np.isin(np.arange(len(ours.names)), partner)[None, :]
        for row, column in enumerate(match(allowed & free, *by).tolist()):
            if column >= 0:
                partner[row] = column
                found[row] = Difference(kind=kind, theirs=row, ours=column)
    for row in np.flatnonzero(partner < 0).tolist():
        found[row] = Difference(kind="missing", theirs=row, ours=None)
    added = np.setdiff1d(np.arange(len(ours.names)), partner).tolist()
    return [found[row] for row in sorted(found)] + [
        Difference(kind="added", theirs=None, ours=column) for column in added
    ]


def _same_size(one: NamedBoxes, other: NamedBoxes) -> Allowed:
    sides = one.xyxy[:, 2:] - one.xyxy[:, :2], other.xyxy[:, 2:] - other.xyxy[:, :2]
    near = np.abs(sides[0][:, None] - sides[1][None, :]) <= SAME_SIDE_PX
    return np.asarray(near.all(axis=2), np.bool_)
