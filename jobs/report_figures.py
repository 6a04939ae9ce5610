"""Figures and settings of several runs, a row each: the tables of the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.latency import STAGES
from jobs.metrics import Metrics
from jobs.report_format import TIMES, count, decimal, fraction, setting
from jobs.run_folder import RunFolder

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


def figure_groups(metrics: Sequence[Metrics]) -> tuple[Group, ...]:
    """Every figure of metrics.json that two runs can be compared by."""

    def row(
        name: str,
        value: Callable[[Metrics], float | None],
        show: Callable[[float | None], str],
        *,
        most: bool | None = True,
    ) -> Row:
        return Row(name=name, cells=_cells([value(figures) for figures in metrics], show, most=most))

    def ap(read: Callable[[Any], float | None]) -> Callable[[Metrics], float | None]:
        return lambda figures: None if figures.map is None else read(figures.map)

    def stage(name: str, field: str) -> Callable[[Metrics], float | None]:
        def read(figures: Metrics) -> float | None:
            stages = figures.latency.stages
            return None if stages is None else getattr(stages[name], field)

        return read

    def score(value: float | None) -> str:
        return decimal(value) if value is None else f"{value:.2f}"

    def number(value: float | None) -> str:
        return decimal(value) if value is None else count(int(value))

    accuracy = (
        row("AP50, COCO", ap(lambda m: m.coco.ap50), fraction),
        row("AP50:95, COCO", ap(lambda m: m.coco.ap), fraction),
        row("AP small", ap(lambda m: m.coco.ap_small), fraction),
        row("AP medium", ap(lambda m: m.coco.ap_medium), fraction),
        row("AP large", ap(lambda m: m.coco.ap_large), fraction),
        row("AP50, YOLO", ap(lambda m: m.yolo.ap50), fraction),
        row("AP50:95, YOLO", ap(lambda m: m.yolo.ap), fraction),
        row("AP50, VOC", ap(lambda m: m.voc.ap50), fraction),
    )
    sources = Row(
        name="its source", cells=tuple(Cell(text=figures.latency.i_time_source) for figures in metrics)
    )
    speed = (
        row("i_time, ms", lambda m: m.latency.i_time_ms, decimal, most=False),
        sources,
        row("images/s", lambda m: m.throughput.images_per_s, decimal),
        row("images/s, steady", lambda m: m.throughput.steady_images_per_s, decimal),
        *(row(f"{name} mean, ms", stage(name, "mean_ms"), decimal, most=False) for name in STAGES),
        row("inference p90, ms", stage("inference", "p90_ms"), decimal, most=False),
        row("inference p99, ms", stage("inference", "p99_ms"), decimal, most=False),
    )
    whole = (
        row("score", lambda m: m.score, score),
        row("images", lambda m: m.images.total, number, most=None),
        row("failed", lambda m: m.images.failed, number, most=False),
        row("detections", lambda m: m.detections, number, most=None),
        row("cards", lambda m: len(m.cards), number, most=None),
    )
    return (
        Group(title="Outcome", rows=whole),
        Group(title="Accuracy", rows=accuracy),
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
