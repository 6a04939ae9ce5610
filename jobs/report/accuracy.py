"""The accuracy section of the report: three protocols, classes, sizes and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.mean_ap_values import MeanAp
from jobs.report.charts import Chart
from jobs.report.curves import curve_charts, size_chart
from jobs.report.format import count, fraction
from jobs.report.truth import Judged
from jobs.score import ScoreProtocol

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
