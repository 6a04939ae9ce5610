"""Several runs side by side: figures, what differs in how they were run, classes, curves and stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from jobs.measure.metrics import Metrics
from jobs.measure.yolo import CONFIDENCE_POINTS, RECALL_POINTS
from jobs.report.charts import UNIT_TICKS, Chart, Shape, line
from jobs.report.figures import Group, Row, differing_rows, figure_groups
from jobs.report.format import count, fraction
from jobs.report.health_section import hot_cards, shared_cards
from jobs.report.judged_run import judged_run
from jobs.report.latency_section import StagePart, stage_parts
from jobs.run.folder import RunFolder

COLOURS = 6
MOST_CLASSES = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A run's place on a class's line, percent."""

    at: float
    css: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassLine:
    """A class with its objects and its AP50 in every run."""

    name: str
    objects: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageBar:
    """The mean stages of one run, all runs on one scale."""

    name: str
    parts: tuple[StagePart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The page of several runs; warnings: why their figures may not be comparable."""

    names: tuple[str, ...]
    colours: tuple[int, ...]
    warnings: tuple[str, ...]
    groups: tuple[Group, ...]
    differing: tuple[Row, ...]
    charts: tuple[Chart, ...]
    classes: tuple[ClassLine, ...]
    class_protocol: str
    stages: tuple[StageBar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _MeanCurves:
    precision_at_recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def compare_runs(runs: Sequence[RunFolder], metrics: Sequence[Metrics]) -> Comparison:
    """Gather what the page shows; a run without truth has no curves."""
    names = _distinct_names(runs)
    curves = [_mean_curves(run, figures) for run, figures in zip(runs, metrics, strict=True)]
    return Comparison(
        names=names,
        colours=tuple(position % COLOURS for position in range(len(runs))),
        warnings=_warnings(runs, metrics),
        groups=figure_groups(metrics),
        differing=differing_rows(runs, metrics),
        charts=_charts(names, curves),
        classes=_class_lines(names, metrics),
        class_protocol=metrics[0].score_protocol.upper(),
        stages=_stage_bars(names, metrics),
    )


def _distinct_names(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """As many of the last parts of each place as tell all of them apart; a run given twice keeps its whole place."""
    parts = [run.store.place.rstrip("/").split("/") for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(one[-length:]) for one in parts)
        if len(set(names)) == len(names):
            break
    return names


def _mean_curves(run: RunFolder, metrics: Metrics) -> _MeanCurves | None:
    judged, _ = judged_run(run, metrics, ModelSpec.model_validate(run.facts["spec"]))
    if judged is None or judged.curves is None:
        return None
    curves = judged.curves
    return _MeanCurves(
        precision_at_recall=curves.precision_at_recall.mean(axis=0), f1=curves.f1.mean(axis=0)[::4]
    )


def _warnings(runs: Sequence[RunFolder], metrics: Sequence[Metrics]) -> tuple[str, ...]:
    found = []
    if len({run.facts["fingerprint"]["images"] for run in runs}) > 1:
        found.append("The runs are over different images: neither mAP nor times can be compared directly.")
    truths = {str(run.facts["configuration"].get("ground-truth")) for run in runs}
    if len(truths) > 1:
        found.append(f"The runs name different ground truth: {', '.join(sorted(truths))}.")
    sources = {figures.latency.i_time_source for figures in metrics}
    if len(sources) > 1:
        found.append(f"i_time comes from different sources: {', '.join(sorted(sources))}.")
    protocols = {figures.score_protocol for figures in metrics}
    if len(protocols) > 1:
        found.append(f"The scores take mAP by different protocols: {', '.join(sorted(protocols))}.")
    for name, figures in zip(_distinct_names(runs), metrics, strict=True):
        if hot := hot_cards(figures):
            found.append(
                f"In {name} cards were too hot, and so slowed down by their driver: {', '.join(hot)}."
            )
        if shared := shared_cards(figures):
            found.append(f"In {name} other programs used cards too, which costs time: {', '.join(shared)}.")
    return tuple(found)


def _charts(names: Sequence[str], curves: Sequence[_MeanCurves | None]) -> tuple[Chart, ...]:
    known = [(position, one) for position, one in enumerate(curves) if one is not None]
    if not known:
        return ()

    def chart(
        title: str, x_label: str, x: NDArray[np.float64], read: Callable[[_MeanCurves], NDArray[np.float64]]
    ) -> Chart:
        return Chart(
            title=title,
            note="IoU 0.5, mean over classes",
            x_label=x_label,
            x_ticks=UNIT_TICKS,
            y_ticks=UNIT_TICKS,
            shapes=tuple(
                Shape(
                    path=line(x, read(one)),
                    css=f"line series-{position % COLOURS}",
                    title=names[position],
                    key=names[position],
                )
                for position, one in known
            ),
        )

    return (
        chart("Precision over recall", "recall", RECALL_POINTS, lambda one: one.precision_at_recall),
        chart("F1 over confidence", "least confidence", CONFIDENCE_POINTS[::4], lambda one: one.f1),
    )


def _class_lines(names: Sequence[str], metrics: Sequence[Metrics]) -> tuple[ClassLine, ...]:
    """The classes with most objects; AP50 by the first run's protocol."""
    protocol = metrics[0].score_protocol
    tables = [{} if figures.map is None else getattr(figures.map, protocol).per_class for figures in metrics]
    objects: dict[str, int] = {}
    for table in tables:
        for name, entry in table.items():
            objects[name] = max(objects.get(name, 0), entry.objects)
    frequent = sorted(objects, key=lambda name: (-objects[name], name))[:MOST_CLASSES]
    return tuple(
        ClassLine(
            name=name,
            objects=count(objects[name]),
            dots=tuple(
                Dot(
                    at=round(table[name].ap50 * 100, 2),
                    css=f"dot-{position % COLOURS}",
                    title=f"{names[position]}: {fraction(table[name].ap50)}",
                )
                for position, table in enumerate(tables)
                if name in table and table[name].ap50 is not None
            ),
        )
        for name in frequent
    )


def _stage_bars(names: Sequence[str], metrics: Sequence[Metrics]) -> tuple[StageBar, ...]:
    known = [
        (name, figures.latency.stages)
        for name, figures in zip(names, metrics, strict=True)
        if figures.latency.stages is not None
    ]
    longest = max((sum(one.mean_ms for one in stages.values()) for _, stages in known), default=0.0)
    return tuple(StageBar(name=name, parts=stage_parts(stages, longest)) for name, stages in known)
