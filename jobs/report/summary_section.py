"""The report's first and last words: what ran, its key figures, and how it was configured."""

from __future__ import annotations

import time
from dataclasses import dataclass

from jobs.measure.metrics import Metrics
from jobs.report.format import (
    MINUS,
    NONE,
    SPACE,
    TIMES,
    count,
    decimal,
    duration,
    fraction,
    milliseconds,
    plural,
    setting,
)
from jobs.run.folder import RunFolder
from tpu_worker.devices import CARD_DEVICES


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFigure:
    """One of the figures at the top."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """A table of names and values."""

    title: str
    rows: tuple[tuple[str, str], ...]


def standfirst(run: RunFolder, metrics: Metrics) -> str:
    """What ran, on what, how long: one sentence."""
    model = metrics.model
    height, width = model.input_hw
    started = time.strftime("%d %B %Y, %H:%M", time.localtime(run.record.started_s))
    return (
        f"{model.name} ({model.precision}, input {height} {TIMES} {width} pixels, batch {model.batch}) on {metrics.device}, "
        f"{plural(len(metrics.cards), 'card')}: {plural(metrics.images.total, 'image')} in "
        f"{duration(metrics.time.detect_s)}, started {started}."
    )


def key_figures(metrics: Metrics) -> tuple[KeyFigure, ...]:
    """The figures at the top; what is not known is a dash, and the note says why."""
    failed, total = metrics.images.failed, metrics.images.total
    return (
        *_outcome(metrics),
        _throughput(metrics),
        KeyFigure(name="Failed images", value=count(failed), note=f"of {count(total)}"),
        KeyFigure(
            name="Detections", value=count(metrics.detections), note="committed, whatever their confidence"
        ),
    )


def _outcome(metrics: Metrics) -> tuple[KeyFigure, ...]:
    """The score and the two figures it is made of."""
    protocol, source = metrics.score_protocol, metrics.latency.i_time_source
    ap50, note = None, "unknown without ground truth"
    if metrics.map is not None:
        ap50 = getattr(metrics.map, protocol).ap50
        note = f"{protocol.upper()} protocol; {fraction(metrics.map.coco.ap)} at 0.50:0.95 by COCO's"
    i_time = KeyFigure(
        name="i_time",
        value=milliseconds(metrics.latency.i_time_ms),
        note="no card and no schedule to tell it" if source == "none" else source,
    )
    score, formula = NONE, "needs mAP and i_time"
    if metrics.score is not None:
        score = f"{metrics.score:.2f}"
        i_time_ms = decimal(metrics.latency.i_time_ms)
        formula = f"{fraction(ap50)} · 100 + (1000 {MINUS} {i_time_ms}) · 0.1; i_time {source}"
    return (
        KeyFigure(name="mAP at IoU 0.5", value=fraction(ap50), note=note),
        i_time,
        KeyFigure(name="Score", value=score, note=formula),
    )


def _throughput(metrics: Metrics) -> KeyFigure:
    whole, steady = metrics.throughput.images_per_s, metrics.throughput.steady_images_per_s
    return KeyFigure(
        name="Throughput",
        value=NONE if whole is None else f"{decimal(whole)}{SPACE}/s",
        note="images" if steady is None else f"images; {decimal(steady)} in steady state",
    )


def host_note(times_of: str) -> str:
    """A warning that a time without a card is none of a card's; empty on a card. times_of: the device it is of."""
    if times_of in CARD_DEVICES:
        return ""
    return f"Inference is the {times_of} device's time on this host and says nothing of a card's."


def prepared_note(metrics: Metrics) -> str:
    """Where images were decoded and letterboxed; empty where that was always the host."""
    if metrics.prepared is None:
        return ""
    card, host = metrics.prepared.card, metrics.prepared.host
    return f"{plural(card, 'image')} prepared on the card (BMCV), {count(host)} on the host: those that the card does not take."


def no_health(metrics: Metrics) -> str:
    """Why a run has no samples of its cards' health."""
    if metrics.device in CARD_DEVICES:
        return "the run has no samples of its cards' health"
    return f"the {metrics.device} device has no temperature or memory to sample"


def settings(run: RunFolder, metrics: Metrics) -> tuple[Settings, ...]:
    """Options, fingerprint, model, run and versions."""

    def rows(values: dict[str, object]) -> tuple[tuple[str, str], ...]:
        return tuple((name, setting(value)) for name, value in values.items())

    record = run.record
    state = {
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(record.started_s)),
        "resumed": record.resumed,
        "images per shard": record.shard_size,
        "detection took": duration(metrics.time.detect_s),
        "labels and figures took": duration(metrics.time.write_s),
    }
    return (
        Settings(title="Options", rows=rows(record.configuration)),
        Settings(
            title="Fingerprint: what makes two runs the same",
            rows=rows(record.fingerprint.model_dump(mode="json", by_alias=True)),
        ),
        Settings(title="Model that ran", rows=rows(metrics.model.model_dump())),
        Settings(title="Run", rows=rows(state)),
        Settings(title="Versions", rows=rows(dict(metrics.versions))),
    )
