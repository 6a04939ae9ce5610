"""What the compiler's tools printed when they failed, and the one sentence that is made of it.

The logs in compiler_logs/ are real, shortened: an operator that the compiler does not know, one that the chip does
not have, a full disk, memory that ran out, a killed process, and a file that is no ONNX file.
"""

from __future__ import annotations

import signal

import pytest

from bmodel.compiler.compiler_tools import explain_failure
from bmodel.compiler.layers import layer_table, read_ranking
from bmodel.errors import ToolError
from tests.helpers.paths import FIXTURES

LOGS = FIXTURES / "compiler_logs"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("unsupported_operator.log", "it does not know the operator Det"),
        ("no_chip_operator.log", "the chip has no operator NonZero (layer 'y0_NonZero')"),
        ("disk_full.log", "the disk is full"),
        ("out_of_memory.log", "memory ran out"),
        ("killed.log", "was killed, as the kernel does when memory runs out"),
        ("not_onnx.log", "the file is not an ONNX file"),
    ],
)
def test_finds_the_cause(log: str, cause: str) -> None:
    assert explain_failure((LOGS / log).read_text(), 1) == cause


@pytest.mark.parametrize(
    ("text", "returncode", "cause"),
    [
        ("", -signal.SIGKILL, "was killed, as the kernel does when memory runs out"),
        ("", -signal.SIGTERM, "was ended by SIGTERM"),
        ("", -signal.SIGSEGV, "was ended by SIGSEGV"),
        ("", 3, "it gave no reason (exit status 3)"),
        (
            "KeyError: 'input shapes error:[[1, 3, 64, 96]], 0 vs 1'",
            1,
            "the network cannot have the input shape",
        ),
        ('loc("conv1"): error: kernel is larger than input', 1, "layer 'conv1': kernel is larger than input"),
        ("Traceback\nValueError: out of luck", 1, "ValueError: out of luck"),
        ("50%\rMemoryError: std::bad_alloc\r", 1, "memory ran out"),
        ("x.cpp:7: f(): Assertion `n > 0' failed.\nAborted", 1, "x.cpp:7: f(): Assertion `n > 0' failed."),
        ("Segmentation fault", 1, "it crashed"),
    ],
)
def test_finds_other_causes(text: str, returncode: int, cause: str) -> None:
    assert explain_failure(text, returncode).startswith(cause)


RANKING = (
    "the layer conv1_Conv is 1 sensitive layer, loss is 7.8e-04, type is top.Conv\n"
    "noise\n"
    "the layer act1_Mul is 0 sensitive layer, loss is 0.00105, type is top.SiLU\n"
)


def test_reads_the_ranking_of_layers_worst_first() -> None:
    ranked = read_ranking(RANKING)
    assert [(layer.name, layer.kind, layer.loss) for layer in ranked] == [
        ("act1_Mul", "SiLU", 0.00105),
        ("conv1_Conv", "Conv", 0.00078),
    ]


def test_refuses_a_search_without_a_ranking() -> None:
    with pytest.raises(ToolError, match="without a ranking"):
        read_ranking("nothing of the kind")


def test_writes_the_compilers_table() -> None:
    lines = layer_table(["a", "b"]).splitlines()
    assert lines[1:] == ["a F32", "b F32"]
    assert lines[0].startswith("#")
