"""The compiler's schedules, on files that it wrote for the tiny network, and on what can happen to such a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bmodel.compiler.layers import read_layer_names
from bmodel.compiler.schedule import parse_schedule, read_schedule
from bmodel.errors import ModelFileError
from tests.helpers.paths import FIXTURES

SCHEDULES = FIXTURES / "schedules"
FP32 = (SCHEDULES / "tiny_fp32_1b.dat").read_text()


@pytest.mark.parametrize(
    ("name", "milliseconds", "commands", "memory_bytes", "precision"),
    [
        # The figures are those in each file's own last lines; a move within the memory reads and writes.
        ("tiny_fp32_1b.dat", 0.056662, (110, 38), 169216 + 24192, "fp32"),
        ("tiny_int8_1b.dat", 0.059771, (69, 59), 278720 + 159168 + 2 * 84224, "int8"),
    ],
)
def test_reads_what_the_compiler_wrote(
    name: str, milliseconds: float, commands: tuple[int, int], memory_bytes: int, precision: str
) -> None:
    schedule = read_schedule(SCHEDULES / name)
    assert schedule.total_ms == pytest.approx(milliseconds, abs=1e-6)
    assert (len(schedule.compute), len(schedule.transfers)) == commands
    assert schedule.memory_bytes == memory_bytes
    assert schedule.precision == precision
    assert schedule.flops == 3085584


def test_keeps_a_command_whole() -> None:
    schedule = parse_schedule(FP32, name="fp32")
    convolution = schedule.compute[0]
    assert (convolution.layer, convolution.kind, convolution.function) == ("Conv2D_39", "Conv2D", "CONV_FP32")
    assert (convolution.start, convolution.end, convolution.cycles) == (1817, 6616, 4800)
    assert (schedule.transfers[0].moved_bytes, schedule.transfers[0].direction) == (73728, 0)


def test_a_move_between_layers_has_no_name() -> None:
    # As the compiler writes it where it lets the moves of two groups of layers overlap.
    schedule = parse_schedule(FP32.replace(" Load_35|TENSOR_GDMA", " |TENSOR_GDMA"), name="fp32")
    assert (schedule.transfers[0].layer, schedule.transfers[0].kind) == (None, "Move")
    assert schedule.transfers[1:] == parse_schedule(FP32, name="fp32").transfers[1:]


def _without_line(pattern: str) -> Callable[[str], str]:
    return lambda text: "".join(line for line in text.splitlines(True) if not re.search(pattern, line))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "is cut off"),
        (lambda text: text[:-80], "is cut off"),
        (lambda text: text[:100], "has no column ENGINE_BD"),
        (_without_line(r"^Conv2D_46\|"), "must have 110 computations"),
        (_without_line(r"^API_END"), "is cut off"),
        (_without_line(r"^GDMA SUMMARY"), "is cut off"),
        (lambda text: text.replace("Conv2D_39|CONV_FP32|s:1817", "Conv2D_39|CONV_FP32|s:181x"), "line 8"),
        (lambda text: text.replace("|e:6616|t:4800", "|e:6616|t:4801"), "1817 to 6616 are not 4801 cycles"),
        (lambda text: text.replace("sz:73728", "sz:73729"), "must move 169216 bytes in direction 0"),
        (lambda text: text.replace("total_cycle:31164", "total_cycle:31165"), "must end at cycle 31164"),
        (lambda text: text.replace("runtime: 0.056662ms", "runtime: 0.031164ms"), "are not 550 MHz"),
        (lambda text: text.replace("|b:2|g:4|", "|b:3|g:4|"), "out of order at Active_43"),
        (lambda text: text + text, "it holds 2"),
    ],
)
def test_refuses_a_damaged_schedule(damage: Callable[[str], str], message: str) -> None:
    damaged = damage(FP32)
    assert damaged != FP32
    with pytest.raises(ModelFileError, match=re.escape(message)) as raised:
        parse_schedule(damaged, name="some.dat")
    assert "some.dat" in str(raised.value)


def test_sums_of_bytes_may_have_overflowed() -> None:
    # yolov7-e6e at 1280 pixels moves 3 GB.
    many = FP32.replace("sz:73728", "sz:3000073728").replace(
        "S2L:169216", f"S2L:{169216 + 3_000_000_000 - 2**32}"
    )
    assert parse_schedule(many, name="large").memory_bytes == 169216 + 24192 + 3_000_000_000
    with pytest.raises(ModelFileError, match="must move"):
        parse_schedule(FP32.replace("S2L:169216", f"S2L:{169217 - 2**32}"), name="large")


def test_every_cut_is_noticed() -> None:
    last_figure = FP32.index("ms, ComputationAbility")
    for length in range(0, last_figure, 97):
        with pytest.raises(ModelFileError):
            parse_schedule(FP32[:length], name="cut")


def test_refuses_the_other_chips_profile() -> None:
    with pytest.raises(ModelFileError, match="they are no milliseconds"):
        read_schedule(SCHEDULES / "tiny_bm1684x_profile.txt")


def test_refuses_what_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ModelFileError, match="is not"):
        read_schedule(tmp_path / "binary")
    with pytest.raises(ModelFileError, match="No such file"):
        read_schedule(tmp_path / "missing")


def test_layer_names_cover_every_command() -> None:
    schedule = parse_schedule(FP32, name="fp32")
    names = read_layer_names(SCHEDULES / "tiny_fp32_1b.operations.json")
    assert set(names.compute) == {command.number for command in schedule.compute}
    assert set(names.transfers) == {command.number for command in schedule.transfers}
    for command in schedule.compute:
        assert names.compute[command.number].kind == command.kind
    assert names.compute[1].name == "stem_conv_Conv"


@pytest.mark.parametrize("text", ["", "[", "{}x", '[{"opcode": 1}]', "[1]", "null"])
def test_refuses_damaged_layer_names(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.bmodel.json"
    path.write_text(text)
    with pytest.raises(ModelFileError, match="is not the compiler's list of operations"):
        read_layer_names(path)
