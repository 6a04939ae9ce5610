"""The table of a sweep: Markdown for people, CSV and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bmodel.validation import ExactModel
from jobs.report.format import csv_text, figure, markdown_table, plural
from jobs.study.sweep_file import size_label
from jobs.study.sweep_points import Row, Status

_POINT = ("model", "size", "precision", "batch", "preprocess")
_WORDS = ("model", "precision", "preprocess", "source", "why not", "note", "status")


class SweepResult(ExactModel):
    """All points of a sweep in the order of its file."""

    title: str
    points: tuple[Row, ...]


def counts(rows: Iterable[Row]) -> str:
    """How many points there are of each status, in words."""
    texts: dict[Status, str] = {
        "run": "run",
        "ready": "ready to run",
        "predicted": "predicted",
        "missing": "missing",
        "failed": "failed",
    }
    statuses = [row.status for row in rows]
    return ", ".join(
        f"{statuses.count(status)} {text}" for status, text in texts.items() if status in statuses
    )


def sweep_page(result: SweepResult, *, make: str = "", picture: str | None = None) -> str:
    """The page: points that ran by rank, published figures beside them, and what did not run with the reason."""
    rows = result.points
    parts = [f"# {result.title}", f"{plural(len(rows), 'point')}: {counts(rows)}."]
    if picture is not None:
        parts.append(f"![mAP over i_time, with lines of equal score]({picture})")
    if any(row.figures for row in rows):
        parts += [
            "## What ran",
            _ran(rows),
            "`*`: on the Pareto front, no other point is both more accurate and faster.",
        ]
    if any(row.published for row in rows):
        parts += ["## Beside what was published", _beside_published(rows), _PUBLISHED_NOTE]
    if any(row.figures is None for row in rows):
        parts += ["## What did not run", _not_run(rows)]
    if make and any("is not there" in row.reason for row in rows):
        parts.append(f"Networks that are not there: {make}.")
    return "\n\n".join(parts) + "\n"


_PUBLISHED_NOTE = (
    "`computed`: mAP·100 + (1000 - i_time)·0.1 of the two published figures. `outlook`: the same of the published "
    "mAP and the time that the compiler's schedule predicts; nothing of it was measured here."
)


def _point(row: Row) -> list[str]:
    size = size_label(row.size_hw)
    if row.input_hw != row.size_hw:
        size = f"{size} (as {size_label(row.input_hw)})"
    return [row.model, size, row.precision, str(row.batch), row.preprocess]


def _ran(rows: Sequence[Row]) -> str:
    ran = sorted((row for row in rows if row.figures), key=lambda row: (row.rank is None, row.rank or 0))
    return markdown_table(
        ["rank", *_POINT, "mAP@0.5", "i_time (ms)", "source", "score", "published score", "front", "note"],
        [
            [
                figure(row.rank, 0),
                *_point(row),
                figure(found.map50, 4),
                figure(found.i_time_ms, 2),
                f"{found.i_time_source} ({found.device})",
                figure(found.score, 2),
                figure(row.published.score if row.published else None, 2),
                "*" if row.pareto else "",
                row.reason,
            ]
            for row in ran
            if (found := row.figures)
        ],
        text=_WORDS,
    )


def _beside_published(rows: Sequence[Row]) -> str:
    head = ["mAP@0.5", "i_time (ms)", "score", "computed"]
    ours = ["our mAP@0.5", "our i_time", "our score", "predicted (ms)", "outlook", "outlook rank"]
    return markdown_table(
        [*_POINT, *head, *ours, "note"],
        [
            [
                *_point(row),
                figure(published.map50, 3),
                figure(published.i_time_ms, 1),
                figure(published.score, 2),
                figure(published.score_computed, 2),
                figure(row.figures.map50 if row.figures else None, 4),
                figure(row.figures.i_time_ms if row.figures else None, 2),
                figure(row.figures.score if row.figures else None, 2),
                _predicted(row),
                figure(row.outlook_score, 2),
                figure(row.outlook_rank, 0),
                published.note,
            ]
            for row in rows
            if (published := row.published)
        ],
        text=_WORDS,
    )


def _predicted(row: Row) -> str:
    one = row.predicted
    return figure(None, 0) if one is None else f"{one.ms:.4g} ± {one.uncertainty_ms:.2g}"


def _not_run(rows: Sequence[Row]) -> str:
    return markdown_table(
        [*_POINT, "status", "predicted (ms)", "why not"],
        [[*_point(row), row.status, _predicted(row), row.reason] for row in rows if row.figures is None],
        text=_WORDS,
    )


def sweep_csv(rows: Sequence[Row]) -> str:
    """Every point in the order of the file; an empty cell is not known."""
    found = ("map50", "map_protocol", "i_time_ms", "i_time_source", "score")
    ran = ("device", "images", "failed", "run")
    published = ("map50", "i_time_ms", "score", "score_computed", "note")
    head = [
        *("model", "height", "width", "input_height", "input_width", "precision", "batch", "preprocess"),
        *("status", "reason", *found, "rank", "pareto"),
        *("predicted_ms", "predicted_uncertainty_ms", "outlook_score", "outlook_rank"),
        *(f"published_{name}" for name in published),
        *(*ran, "file"),
    ]
    return csv_text(
        head,
        [
            [
                *(row.model, *row.size_hw, *row.input_hw, row.precision, row.batch, row.preprocess),
                *(row.status, row.reason, *_parts(row.figures, found), row.rank, int(row.pareto)),
                *_parts(row.predicted, ("ms", "uncertainty_ms")),
                *(row.outlook_score, row.outlook_rank),
                *_parts(row.published, published),
                *(*_parts(row.figures, ran), row.file),
            ]
            for row in rows
        ],
    )


def _parts(value: ExactModel | None, names: Sequence[str]) -> list[object]:
    return [None if value is None else getattr(value, name) for name in names]
