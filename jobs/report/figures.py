"""Figures and settings of several runs, a row each: the tables of the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.measure.latency import STAGES
from jobs.measure.mean_ap_values import MeanAp
from jobs.measure.metrics import Metrics
from jobs.report.format import TIMES, count, decimal, fraction, setting
from jobs.run.folder import RunFolder

# What differs between any two runs and tells nothing.
_UNTELLING = frozenset({"output", "resume", "save-images"})


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
    facts = [_settings(run, figures) for run, figures in zip(runs, metrics, strict=True)]
    names = list(dict.fromkeys(name for one in facts for name in one))
    return tuple(
        Row(name=name, cells=tuple(Cell(text=one.get(name, setting(None))) for one in facts))
        for name in names
        if len({one.get(name) for one in facts}) > 1
    )


def _settings(run: RunFolder, metrics: Metrics) -> dict[str, str]:
    options = {
        name: setting(value) for name, value in run.facts["configuration"].items() if name not in _UNTELLING
    }
    height, width = metrics.model.input_hw
    model = {
        "model file": metrics.model.name,
        "model SHA-256": metrics.model.sha256[:16],
        "precision": metrics.model.precision,
        "input": f"{height} {TIMES} {width}",
        "batch": str(metrics.model.batch),
        "device used": metrics.device,
        "image list": str(run.facts["fingerprint"]["images"]),
    }
    versions = {f"version of {name}": value for name, value in metrics.versions.items()}
    return {**options, **model, **versions}
