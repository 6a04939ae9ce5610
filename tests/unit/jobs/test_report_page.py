"""The report of whole made-up runs: what stands on the page is what the run's files hold, and nothing more."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bmodel.errors import ConfigurationError, RunError
from jobs.commands.report import command as report_command
from jobs.measure.card_health import CardHealthMetrics
from jobs.measure.metrics import CardMetrics, Metrics, read_metrics, write_metrics
from jobs.report.page import page_of_run, write_report
from jobs.run.folder import RunFolder, open_run
from jobs.run.health import SCHEMA
from jobs.run.parquet import parquet_bytes
from jobs.run.store import LocalStore
from tests.helpers.report_runs import MadeUp, make_run

VOID = {"meta", "br", "img", "input", "link", "hr"}
LOADING = {"src", "srcset", "poster", "data", "action", "background", "formaction", "xlink:href"}


class Reader(HTMLParser):
    """Reads a page strictly: every tag is closed in order; gathers text, attributes and tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(run: RunFolder) -> str:
    write_report(run)
    return run.store.read("report.html").decode()


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    like = MadeUp(images=60, cards=3, failed=(3, 50), lost=(41,), predicted_ms=11.3, prefix="<b>&'\"/")
    return make_run(tmp_path_factory.mktemp("hard"), like)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("plain"))


def test_every_figure_of_metrics_json_that_people_read_is_on_the_page(hard: RunFolder) -> None:
    metrics = read_metrics(hard)
    text = Reader(page_of(hard)).text
    assert metrics.map is not None
    assert metrics.latency.stages is not None
    assert metrics.score is not None
    coco, yolo, voc = metrics.map.coco, metrics.map.yolo, metrics.map.voc
    shown = [coco.ap50, coco.ap, coco.ap75, coco.ap_small, coco.ap_medium, coco.ap_large, yolo.ap50, yolo.ap]
    shown += [yolo.precision, yolo.recall, voc.ap50]
    for figures in (coco.per_class, voc.per_class):
        shown += [entry.ap50 for entry in figures.values()]
    shown += [
        value for one in yolo.per_class.values() for value in (one.ap, one.ap50, one.precision, one.recall)
    ]
    for value in shown:
        assert value is not None
        assert f"{value:.3f}" in text
    assert f"{metrics.score:.2f}" in text
    assert "predicted by the compiler's schedule" in text
    assert "3 images of 60: 2 at read, 1 at inference." in text
    for name in metrics.versions:
        assert name in text


def test_the_page_is_whole_and_loads_and_runs_nothing(hard: RunFolder) -> None:
    page = page_of(hard)
    reader = Reader(page)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(reader.tags)
    loads = [(tag, name, value) for tag, name, value in reader.attributes if name in LOADING]
    assert loads == []
    targets = {
        value.split(":")[0] if value[0] != "#" else "#"
        for _, name, value in reader.attributes
        if name == "href"
    }
    assert targets == {"data", "#"}
    assert [name for _, name, _ in reader.attributes if name == "style" or name.startswith("on")] == []


def test_the_policy_admits_the_page_s_own_style_and_no_other(hard: RunFolder) -> None:
    page = page_of(hard)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert f"style-src 'sha256-{digest}'" in policy.replace("&#39;", "'")
    assert policy.startswith("default-src ")
    assert "unsafe" not in policy
    assert "url(" not in style
    assert "@import" not in style


def test_names_of_images_and_reasons_are_text_whatever_they_hold(hard: RunFolder) -> None:
    page = page_of(hard)
    assert "<b>&'\"/" not in page.replace("<b></b>", "")
    assert "<b>&'\"/003.jpg" in Reader(page).text
    assert "the JPEG file <3> is damaged" in Reader(page).text


def test_links_inside_the_page_lead_somewhere_and_ids_are_unique(hard: RunFolder) -> None:
    reader = Reader(page_of(hard))
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    targets = {value[1:] for _, name, value in reader.attributes if name == "href" and value.startswith("#")}
    assert targets <= set(ids)
    assert targets >= {"accuracy", "speed", "cards", "failed", "images", "configuration", "w5", "t1"}


def test_worst_and_typical_images_are_shown_with_truth_beside_detections(hard: RunFolder) -> None:
    page = page_of_run(hard, read_metrics(hard))
    assert len(page.worst) == len(page.typical) == 20
    assert page.worst[0].caption.startswith("4 missed, 0 false")  # a failed image: nothing of it was found
    assert page.worst[0].truth is not None
    assert len(page.worst[0].truth) == 4
    errors = [
        int(one) + int(other)
        for one, other in (re.findall(r"\d+", picture.caption)[:2] for picture in page.worst)
    ]
    assert errors == sorted(errors, reverse=True)
    assert {len(base64.b64decode(picture.data)) > 1000 for picture in page.typical} == {True}


def test_the_same_run_makes_the_same_page(plain: RunFolder) -> None:
    assert page_of(plain) == page_of(plain)


def test_percentiles_that_the_images_cannot_carry_are_absent_and_said_to_be(plain: RunFolder) -> None:
    page = page_of_run(plain, read_metrics(plain))
    assert page.latency is not None
    assert {summary.p99_ms for summary in page.latency.stages.values()} == {None}
    assert "<td>\N{EN DASH}</td>" in page_of(plain)
    assert page.latency.absent == "24 images cannot carry p99 (needs 100)."
    labels = {mark.label for chart in page.latency.histograms for mark in chart.marks}
    assert labels == {"p50", "p90"}


def test_the_page_counts_what_the_card_prepared_only_where_it_was_to(
    plain: RunFolder, tmp_path: Path
) -> None:
    mixed = make_run(tmp_path, MadeUp(on_card=(0, 1, 2)))
    told = "3 images prepared on the card (BMCV), 21 on the host"
    assert told in Reader(page_of(mixed)).text
    assert "prepared on the card" not in page_of(plain)


def test_without_truth_the_page_says_so_and_shows_plain_boxes(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(truth=False))
    page = page_of_run(run, read_metrics(run))
    assert page.accuracy is None
    assert page.worst == ()
    assert len(page.typical) == 20
    assert "nobody knows how many of its boxes are right" in Reader(page_of(run)).text


def test_the_timed_device_s_made_up_boxes_are_not_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(device="timed"))
    page = page_of_run(run, read_metrics(run))
    assert page.accuracy is None
    assert page.typical == ()
    assert "made up" in page.gallery_note


def test_a_run_whose_images_all_failed_has_a_page(tmp_path: Path) -> None:
    text = Reader(page_of(make_run(tmp_path, MadeUp(images=3, failed=(0, 1, 2))))).text
    assert "No image went through, so there are no times." in text
    assert "3 images of 3: 3 at read." in text


def test_images_and_truth_that_have_moved_are_said_to_be_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    shutil.move(tmp_path / "images", tmp_path / "elsewhere")
    page = page_of_run(run, read_metrics(run))
    assert page.worst == page.typical == ()
    assert "None of the images can be read where the run found them" in page.gallery_note
    assert page.accuracy is not None
    assert page.accuracy.charts
    (tmp_path / "truth.json").unlink()
    page = page_of_run(run, read_metrics(run))
    assert page.accuracy is not None  # the figures are in metrics.json
    assert page.accuracy.charts == ()
    assert "The ground truth cannot be read" in page.no_accuracy


def test_one_missing_image_is_said_to_be_missing_in_its_place(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    worst = page_of_run(run, read_metrics(run)).worst[0].image_id
    (tmp_path / "images" / worst).unlink()
    page = page_of_run(run, read_metrics(run))
    assert [picture.missing for picture in page.worst[:2]] == [
        "cannot read the file: No such file or directory",
        "",
    ]


def test_another_truth_than_that_of_metrics_json_is_noticed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    page = page_of_run(run, read_metrics(run))
    assert page.accuracy is not None
    assert page.accuracy.warnings == ()
    truth = json.loads((tmp_path / "truth.json").read_text())
    truth["annotations"] = truth["annotations"][::2]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    page = page_of_run(run, read_metrics(run))
    assert page.accuracy is not None
    assert "a truth other than the one" in page.accuracy.warnings[0]


def test_health_samples_become_one_chart_per_quantity(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    samples = pa.table(
        {
            "card": ["host/0"] * 50 + ["host/1"] * 50,
            "sampled_ms": np.tile(np.arange(50) * 1000.0, 2),
            "chip_temperature_c": [40] * 99 + [71],
            "board_temperature_c": [None] * 100,
            "memory_used_mb": [None] * 100,
            "utilisation_percent": [90] * 99 + [None],
            "error": [None] * 100,
        },
        schema=SCHEMA,
    )
    run.store.write("health/part-000000.parquet", parquet_bytes(samples).data)
    page = page_of_run(run, read_metrics(run))
    assert [(chart.title, chart.note) for chart in page.health] == [
        ("Chip temperature", "40.0 to 71.0 °C"),
        ("Utilisation", "90.0 to 90.0 %"),
    ]
    assert [shape.key for shape in page.health[0].shapes] == ["host/0", "host/1"]
    assert "Chip temperature" in Reader(page_of(run)).text


def with_cards(run: RunFolder, **changes: object) -> Metrics:
    """The run's figures with other cards or health, written back."""
    figures = read_metrics(run).model_copy(update=changes)
    write_metrics(run, figures)
    return figures


def card_health(card: str, celsius: list[int | None]) -> CardHealthMetrics:
    known = [one for one in celsius if one is not None]
    hottest = max(known, default=None)
    return CardHealthMetrics(
        card=card,
        state="silent"
        if hottest is None
        else "faulty"
        if hottest > 95
        else "slowed"
        if hottest >= 85
        else "ok",
        samples=len(celsius),
        unanswered=len(celsius) - len(known),
        slowed_samples=sum(one >= 85 for one in known),
        chip_temperature_c_max=hottest,
        chip_temperature_c_mean=None,
        board_temperature_c_max=None,
        memory_used_mb_max=None,
        utilisation_percent_mean=None,
    )


def test_a_card_that_was_hot_silent_shared_failing_or_quarantined_is_named_first(tmp_path: Path) -> None:
    run = make_run(tmp_path, MadeUp(device="sail"))
    health = (
        card_health("host/0", [60, 84]),
        card_health("host/1", [70, 85, 88, None]),
        card_health("host/2", [70, 97]),
        card_health("host/3", [None]),
    )
    cards = (
        CardMetrics(card="host/0", images=12, failures=1, restarts=1),
        CardMetrics(card="host/1", images=12),
        CardMetrics(card="host/4", images=0, failures=5, restarts=4, quarantined=True),
        CardMetrics(card="host/5", images=3, other_users=("process 12 (ffmpeg)", "process 34 (bm-smi)")),
    )
    figures = with_cards(run, health=health, cards=cards)
    notes = page_of_run(run, figures).card_notes
    assert [note.split(" ")[1] for note in notes] == [
        "host/2",
        "host/4",
        "host/1",
        "host/0",
        "host/5",
        "host/3",
    ]
    hot, quarantined, slowed, failing, shared, silent = notes
    assert "host/5 was also used by process 12 (ffmpeg), process 34 (bm-smi) when its worker began" in shared
    assert "got as hot as 97 °C: above 95 °C its driver calls a card faulty" in hot
    assert "in 1 of 2 samples it was slowed down" in hot
    assert "was quarantined after 5 failures" in quarantined
    assert "was too hot in 2 of 3 samples, 88 °C at most: from 85 °C on" in slowed
    assert "failed 1 time and was started again 1 time" in failing
    assert "reported nothing of its state, asked 1 time" in silent
    text = Reader(page_of(run)).text
    assert all(note in text for note in notes)


def test_cards_in_good_health_are_not_spoken_of(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    cards = (CardMetrics(card="host/0", images=24),)
    figures = with_cards(run, health=(card_health("host/0", [60, 84]),), cards=cards)
    assert page_of_run(run, figures).card_notes == ()


def test_a_fleet_full_of_trouble_is_cut_short(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    cards = tuple(CardMetrics(card=f"host/{number}", images=1, failures=2) for number in range(30))
    notes = page_of_run(run, with_cards(run, cards=cards)).card_notes
    assert len(notes) == 9
    assert notes[-1].startswith("22 more such notes are in metrics.json")


def test_damaged_health_samples_cost_the_report_nothing_else(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.store.write("health/part-000000.parquet", b"PAR1 but no more")
    page = page_of_run(run, read_metrics(run))
    assert page.health == ()
    assert page.accuracy is not None


def test_a_run_without_metrics_is_not_finished_or_has_lost_them(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.store.remove("metrics.json")
    with pytest.raises(RunError, match=r"metrics\.json' is missing"):
        write_report(run)
    run.store.remove("_SUCCESS")
    with pytest.raises(ConfigurationError, match=r"must be finished .* has no metrics\.json"):
        write_report(run)


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    metrics = json.loads(run.store.read("metrics.json"))
    metrics["images"]["total"] = "many"
    run.store.write("metrics.json", json.dumps(metrics).encode())
    with pytest.raises(RunError, match=r"images\.total: .* in '.*metrics\.json'"):
        write_report(run)


def test_the_command_writes_into_the_run_or_where_it_is_told(
    plain: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(plain.store, LocalStore)
    report_command([plain.store.place])
    assert capsys.readouterr().out == f"{plain.store.place}/report.html\n"
    elsewhere = tmp_path / "page.html"
    report_command([plain.store.place], output=elsewhere)
    assert elsewhere.read_text() == (plain.store.folder / "report.html").read_text()
    with pytest.raises(ConfigurationError, match="--output: cannot write"):
        report_command([plain.store.place], output=tmp_path / "no" / "page.html")
    with pytest.raises(ConfigurationError, match="RUN: must be the folder of a run"):
        report_command([str(tmp_path / "nothing")])


def test_a_run_is_read_again_from_its_folder_alone(plain: RunFolder) -> None:
    assert page_of(open_run(plain.store.place)) == page_of(plain)
