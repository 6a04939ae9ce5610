"""`raysail compile` with the vendor's compiler on the tiny network, verified on the chip simulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from bmodel.compiler.build import read_build
from bmodel.compiler.compile import CompileRequest, rank_layers
from bmodel.compiler.toolchain import find_toolchain
from bmodel.errors import LibraryError
from bmodel.model_file import load_spec
from bmodel.sidecar import read_sidecar, sidecar_path
from jobs.build.compile.verify import Twins, verify
from models.training.make_tiny import build_tiny
from tests.device.compile_cases import TINY, names, run_compile, write_pictures

pytestmark = [pytest.mark.toolchain, pytest.mark.simulator]


@pytest.fixture(scope="module", autouse=True)
def toolchain(simulator: None) -> None:
    """Skip where there is no compiler."""
    try:
        find_toolchain()
    except LibraryError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "drawn", 16)


def test_compiles_fp32_for_two_batches(tmp_path: Path, pictures: Path) -> None:
    output, copies = tmp_path / "build", tmp_path / "models"
    outcome = run_compile(
        TINY, "--batch", "1,4", "--verify-images", pictures, "--output", output, "--copy-to", copies
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "verified: cosine of the heads 1.00000" in outcome.stderr
    assert "predicted by the compiler's schedule" in outcome.stderr
    assert names(output) == {"tiny_fp32_1b", "tiny_fp32_4b"}
    assert outcome.stdout.split() == [str(copies / f"tiny_fp32_{batch}b.bmodel") for batch in (1, 4)]
    for batch in (1, 4):
        spec = load_spec(copies / f"tiny_fp32_{batch}b.bmodel")
        assert spec.input.shape == (batch, 3, 64, 96)
        assert spec.class_names == ("car", "person", "bike")
        assert spec.heads == load_spec(TINY).heads
        assert spec.licence == "Apache-2.0"
        assert spec.latency is not None
        assert spec.verification is not None
        assert spec.verification.passed
        assert min(spec.verification.cosine) > 0.99999
        assert spec.source_name is not None
        assert (copies / spec.source_name).samefile(TINY)
    # What compiling the same network again makes is what was committed.
    committed = read_sidecar(sidecar_path(TINY.parents[1] / "bmodel/tiny_fp32_4b.bmodel"))
    assert committed.latency == load_spec(copies / "tiny_fp32_4b.bmodel").latency


def test_compiles_int8_with_the_same_ranges_for_every_batch(tmp_path: Path, pictures: Path) -> None:
    outcome = run_compile(
        TINY, "--precision", "int8", "--batch", "1,4", "--calibration", pictures, "--method", "max",
        "--output", tmp_path,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    one, four = (read_build(tmp_path / f"tiny_int8_{batch}b") for batch in (1, 4))
    assert one.calibration_table.read_bytes() == four.calibration_table.read_bytes()
    assert one.record.calibration == "max on 16 images"
    assert one.latency().precision == "int8"
    spec = load_spec(one.bmodel)
    assert spec.precision == "int8"
    assert spec.verification is not None
    assert spec.verification.passed
    assert max(spec.verification.cosine) < 1 - 1e-6
    assert spec.tools["calibration"] == "max on 16 images"
    # A launch of four is cheaper than four launches: the prediction has to show it.
    assert four.latency().prediction.raw_ms < 4 * one.latency().prediction.raw_ms


def test_no_image_of_a_launch_is_taken_for_another(tmp_path: Path, pictures: Path) -> None:
    """Heads this large make the compiler slice a group whose FP32 outputs hide that an input is 8-bit."""
    outcome = run_compile(
        TINY, "--precision", "int8", "--batch", "4", "--size", "416", "--calibration", pictures, "--method", "max",
        "--output", tmp_path,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert "the compiler reads the wrong images into head32_Transpose_f32_new_cast" in outcome.stderr
    build = read_build(tmp_path / "tiny_int8_416_4b")
    assert build.record.regrouped_layers == ("head32_Transpose_f32_new_cast",)
    verification = load_spec(build.bmodel).verification
    assert verification is not None
    # Four images, each beside its twin: two of them alike would bring a head's cosine down to 0.9 or less.
    assert verification.images == 4
    assert verification.passed


def test_compiles_mixed_precision_with_eight_bit_ends(tmp_path: Path, pictures: Path) -> None:
    layers = tmp_path / "layers.txt"
    layers.write_text("body8_conv_Conv\nbody8_Mul\n")
    outcome = run_compile(
        TINY, "--precision", "mixed", "--calibration", pictures, "--fp32-layers", layers, "--quantised-io",
        "--output", tmp_path / "build", "--name", "ours", "--size", "64x96",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    build = read_build(tmp_path / "build/ours_mixed_64x96_1b_quantised")
    assert build.record.fp32_layers == ("body8_conv_Conv", "body8_Mul")
    assert build.latency().precision == "mixed"
    spec = load_spec(build.bmodel)
    assert spec.precision == "mixed"
    assert spec.input.dtype == "uint8"
    assert {output.dtype for output in spec.outputs} == {"int8"}


def test_a_bmodel_that_disagrees_is_refused(tmp_path: Path, pictures: Path) -> None:
    # Ranges found on black pictures fit nothing else.
    black = write_pictures(tmp_path / "black", 4)
    import cv2
    import numpy as np

    for path in black.iterdir():
        cv2.imwrite(str(path), np.zeros((64, 96, 3), np.uint8))
    outcome = run_compile(
        TINY, "--precision", "int8", "--calibration", black, "--method", "max", "--verify-images", pictures,
        "--output", tmp_path / "build", "--copy-to", tmp_path / "models",
    )  # fmt: skip
    assert outcome.returncode == 1
    assert "is refused: on 2 images it differs from ONNX Runtime (head 0: cosine" in outcome.stderr
    assert names(tmp_path / "models") == set()
    spec = load_spec(tmp_path / "build/tiny_int8_1b/tiny_int8_1b.bmodel")
    assert spec.verification is not None
    assert not spec.verification.passed


def test_another_networks_twin_fails_verification(tmp_path: Path, pictures: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(build_tiny(seed=5))
    bmodel = TINY.parents[1] / "bmodel/tiny_fp32_1b.bmodel"
    found = verify(Twins(bmodel=bmodel, onnx=other, spec=load_spec(bmodel)), sorted(pictures.iterdir())[:1])
    assert not found.passed
    assert max(found.cosine) < 0.99


def test_ranks_the_layers(tmp_path: Path, pictures: Path) -> None:
    request = CompileRequest(onnx=TINY, name="ranking", input_shape=(1, 3, 64, 96))
    ranking = rank_layers(request, folder=tmp_path, images=pictures, count=2, report=lambda _line: None)
    ranked = ranking.layers
    assert {layer.name for layer in ranked} | {"head8_Transpose", "body8_Mul"} <= set(ranking.known)
    # Every convolution and activation, and nothing twice.
    kinds = [layer.kind for layer in ranked]
    assert (kinds.count("Conv"), kinds.count("SiLU")) == (11, 8)
    assert len({layer.name for layer in ranked}) == len(ranked)
    assert [layer.loss for layer in ranked] == sorted((layer.loss for layer in ranked), reverse=True)
    assert ranked[0].loss > 0
