"""The table at the end of a run: every number from metrics.json, at most 80 columns, no name that spoils it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.console.summary import print_summary
from jobs.measure.metrics import Metrics
from jobs.run.folder import RunFolder, open_run
from tests.helpers.report_runs import MadeUp, make_run


def run_and_metrics(folder: Path, like: MadeUp) -> tuple[RunFolder, Metrics]:
    run = make_run(folder, like)
    return run, Metrics.model_validate_json(run.store.read("metrics.json"))


def printed(run: RunFolder, metrics: Metrics, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_summary(metrics, run)
    said = capsys.readouterr()
    assert said.err == ""
    lines = [line.rstrip() for line in said.out.splitlines()]
    assert max(len(line) for line in lines[:-1]) <= 80
    assert lines[-1] == f"Everything is in {run.store.place}"
    assert lines[-2].startswith("Written: detections/ (Parquet), images/ (Parquet)")
    return lines


def test_what_was_written_is_named_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, metrics = run_and_metrics(tmp_path, MadeUp())
    for name in ("report.html", "labels/a.txt"):
        run.store.write(name, b"")
    print_summary(metrics, run)
    line = capsys.readouterr().out.splitlines()[-2]
    assert line == "Written: report.html, labels/, detections/ (Parquet), images/ (Parquet)"


def test_a_run_with_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, metrics = run_and_metrics(tmp_path, MadeUp(failed=(3,), device="cpu", predicted_ms=20.0))
    lines = printed(run, metrics, capsys)
    text = "\n".join(lines)
    assert metrics.map is not None
    assert metrics.score is not None
    assert "23 ok of 24, 1 failed (1 at read)" in text
    assert f"AP50 {metrics.map.coco.ap50:.4f}, AP {metrics.map.coco.ap:.4f}" in text
    assert f"VOC protocol       AP50 {metrics.map.voc.ap50:.4f}" in text
    assert "20.0 ms (predicted by the compiler's schedule)" in text
    assert f"{metrics.score:.2f} (voc mAP@0.5)" in text
    for name, of_class in metrics.map.coco.per_class.items():
        [row] = [line for line in lines if line.startswith(f"{name} ")]
        assert f"{of_class.ap50:.4f}" in row


def test_that_nothing_was_found_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, metrics = run_and_metrics(tmp_path, MadeUp())
    assert "Warning" not in "".join(printed(run, metrics, capsys))
    lines = printed(run, metrics.model_copy(update={"detections": 0}), capsys)
    assert f"Warning: no detection on any of {metrics.images.ok} images" in "\n".join(lines)


def test_where_the_card_was_to_prepare_images_both_ways_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, metrics = run_and_metrics(tmp_path / "card", MadeUp(failed=(3,), on_card=(0, 1, 2, 3, 9)))
    assert "Prepared           4 on the card, 19 on the host" in printed(run, metrics, capsys)
    run, metrics = run_and_metrics(tmp_path / "host", MadeUp())
    assert metrics.prepared is None
    assert not any(line.startswith("Prepared") for line in printed(run, metrics, capsys))


def test_a_run_without_truth_says_that_it_knows_no_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, metrics = run_and_metrics(tmp_path, MadeUp(truth=False))
    text = "\n".join(printed(run, metrics, capsys))
    assert "unknown (no ground truth)" in text
    assert "i_time             unknown (none)" in text
    assert "Score              unknown (voc mAP@0.5)" in text


def test_made_up_detections_have_no_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, metrics = run_and_metrics(tmp_path, MadeUp(truth=False, device="timed"))
    assert "none (synthetic detections)" in "\n".join(printed(run, metrics, capsys))


@pytest.mark.parametrize(
    "name", ["a[red]b", "[/x]", "车", "a class with quite a long name, longer than its column"]
)
def test_names_are_shown_as_they_are(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, metrics = run_and_metrics(tmp_path, MadeUp())
    assert metrics.map is not None
    coco = metrics.map.coco
    per_class = {name: coco.per_class["car"]}
    changed = metrics.model_copy(
        update={
            "map": metrics.map.model_copy(update={"coco": coco.model_copy(update={"per_class": per_class})}),
            "model": metrics.model.model_copy(update={"name": f"{name[:20]}.onnx"}),
        }
    )
    text = "\n".join(printed(run, changed, capsys))
    assert name[:20] in text
    assert f"{name[:20]}.onnx on cpu" in text


def test_many_classes_are_cut_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, metrics = run_and_metrics(tmp_path, MadeUp())
    assert metrics.map is not None
    coco = metrics.map.coco
    per_class = {f"class{number}": coco.per_class["car"] for number in range(25)}
    changed = metrics.model_copy(
        update={
            "map": metrics.map.model_copy(update={"coco": coco.model_copy(update={"per_class": per_class})})
        }
    )
    lines = printed(run, changed, capsys)
    assert sum(line.startswith("class") for line in lines) == 11, "the head and ten classes"
    assert "15 more in metrics.json" in "\n".join(lines)


def test_what_is_printed_is_what_the_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, metrics = run_and_metrics(tmp_path, MadeUp(seed=4))
    again = open_run(run.store.place)
    reread = Metrics.model_validate_json(again.store.read("metrics.json"))
    assert printed(run, metrics, capsys) == printed(again, reread, capsys)
