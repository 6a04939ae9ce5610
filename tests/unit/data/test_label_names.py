"""Which label file belongs to which image."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.formats import (
    FormatError,
    find_files,
    label_stems,
    match_labels,
    safe_relative_path,
)


@pytest.mark.parametrize(
    ("image_ids", "stems"),
    [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["x/a.jpg", "y/a.jpg"], ["x/a", "y/a"]),
        (["a.jpg", "a.png", "b.jpg"], ["a.jpg", "a.png", "b"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["a.jpg", "a.png", "a.jpg.png", "a.jpg.png.png"], ["a.jpg", "a.png", "a.jpg.png", "a.jpg.png.png"]),
        (["a", "a.jpg"], ["a", "a.jpg"]),
        (["v1.2/a.b.jpg", "v1.2/c"], ["v1.2/a.b", "v1.2/c"]),
        (["a.jpg", "a.txt/b.jpg"], ["a.jpg", "a.txt/b"]),
        (["x/a.jpg", "x/a.txt/y/b.jpg"], ["x/a.jpg", "x/a.txt/y/b"]),
        ([], []),
    ],
)
def test_no_two_images_share_a_label_file(image_ids: list[str], stems: list[str]) -> None:
    assert label_stems(image_ids) == stems
    assert len(set(stems)) == len(stems)


def test_an_image_named_twice_is_refused() -> None:
    with pytest.raises(FormatError, match=r"every image must be named once, got 'a\.jpg' twice"):
        label_stems(["a.jpg", "b.jpg", "a.jpg"])


@pytest.mark.parametrize(
    ("image_ids", "message"),
    [
        (
            ["a.jpg", "a.txt/b.jpg", "a.jpg.txt/c.jpg"],
            r"must not be named like a folder of images, got 'a.jpg.txt'",
        ),
        ([f"{'A' * 251}.jpg", f"{'A' * 251}.png"], r"must have at most 255 bytes, got 'A+\.(jpg|png)\.txt'"),
    ],
)
def test_an_image_whose_label_file_can_have_no_name_is_refused(image_ids: list[str], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        label_stems(image_ids)


def test_label_files_are_found_by_either_name() -> None:
    images = ["a.jpg", "x/b.jpg", "c.jpg"]
    assert match_labels(images, {"a", "x/b", "other"}, place="p") == {"a.jpg": "a", "x/b.jpg": "x/b"}
    assert match_labels(images, {"a.jpg", "a"}, place="p") == {"a.jpg": "a.jpg"}
    assert match_labels(["a", "a.jpg"], {"a"}, place="p") == {"a": "a"}
    assert match_labels(["a.jpg", "a.jpg.png"], {"a", "a.jpg"}, place="p") == {
        "a.jpg": "a",
        "a.jpg.png": "a.jpg",
    }


def test_a_label_file_for_two_images_is_refused() -> None:
    assert match_labels(["a.jpg", "a.png"], {"a.jpg", "a.png"}, place="p") == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
    }
    with pytest.raises(FormatError, match=r"p: 'a.txt' could belong to 'a.jpg' or to another image"):
        match_labels(["a.jpg", "a.png"], {"a"}, place="p")


def test_finds_label_files_below_a_folder(tmp_path: Path) -> None:
    for name in ("b.txt", "x/a.txt", "x/y/a.jpg.txt", "readme.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_files(tmp_path, ".txt")) == ["b", "x/a", "x/y/a.jpg"]
    with pytest.raises(FormatError, match="the folder of labels must exist"):
        find_files(tmp_path / "nowhere", ".txt")


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", "../a", "/a", "a\nb", "a\0"])
def test_paths_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match="must be relative and stay inside its folder"):
        safe_relative_path(name, place="somewhere")


def test_paths_get_one_plain_form() -> None:
    assert safe_relative_path("./a//b.jpg", place="") == "a/b.jpg"
    assert safe_relative_path("a..b/..c.jpg", place="") == "a..b/..c.jpg"
