"""H: a run's rows → metrics.json: every number that people see comes from here. The schema is published in docs/."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, model_validator

from bmodel.errors import ConfigurationError, RunError
from bmodel.sidecar import ModelSpec
from bmodel.validation import FrozenModel, first_fault
from cluster.pool.work import SlotState
from jobs.config.choices import ScoreProtocol
from jobs.inputs.ran_model import ModelMetrics
from jobs.measure.card_health import CardHealthMetrics
from jobs.measure.latency import (
    LatencyMetrics,
    ThroughputMetrics,
    summarise_latency,
    summarise_throughput,
    timings_of,
)
from jobs.measure.mean_ap_values import MeanAp
from jobs.measure.one_pass import RunRows
from jobs.measure.score import score_of
from jobs.run.folder import SUCCESS, RunFolder
from jobs.run.image_columns import RunImages
from jobs.run.old_names import current_metrics
from jobs.run.record import versions

METRICS_SCHEMA_VERSION: Final = 2


class ImageCounts(FrozenModel):
    """Images of the run by outcome; failures counts the failed ones by stage."""

    total: int
    ok: int
    failed: int
    failures: dict[str, int]


class PreparedMetrics(FrozenModel):
    """Images by where they were read and letterboxed; those on the host are what the card does not accept."""

    card: int
    host: int


class CardMetrics(FrozenModel):
    """One card's part: images that it committed, and how often it failed or was restarted.

    other_users: other processes that had it open when its worker was ready; the card's driver lets them share it.
    """

    card: str
    images: int
    failures: int = 0
    restarts: int = 0
    quarantined: bool = False
    other_users: tuple[str, ...] = ()


class TimeSpent(FrozenModel):
    """Wall seconds: from the first actor's start to the last commit, and for labels and figures after it."""

    detect_s: float
    write_s: float


class Metrics(FrozenModel):
    """The content of metrics.json; that of schema version 1 is read as version 2."""

    schema_version: Literal[2] = METRICS_SCHEMA_VERSION
    device: str
    images: ImageCounts
    detections: int
    map: MeanAp | None = Field(description="null without ground truth, and on the timed device")
    latency: LatencyMetrics
    throughput: ThroughputMetrics
    prepared: PreparedMetrics | None = Field(
        default=None, description="where images were prepared; null unless the card was to do it (bmcv)"
    )
    score: float | None = Field(description="mAP * 100 + (1000 - i_time) * 0.1; null without mAP or i_time")
    score_protocol: ScoreProtocol
    cards: tuple[CardMetrics, ...]
    health: tuple[CardHealthMetrics, ...] | None = Field(
        default=None, description="of each real card, sampled every few seconds; null without one"
    )
    model: ModelMetrics
    time: TimeSpent
    versions: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, content: Any) -> Any:
        is_old = isinstance(content, dict) and content.get("schema_version") == 1
        return current_metrics(content) if is_old else content


def measure(
    rows: RunRows,
    *,
    mean_ap: MeanAp | None,
    spec: ModelSpec,
    device: str,
    times_of: str,
    model: ModelMetrics,
    score_protocol: ScoreProtocol,
    time: TimeSpent,
    accounts: Mapping[str, CardMetrics],
    health: tuple[CardHealthMetrics, ...] | None = None,
    prepared_by_card: bool = False,
) -> Metrics:
    """Put together every number of a run.

    times_of: the device whose times the rows hold. accounts: what the pool knows of each card.
    prepared_by_card: whether the card was to prepare the images, as far as it accepts them.
    """
    timings = timings_of(rows.images.columns)
    latency = summarise_latency(timings, device=times_of, spec=spec)
    return Metrics(
        device=device,
        images=_image_counts(rows.images),
        detections=rows.detection_count,
        map=mean_ap,
        latency=latency,
        throughput=summarise_throughput(timings),
        prepared=_prepared(rows.images) if prepared_by_card else None,
        score=score_of(mean_ap, latency.i_time_ms, score_protocol),
        score_protocol=score_protocol,
        cards=_card_metrics(rows.images.per_card(), accounts),
        health=health,
        model=model,
        time=time,
        versions=versions(),
    )


def _image_counts(images: RunImages) -> ImageCounts:
    failed = images.columns.failed_count
    return ImageCounts(
        total=len(images), ok=len(images) - failed, failed=failed, failures=dict(images.failures)
    )


def _prepared(images: RunImages) -> PreparedMetrics:
    return PreparedMetrics(card=images.prepared.get("card", 0), host=images.prepared.get("host", 0))


def _card_metrics(images: Mapping[str, int], accounts: Mapping[str, CardMetrics]) -> tuple[CardMetrics, ...]:
    known = {card: accounts.get(card) or CardMetrics(card=card, images=0) for card in {*images, *accounts}}
    return tuple(known[card].model_copy(update={"images": images.get(card, 0)}) for card in sorted(known))


def card_accounts(slots: Iterable[SlotState]) -> dict[str, CardMetrics]:
    """What the pool knows of each card; the images it committed are counted from the rows.

    A card that left with its node and came back with a new one was two slots, and is one card.
    """
    accounts: dict[str, CardMetrics] = {}
    for state in slots:
        card = f"{state.slot.host}/{state.slot.device_id}"
        before = accounts.get(card) or CardMetrics(card=card, images=0)
        accounts[card] = CardMetrics(
            card=card,
            images=0,
            failures=before.failures + state.failures,
            restarts=before.restarts + state.restarts,
            quarantined=before.quarantined or state.quarantined,
            other_users=tuple(dict.fromkeys((*before.other_users, *state.other_users))),
        )
    return accounts


def json_schema() -> str:
    """The JSON Schema of metrics.json, as docs/metrics.schema.json holds it."""
    return json.dumps(Metrics.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


METRICS: Final = "metrics.json"


def write_metrics(run: RunFolder, metrics: Metrics) -> None:
    """Put the run's figures in their place, whole."""
    run.store.write(METRICS, (metrics.model_dump_json(indent=2) + "\n").encode())


def read_metrics(run: RunFolder) -> Metrics:
    """The run's figures; raises ConfigurationError while it has none, RunError when they are damaged or lost."""
    try:
        return Metrics.model_validate_json(run.store.read(METRICS))
    except FileNotFoundError:
        if SUCCESS in run.store.names(""):
            raise RunError(f"'{run.store.place}/{METRICS}' is missing") from None
        raise ConfigurationError(
            f"RUN: must be finished (continue it with --resume), and '{run.store.place}' has no {METRICS}"
        ) from None
    except ValidationError as error:
        raise RunError(f"{first_fault(error)} in '{run.store.place}/{METRICS}'") from error
