"""Runs what is ready of a reproduction, and writes its page, its figures and its comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bmodel.errors import ConfigurationError
from data.formats import NamedBoxes, whole_pixels
from jobs.report.format import NONE, csv_text, markdown_table
from jobs.run.store import LocalStore
from jobs.study.compare_published import (
    NO_BOXES,
    STRICTEST,
    ComparisonSummary,
    FileComparison,
    FileTimes,
    compare,
    read_folder,
    summarise,
)
from jobs.study.reproduction_file import Preparation, Reproduction
from jobs.study.reproduction_page import ReproductionResult, Verdict, figures, render, verdict_of
from jobs.study.run_once import run_once

PAGE: Final = "reproduction.md"
FIGURES: Final = "reproduction.json"
BOXES: Final = "differences.csv"


def run(file: Reproduction, found: Preparation, *, published: Path | None) -> tuple[Verdict, str]:
    """Run every set that is ready and judge; returns the verdict and the page, which lies in the output too.

    Sets that ran already are not run again. Raises RaysailError, FormatError.
    """
    theirs = None if published is None else read_folder(published, "--published")
    if theirs is not None and "b-set" not in found.ready:
        raise ConfigurationError(
            f"--published: is about the B set; {found.absent.get('b-set', 'the file has none')}"
        )
    store = LocalStore(file.output)
    measured = {name: run_once(config) for name, config in found.ready.items()}
    labels = {name: f"{config.output}/labels" for name, config in found.ready.items()}
    judged = figures(file, measured)
    comparison, section = None, ""
    if theirs is not None:
        ours = read_folder(Path(labels["b-set"]), "--detections")
        comparison, section = _compare(theirs, ours, store)
    result = ReproductionResult(
        title=file.title,
        verdict=verdict_of(judged),
        figures=judged,
        sets=measured,
        absent=found.absent,
        labels=labels,
        comparison=comparison,
    )
    page = render(result, comparison=section)
    store.write(PAGE, page.encode())
    store.write(FIGURES, (result.model_dump_json(indent=2) + "\n").encode())
    return result.verdict, f"{page}\nEverything is in {store.place}\n"


def compare_only(published: Path, detections: Path, *, output: Path) -> str:
    """Compare two folders without running anything; returns the page, which lies in the output too."""
    theirs, ours = read_folder(published, "--published"), read_folder(detections, "--detections")
    store = LocalStore(output)
    summary, section = _compare(theirs, ours, store)
    page = f"# Published and own detection files\n\n{section}\n"
    store.write("comparison.md", page.encode())
    store.write("comparison.json", (summary.model_dump_json(indent=2) + "\n").encode())
    return f"{page}\nEverything is in {store.place}\n"


def _compare(
    theirs: Mapping[str, NamedBoxes], ours: Mapping[str, NamedBoxes], store: LocalStore
) -> tuple[ComparisonSummary, str]:
    files = compare(theirs, ours)
    summary = summarise(files)
    store.write(BOXES, differences_csv(files).encode())
    return summary, comparison_section(summary, files)


SHOWN_FILES: Final = 10
KINDS: Final = {
    "moved": "the same class elsewhere",
    "relabelled": "another class in the same place",
    "missing": "published alone",
    "added": "ours alone",
}


def comparison_section(summary: ComparisonSummary, files: Sequence[FileComparison]) -> str:
    """What the comparison found, in Markdown."""
    parts = [
        _file_counts(summary),
        markdown_table(
            ["matched one to one, same class", "boxes", "of the published", "of ours"],
            [
                [
                    f"IoU {share.iou:g}",
                    str(share.matched),
                    _percent(share.of_published),
                    _percent(share.of_ours),
                ]
                for share in summary.shares
            ],
            text=["matched one to one, same class"],
        ),
        _confidence_sentence(summary),
        markdown_table(
            [f"without a partner at IoU {STRICTEST:g}", "boxes", "meaning"],
            [[kind, str(summary.kinds[kind]), meaning] for kind, meaning in KINDS.items()],
            text=[f"without a partner at IoU {STRICTEST:g}", "meaning"],
        ),
        markdown_table(
            [
                "inference time in the files (ms)",
                "images",
                "i_time: over images",
                "over lines",
                "least",
                "most",
            ],
            [_times("published", summary.times_published), _times("ours", summary.times_ours)],
            text=["inference time in the files (ms)"],
        ),
        _most_different(files),
    ]
    return "\n\n".join(part for part in parts if part)


def _file_counts(summary: ComparisonSummary) -> str:
    only = [
        f"{len(names)} {whose} alone ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})"
        for whose, names in (("published", summary.files_published_only), ("ours", summary.files_ours_only))
        if names
    ]
    files = "; ".join([f"{summary.files_in_both} files on both sides", *only])
    return f"{files}. {summary.boxes_published} boxes published, {summary.boxes_ours} ours."


def _confidence_sentence(summary: ComparisonSummary) -> str:
    change = summary.confidence
    if change is None:
        return ""
    return (
        f"Confidence, ours minus published, of the boxes matched at IoU {STRICTEST:g}: mean {change.mean:+.6f}, "
        f"mean absolute {change.mean_absolute:.6f}, largest {change.largest_absolute:.6f}."
    )


def _times(whose: str, times: FileTimes | None) -> list[str]:
    if times is None:
        return [whose, "0", *[NONE] * 4]
    figures = (times.i_time_ms, times.over_lines_ms, times.least_ms, times.most_ms)
    return [whose, str(times.images), *(f"{value:.2f}" for value in figures)]


def _most_different(files: Sequence[FileComparison]) -> str:
    worst = sorted((file for file in files if file.differences), key=lambda file: -len(file.differences))
    if not worst:
        return ""
    table = markdown_table(
        ["file", "published", "ours", f"matched at {STRICTEST:g}", *KINDS],
        [
            [
                file.name,
                *(str(len((side or NO_BOXES).names)) for side in (file.theirs, file.ours)),
                str(file.matched[-1]),
                *(str(_count(file, kind)) for kind in KINDS),
            ]
            for file in worst[:SHOWN_FILES]
        ],
        text=["file"],
    )
    return f"{len(worst)} files differ; those that differ most:\n\n{table}"


def _count(file: FileComparison, kind: str) -> int:
    return sum(difference.kind == kind for difference in file.differences)


def _percent(share: float | None) -> str:
    """A share with two digits; only all of them is 100 %."""
    if share is None:
        return NONE
    return f"{share if share == 1 else min(share, 0.9999):.2%}"


def differences_csv(files: Sequence[FileComparison]) -> str:
    """A row a box without a partner: what became of it, and the box on both sides; lines count from 1, blank ones left out."""
    sides = ("line", "class", "confidence", "left", "top", "right", "bottom")
    head = ["file", "kind", *(f"{name}_{whose}" for whose in ("published", "ours") for name in sides)]
    return csv_text(
        head,
        [
            [
                file.name,
                difference.kind,
                *_box(file.theirs, difference.theirs),
                *_box(file.ours, difference.ours),
            ]
            for file in files
            for difference in file.differences
        ],
    )


def _box(boxes: NamedBoxes | None, row: int | None) -> Iterator[object]:
    if boxes is None or row is None:
        yield from [None] * 7
        return
    yield from (row + 1, boxes.names[row], float(boxes.confidence[row]))
    yield from whole_pixels(boxes.xyxy[row : row + 1])[0].tolist()
