"""The cards' health: what is judged, what is told, what is kept; a run never suffers from it."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bmodel.errors import DeviceError
from cluster.cards.card_slots import CardSlot
from cluster.health.card_health import Sample, overheating_problem, sample_card
from cluster.health.health_watch import HealthWatch, Named
from jobs.measure.card_health import summarise_health
from jobs.report.health_section import health_charts
from jobs.run.commit import CommitLog
from jobs.run.folder import RunFolder
from jobs.run.health import (
    FOLDER,
    OLD_FILE,
    SCHEMA,
    HealthWriter,
    read_health,
    sampled_health,
    write_health,
)
from jobs.run.store import LocalStore
from tests.helpers.run_rows import record_of
from tpu_worker.devices.sail import CardHealth


def health(chip: int = 60, *, busy: int = 50) -> CardHealth:
    return CardHealth(
        chip_temperature_c=chip,
        board_temperature_c=chip - 10,
        memory_total_mb=12288,
        memory_used_mb=chip * 10,
        utilisation_percent=busy,
    )


def sample(chip: int | None, *, time_s: float = 1000.0, busy: int = 50) -> Sample:
    if chip is None:
        return Sample(device_id=0, time_s=time_s, health=None, error="card 0: no answer")
    return Sample(device_id=0, time_s=time_s, health=health(chip, busy=busy))


def open_run(folder: Path, device: str = "sail") -> RunFolder:
    store = LocalStore(folder)
    return RunFolder(store=store, log=CommitLog(store), record=record_of(6, device=device))


@pytest.mark.parametrize(
    ("celsius", "words"),
    [
        (20, None),
        (84, None),
        (85, "slows a card down"),
        (95, "slows a card down"),
        (96, "calls a card faulty"),
    ],
)
def test_a_temperature_is_judged_as_the_driver_does(celsius: int, words: str | None) -> None:
    problem = overheating_problem(celsius)
    assert (problem is None) == (words is None)
    if problem is not None:
        assert str(words) in problem
        assert problem.startswith(f"{celsius} °C")


def test_a_card_that_cannot_be_read_is_a_sample_with_the_reason() -> None:
    def read(device_id: int) -> CardHealth:
        raise DeviceError(f"card {device_id}: gone")

    found = sample_card(3, read)
    assert (found.device_id, found.health, found.error) == (3, None, "card 3: gone")
    assert sample_card(1, lambda _: health(70)).health == health(70)


def parts(folder: Path) -> list[pa.Table]:
    """The parts that a run's folder has, in order."""
    return [pq.read_table(path) for path in sorted((folder / FOLDER).iterdir())]


def watch(answers: list[list[Named] | Exception]) -> tuple[list[Named], list[str]]:
    """What a watch has kept and told once it has had all these answers."""
    told: list[str] = []
    had_all = threading.Event()
    left = list(answers)

    def ask() -> list[Named]:
        if not left:
            had_all.set()
            return []
        answer = left.pop(0)
        if isinstance(answer, Exception):
            had_all.set()
            raise answer
        return answer

    kept: list[Named] = []
    with HealthWatch(ask, keep=kept.extend, tell=told.append, every_s=0.0):
        assert had_all.wait(20)
    return kept, told


def test_a_hot_card_is_named_once_a_level() -> None:
    hot = [[("a/0", sample(chip)), ("b/0", sample(50))] for chip in (80, 86, 90, 97, 99, 86)]
    kept, told = watch([*hot])
    assert [line[:34] for line in told] == [
        "card a/0 is too hot: 86 °C: from 8",
        "card a/0 is too hot: 97 °C: above ",
    ]
    assert len(kept) == 12


def test_a_silent_card_is_named_after_three_silences_in_a_row() -> None:
    silences: list[list[Named] | Exception] = [
        [("a/0", sample(chip))] for chip in (None, None, 50, None, None)
    ]
    assert watch(silences)[1] == []
    told = watch([*silences, [("a/0", sample(None))], [("a/0", sample(None))]])[1]
    assert told == ["card a/0 does not report its state: card 0: no answer"]


def test_a_sampler_that_breaks_is_told_and_ends_without_harm() -> None:
    kept, told = watch([[("a/0", sample(50))], OSError("the wire\nis cut")])
    assert told == ["the cards' health is no longer sampled: OSError: the wire"]
    assert len(kept) == 1


def test_samples_are_kept_over_a_resumed_run_and_summed_up(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert summarise_health(store) is None
    write_health(store, [], run_started_s=1000.0)
    assert store.names("") == []
    first = [("a/0", sample(60, time_s=1001.0, busy=10)), ("b/1", sample(None, time_s=1001.0))]
    write_health(store, first, run_started_s=1000.0)
    write_health(store, [("a/0", sample(90, time_s=1500.5, busy=30))], run_started_s=1000.0)
    table = read_health(store)
    assert table is not None
    assert table.column("sampled_ms").to_pylist() == [1000.0, 1000.0, 500_500.0]
    assert table.column("error").to_pylist() == [None, "card 0: no answer", None]
    hot, silent = summarise_health(store) or ()
    assert (hot.card, hot.state, hot.samples, hot.unanswered, hot.slowed_samples) == (
        "a/0",
        "slowed",
        2,
        0,
        1,
    )
    assert (hot.chip_temperature_c_max, hot.chip_temperature_c_mean, hot.board_temperature_c_max) == (
        90,
        75.0,
        80,
    )
    assert (hot.memory_used_mb_max, hot.utilisation_percent_mean) == (900, 20.0)
    assert (silent.card, silent.state, silent.samples, silent.unanswered) == ("b/1", "silent", 1, 1)
    assert silent.chip_temperature_c_max is None


@pytest.mark.parametrize(("chip", "state"), [(84, "ok"), (85, "slowed"), (95, "slowed"), (96, "faulty")])
def test_a_cards_state_is_the_worst_it_was_in(chip: int, state: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_health(store, [("a/0", sample(chip)), ("a/0", sample(40))], run_started_s=0.0)
    assert [card.state for card in summarise_health(store) or ()] == [state]


@pytest.mark.parametrize("damage", ["no parquet", "other columns"])
@pytest.mark.parametrize("name", [OLD_FILE, f"{FOLDER}/part-000007.parquet"])
def test_a_damaged_file_costs_the_samples_in_it_and_nothing_else(
    name: str, damage: str, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    store.write(name, b"PAR1 and no more")
    if damage == "other columns":
        pq.write_table(pa.table({"card": ["a/0"]}), tmp_path / name)
    assert summarise_health(store) is None
    write_health(store, [("a/0", sample(50))], run_started_s=0.0)
    assert [card.samples for card in summarise_health(store) or ()] == [1]


def test_the_one_file_of_0_1_is_read_with_the_parts_of_its_resumption(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_health(store, [("a/0", sample(90))], run_started_s=0.0)
    [part] = (tmp_path / FOLDER).iterdir()
    assert pq.read_schema(part).equals(SCHEMA)
    part.rename(tmp_path / OLD_FILE)
    write_health(store, [("a/0", sample(50))], run_started_s=0.0)
    [card] = summarise_health(store) or ()
    assert (card.samples, card.state, card.chip_temperature_c_mean) == (2, "slowed", 70.0)


def test_samples_are_on_the_disk_while_the_run_goes_on(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    told: list[str] = []
    writer = HealthWriter(store, run_started_s=0.0, tell=told.append, every_s=3600, most=10)
    for number in range(25):
        writer.add([("a/0", sample(40 + number)), ("a/1", sample(50))])
    assert [table.num_rows for table in parts(tmp_path)] == [10] * 5
    writer.add([("a/0", sample(40))])
    writer.flush()
    writer.flush()
    assert [table.num_rows for table in parts(tmp_path)] == [10] * 5 + [1]
    resumed = HealthWriter(store, run_started_s=0.0, tell=told.append, every_s=0)
    resumed.add([("a/0", sample(99))])
    found = read_health(store)
    assert found is not None
    assert found.num_rows == 52
    assert found.column("chip_temperature_c")[-1].as_py() == 99
    assert told == []


def test_a_store_that_takes_no_samples_is_named_once_and_stops_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / FOLDER).write_bytes(b"a file where the folder should be")
    told: list[str] = []
    writer = HealthWriter(store, run_started_s=0.0, tell=told.append, every_s=0)
    for _ in range(3):
        writer.add([("a/0", sample(50))])
    [sentence] = told
    assert sentence.startswith("samples of the cards' health are lost: cannot write")


def test_the_report_draws_what_is_written(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    samples = [("a/0", sample(50 + step, time_s=1000.0 + 5 * step)) for step in range(4)]
    write_health(run.store, [*samples, ("a/1", sample(None))], run_started_s=1000.0)
    charts = health_charts(run)
    assert [chart.title for chart in charts] == [
        "Chip temperature",
        "Board temperature",
        "Memory used",
        "Utilisation",
    ]
    assert charts[0].note == "50.0 to 53.0 °C"


@pytest.mark.parametrize("device", ["cpu", "timed", "simulator"])
def test_for_virtual_cards_nothing_is_made_up(device: str, tmp_path: Path) -> None:
    told: list[str] = []

    def asked() -> list[CardSlot]:
        told.append("asked for the cards")
        return []

    with sampled_health(open_run(tmp_path, device), asked, told.append):
        pass
    assert list(tmp_path.iterdir()) == []
    assert told == []


def test_the_runs_own_error_comes_through_when_its_cards_cannot_be_asked(tmp_path: Path) -> None:
    told: list[str] = []
    has_told = threading.Event()

    def tell(sentence: str) -> None:
        told.append(sentence)
        has_told.set()

    def lost() -> list[CardSlot]:
        raise RuntimeError("the cluster is lost")

    def run_that_fails() -> None:
        with sampled_health(open_run(tmp_path), lost, tell):
            assert has_told.wait(20)
            raise KeyError("the run's own")

    with pytest.raises(KeyError, match="the run's own"):
        run_that_fails()
    assert told == ["the cards' health is no longer sampled: RuntimeError: the cluster is lost"]
    assert list(tmp_path.iterdir()) == []
