"""Whatever the bytes, a model file is either read or refused with a ModelFileError: nothing else may come out."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bmodel.container import Container, read_container
from bmodel.errors import ModelFileError
from bmodel.onnx_file import OnnxFile, read_onnx
from tests.helpers.examples import times
from tests.helpers.paths import ROOT

BMODEL = (ROOT / "bmodel/tiny_fp32_1b.bmodel").read_bytes()
BMODEL_HEADER_BYTES = 64 + struct.unpack_from("<I", BMODEL, 8)[0]
ONNX = (ROOT / "models/tiny.onnx").read_bytes()

T = TypeVar("T")
Edits = list[tuple[int, int]]


def edits(limit: int) -> st.SearchStrategy[Edits]:
    return st.lists(
        st.tuples(st.integers(0, limit - 1), st.integers(0, 255)),
        min_size=1,
        max_size=24,
        unique_by=lambda e: e[0],
    )


def apply(data: bytes, changes: Edits) -> bytes:
    changed = bytearray(data)
    for position, value in changes:
        changed[position] = value
    return bytes(changed)


def read(reader: Callable[[Path], T], data: bytes) -> T | None:
    """What a reader makes of bytes; None when it refuses them, naming the file."""
    message = ""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        result = None
        try:
            result = reader(Path(file.name))
        except ModelFileError as error:
            message = str(error)
    assert result is not None or file.name in message
    return result


def read_bmodel_bytes(data: bytes) -> Container | None:
    return read(lambda path: read_container(path, chip="BM1684"), data)


def read_onnx_bytes(data: bytes) -> OnnxFile | None:
    return read(read_onnx, data)


@times(3)
@given(changes=edits(BMODEL_HEADER_BYTES))
def test_a_damaged_header_is_read_or_refused(changes: Edits) -> None:
    container = read_bmodel_bytes(apply(BMODEL, changes))
    if container is not None:
        assert all(min(tensor.shape) > 0 for tensor in container.networks[0].stages[0].inputs)


@given(position=st.integers(64 + 4, BMODEL_HEADER_BYTES // 4 - 1), value=st.integers(0, 2**32 - 1))
def test_a_damaged_word_is_read_or_refused(position: int, value: int) -> None:
    data = bytearray(BMODEL)
    struct.pack_into("<I", data, 4 * position, value)
    read_bmodel_bytes(bytes(data))


@given(length=st.integers(0, len(BMODEL) - 8192))
def test_a_cut_off_model_is_refused(length: int) -> None:
    assert read_bmodel_bytes(BMODEL[:length]) is None


@times(2)
@given(tail=st.binary(min_size=8, max_size=600))
def test_a_random_header_is_refused(tail: bytes) -> None:
    header = struct.pack("<IIIQ11I", 0xFF55AAEE, 64, len(tail), 0, *[0] * 11)
    assert read_bmodel_bytes(header + tail) is None


@times(3)
@given(changes=edits(len(ONNX)))
def test_a_damaged_onnx_file_is_read_or_refused(changes: Edits) -> None:
    read_onnx_bytes(apply(ONNX, changes))


@times(2)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_no_onnx_file(data: bytes) -> None:
    assert read_onnx_bytes(data) is None


@pytest.mark.parametrize("data", [BMODEL, ONNX])
def test_the_undamaged_files_are_read(data: bytes) -> None:
    assert (read_bmodel_bytes(data) or read_onnx_bytes(data)) is not None
