"""The benchmarks' own arithmetic: a figure that is computed wrongly would pass for a measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bench.busiest import busiest
from tests.bench.machine import this_machine, versions
from tests.bench.measure import ratio_figure, side_by_side, tenths
from tests.bench.page import page_of
from tests.bench.part_heads import is_same
from tests.bench.record import Bench, Figure, Goal, Part, Table, read_bench, write_bench
from tests.bench.serial_peer import greedy
from tpu_worker.boxes import Detections
from tpu_worker.nms import suppress

SAMPLES = {"peer": [6.0, 8.0, 30.0], "raysail": [2.0, 4.0, 5.0]}


def figure(**changes: object) -> Figure:
    made = ratio_figure(
        "5",
        "peer over ours",
        SAMPLES,
        over="peer",
        under="raysail",
        samples_unit="ms",
        goal=Goal(at_least=2.5),
    )
    return made.model_copy(update=changes)


def part(name: str, *figures: Figure) -> Part:
    return Part(
        name=name,
        title=f"Part {name}",
        figures=figures,
        tables=(Table(title="Where", head=("step", "ms"), rows=(("decode", 1.25),)),),
        material="sample",
        commit="0" * 40,
        changed=False,
        measured="2026-01-01 00:00 UTC",
        seconds=1.0,
        load=0.5,
        machine=this_machine(),
        versions=versions(),
    )


def test_a_figure_is_the_median_of_the_ratios_of_its_rounds() -> None:
    made = figure()
    assert made.values == (3.0, 2.0, 6.0)
    assert made.value == 3.0
    assert made.met is True


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal(at_least=3.0), True),
        (Goal(at_least=3.01), False),
        (Goal(at_most=2.9), False),
        (Goal(at_least=2.0, at_most=3.0), True),
        (Goal(at_least=3.5, at_most=4.0), False),
        (None, None),
    ],
)
def test_a_goal_is_met_or_not(goal: Goal | None, met: bool | None) -> None:
    assert figure(goal=goal).met is met


def test_sides_run_in_turn_there_and_back_and_first_unmeasured() -> None:
    calls: list[str] = []
    samples = side_by_side({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert [len(series) for series in samples.values()] == [2, 2]


def test_the_highest_memory_of_each_tenth_of_the_commits() -> None:
    commits = [float(second) for second in range(101)]
    samples = [(second + 0.5, 100.0 + second) for second in range(100)]
    assert tenths(samples, commits) == [109.0, 119.0, 129.0, 139.0, 149.0, 159.0, 169.0, 179.0, 189.0, 199.0]


def test_a_tenth_without_a_sample_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="without a sample"):
        tenths([(0.5, 1.0)], [0.0, 10.0])


def test_the_busiest_images_are_as_many_as_come_nearest_to_the_mean() -> None:
    counts = np.array([100, 900, 500, 300], np.intp)
    assert busiest(counts, 900) == [1]
    assert busiest(counts, 600) == [1, 2, 3]
    assert busiest(counts, 0) == [1, 2, 3, 0]


def test_the_peer_suppresses_as_the_product_does() -> None:
    dice = np.random.default_rng(0)
    corner = dice.uniform(0, 100, (200, 2))
    boxes = np.concatenate([corner, corner + dice.uniform(10, 60, (200, 2))], 1).astype(np.float32)
    kept = suppress(boxes, np.zeros(200, np.int32), iou=0.5, max_detections=200)
    assert 0 < len(kept) < 200
    best_first = -np.arange(200.0)
    assert greedy(boxes.astype(np.float64), best_first, 0.5) == kept.tolist()


def test_other_boxes_are_not_the_same() -> None:
    ours = Detections(
        xyxy=np.array([[0, 0, 10, 10], [5, 5, 20, 20]], np.float32),
        confidence=np.array([0.9, 0.8], np.float32),
        class_id=np.array([1, 2], np.int32),
    )
    rows = np.column_stack((ours.xyxy, ours.confidence, ours.class_id)).astype(np.float64)
    assert is_same(ours, rows[::-1])
    assert not is_same(ours, rows[:1])
    for column, change in ((0, 0.1), (4, 0.001), (5, 1.0)):
        other = rows.copy()
        other[1, column] += change
        assert not is_same(ours, other)


def test_a_part_measured_anew_takes_its_place_and_others_stay(tmp_path: Path) -> None:
    bench = Bench()
    for made in (part("two", figure()), part("one"), part("two", figure(values=(1.0,)))):
        bench = bench.with_part(made, ("one", "two"))
    path = tmp_path / "results" / "bench.json"
    write_bench(bench, path)
    assert [kept.name for kept in read_bench(path).parts] == ["one", "two"]
    assert read_bench(path) == bench
    assert bench.parts[1].figures[0].value == 1.0


def test_the_page_says_what_was_missed() -> None:
    missed = figure(text="too slow", goal=Goal(at_least=10.0), note="a reason")
    page = page_of(Bench(parts=(part("one", figure(), missed),)))
    assert "1 of 2 goals are met." in page
    [line] = [line for line in page.splitlines() if "too slow" in line and "≥ 10" in line and "no" in line]
    assert "**no**" in line
    assert "- too slow: a reason." in page
    assert "| decode | 1.25 |" in page
