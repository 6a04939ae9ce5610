"""Published files beside our own: known damage is found, box by box, and times are means over images."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest

from bmodel.errors import ConfigurationError
from data.formats import FormatError
from jobs.commands.reproduce import command
from jobs.study.compare_published import (
    ComparisonSummary,
    FileComparison,
    compare,
    read_folder,
    summarise,
)
from jobs.study.run_reproduction import comparison_section, differences_csv
from tests.helpers.label_sets import write_files
from tests.helpers.published_files import copy_with_damage, hand_in


@pytest.fixture(scope="module")
def bset() -> Path:
    """The detection files that were handed in for the B set; no part of the project."""
    named = os.environ.get("RAYSAIL_TEST_BSET")
    photographs = os.environ.get("RAYSAIL_TEST_PHOTOGRAPHS")
    if not named and not photographs:
        pytest.skip("neither RAYSAIL_TEST_BSET nor RAYSAIL_TEST_PHOTOGRAPHS names a folder")
    folder = Path(named) if named else Path(str(photographs)).parent / "bset"
    if not folder.is_dir() and not named:
        pytest.skip(f"there are no published files in '{folder}'; RAYSAIL_TEST_BSET can name their folder")
    return folder / "detection-results" if (folder / "detection-results").is_dir() else folder


def compared(published: Path, ours: Path) -> tuple[ComparisonSummary, tuple[FileComparison, ...]]:
    files = compare(read_folder(published, "--published"), read_folder(ours, "--detections"))
    return summarise(files), files


def assert_everything_agrees(summary: ComparisonSummary) -> None:
    assert (summary.files_published_only, summary.files_ours_only) == ((), ())
    assert summary.boxes_published == summary.boxes_ours > 0
    assert [(share.of_published, share.of_ours) for share in summary.shares] == [(1.0, 1.0)] * 3
    assert set(summary.kinds.values()) == {0}
    assert summary.confidence is not None
    assert summary.confidence.largest_absolute == 0


def assert_damage_is_found(published: Path, copy: Path, seed: int) -> None:
    changes = copy_with_damage(published, copy, shifted=50, dropped=20, relabelled=10, seed=seed)
    summary, files = compared(published, copy)
    assert summary.kinds == {"moved": 50, "relabelled": 10, "missing": 20, "added": 0}
    strictest = summary.shares[-1]
    assert strictest.matched == summary.boxes_published - 80 == summary.boxes_ours - 60
    found = {(file.name, one.theirs, one.kind) for file in files for one in file.differences}
    assert found == changes
    rows = list(csv.DictReader(io.StringIO(differences_csv(files))))
    assert {(row["file"], int(row["line_published"]) - 1, row["kind"]) for row in rows} == changes


def test_files_compared_with_themselves_agree_everywhere(tmp_path: Path) -> None:
    folder = hand_in(tmp_path / "published")
    summary, files = compared(folder, folder)
    assert_everything_agrees(summary)
    assert summary.files_in_both == 30
    assert "100.00%" in comparison_section(summary, files)


@pytest.mark.parametrize("seed", range(4))
def test_shifted_dropped_and_relabelled_boxes_are_found(tmp_path: Path, seed: int) -> None:
    assert_damage_is_found(hand_in(tmp_path / "published", seed=seed), tmp_path / "copy", seed)


@pytest.mark.photographs
def test_the_published_files_agree_with_themselves(bset: Path) -> None:
    summary, _ = compared(bset, bset)
    assert_everything_agrees(summary)
    assert (summary.files_in_both, summary.boxes_published) == (102, 4927)


@pytest.mark.photographs
@pytest.mark.parametrize("seed", range(3))
def test_damage_to_the_published_files_is_found(bset: Path, tmp_path: Path, seed: int) -> None:
    assert_damage_is_found(bset, tmp_path / "copy", seed)


@pytest.mark.photographs
def test_published_i_time_is_a_mean_over_images(bset: Path) -> None:
    times = compared(bset, bset)[0].times_published
    assert times is not None
    assert times.images == 102
    assert round(times.i_time_ms, 2) == 101.34
    assert round(times.over_lines_ms, 2) == 101.86


def test_times_over_images_and_over_lines_differ_where_crowded_images_are_slower(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "files",
        {"a.txt": "car 0.9 1 1 9 9 100\n", "b.txt": "car 0.9 1 1 9 9 104\n" * 3, "c.txt": ""},
    )
    times = compared(folder, folder)[0].times_ours
    assert times is not None
    assert (times.images, times.i_time_ms, times.over_lines_ms) == (2, 102, 103)
    assert (times.least_ms, times.most_ms) == (100, 104)


def test_files_on_one_side_alone_are_named_and_their_boxes_counted(tmp_path: Path) -> None:
    line = "car 0.9 1 1 9 9\n"
    published = write_files(tmp_path / "published", {"a.txt": line, "b.txt": line * 2})
    ours = write_files(tmp_path / "ours", {"a.txt": "car 0.8 1 1 9 9\n", "c.txt": line})
    summary, files = compared(published, ours)
    assert (summary.files_published_only, summary.files_ours_only) == (("b",), ("c",))
    assert (summary.boxes_published, summary.boxes_ours) == (3, 2)
    assert [share.of_published for share in summary.shares] == [1 / 3] * 3
    assert [share.of_ours for share in summary.shares] == [1 / 2] * 3
    assert summary.kinds == {"moved": 0, "relabelled": 0, "missing": 2, "added": 1}
    assert summary.confidence is not None
    assert summary.confidence.mean == pytest.approx(-0.1)
    assert (summary.times_published, summary.times_ours) == (None, None)
    section = comparison_section(summary, files)
    assert "1 published alone (b)" in section
    assert "1 ours alone (c)" in section


def test_an_overlap_of_a_neighbour_counts_at_a_half_and_not_at_nine_tenths(tmp_path: Path) -> None:
    published = write_files(tmp_path / "published", {"a.txt": "car 0.9 1 1 100 100\n"})
    ours = write_files(tmp_path / "ours", {"a.txt": "car 0.9 21 1 120 100\n"})  # IoU 80 / 120
    assert [share.matched for share in compared(published, ours)[0].shares] == [1, 0, 0]


def test_almost_all_is_not_shown_as_all(tmp_path: Path) -> None:
    one = read_folder(write_files(tmp_path / "a", {"x.txt": "car 0.9 1 1 9 9\n"}), "--published")["x"]
    published = {f"{number:05d}": one for number in range(20_001)}
    ours = {name: boxes for name, boxes in published.items() if name != "00000"}
    files = compare(published, ours)
    assert "99.99%" in comparison_section(summarise(files), files)


@pytest.mark.parametrize(
    ("texts", "error", "words"),
    [
        ({}, ConfigurationError, "has no .txt file"),
        ({"other.txt": ""}, ConfigurationError, "named after the same images"),
        ({"000000.txt": "car 0.9 1 1\n"}, FormatError, "000000.txt"),
        ({"000000.txt": "car 0.9 9 1 2 5\n"}, FormatError, "right must not be less than left"),
    ],
)
def test_a_folder_that_cannot_be_compared_is_refused(
    tmp_path: Path, texts: dict[str, str], error: type[Exception], words: str
) -> None:
    published = write_files(tmp_path / "published", texts)
    with pytest.raises(error, match=words):
        compared(published, hand_in(tmp_path / "ours", files=2))


def test_the_command_compares_two_folders_without_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = hand_in(tmp_path / "published")
    copy_with_damage(published, tmp_path / "copy", shifted=3, dropped=2, relabelled=1)
    command(published=published, detections=tmp_path / "copy", output=tmp_path / "out")
    page = capsys.readouterr().out
    assert "| moved | 3 |" in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "comparison.json",
        "comparison.md",
        "differences.csv",
    ]
    summary = ComparisonSummary.model_validate_json((tmp_path / "out" / "comparison.json").read_bytes())
    assert summary.kinds == {"moved": 3, "relabelled": 1, "missing": 2, "added": 0}


def test_the_command_says_what_goes_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"FILE\.yaml or --detections"):
        command()
    with pytest.raises(ConfigurationError, match="--published: is required"):
        command(detections=tmp_path)
    with pytest.raises(ConfigurationError, match="must exist, got"):
        command(detections=tmp_path, published=tmp_path / "nowhere")
