"""Files that want something run: they are refused, and it does not run."""

from __future__ import annotations

import functools
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmodel.errors import ModelFileError
from models.checkpoint.checkpoint_weights import read_weights
from models.checkpoint.pickle_reader import Record, read_pickle
from tests.helpers.paths import ROOT
from tests.helpers.pickle_pieces import (
    call,
    dict_of,
    module_of,
    name_of,
    number,
    storage,
    tensor,
    text,
    tuple_of,
    whole,
    write_checkpoint,
)


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._call


def touch(canary: Path) -> str:
    return f"touch '{canary}'"


def short(value: object) -> str:
    """A test's name: messages tell, bytes and huge numbers do not."""
    if isinstance(value, int) and value > 2**64:
        return "huge"
    return "bytes" if isinstance(value, bytes) else str(value)


GADGETS: dict[str, tuple[Callable[[Path], object], str]] = {
    "os.system": (lambda canary: Calls(os.system, touch(canary)), "posix.system"),
    "eval": (lambda canary: Calls(eval, f"__import__('pathlib').Path({str(canary)!r}).touch()"), "eval"),
    "exec": (lambda canary: Calls(exec, f"open({str(canary)!r}, 'w').close()"), "exec"),
    "open": (lambda canary: Calls(open, str(canary), "w"), "open"),
    "getattr": (lambda _: Calls(getattr, Calls(__import__, "os"), "system"), "getattr"),
    "import": (lambda _: Calls(__import__, "os"), "__import__"),
    "partial": (lambda canary: Calls(functools.partial, os.system, touch(canary)), "functools.partial"),
    "subprocess": (lambda canary: Calls(subprocess.check_output, ["touch", str(canary)]), "check_output"),
    "in an ordinary dict": (
        lambda canary: {"model": {"a": [1, (2, Calls(os.system, touch(canary)))]}},
        "posix.system",
    ),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", GADGETS)
def test_a_gadget_is_refused_by_name(name: str, protocol: int, tmp_path: Path) -> None:
    build, asked_for = GADGETS[name]
    canary = tmp_path / "canary"
    path = write_checkpoint(tmp_path / "x.pt", pickle.dumps(build(canary), protocol))

    with pytest.raises(ModelFileError, match=rf"the checkpoint asks for '.*{asked_for}', which .*refused in"):
        read_weights(path)

    assert not canary.exists()


@pytest.mark.parametrize("name", ["os.system", "eval", "partial"])
def test_the_gadgets_would_have_worked(name: str, tmp_path: Path) -> None:
    """Python's own unpickler runs them, so the canary can die."""
    canary = tmp_path / "canary"

    built = pickle.loads(pickle.dumps(GADGETS[name][0](canary), 2))  # noqa: S301 (the point)
    if callable(built):
        built()

    assert canary.exists()


# What pickling by hand can ask for beside plain functions.
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (call("torch", "load", text("/etc/passwd")), "asks for 'torch.load'"),
        (call("torch.serialization", "load", text("x")), "asks for 'torch.serialization.load'"),
        (call("torch.hub", "load", text("x")), "asks for 'torch.hub.load'"),
        (call("torch._utils", "_import_dotted_name", text("os")), "asks for 'torch._utils._import_dotted_name'"),
        (call("torch._utils", "_rebuild_parameter_with_state"), "asks for 'torch._utils._rebuild_parameter_with"),
        (call("models.yolov7.family", "topology", text("yolov7")), "asks for 'models.yolov7.family.topology'"),
        (call("models.yolo.sub", "Model"), "asks for 'models.yolo.sub.Model'"),
        (call("torch.nn.modules", "os"), "asks for 'torch.nn.modules.os'"),
        (name_of("models.yolo", "Model.forward.__globals__"), "asks for 'models.yolo.Model.forward.__glob"),
        (text("models.common") + text("Conv.__init__") + b"\x93", r"asks for 'models.common.Conv.__init__'"),
        (text("torch.nn.modules.x") + text("os.system") + b"\x93", r"asks for 'torch.nn.modules.x.os.system'"),
        (name_of("numpy", "load"), "asks for 'numpy.load'"),
        (name_of("models.yolo", "x\x1b[2J"), r"asks for 'models.yolo.x\\x1b\[2J'"),
        (b"(" + text("x") + b"iposix\nsystem\n", "uses INST"),
        (b"(" + name_of("models.yolo", "Model") + b"o", "uses OBJ"),
        (b"\x82\x01", "uses EXT1"),
        (b"Pstorage\n", "uses PERSID"),
        (name_of("models.yolo", "Model") + b")}\x92", "uses NEWOBJ_EX"),
        (b"\x97", "uses NEXT_BUFFER"),
        (b"I1\n", "uses INT"),
    ],
    ids=short,
)  # fmt: skip
def test_anything_else_is_refused(body: bytes, message: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.pt", whole(body))

    with pytest.raises(ModelFileError, match=message):
        read_weights(path)


def test_calling_an_allowed_class_only_leaves_a_record() -> None:
    body = call("models.yolo", "Model", text("argument")) + dict_of({"__class__": text("state")}) + b"b"

    record = read_pickle(whole(body))

    assert isinstance(record, Record)
    assert (str(record.made_by), record.arguments) == ("models.yolo.Model", ("argument",))
    assert record.state == {"__class__": "state"}
    assert "models.yolo" not in sys.modules
    assert "models.common" not in sys.modules


# Pickles that are valid, and shaped to break a reader that trusts them.
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "damaged"),
        (b"0", "uses POP"),
        (b"h\x07", "damaged: 7"),
        (b"R", "damaged"),
        (text("a") + tuple_of() + b"R", "damaged: a call of something that has no name"),
        (text("a") + text("b") + b"b", "damaged: a state for a str"),
        (text("a") + text("b") + b"a", "damaged: expected a list, found a str"),
        (b"](" + text("a") + text("b") + b"u", "damaged: expected a dict, found a list"),
        (b"}(" + text("a") + b"u", "damaged"),
        (
            b"}(" + tuple_of(number(1)) + text("a") + b"u",
            "a key must be text or a whole number, found a tuple",
        ),
        (b"}" + b"G" + bytes(8) + b"Ns", "a key must be text or a whole number, found a float"),
        (b"}" + number(2**48) + b"Ns", "a key that is a number must be smaller than"),
        (b"}" + number(-(2**48)) + b"Ns", "a key that is a number must be smaller than"),
        (b"((t", "holds no network"),
        (b"(a", "damaged: a value is missing"),
        (number(1) + number(2) + b"\x93", "damaged: a global's name is not text"),
        (text("x"), "holds no network"),
        (dict_of({"model": dict_of({})}), "a network without tensors"),
        (dict_of({"model": b"}(" + number(3) + number(4) + b"u"}), "by something other than text"),
        (dict_of({"weight": number(3)}), "tensor 'weight': it is not a tensor"),
        (dict_of({"a": call("torch._utils", "_rebuild_parameter")}), "tensor 'a': it is not a tensor"),
        (dict_of({"a": call("torch._utils", "_rebuild_tensor_v2", number(1))}), "it is not a tensor"),
    ],
    ids=short,
)
def test_senseless_pickles_are_refused(body: bytes, message: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.pt", whole(body))

    with pytest.raises(ModelFileError, match=message):
        read_weights(path)


def test_a_pickle_without_an_end_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.pt", b"\x80\x02}")

    with pytest.raises(ModelFileError, match="pickle is damaged: pickle exhausted before seeing STOP"):
        read_weights(path)


def test_a_module_inside_itself_is_refused(tmp_path: Path) -> None:
    state = b"}(" + text("_modules") + b"}(" + text("again") + b"h\x01uu"
    path = write_checkpoint(
        tmp_path / "x.pt", whole(name_of("models.yolo", "Model") + b")\x81q\x01" + state + b"b")
    )

    with pytest.raises(ModelFileError, match="name is longer than 200 characters"):
        read_weights(path)


def test_modules_that_multiply_are_refused(tmp_path: Path) -> None:
    """Forty modules, each holding the next one a hundred times over."""
    path = write_checkpoint(tmp_path / "x.pt", whole(_chain(40, 100)))

    with pytest.raises(ModelFileError, match="more than 20000 modules or tensors"):
        read_weights(path)


def _chain(levels: int, copies: int) -> bytes:
    """A module that holds the next one `copies` times, by reference."""
    module = module_of("Conv")
    for level in range(levels):
        first = module + b"q" + bytes([level])
        others = {str(copy): b"h" + bytes([level]) for copy in range(1, copies)}
        module = module_of("Conv", children={"0": first, **others})
    return module


def test_names_that_grow_with_depth_are_refused(tmp_path: Path) -> None:
    """A long name, written once and used at every level."""
    module = module_of("Conv")
    for _ in range(30):
        module = module_of("Conv", children={"n" * 20: module})
    path = write_checkpoint(tmp_path / "x.pt", whole(module))

    with pytest.raises(ModelFileError, match="name is longer than 200 characters"):
        read_weights(path)


def test_absent_members_that_multiply_are_refused(tmp_path: Path) -> None:
    """A thousand modules that share one list of a thousand parameters, all of them None."""
    absent = b"}q\x07(" + b"".join(text(str(index)) + b"N" for index in range(1000)) + b"u"
    shared = name_of("models.common", "Conv") + b")\x81}" + text("_parameters") + b"h\x07sb"
    children = {str(index): shared for index in range(1000)}
    body = dict_of({"shared": absent, "model": module_of("Conv", children=children)})
    path = write_checkpoint(tmp_path / "x.pt", whole(body))

    with pytest.raises(ModelFileError, match="more than 20000 modules or tensors"):
        read_weights(path)


def test_long_lists_are_not_copied() -> None:
    """A few bytes can ask for a set of the same list again and again."""
    again = b"c__builtin__\nset\n" + b"h\x01" + b"\x85R"

    read = read_pickle(whole(b"(" + b"](" + number(1) + number(2) + b"eq\x01" + again + again + b"t"))

    assert read == ([1, 2], [1, 2], [1, 2])
    assert isinstance(read, tuple)
    assert read[0] is read[1] is read[2]


def test_tensors_that_multiply_a_storage_are_refused(tmp_path: Path) -> None:
    one = tensor(storage("FloatStorage", "0", 4096), 0, (4096,), (1,))
    body = dict_of({f"t{copy}": one for copy in range(200)})
    path = write_checkpoint(tmp_path / "x.pt", whole(body), {"0": bytes(4 * 4096)})

    with pytest.raises(ModelFileError, match=r"tensor 't\d+': its tensors are far larger than the file"):
        read_weights(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (0, (13,), (1,), "reach beyond a storage of 12"),
        (1, (12,), (1,), "reach beyond a storage of 12"),
        (12, (1,), (1,), "reach beyond a storage of 12"),
        (0, (3, 4), (5, 1), "reach beyond a storage of 12"),
        (0, (100,), (0,), "reach beyond a storage of 12"),
        (0, (2,), (2**47,), "reach beyond a storage of 12"),
        (-1, (3,), (1,), "whole numbers from 0 on"),
        (0, (-3,), (1,), "whole numbers from 0 on"),
        (0, (3,), (-1,), "whole numbers from 0 on"),
        (2**200000, (3,), (1,), "whole numbers from 0 on"),
        (0, (2**64,), (1,), "whole numbers from 0 on"),
        (0, (3,), (1, 1), "differ in length"),
        (0, (0, 5), (5, 1), "is empty"),
        (0, (1,) * 9, (1,) * 9, "tuples of at most 8"),
    ],
    ids=short,
)
def test_tensors_outside_their_storage_are_refused(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    body = dict_of({"t": tensor(storage("FloatStorage", "0", 12), offset, size, stride)})
    path = write_checkpoint(tmp_path / "x.pt", whole(body), {"0": bytes(48)})

    with pytest.raises(ModelFileError, match=f"tensor 't': .*{message}"):
        read_weights(path)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (storage("FloatStorage", "0", 11), "must have 44 bytes, got 48"),
        (storage("DoubleStorage", "0", 12), "must have 96 bytes, got 48"),
        (storage("FloatStorage", "0", -12), "whole numbers from 0 on"),
        (storage("FloatStorage", "0", 2**100000), "whole numbers from 0 on"),
        (storage("FloatStorage", "9", 12), "archive entry 'data/9' cannot be read"),
        (storage("FloatStorage", "../byteorder", 12), "of type 'torch.FloatStorage' is unknown"),
        (storage("Size", "0", 12), "of type 'torch.Size' is unknown"),
        (tuple_of(text("storage"), number(1)) + b"Q", "not described as PyTorch describes one"),
        (text("0") + b"Q", "not described as PyTorch describes one"),
        (text("0"), "not described as PyTorch describes one"),
    ],
    ids=short,
)
def test_storages_that_do_not_fit_are_refused(reference: bytes, message: str, tmp_path: Path) -> None:
    path = write_checkpoint(
        tmp_path / "x.pt", whole(dict_of({"t": tensor(reference, 0, (2,), (1,))})), {"0": bytes(48)}
    )

    with pytest.raises(ModelFileError, match=message):
        read_weights(path)


MEGABYTE = 1 << 20
MOST_MEMORY = 200 * MEGABYTE
MOST_CPU_SECONDS = 60
MEASURE = f"""
import resource, sys
from pathlib import Path
from bmodel.errors import ModelFileError
from models.checkpoint.checkpoint_weights import read_weights

def peak():  # not ru_maxrss, which begins at the size of the process that started this one
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])

resource.setrlimit(resource.RLIMIT_CPU, ({MOST_CPU_SECONDS}, {MOST_CPU_SECONDS}))
before = peak()
try:
    read_weights(Path(sys.argv[1]))
except ModelFileError as error:
    print(error)
print(peak() - before)
"""


def memo_entries(count: int) -> bytes:
    return b"N" + b"".join(b"r" + struct.pack("<I", index) for index in range(count))


def colliding_keys(count: int) -> bytes:
    """Different numbers with one hash."""
    return b"}(" + b"".join(number(index * (2**61 - 1)) + b"N" for index in range(1, count)) + b"u"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda: b"(" + b"}" * 60 * MEGABYTE + b"t", "data.pkl has 62914565 bytes, the limit is 16777216"),
        (lambda: b"(" + b"}" * 16_000_000 + b"t", "more than 1000000 opcodes"),
        (lambda: b"(" + b"}" * 999_000 + b"t", "holds no network"),
        (lambda: memo_entries(3_000_000), "more than 1000000 opcodes"),
        (lambda: b"]" * 2_000_000 + b"a" * 1_999_999, "more than 1000000 opcodes"),
        (lambda: b"N" + b"\x85" * 999_000, "holds no network"),
        (lambda: (name_of("models.yolo", "M") + b")R") * 600_000, "more than 1000000 opcodes"),
        (lambda: colliding_keys(60_000), "a key that is a number must be smaller than"),
    ],
    ids=["60 MB of dicts", "16 MB of dicts", "most dicts", "memo", "lists in lists", "tuples", "globals",
         "colliding keys"],
)  # fmt: skip
def test_costly_pickles_are_bounded(body: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    """Whatever the pickle: at most 200 MB and 60 s of one processor (4.4 GB and 120 s before there were limits)."""
    output, growth = measured(write_checkpoint(tmp_path / "x.pt", whole(body())))

    assert message in output
    assert growth < MOST_MEMORY


def test_tensors_take_at_most_eight_times_the_file(tmp_path: Path) -> None:
    """The most that is allowed: every byte in half precision, read four times over."""
    count = 8_000_000
    one = tensor(storage("HalfStorage", "0", count), 0, (count,), (1,))
    body = dict_of({f"t{copy}": one for copy in range(4)})
    path = write_checkpoint(tmp_path / "x.pt", whole(body), {"0": bytes(2 * count)})

    output, growth = measured(path)

    assert output == ""
    assert 6 * path.stat().st_size < growth < 12 * path.stat().st_size


def test_an_archive_of_a_million_entries_is_refused(tmp_path: Path) -> None:
    """An entry of the directory has 52 bytes here and would take 500."""
    count = 300_000
    entry = struct.Struct("<IHHHHHHIIIHHHHHII")
    directory = b"".join(
        entry.pack(0x02014B50, 20, 20, *(0,) * 7, 6, *(0,) * 6) + b"%06x" % index for index in range(count)
    )
    end64 = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, len(directory), 0)
    locator = struct.pack("<IIQI", 0x07064B50, 0, len(directory), 1)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, *(2**16 - 1,) * 2, *(2**32 - 1,) * 2, 0)
    path = tmp_path / "x.pt"
    path.write_bytes(directory + end64 + locator + end)

    output, growth = measured(path)

    assert "its archive's directory has 15600000 bytes, the limit is 4194304: refused in" in output
    assert growth < 20 * MEGABYTE


def measured(path: Path) -> tuple[str, int]:
    """What reading the file printed, and by how many bytes the process grew, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    *output, growth = done.stdout.splitlines()
    return "\n".join(output), int(growth)


def test_damaged_pickles_only_ever_raise_our_error() -> None:
    """Two thousand pickles with a few bytes changed: each is read or refused, nothing else happens."""
    block = module_of(
        "Conv", parameters={"weight": tensor(storage("HalfStorage", "0", 6), 0, (2, 3), (3, 1))}
    )
    healthy = whole(dict_of({"model": module_of("Model", children={"0": block}), "epoch": number(3)}))
    assert isinstance(read_pickle(healthy), dict)
    dice = np.random.default_rng(8)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(healthy)
        for place in dice.integers(0, len(damaged), dice.integers(1, 4)):
            damaged[place] = dice.integers(0, 256)
        try:
            read_pickle(bytes(damaged))
        except ModelFileError:
            refused += 1
    assert 200 < refused < 2000
