"""Files damaged at random: what the reader lets through may be refused by the runtime, but must never crash it."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bmodel.container import HEADER, read_container
from bmodel.container_schema import COMMANDS, MODEL
from bmodel.errors import ModelFileError
from bmodel.flatbuffer import Buffer, root_table
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S

FILES = 450
LOADER = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from bmodel.libraries import find_simulator_libraries
from tpu_worker.devices.bmrt_engine import load_runtime
from tpu_worker.devices.native_output import process_output, quiet
runtime = load_runtime(find_simulator_libraries())
for path in sys.argv[2:]:
    os.write(1, f"{path} ".encode())
    with quiet(process_output()):
        device = ctypes.c_void_p()
        assert runtime.request_device(ctypes.byref(device), 0) == 0
        engine = runtime.create(device)
        loaded = runtime.load(engine, os.fsencode(path))
        runtime.destroy(engine)
        runtime.free_device(device)
    os.write(1, b"loaded\\n" if loaded else b"refused\\n")
# The library may have left threads behind with a file that it refused.
os._exit(0)
"""


def flip_bit(data: bytearray, header: int, dice: random.Random) -> None:
    data[dice.randrange(header)] ^= 1 << dice.randrange(8)


def set_word(data: bytearray, header: int, dice: random.Random) -> None:
    values = (0, 1, 2, 8, 0x7FFFFFFF, 0xFFFFFFFF, header, dice.getrandbits(12), dice.getrandbits(32))
    struct.pack_into("<I", data, dice.randrange(header // 4) * 4, dice.choice(values))


def set_half_word(data: bytearray, header: int, dice: random.Random) -> None:
    values = (0, 1, 2, 4, 0xFFFF, dice.getrandbits(6), dice.getrandbits(16))
    struct.pack_into("<H", data, dice.randrange(header // 2) * 2, dice.choice(values))


def set_many(data: bytearray, header: int, dice: random.Random) -> None:
    for _ in range(dice.randrange(2, 12)):
        data[dice.randrange(header)] = dice.randrange(256)


def clear(data: bytearray, header: int, dice: random.Random) -> None:
    start = dice.randrange(header - 64)
    length = dice.randrange(1, 64)
    data[start : start + length] = bytes(length)


def flip_binary_bit(data: bytearray, header: int, dice: random.Random) -> None:
    data[dice.randrange(header, len(data))] ^= 1 << dice.randrange(8)


def cut(data: bytearray, header: int, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


MUTATIONS: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    flip_bit,
    set_word,
    set_half_word,
    set_many,
    clear,
    flip_binary_bit,
    cut,
)


def accepted(path: Path) -> bool:
    try:
        read_container(path, chip="BM1684")
    except ModelFileError:
        return False
    return True


def load_all(paths: list[Path]) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """How the runtime answered, and at which files it died with which code, in as many processes as it takes."""
    answers = {"loaded": 0, "refused": 0}
    deaths: list[tuple[str, int]] = []
    left = [str(path) for path in paths]
    while left:
        command = [sys.executable, "-c", LOADER, str(ROOT), *left]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
        lines = outcome.stdout.splitlines()
        for line in lines:
            path, _, answer = line.partition(" ")
            if answer:
                answers[answer] += 1
            else:
                deaths.append((path, outcome.returncode))
        left = left[len(lines) :]
        assert lines, outcome.stderr
    return answers, deaths


@pytest.mark.parametrize("model", ["tiny_fp32_1b", "tiny_int8_1b_quantised"])
def test_no_accepted_file_crashes_the_runtime_at_load(simulator: None, tmp_path: Path, model: str) -> None:
    original = (ROOT / f"bmodel/{model}.bmodel").read_bytes()
    header = HEADER.size + struct.unpack_from("<I", original, 8)[0]
    dice = random.Random(2026)
    paths = []
    for number in range(FILES):
        data = bytearray(original)
        dice.choice(MUTATIONS)(data, header, dice)
        path = tmp_path / f"{number}.bmodel"
        path.write_bytes(data)
        if data != original and accepted(path):
            paths.append(path)
    # The reader refuses most; what it lets through differs in what nobody reads, such as dates and reserved bytes.
    assert 0 < len(paths) < FILES / 2
    answers, deaths = load_all(paths)
    assert deaths == []
    assert answers["loaded"] > answers["refused"]


def test_the_runtime_dies_of_a_file_that_the_reader_refuses(simulator: None, tmp_path: Path) -> None:
    """Why the reader is there: were this to fail, it would have become needless."""
    data = bytearray((ROOT / "bmodel/tiny_fp32_1b.bmodel").read_bytes())
    size = struct.unpack_from("<I", data, 8)[0]
    model = root_table(Buffer(data=bytes(data[HEADER.size :][:size]), name="test"), MODEL)
    commands = model.tables("net")[0].tables("parameter")[0].tables("commands")[0]
    position = HEADER.size + commands._positions[COMMANDS.fields["gdma_count"][0]]
    struct.pack_into("<I", data, position, 20_000)
    path = tmp_path / "many_commands.bmodel"
    path.write_bytes(data)
    assert not accepted(path)
    _, deaths = load_all([path])
    assert [name for name, _ in deaths] == [str(path)]
