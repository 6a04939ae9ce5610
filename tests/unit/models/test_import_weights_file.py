"""Checkpoint files: tensors as they were saved, and archives that are not what they should be."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bmodel.errors import LibraryError, ModelFileError
from jobs.commands.import_weights import ImportOptions, import_checkpoint
from models.checkpoint.checkpoint_weights import read_weights
from tests.helpers.pickle_pieces import (
    dict_of,
    module_of,
    name_of,
    number,
    storage,
    tensor,
    text,
    whole,
    write_checkpoint,
)

VALUES = np.arange(24, dtype=np.float32) / 4 - 2


@pytest.mark.parametrize(
    ("kind", "dtype", "read_as"),
    [
        ("FloatStorage", "<f4", np.float32),
        ("HalfStorage", "<f2", np.float32),
        ("DoubleStorage", "<f8", np.float32),
        ("LongStorage", "<i8", np.int64),
        ("IntStorage", "<i4", np.int32),
        ("ShortStorage", "<i2", np.int16),
        ("CharStorage", "<i1", np.int8),
        ("ByteStorage", "<u1", np.uint8),
        ("BoolStorage", "?", np.bool_),
    ],
)
def test_every_type_is_read(kind: str, dtype: str, read_as: type[np.generic], tmp_path: Path) -> None:
    values = np.abs(VALUES).astype(dtype)
    body = dict_of({"t": tensor(storage(kind, "0", 24), 0, (24,), (1,))})

    read = read_weights(write_checkpoint(tmp_path / "x.pt", whole(body), {"0": values.tobytes()})).tensors[
        "t"
    ]

    assert read.dtype == read_as
    np.testing.assert_array_equal(read, values)


def test_bfloat16_is_read(tmp_path: Path) -> None:
    upper_halves = (VALUES.view(np.uint32) >> 16).astype("<u2")
    body = dict_of({"t": tensor(storage("BFloat16Storage", "0", 24), 0, (2, 12), (12, 1))})

    read = read_weights(write_checkpoint(tmp_path / "x.pt", whole(body), {"0": upper_halves.tobytes()}))

    np.testing.assert_array_equal(read.tensors["t"], VALUES.reshape(2, 12))


@pytest.mark.parametrize(
    ("offset", "size", "stride", "expected"),
    [
        (0, (), (), VALUES[0]),
        (23, (1,), (7,), VALUES[23:]),
        (0, (4, 6), (6, 1), VALUES.reshape(4, 6)),
        (0, (6, 4), (1, 6), VALUES.reshape(4, 6).T),
        (3, (2, 3), (8, 2), VALUES[3:].reshape(-1)[[[0, 2, 4], [8, 10, 12]]]),
        (0, (2, 3, 2, 2), (12, 1, 6, 3), VALUES.reshape(2, 2, 2, 3).transpose(0, 3, 1, 2)),
    ],
)
def test_views_are_read(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], expected: np.ndarray, tmp_path: Path
) -> None:
    body = dict_of({"t": tensor(storage("FloatStorage", "7", 24), offset, size, stride)})

    read = read_weights(write_checkpoint(tmp_path / "x.pt", whole(body), {"7": VALUES.tobytes()}))

    np.testing.assert_array_equal(read.tensors["t"], expected)


def test_averaged_weights_come_first_and_card_prefixes_go(tmp_path: Path) -> None:
    def one(key: str) -> bytes:
        return tensor(storage("FloatStorage", key, 1), 0, (1,), (1,))

    plain = dict_of({"module.model.0.conv.weight": one("1")})
    averaged = module_of(
        "Model", children={"model": module_of("Conv", parameters={"w": one("2"), "bias": b"N"})}
    )
    both = whole(dict_of({"model": plain, "ema": averaged, "epoch": number(4)}))
    storages = {key: np.float32(key).tobytes() for key in "12"}

    read = read_weights(write_checkpoint(tmp_path / "both.pt", both, storages))
    alone = read_weights(write_checkpoint(tmp_path / "plain.pt", whole(plain), storages))

    assert read.tensors == {"model.w": 2.0}
    assert alone.tensors == {"model.0.conv.weight": 1.0}
    assert alone.class_names is None


def network_with(names: bytes) -> bytes:
    """A network of one tensor whose classes have these names."""
    parameters = dict_of({"w": tensor(storage("FloatStorage", "0", 1), 0, (1,), (1,))})
    state = dict_of({"_parameters": parameters, "names": names})
    return whole(dict_of({"model": name_of("models.yolo", "Model") + b")\x81" + state + b"b"}))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (b"](" + text("car") + text("bike") + b"e", ("car", "bike")),
        (b"}(" + number(1) + text("bike") + number(0) + text("car") + b"u", ("car", "bike")),
        (dict_of({"car": number(0)}), None),
        (b"]", None),
        (b"N", None),
    ],
)
def test_class_names_are_a_list_or_keyed_by_number(
    names: bytes, expected: tuple[str, ...] | None, tmp_path: Path
) -> None:
    path = write_checkpoint(tmp_path / "x.pt", network_with(names), {"0": bytes(4)})

    assert read_weights(path).class_names == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            b"}(" + number(0) + text("car") + text("1") + text("bike") + b"u",
            "keyed by class numbers, and some",
        ),
        (b"}(" + number(0) + text("car") + b"N" + text("bike") + b"u", "keyed by class numbers, and some"),
        (b"](" + text("car") + number(1) + b"e", "a class's name must be a text of at most 200 characters"),
        (b"](" + text("a" * 201) + b"e", "a class's name must be a text of at most 200 characters"),
    ],
)
def test_mixed_class_names_are_refused_in_one_line(names: bytes, message: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.pt", network_with(names), {"0": bytes(4)})

    with pytest.raises(ModelFileError, match=rf"{message}.* in '.*x\.pt'$"):
        read_weights(path)


BODY = whole(dict_of({"t": tensor(storage("FloatStorage", "0", 24), 0, (24,), (1,))}))


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.pt", BODY, {"0": bytes(96)}, compression=zipfile.ZIP_DEFLATED)

    with pytest.raises(
        ModelFileError, match=r"entry 'archive/data.pkl' is compressed or encrypted: refused in"
    ):
        read_weights(path)


def test_entries_that_overlap_are_refused(tmp_path: Path) -> None:
    """A zip bomb without compression: a hundred entries over the same bytes."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", BODY)
        archive.writestr("archive/data/0", bytes(100_000))
        first = archive.getinfo("archive/data/0")
        for copy in range(1, 100):
            entry = zipfile.ZipInfo(f"archive/data/{copy}")
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            entry.file_size = entry.compress_size = first.file_size
            archive.filelist.append(entry)

    with pytest.raises(ModelFileError, match="claims more bytes than the file has"):
        read_weights(path)


def test_a_pickle_that_is_far_too_long_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.pt", b"N" * ((16 << 20) + 1))

    with pytest.raises(ModelFileError, match=r"data\.pkl has 16777217 bytes, the limit is 16777216"):
        read_weights(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["archive/version"], "a checkpoint holds one data.pkl, found 0"),
        (["a/data.pkl", "b/data.pkl"], "a checkpoint holds one data.pkl, found 2"),
        (["a/data.pkl", "a/constants.pkl"], "a TorchScript archive, not a checkpoint"),
    ],
)
def test_other_archives_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, BODY)

    with pytest.raises(ModelFileError, match=message):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", BODY)
        archive.writestr("archive/data.pkl", whole(text("other")))

    with pytest.raises(ModelFileError, match="names an archive entry twice"):
        read_weights(path)


def test_big_endian_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", BODY)
        archive.writestr("archive/byteorder", "big")

    with pytest.raises(ModelFileError, match="written on a big-endian machine"):
        read_weights(path)


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.pt", BODY, {"0": VALUES.tobytes()})
    content = path.read_bytes()
    path.write_bytes(content.replace(VALUES[4:6].tobytes(), bytes(8)))
    assert path.read_bytes() != content

    with pytest.raises(ModelFileError, match="archive entry 'data/0' cannot be read: Bad CRC-32"):
        read_weights(path)


@pytest.mark.parametrize("length", [0, 10, 200, 350])
def test_truncated_files_are_refused(length: int, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.pt", BODY, {"0": VALUES.tobytes()})
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(
        ModelFileError, match=r"not a PyTorch checkpoint: File is not a zip file in '.*x\.pt'"
    ):
        read_weights(path)


def test_the_old_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(
        b"\x80\x02" + number(0x1950A86A20F9469CFC6C).replace(b"\x8b\x0a\0\0\0", b"\x8a\x0a") + b"."
    )

    with pytest.raises(ModelFileError, match=r"PyTorch wrote this file before 1\.6: .* in '.*old\.pt'"):
        read_weights(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot read the checkpoint '.*none\.pt': No such file"):
        read_weights(tmp_path / "none.pt")


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
def test_without_pytorch_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        LibraryError, match="importing weights needs 'torch': install raysail with its extra 'models'"
    ):
        import_checkpoint(tmp_path / "x.pt", tmp_path, ImportOptions())
