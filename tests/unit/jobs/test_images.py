"""A: every kind of image source becomes the same list everywhere, or one clear refusal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bmodel.errors import ConfigurationError
from jobs.inputs.image_sources import hide_secrets
from jobs.inputs.images import ImageList, list_images
from jobs.run.store import open_store


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def ids(images: ImageList) -> list[str]:
    return [str(name) for name in images.image_ids.to_pylist()]


def refusal(source: Path | str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        list_images(str(source))
    assert str(caught.value).startswith("--images: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Folders.


def test_a_folder_is_read_recursively_in_an_order_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/z.png", "a/b/c.JPEG", "a-b/1.bmp", "notes.txt", ".hidden.jpg", ".git/x.jpg")
    images = list_images(str(tmp_path))
    # By parts, not by characters: 'a/…' comes before 'a-b/…' although '-' comes before '/'.
    assert ids(images) == ["a/b/c.JPEG", "a/z.png", "a-b/1.bmp", "b.jpg"]
    assert images.paths.to_pylist() == [f"{tmp_path}/{image_id}" for image_id in ids(images)]


def test_images_are_found_by_place_as_well_as_by_name(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(5)))
    images = list_images(str(tmp_path))
    [one, other] = images.refs(2, 4)
    assert (one.index, one.image_id, one.path) == (2, "2.jpg", f"{tmp_path}/2.jpg")
    assert (other.index, other.image_id, other.path) == (3, "3.jpg", f"{tmp_path}/3.jpg")
    assert images.refs(5, 9) == []


def test_whatever_is_named_like_an_image_is_listed(tmp_path: Path) -> None:
    touch(tmp_path, "folder.jpg/inside.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    assert ids(list_images(str(tmp_path))) == [
        "dangling.jpg",
        "folder.jpg",
        "folder.jpg/inside.jpg",
        "pipe.jpg",
    ]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path / "real", "a.jpg")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "round").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "elsewhere").symlink_to(tmp_path / "real")
    (tmp_path / "set" / "a.jpg").symlink_to(tmp_path / "real" / "a.jpg")
    assert ids(list_images(str(tmp_path / "set"))) == ["a.jpg"]
    assert ids(list_images(f"file://{tmp_path}/set")) == ["a.jpg"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    assert "must name at least one image" in refusal(tmp_path)


@pytest.mark.parametrize("name", [b"bad\xff.jpg", b"two\nlines.jpg"])
def test_a_name_that_no_table_can_hold_is_refused(name: bytes, tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(b"")
    assert "valid UTF-8 without line breaks" in refusal(tmp_path)


def test_names_with_spaces_and_signs_survive(tmp_path: Path) -> None:
    names = sorted(["a b.jpg", "100%.jpg", "a#1.jpg", "what?.jpg", "straße.png", "车.jpg"])
    touch(tmp_path, *names)
    images = list_images(str(tmp_path))
    assert ids(images) == names
    assert all(Path(path).is_file() for path in images.paths.to_pylist())


def test_a_single_image_is_a_list_of_one(tmp_path: Path) -> None:
    touch(tmp_path, "one.JPG", "other.jpg")
    images = list_images(str(tmp_path / "one.JPG"))
    assert images.refs(0, 1)[0].path == f"{tmp_path}/one.JPG"
    assert ids(images) == ["one.JPG"]


@pytest.mark.parametrize("limit", [1, 3, 4, 400])
def test_limit_takes_the_first(limit: int, tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert ids(list_images(str(tmp_path), limit=limit)) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"][:limit]


# Lists.


def text_list(folder: Path, *lines: str) -> Path:
    path = folder / "list.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_relative_paths_lie_beside_the_list(tmp_path: Path) -> None:
    path = text_list(tmp_path, "\ufeff# a comment", "x/b.jpg", "", "  ./a.jpg  ", "x//c.jpg")
    images = list_images(str(path))
    assert ids(images) == ["x/b.jpg", "a.jpg", "x/c.jpg"]
    assert images.paths.to_pylist()[1] == f"{tmp_path}/a.jpg"


def test_a_line_that_begins_with_a_hash_may_be_an_image(tmp_path: Path) -> None:
    path = text_list(tmp_path, "# a.jpg", "#comment", "#1.jpg", "#", "b.jpg")
    assert ids(list_images(str(path))) == ["#1.jpg", "b.jpg"]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_line(character: str, tmp_path: Path) -> None:
    path = text_list(tmp_path, f"a{character}b.jpg\r", "c.jpg")
    assert ids(list_images(str(path))) == [f"a{character}b.jpg", "c.jpg"]


def test_ids_of_absolute_paths_start_at_their_common_folder(tmp_path: Path) -> None:
    path = text_list(tmp_path, "/data/set/x/1.jpg", "/data//set/y/1.jpg", "/data/set/2.jpg")
    images = list_images(str(path))
    assert ids(images) == ["x/1.jpg", "y/1.jpg", "2.jpg"]
    assert images.paths.to_pylist()[0] == "/data/set/x/1.jpg"


def test_absolute_paths_with_nothing_in_common_but_the_root(tmp_path: Path) -> None:
    assert ids(list_images(str(text_list(tmp_path, "/1.jpg", "/a/2.jpg")))) == ["1.jpg", "a/2.jpg"]


def test_ids_of_urls_are_decoded_and_without_query_or_secrets(tmp_path: Path) -> None:
    urls = [
        "s3://key:secret@bucket/set/a%20b.jpg?region=x",
        "s3://key:secret@bucket/set/c/d%3F.jpg?region=x",
    ]
    images = list_images(str(text_list(tmp_path, *urls)))
    assert ids(images) == ["a b.jpg", "c/d?.jpg"]
    assert images.paths.to_pylist() == urls


def test_urls_of_two_buckets(tmp_path: Path) -> None:
    assert ids(list_images(str(text_list(tmp_path, "s3://a/1.jpg", "s3://b/1.jpg")))) == [
        "a/1.jpg",
        "b/1.jpg",
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.jpg", "/b.jpg"], "mixes absolute and relative paths"),
        (["/b.jpg", "s3://x/y.jpg"], "mixes URL and absolute paths"),
        (["../a.jpg"], "must stay inside the image root"),
        (["/a/../b.jpg"], "must not contain '..'"),
        (["a.jpg", "b.jpg", "a.jpg"], "repeats 'a.jpg'"),
        (["a.jpg", "./a.jpg"], "repeats 'a.jpg'"),
        (["# nothing"], "must name at least one image"),
    ],
)
def test_lists_that_are_refused(lines: list[str], message: str, tmp_path: Path) -> None:
    assert message in refusal(text_list(tmp_path, *lines))


def test_a_coco_json_names_images_beside_it_or_in_its_images_folder(tmp_path: Path) -> None:
    touch(tmp_path, "images/b.jpg", "images/a.jpg")
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": [{"file_name": "b.jpg"}, {"file_name": "a.jpg"}]}))
    images = list_images(str(path))
    assert ids(images) == ["b.jpg", "a.jpg"]
    assert images.paths.to_pylist()[0] == f"{tmp_path}/images/b.jpg"
    touch(tmp_path, "b.jpg")
    assert list_images(str(path)).paths.to_pylist()[0] == f"{tmp_path}/b.jpg"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": 3}', '{"images": [{}]}', '{"images": [1]}', "[" * 100_000, "null"]
)
def test_a_json_that_is_no_coco_json(text: str, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text)
    assert "is not a COCO JSON" in refusal(path)


@pytest.mark.parametrize("name", ["3", "null", '""'])
def test_a_coco_json_with_a_file_name_that_is_no_text(name: str, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(f'{{"images": [{{"file_name": {name}}}]}}')
    assert "every path must be a text that is not empty" in refusal(path)


@pytest.mark.parametrize("column", ["path", "image_path", "file_name", "filepath", "uri"])
def test_a_parquet_column_of_paths(column: str, tmp_path: Path) -> None:
    path = tmp_path / "list.PARQUET"
    pq.write_table(pa.table({"label": [1, 2], column: ["x/a.jpg", "b.jpg"]}), path)
    assert ids(list_images(str(path))) == ["x/a.jpg", "b.jpg"]


def test_parquet_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    path.write_bytes(b"no parquet")
    assert "is not a Parquet file" in refusal(path)
    pq.write_table(pa.table({"name": ["a.jpg"]}), path)
    assert "must have one of the columns path," in refusal(path)
    pq.write_table(pa.table({"path": pa.array(["a.jpg", None])}), path)
    assert "every path must be a text" in refusal(path)
    pq.write_table(pa.table({"path": [1, 2]}), path)
    assert "every path must be a text" in refusal(path)


# What is no source at all.


def test_sources_that_are_not_there_or_something_else(tmp_path: Path) -> None:
    assert "is not there" in refusal(tmp_path / "nowhere")
    assert "is not there" in refusal("s" * 200 + "/nowhere")
    assert "File name too long" in refusal("s" * 300)
    assert "not a possible file name" in refusal("a\0b")
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")
    (tmp_path / "archive.tar").write_bytes(b"\xff\x00\x80" * 99)
    assert "is none of them" in refusal(tmp_path / "archive.tar")


@pytest.mark.parametrize("url", ["nonsense://bucket/x", "s3://", "file://relative", "gs:///"])
def test_urls_that_cannot_be_listed(url: str) -> None:
    refusal(url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:secret@bucket/a?region=b", "s3://***@bucket/a?region=b"),
        ("s3://key@bucket/a", "s3://***@bucket/a"),
        ("s3://key:sec/ret@bucket/a", "s3://***@bucket/a"),
        ("s3://key:sec@ret/x@bucket/a", "s3://***@bucket/a"),
        ("s3://key:sec?ret#@bucket/a", "s3://***@bucket/a"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("abfs://box/a?sv=2024&sig=HID%2FDEN&se=1", "abfs://box/a?sv=2024&sig=***&se=1"),
        ("s3://b/a?X-Amz-Signature=HIDDEN&X-Amz-Date=1", "s3://b/a?X-Amz-Signature=***&X-Amz-Date=1"),
        ("s3://k:s@b/a?session_token=HIDDEN", "s3://***@b/a?session_token=***"),
        ("s3://bucket/a@2x/b", "s3://bucket/a@2x/b"),
        ("/a/b@c:d", "/a/b@c:d"),
    ],
)
def test_secrets_in_urls_are_hidden(text: str, shown: str) -> None:
    assert hide_secrets(text) == shown


SECRETS = ["HID/DEN", "HID DEN", "HID%zzDEN", "HID@DEN", "HID?DEN", "HID#DEN", "HID/D@EN", "HID:DEN"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("scheme", ["s3", "nonsense"])
def test_a_url_that_cannot_be_parsed_keeps_its_secret(scheme: str, secret: str) -> None:
    url = f"{scheme}://AKEY:{secret}@bucket/set?bogus=1"
    for refuse in (list_images, open_store):
        with pytest.raises(ConfigurationError) as refused:
            refuse(url)
        message = str(refused.value)
        assert "***@bucket/set" in message
        for piece in ("AKEY", "HID", "DEN", "EN@"):
            assert piece not in message


# The hash that a run is known by.


def test_the_hash_depends_on_names_and_order_alone(tmp_path: Path) -> None:
    one = touch(tmp_path / "one", "a.jpg", "x/b.jpg")
    other = touch(tmp_path / "other", "a.jpg", "x/b.jpg")
    renamed = touch(tmp_path / "renamed", "a.jpg", "x-b.jpg")
    digest = list_images(str(one)).sha256()
    assert list_images(str(other)).sha256() == digest
    assert list_images(str(renamed)).sha256() != digest
    assert list_images(str(text_list(one, "x/b.jpg", "a.jpg"))).sha256() != digest
    assert list_images(str(one), limit=1).sha256() != digest
