"""The BModel reader: what it tells of whole files, and what it says of damaged ones."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from bmodel.container import HEADER, Container, read_container
from bmodel.container_schema import MODEL
from bmodel.errors import ModelFileError
from bmodel.flatbuffer import Buffer, Table, root_table
from tests.helpers.paths import ROOT

FOLDER = ROOT / "bmodel"
FP32, INT8 = FOLDER / "tiny_fp32_1b.bmodel", FOLDER / "tiny_int8_1b_quantised.bmodel"


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "damaged.bmodel"
        path.write_bytes(data)
        return path

    return write


def root(data: bytes) -> Table:
    size = struct.unpack_from("<I", data, 8)[0]
    return root_table(Buffer(data=data[HEADER.size : HEADER.size + size], name="test"), MODEL)


def field_at(table: Table, name: str) -> int:
    """Where in the file a table's field is stored."""
    return HEADER.size + table._positions[table._type.fields[name][0]]


def test_fp32_model_is_described() -> None:
    container = read_container(FP32, chip="BM1684")
    stage = container.single_network().stages[0]
    assert (container.chip, container.file_bytes) == ("BM1684", FP32.stat().st_size)
    assert [(tensor.name, tensor.shape, tensor.dtype, tensor.scale) for tensor in stage.inputs] == [
        ("images", (1, 3, 64, 96), "float32", 1.0)
    ]
    assert [tensor.shape for tensor in stage.outputs] == [(1, 3, 8, 12, 8), (1, 3, 4, 6, 8), (1, 3, 2, 3, 8)]
    assert stage.weight_bytes > 0
    assert not stage.is_dynamic


def test_quantised_model_states_types_and_scales() -> None:
    stage = read_container(INT8).single_network().stages[0]
    assert stage.inputs[0].dtype == "uint8"
    assert stage.inputs[0].scale == pytest.approx(256, rel=0.01)
    assert {tensor.dtype for tensor in stage.outputs} == {"int8"}
    assert all(0 < tensor.scale < 1 for tensor in stage.outputs)


def test_weights_sha256_is_that_of_the_bytes() -> None:
    data = FP32.read_bytes()
    weights = root(data).tables("net")[0].tables("parameter")[0].table("weights")
    assert weights is not None
    start, size = weights.required_pair("binary")
    binaries = HEADER.size + struct.unpack_from("<I", data, 8)[0]
    stated = read_container(FP32).single_network().stages[0].weight_sha256
    assert stated == hashlib.sha256(data[binaries + start :][:size]).hexdigest()


def test_real_model(photographs: Path) -> None:
    container = read_container(photographs / "yolov5n_3output_320_fp32_1b_bm1684.bmodel", chip="BM1684")
    stage = container.single_network().stages[0]
    assert [tensor.name for tensor in stage.outputs] == ["p3_Transpose", "p4_Transpose", "p5_Transpose"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got 0"),
        (b"\xee\xaa\x55\xff", "got 4"),
        (b"raysail " * 64, "starts with 0xff55aaee"),
        (b"\x89PNG\r\n\x1a\n" + bytes(4096), "starts with 0xff55aaee"),
        (b"\x7fELF\x02\x01\x01" + bytes(4096), "starts with 0xff55aaee"),
        (HEADER.pack(0xFF55AAEE, 64, 0, 0, *[0] * 11), "FlatBuffer size must be within"),
        (HEADER.pack(0xFF55AAEE, 60, 64, 0, *[0] * 11) + bytes(64), "header size must be 64"),
        (HEADER.pack(0xFF55AAEE, 64, 64, 0, *[0] * 11) + bytes(64), "root|must fit|must lie"),
        (HEADER.pack(0xFF55AAEE, 64, 64, 2**63, *[0] * 11) + bytes(64), "cut off"),
        (HEADER.pack(0xFF55AAEE, 64, 0xFFFFFFFF, 0, *[0] * 11) + bytes(64), "FlatBuffer size must be within"),
    ],
)
def test_foreign_files_are_refused(damaged: Callable[[bytes], Path], content: bytes, message: str) -> None:
    path = damaged(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        read_container(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [63, 64, 65, 1000, 4096, 100_000, -1])
def test_cut_off_files_are_refused(damaged: Callable[[bytes], Path], kept: int) -> None:
    with pytest.raises(ModelFileError):
        read_container(damaged(FP32.read_bytes()[:kept]))


def test_bytes_behind_the_end_do_no_harm(damaged: Callable[[bytes], Path]) -> None:
    container = read_container(damaged(FP32.read_bytes() + b"appended"))
    assert container.networks == read_container(FP32).networks


def test_other_chips_are_refused_where_a_chip_is_asked_for(damaged: Callable[[bytes], Path]) -> None:
    path = damaged(FP32.read_bytes().replace(b"BM1684", b"BM1688"))
    assert read_container(path).chip == "BM1688"
    with pytest.raises(ModelFileError, match="chip: must be BM1684, got 'BM1688'"):
        read_container(path, chip="BM1684")


def test_every_flipped_weight_bit_is_found(damaged: Callable[[bytes], Path]) -> None:
    data = FP32.read_bytes()
    start = HEADER.size + struct.unpack_from("<I", data, 8)[0]
    size = read_container(FP32).single_network().stages[0].weight_bytes
    for position in (start, start + size // 2, start + size - 1):
        flipped = bytearray(data)
        flipped[position] ^= 1
        with pytest.raises(ModelFileError, match="weights are damaged"):
            read_container(damaged(bytes(flipped)))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.bmodel"
    os.mkfifo(pipe)
    (tmp_path / "loop.bmodel").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "missing.bmodel", pipe, tmp_path / "loop.bmodel"):
        with pytest.raises(ModelFileError, match="there is no BModel file"):
            read_container(path)


def _parameter(data: bytes) -> Table:
    return root(data).tables("net")[0].tables("parameter")[0]


def _first_input(data: bytes) -> Table:
    return _parameter(data).tables("input_tensor")[0]


def _quantised_input(data: bytes) -> Table:
    return _parameter(data).tables("input_tensor")[0]


def _commands(data: bytes) -> Table:
    return _parameter(data).tables("commands")[0]


def _shape(data: bytes) -> Table:
    return _first_input(data).tables("shape")[0]


@pytest.mark.parametrize(
    ("source", "table", "field", "code", "value", "message"),
    [
        (FP32, root, "net", "I", 0x7FFFFFFF, r"net: offset \d+ must lie within"),
        (FP32, root, "chip", "I", 0xFFFFFFF0, r"chip: offset \d+ must lie within"),
        (FP32, _parameter, "neuron_size", "Q", 1 << 40, r"net\[0\].parameter\[0\]: must not need more than"),
        (FP32, _parameter, "neuron_size", "Q", 4096, "neuron_sizes: must add up to 4096"),
        (FP32, _parameter, "core_count", "I", 8, "BM1684 has one core"),
        (FP32, _parameter, "subnets", "I", 1, "subnets"),
        (FP32, _commands, "bdc_count", "I", 1 << 31, "bdc_count: 2147483648 commands must take"),
        (FP32, _commands, "gdma_count", "I", 39, "gdma_count: 39 commands must take"),
        (FP32, _commands, "bdc", "Q", 1 << 62, r"commands\[0\].bdc: bytes \d+ to \d+ must lie within"),
        (
            INT8,
            _quantised_input,
            "data_type",
            "I",
            99,
            r"input_tensor\[0\].data_type: must be within 0 and 7, got 99",
        ),
        (
            INT8,
            _quantised_input,
            "scale",
            "f",
            float("nan"),
            r"input_tensor\[0\].scale: must be positive and finite",
        ),
        (INT8, _quantised_input, "scale", "f", 0.0, r"input_tensor\[0\].scale: must be positive and finite"),
    ],
)
def test_broken_fields_are_named(
    damaged: Callable[[bytes], Path],
    source: Path,
    table: Callable[[bytes], Table],
    field: str,
    code: str,
    value: float,
    message: str,
) -> None:
    data = bytearray(source.read_bytes())
    struct.pack_into("<" + code, data, field_at(table(bytes(data)), field), value)
    with pytest.raises(ModelFileError, match=message):
        read_container(damaged(bytes(data)), chip="BM1684")


@pytest.mark.parametrize(
    ("dimension", "message"), [(0, "positive dimensions"), (1 << 60, "does not fit on a card")]
)
def test_impossible_shapes_are_named(damaged: Callable[[bytes], Path], dimension: int, message: str) -> None:
    data = bytearray(FP32.read_bytes())
    start, count = _shape(bytes(data))._vector("dim", 8)
    assert count == 4
    struct.pack_into("<Q", data, HEADER.size + start + 8, dimension)
    with pytest.raises(ModelFileError, match=message):
        read_container(damaged(bytes(data)))


def test_a_model_of_several_networks_is_no_detector() -> None:
    container = read_container(FP32)
    network = container.single_network()
    several = Container(
        path=FP32,
        file_bytes=1,
        chip="BM1684",
        compiler_version="",
        compiled_at="",
        networks=(network, network),
    )
    with pytest.raises(ModelFileError, match="must hold one network"):
        several.single_network()
