"""The accuracy section of the report: three protocols, classes, sizes and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.config.choices import ScoreProtocol
from jobs.measure.mean_ap_values import MeanAp
from jobs.measure.yolo import CONFIDENCE_POINTS, RECALL_POINTS
from jobs.report.charts import UNIT_TICKS, Chart, Mark, Shape, Tick, columns, line, ticks
from jobs.report.format import count, fraction
from jobs.report.judge import Curves, Judged

FIRST_CLASSES = 16
_NAMES: dict[ScoreProtocol, str] = {"coco": "COCO", "yolo": "YOLO", "voc": "VOC"}
# metrics.json was computed from the same rows by the same protocol: more than rounding means another truth.
_SAME = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class ProtocolRow:
    """One protocol's line; chosen: the score's."""

    name: str
    cells: tuple[str, ...]
    chosen: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow:
    """One class's line; percent: the length of its bar, AP50 by the score's protocol."""

    name: str
    objects: str
    percent: float
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracySection:
    """The whole section; first: classes shown at once."""

    protocols: tuple[ProtocolRow, ...]
    classes: tuple[ClassRow, ...]
    charts: tuple[Chart, ...]
    bar_name: str
    note: str
    warnings: tuple[str, ...]
    first: int = FIRST_CLASSES


def accuracy_section(
    mean_ap: MeanAp, protocol: ScoreProtocol, judged: Judged | None, names: Sequence[str]
) -> AccuracySection:
    """Figures from metrics.json; curves from the run's rows, where their truth is at hand."""
    charts: tuple[Chart, ...] = ()
    warnings: tuple[str, ...] = ()
    if judged is not None and judged.curves is not None:
        charts = curve_charts(judged.curves, names)
        if (by_size := size_chart(judged)) is not None:
            charts += (by_size,)
        warnings = _differences(mean_ap, judged)
    objects = sum(entry.objects for entry in mean_ap.yolo.per_class.values())
    return AccuracySection(
        protocols=_protocols(mean_ap, protocol),
        classes=_classes(mean_ap, protocol),
        charts=charts,
        bar_name=f"AP50 by {_NAMES[protocol]}",
        note=f"{count(objects)} objects of {count(len(mean_ap.yolo.per_class))} classes; classes without objects "
        "enter no average. Only COCO's protocol tells sizes: small objects are below 32² square pixels, large ones "
        f"above 96². The score takes AP50 by the {_NAMES[protocol]} protocol.",
        warnings=warnings,
    )


def _differences(mean_ap: MeanAp, judged: Judged) -> tuple[str, ...]:
    """A sentence when the truth at hand is not the one that metrics.json speaks of."""
    curves = judged.curves
    if curves is None or mean_ap.yolo.precision is None or mean_ap.yolo.recall is None:
        return ()
    point = curves.best_point
    drawn = float(curves.precision[:, point].mean()), float(curves.recall[:, point].mean())
    told = mean_ap.yolo.precision, mean_ap.yolo.recall
    if max(abs(one - other) for one, other in zip(drawn, told, strict=True)) <= _SAME:
        return ()
    sentence = (
        "The curves and images below are judged by a truth other than the one that metrics.json was computed from: "
        "the run's ground truth has changed, or the run was evaluated with another one."
    )
    return (sentence,)


def _protocols(mean_ap: MeanAp, chosen: ScoreProtocol) -> tuple[ProtocolRow, ...]:
    coco, yolo, voc = mean_ap.coco, mean_ap.yolo, mean_ap.voc
    values: dict[ScoreProtocol, tuple[float | None, ...]] = {
        "coco": (coco.ap50, coco.ap, coco.ap75, coco.ap_small, coco.ap_medium, coco.ap_large, None, None),
        "yolo": (yolo.ap50, yolo.ap, None, None, None, None, yolo.precision, yolo.recall),
        "voc": (voc.ap50, *[None] * 7),
    }
    return tuple(
        ProtocolRow(name=_NAMES[name], cells=tuple(fraction(value) for value in row), chosen=name == chosen)
        for name, row in values.items()
    )


def _classes(mean_ap: MeanAp, protocol: ScoreProtocol) -> tuple[ClassRow, ...]:
    coco, yolo, voc = mean_ap.coco.per_class, mean_ap.yolo.per_class, mean_ap.voc.per_class
    names = sorted(yolo, key=lambda name: (-yolo[name].objects, name))
    rows = []
    for name in names:
        by_coco, by_yolo, by_voc = coco.get(name), yolo[name], voc.get(name)
        ap50: dict[ScoreProtocol, float | None] = {
            "coco": by_coco.ap50 if by_coco else None,
            "yolo": by_yolo.ap50,
            "voc": by_voc.ap50 if by_voc else None,
        }
        values = (
            ap50["coco"], by_coco.ap if by_coco else None, by_yolo.ap50, by_yolo.ap, by_yolo.precision,
            by_yolo.recall, ap50["voc"],
        )  # fmt: skip
        rows.append(
            ClassRow(
                name=name,
                objects=count(by_yolo.objects),
                percent=round((ap50[protocol] or 0.0) * 100, 1),
                cells=tuple(fraction(value) for value in values),
            )
        )
    return tuple(rows)


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
