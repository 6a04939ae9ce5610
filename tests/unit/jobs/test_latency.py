"""H: stage times, i_time and throughput of made-up rows whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from bmodel.sidecar import ModelSpec, PredictedLatency
from jobs.measure.latency import (
    Timings,
    summarise_latency,
    summarise_throughput,
    timings_of,
)
from jobs.run.image_columns import read_images
from tests.helpers.run_rows import refs, rows_of
from tests.helpers.small_specs import head_spec


def timings(
    started_ms: list[float], finished_ms: list[float], *, inference_ms: list[float] | None = None
) -> Timings:
    count = len(started_ms)
    times = {stage: np.full(count, 1.0) for stage in ("read", "preprocess", "postprocess")}
    times["inference"] = np.array(inference_ms if inference_ms is not None else [5.0] * count)
    return Timings(stages=times, started_ms=np.array(started_ms), finished_ms=np.array(finished_ms))


def with_schedule(spec: ModelSpec, corrected_ms: float) -> ModelSpec:
    latency = PredictedLatency.model_construct(corrected_ms=corrected_ms)
    return spec.model_copy(update={"latency": latency})


NONE = timings([], [], inference_ms=[])
THREE = timings([0, 10, 20], [10, 20, 30], inference_ms=[4.0, 5.0, 9.0])


@pytest.mark.parametrize("device", ["sail", "libbmrt"])
def test_a_card_is_measured(device: str) -> None:
    found = summarise_latency(THREE, device=device, spec=with_schedule(head_spec(), 77.0))
    assert (found.i_time_ms, found.i_time_source) == (6.0, "measured on BM1684")


@pytest.mark.parametrize("device", ["cpu", "simulator"])
def test_without_a_card_the_schedule_predicts_or_nobody_does(device: str) -> None:
    with_one = summarise_latency(THREE, device=device, spec=with_schedule(head_spec(), 77.0))
    assert (with_one.i_time_ms, with_one.i_time_source) == (77.0, "predicted by the compiler's schedule")
    without = summarise_latency(THREE, device=device, spec=head_spec())
    assert (without.i_time_ms, without.i_time_source) == (None, "none")
    assert without.stages is not None
    assert without.stages["inference"].mean_ms == 6.0, "the time is shown, and as what it is"


def test_the_timed_device_has_no_i_time_even_with_a_schedule() -> None:
    found = summarise_latency(THREE, device="timed", spec=with_schedule(head_spec(), 77.0))
    assert (found.i_time_ms, found.i_time_source) == (None, "none")


def test_a_card_on_which_nothing_went_through_has_no_i_time() -> None:
    found = summarise_latency(NONE, device="sail", spec=head_spec())
    assert (found.i_time_ms, found.i_time_source, found.stages) == (None, "none", None)


def test_the_prediction_per_image_is_its_share_of_the_batch() -> None:
    assert with_schedule(head_spec(batch=4), 80.0).predicted_image_ms == 20.0
    assert head_spec(batch=4).predicted_image_ms is None


@pytest.mark.parametrize(
    ("count", "known"),
    [
        (1, []),
        (2, ["p50_ms"]),
        (9, ["p50_ms"]),
        (10, ["p50_ms", "p90_ms"]),
        (100, ["p50_ms", "p90_ms", "p99_ms"]),
    ],
)
def test_a_percentile_needs_enough_images(count: int, known: list[str]) -> None:
    values = [float(value) for value in range(count)]
    found = summarise_latency(timings(values, values, inference_ms=values), device="cpu", spec=head_spec())
    assert found.stages is not None
    summary = found.stages["inference"]
    assert [name for name in ("p50_ms", "p90_ms", "p99_ms") if getattr(summary, name) is not None] == known
    assert summary.mean_ms == pytest.approx((count - 1) / 2)
    if "p90_ms" in known:
        assert summary.p90_ms == pytest.approx(0.9 * (count - 1))


def test_failed_images_have_no_times() -> None:
    tables = [rows_of(refs(4), failed={1, 2}).images, rows_of(refs(6)[4:], ms=30.0).images]
    found = timings_of(read_images(tables).columns)
    assert found.stages["inference"].tolist() == [10.0, 10.0, 30.0, 30.0]
    assert found.started_ms.tolist() == [0.0, 3000.0, 4000.0, 5000.0]
    assert timings_of(read_images([]).columns).started_ms.tolist() == []


def test_throughput_counts_images_over_the_time_they_took() -> None:
    found = summarise_throughput(timings([0, 100, 200], [100, 200, 300]))
    assert found.images_per_s == pytest.approx(10.0)
    assert found.steady_images_per_s is None, "too few images"


def test_a_pause_before_a_resumption_is_no_slowness() -> None:
    whole = summarise_throughput(timings([0, 100, 200, 300], [100, 200, 300, 400]))
    paused = summarise_throughput(timings([0, 100, 90_200, 90_300], [100, 200, 90_300, 90_400]))
    assert paused.images_per_s == pytest.approx(whole.images_per_s)


def test_two_cards_at_once_are_twice_as_fast() -> None:
    started = [float(100 * number) for number in range(50)]
    finished = [value + 100 for value in started]
    one = summarise_throughput(timings(started, finished))
    two = summarise_throughput(timings(started * 2, finished * 2))
    assert one.images_per_s == pytest.approx(10.0)
    assert two.images_per_s == pytest.approx(20.0)
    assert one.steady_images_per_s == pytest.approx(10.0)
    assert two.steady_images_per_s == pytest.approx(20.0, rel=0.05)


def test_steady_speed_leaves_out_a_slow_start() -> None:
    finished = [2000.0, *(2000.0 + 10 * number for number in range(1, 100))]
    started = [0.0, *finished[:-1]]
    found = summarise_throughput(timings(started, finished))
    assert found.images_per_s == pytest.approx(100 / 2.99)
    assert found.steady_images_per_s == pytest.approx(100.0, rel=0.01)


@pytest.mark.parametrize(("started", "finished"), [([], []), ([0.0], [5.0]), ([0.0, 0.0], [5.0, 5.0])])
def test_throughput_of_too_little_is_unknown(started: list[float], finished: list[float]) -> None:
    found = summarise_throughput(timings(started, finished, inference_ms=[1.0] * len(started)))
    assert (found.images_per_s, found.steady_images_per_s) == (None, None)
