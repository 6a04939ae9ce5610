"""Several runs side by side: figures, what differs in how they were run, classes, curves and stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.measure.mean_ap_values import MeanAp
from jobs.measure.metrics import Metrics
from jobs.measure.yolo import CONFIDENCE_POINTS, RECALL_POINTS
from jobs.report.charts import UNIT_TICKS, Chart, Shape, line
from jobs.report.format import TIMES, count, decimal, fraction, plural, setting
from jobs.report.health_section import hot_cards, shared_cards
from jobs.report.judged_run import read_judged_run
from jobs.run.folder import RunFolder
from tpu_worker.values import STAGES

COLOURS = 6
MOST_CLASSES = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The page of several runs; warnings: why their figures may not be comparable."""

    names: tuple[str, ...]
    colours: tuple[int, ...]
    warnings: tuple[str, ...]
    groups: tuple[Group, ...]
    differing: tuple[Row, ...]
    charts: tuple[Chart, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _MeanCurves:
    precision_at_recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def compare_runs(runs: Sequence[RunFolder], metrics: Sequence[Metrics]) -> Comparison:
    """Gather what the page shows; a run without truth has no curves."""
    names = _distinct_names(runs)
    curves = [_mean_curves(run) for run in runs]
    return Comparison(
        names=names,
        colours=tuple(position % COLOURS for position in range(len(runs))),
        warnings=_warnings(runs, metrics),
        groups=(*figure_groups(metrics), *_by_class(metrics)),
        differing=differing_rows(runs, metrics),
        charts=_charts(names, curves),
    )


def _distinct_names(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """As many of the last parts of each place as tell all of them apart; a run given twice keeps its whole place."""
    parts = [run.store.place.rstrip("/").split("/") for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(one[-length:]) for one in parts)
        if len(set(names)) == len(names):
            break
    return names


def _mean_curves(run: RunFolder) -> _MeanCurves | None:
    judged = read_judged_run(run).judged
    if judged is None or judged.curves is None:
        return None
    curves = judged.curves
    return _MeanCurves(
        precision_at_recall=curves.precision_at_recall.mean(axis=0), f1=curves.f1.mean(axis=0)[::4]
    )


def _warnings(runs: Sequence[RunFolder], metrics: Sequence[Metrics]) -> tuple[str, ...]:
    found = []
    if len({run.record.fingerprint.images for run in runs}) > 1:
        found.append("The runs are over different images: neither mAP nor times can be compared directly.")
    truths = {str(run.record.ground_truth) for run in runs}
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


def _by_class(metrics: Sequence[Metrics]) -> tuple[Group, ...]:
    """AP50 of the classes with most objects, by the first run's protocol; nothing without truth."""
    protocol = metrics[0].score_protocol
    tables = [{} if figures.map is None else getattr(figures.map, protocol).per_class for figures in metrics]
    objects: dict[str, int] = {}
    for table in tables:
        for name, entry in table.items():
            objects[name] = max(objects.get(name, 0), entry.objects)
    frequent = sorted(objects, key=lambda name: (-objects[name], name))[:MOST_CLASSES]
    rows = tuple(
        Row(
            name=f"{name} ({plural(objects[name], 'object')})",
            cells=_cells(
                [table[name].ap50 if name in table else None for table in tables], fraction, most=True
            ),
        )
        for name in frequent
    )
    return (Group(title=f"AP50 by class, {protocol.upper()}", rows=rows),) if rows else ()


# Options that differ between any two runs and explain nothing.
_UNINFORMATIVE = frozenset({"output", "resume", "save-images"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A figure of one run; best: no other run's is better, and one is worse."""

    text: str
    best: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure of every run."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Figures that belong together."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Figure:
    """A figure's name, where it stands in metrics.json, and how it reads.

    most: whether more is better; None where neither is.
    """

    name: str
    read: Callable[[Metrics], float | None]
    show: Callable[[float | None], str] = decimal
    most: bool | None = False


def _of_map(read: Callable[[MeanAp], float | None]) -> Callable[[Metrics], float | None]:
    return lambda metrics: None if metrics.map is None else read(metrics.map)


def _of_stage(stage: str, field: str) -> Callable[[Metrics], float | None]:
    def read(metrics: Metrics) -> float | None:
        stages = metrics.latency.stages
        return None if stages is None else getattr(stages[stage], field)

    return read


def _whole(value: float | None) -> str:
    return decimal(value) if value is None else count(int(value))


def _score(value: float | None) -> str:
    return decimal(value) if value is None else f"{value:.2f}"


_OUTCOME = (
    _Figure(name="score", read=lambda metrics: metrics.score, show=_score, most=True),
    _Figure(name="images", read=lambda metrics: metrics.images.total, show=_whole, most=None),
    _Figure(name="failed", read=lambda metrics: metrics.images.failed, show=_whole),
    _Figure(name="detections", read=lambda metrics: metrics.detections, show=_whole, most=None),
    _Figure(name="cards", read=lambda metrics: len(metrics.cards), show=_whole, most=None),
)
_ACCURACY = tuple(
    _Figure(name=name, read=_of_map(read), show=fraction, most=True)
    for name, read in {
        "AP50, COCO": lambda one: one.coco.ap50,
        "AP50:95, COCO": lambda one: one.coco.ap,
        "AP small": lambda one: one.coco.ap_small,
        "AP medium": lambda one: one.coco.ap_medium,
        "AP large": lambda one: one.coco.ap_large,
        "AP50, YOLO": lambda one: one.yolo.ap50,
        "AP50:95, YOLO": lambda one: one.yolo.ap,
        "AP50, VOC": lambda one: one.voc.ap50,
    }.items()
)
_RATES = (
    _Figure(name="images/s", read=lambda metrics: metrics.throughput.images_per_s, most=True),
    _Figure(name="images/s, steady", read=lambda metrics: metrics.throughput.steady_images_per_s, most=True),
)
_STAGES = (
    *(_Figure(name=f"{name} mean, ms", read=_of_stage(name, "mean_ms")) for name in STAGES),
    _Figure(name="inference p90, ms", read=_of_stage("inference", "p90_ms")),
    _Figure(name="inference p99, ms", read=_of_stage("inference", "p99_ms")),
)


def figure_groups(metrics: Sequence[Metrics]) -> tuple[Group, ...]:
    """Every figure of metrics.json that two runs can be compared by."""

    def row(figure: _Figure) -> Row:
        values = [figure.read(one) for one in metrics]
        return Row(name=figure.name, cells=_cells(values, figure.show, most=figure.most))

    i_time = _Figure(name="i_time, ms", read=lambda one: one.latency.i_time_ms)
    sources = tuple(Cell(text=one.latency.i_time_source) for one in metrics)
    speed = (row(i_time), Row(name="its source", cells=sources), *map(row, (*_RATES, *_STAGES)))
    return (
        Group(title="Outcome", rows=tuple(map(row, _OUTCOME))),
        Group(title="Accuracy", rows=tuple(map(row, _ACCURACY))),
        Group(title="Speed", rows=speed),
    )


def _cells(
    values: Sequence[float | None], show: Callable[[float | None], str], *, most: bool | None
) -> tuple[Cell, ...]:
    """most: whether more is better, None where it is neither."""
    known = [value for value in values if value is not None]
    telling = most is not None and len(set(known)) > 1
    best = (max(known) if most else min(known)) if telling else None
    return tuple(Cell(text=show(value), best=value is not None and value == best) for value in values)


def differing_rows(runs: Sequence[RunFolder], metrics: Sequence[Metrics]) -> tuple[Row, ...]:
    """Options, model facts and versions in which the runs differ."""
    settings = [_settings(run, figures) for run, figures in zip(runs, metrics, strict=True)]
    names = list(dict.fromkeys(name for one in settings for name in one))
    return tuple(
        Row(name=name, cells=tuple(Cell(text=one.get(name, setting(None))) for one in settings))
        for name in names
        if len({one.get(name) for one in settings}) > 1
    )


def _settings(run: RunFolder, metrics: Metrics) -> dict[str, str]:
    options = {
        name: setting(value) for name, value in run.record.configuration.items() if name not in _UNINFORMATIVE
    }
    height, width = metrics.model.input_hw
    model = {
        "model file": metrics.model.name,
        "model SHA-256": metrics.model.sha256[:16],
        "precision": metrics.model.precision,
        "input": f"{height} {TIMES} {width}",
        "batch": str(metrics.model.batch),
        "device used": metrics.device,
        "image list": run.record.fingerprint.images,
    }
    versions = {f"version of {name}": value for name, value in metrics.versions.items()}
    return {**options, **model, **versions}
