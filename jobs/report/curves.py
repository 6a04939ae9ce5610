"""The curves of the YOLO protocol, and which sizes of object are found: what `report_truth` found out → charts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.mean_ap_yolo import CONFIDENCE_POINTS, RECALL_POINTS
from jobs.report.charts import UNIT_TICKS, Chart, Mark, Shape, Tick, columns, line, ticks
from jobs.report.format import count, fraction
from jobs.report.truth import Curves, Judged

# Up to so many classes have colours and names; of more, each is a thin line.
NAMED_CLASSES = 5
MOST_LINES = 100
# Every fourth of the thousand confidences: a pixel at most, at any width.
_EVERY = 4


def curve_charts(curves: Curves, names: Sequence[str]) -> tuple[Chart, ...]:
    """Precision over recall, and F1, precision and recall over confidence."""
    confidence = CONFIDENCE_POINTS[::_EVERY]
    mean_f1 = curves.f1.mean(axis=0)
    best = float(mean_f1[curves.best_point])
    label = f"{fraction(best, 2)} at {fraction(curves.best_confidence, 2)}"
    mark = Mark(x=curves.best_confidence, y=best, label=label)
    return (
        Chart(
            title="Precision over recall",
            note="IoU 0.5; the area below a line is the class's AP50 by the YOLO protocol",
            x_label="recall",
            x_ticks=UNIT_TICKS,
            y_ticks=UNIT_TICKS,
            shapes=_lines(RECALL_POINTS, curves.precision_at_recall, curves, names),
        ),
        Chart(
            title="F1 over confidence",
            note="IoU 0.5; the mean is highest at the point marked",
            x_label="least confidence",
            x_ticks=UNIT_TICKS,
            y_ticks=UNIT_TICKS,
            shapes=_lines(confidence, curves.f1[:, ::_EVERY], curves, names),
            marks=(mark,),
        ),
        Chart(
            title="Precision and recall over confidence",
            note="IoU 0.5, means over classes",
            x_label="least confidence",
            x_ticks=UNIT_TICKS,
            y_ticks=UNIT_TICKS,
            shapes=(
                _mean_line(confidence, curves.precision[:, ::_EVERY], "line series-0", "precision"),
                _mean_line(confidence, curves.recall[:, ::_EVERY], "line series-1", "recall"),
            ),
            marks=(Mark(x=curves.best_confidence, label=fraction(curves.best_confidence, 2)),),
        ),
    )


def _lines(
    x: NDArray[np.float64], rows: NDArray[np.float64], curves: Curves, names: Sequence[str]
) -> tuple[Shape, ...]:
    frequent = np.argsort(-curves.objects, kind="stable")[:MOST_LINES].tolist()
    few = len(curves.class_id) <= NAMED_CLASSES
    lines = [
        Shape(
            path=line(x, rows[row]),
            css=f"line series-{position + 1}" if few else "line thin",
            title=names[curves.class_id[row]],
            key=names[curves.class_id[row]] if few else "",
        )
        for position, row in enumerate(frequent)
    ]
    key = "mean" if few else f"mean of {len(curves.class_id)} classes"
    return (*lines, _mean_line(x, rows, "line mean", key))


def _mean_line(x: NDArray[np.float64], rows: NDArray[np.float64], css: str, key: str) -> Shape:
    return Shape(path=line(x, rows.mean(axis=0)), css=css, title=key, key=key)


def size_chart(judged: Judged) -> Chart | None:
    """Objects found and missed by the side of a square of their box's area, in octaves; None without objects."""
    sides = np.sqrt(np.clip((judged.objects.xyxy[:, 2:] - judged.objects.xyxy[:, :2]), 0, None).prod(axis=1))
    if not len(sides):
        return None
    octave = np.floor(np.log2(np.clip(sides, 1, None)) * 2) / 2
    edges = np.arange(octave.min(), octave.max() + 1, 0.5)
    edges = edges if len(edges) > 1 else np.array([edges[0], edges[0] + 0.5])
    whole, _ = np.histogram(octave, edges)
    found, _ = np.histogram(octave[judged.object_found], edges)
    high = max(1, int(whole.max())) * 1.05
    at = np.linspace(0, 1, len(edges))
    marks = [int(edge) for edge in edges if edge == np.floor(edge)]
    missed = int((~judged.object_found).sum())
    return Chart(
        title="Objects found by size",
        note=f"{count(len(sides) - missed)} found, {count(missed)} missed at confidence "
        f"{fraction(judged.confidence, 2)}",
        x_label="side of a square as large as the object's box, px",
        x_ticks=tuple(
            Tick(at=(mark - edges[0]) / (edges[-1] - edges[0]), label=f"{2**mark:g}") for mark in marks
        ),
        y_ticks=ticks(0, high, most=4),
        shapes=(
            Shape(path=columns(at, found / high), css="bars found", key="found", title="found"),
            Shape(
                path=columns(at, (whole - found) / high, found / high),
                css="bars missed",
                key="missed",
                title="missed",
            ),
        ),
    )
