"""Runs side by side: their own figures, what differs, and warnings where they cannot be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.commands.report import command as report_command
from jobs.measure.card_health import CardHealthMetrics
from jobs.measure.metrics import read_metrics
from jobs.report.comparison import compare_runs
from jobs.report.format import fraction
from jobs.run.folder import RunFolder
from tests.helpers.report_runs import MadeUp, make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    folder = tmp_path_factory.mktemp("runs")
    better = make_run(folder / "better", MadeUp(missing_every=50, false_every=50, predicted_ms=90))
    return [make_run(folder / "first"), better]


def test_every_cell_is_the_run_s_own_figure_and_the_best_is_bold(runs: list[RunFolder]) -> None:
    metrics = [read_metrics(run) for run in runs]
    page = compare_runs(runs, metrics)
    rows = {row.name: row.cells for group in page.groups for row in group.rows}
    told = [one.map.coco.ap50 for one in metrics if one.map is not None]
    assert [cell.text for cell in rows["AP50, COCO"]] == [fraction(value) for value in told]
    assert told[1] is not None
    assert told[0] is not None
    assert told[1] > told[0]
    assert [cell.best for cell in rows["AP50, COCO"]] == [False, True]
    assert [cell.best for cell in rows["images"]] == [False, False]  # more images are no better
    assert rows["score"][0].text == "\N{EN DASH}"
    assert [cell.best for cell in rows["score"]] == [False, False]  # one alone is not the best of two
    assert [cell.text for cell in rows["its source"]] == ["none", "predicted by the compiler's schedule"]


def test_names_tell_runs_apart_and_what_differs_is_listed(runs: list[RunFolder], tmp_path: Path) -> None:
    page = compare_runs(runs, [read_metrics(run) for run in runs])
    assert page.names == ("first/run", "better/run")
    assert {row.name for row in page.differing} == {"images", "ground-truth"}
    other = make_run(tmp_path, MadeUp(conf=0.25, images=30, truth=False))
    page = compare_runs([runs[0], other], [read_metrics(runs[0]), read_metrics(other)])
    differing = {row.name: [cell.text for cell in row.cells] for row in page.differing}
    assert differing["conf"] == ["0.001", "0.25"]
    assert differing["ground-truth"][1] == "\N{EN DASH}"
    assert any("different images" in warning for warning in page.warnings)
    assert [len(chart.shapes) for chart in page.charts] == [1, 1]  # no curve without truth


def test_runs_that_agree_raise_no_warning(runs: list[RunFolder]) -> None:
    page = compare_runs([runs[0], runs[0]], [read_metrics(runs[0])] * 2)
    assert page.warnings == ()
    assert page.differing == ()
    assert not any(cell.best for group in page.groups for row in group.rows for cell in row.cells)


def test_a_run_on_cards_that_were_too_hot_is_no_fair_comparison(runs: list[RunFolder]) -> None:
    cool = CardHealthMetrics(
        card="host/0",
        state="ok",
        samples=9,
        unanswered=0,
        slowed_samples=0,
        chip_temperature_c_max=60,
        chip_temperature_c_mean=None,
        board_temperature_c_max=None,
        memory_used_mb_max=None,
        utilisation_percent_mean=None,
    )
    hot = cool.model_copy(update={"card": "host/1", "state": "slowed", "chip_temperature_c_max": 90})
    first, second = (read_metrics(run) for run in runs)
    page = compare_runs(runs, [first, second.model_copy(update={"health": (cool, hot)})])
    told = [warning for warning in page.warnings if "too hot" in warning]
    assert told == ["In better/run cards were too hot, and so slowed down by their driver: host/1."]
    assert not any("too hot" in warning for warning in compare_runs(runs, [first, second]).warnings)


def test_a_run_on_cards_that_others_used_too_is_no_fair_comparison(runs: list[RunFolder]) -> None:
    first, second = (read_metrics(run) for run in runs)
    assert not any("other programs" in warning for warning in compare_runs(runs, [first, second]).warnings)
    shared = tuple(card.model_copy(update={"other_users": ("process 7 (x)",)}) for card in second.cards)
    page = compare_runs(runs, [first, second.model_copy(update={"cards": shared})])
    told = [warning for warning in page.warnings if "other programs" in warning]
    names = ", ".join(card.card for card in shared)
    assert told == [f"In better/run other programs used cards too, which costs time: {names}."]


def test_classes_stand_side_by_side(runs: list[RunFolder]) -> None:
    metrics = [read_metrics(run) for run in runs]
    group = compare_runs(runs, metrics).groups[-1]
    assert group.title == "AP50 by class, VOC"
    assert metrics[0].map is not None
    classes = metrics[0].map.voc.per_class
    assert len(group.rows) == len(classes)
    for row in group.rows:
        assert row.cells[0].text == fraction(classes[row.name.partition(" (")[0]].ap50)
    without = [figures.model_copy(update={"map": None}) for figures in metrics]
    assert [group.title for group in compare_runs(runs, without).groups] == ["Outcome", "Accuracy", "Speed"]


def test_the_command_makes_one_page_of_several_runs(
    runs: list[RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report_command([run.store.place for run in runs])
    page = (tmp_path / "comparison.html").read_text()
    assert "2 runs compared" in page
    assert "better/run" in page
