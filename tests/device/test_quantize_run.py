"""`raysail quantize` from end to end on the tiny network, interrupted by its clock and resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bmodel.compiler.toolchain import find_toolchain
from bmodel.errors import LibraryError
from bmodel.model_file import load_spec
from jobs.build.quantize.choice import Study
from jobs.inputs.images import list_images
from tests.device.compile_cases import TINY, Outcome, write_pictures
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S
from tpu_worker.detector import DetectOptions, Detector
from tpu_worker.devices import DeviceOptions, open_device

pytestmark = [pytest.mark.toolchain, pytest.mark.simulator]
PROGRAM = (
    "from jobs.commands.quantize import command; from jobs.command_line import run_alone; "
    "run_alone(command, prog_name='raysail quantize')"
)


@pytest.fixture(scope="module", autouse=True)
def toolchain(simulator: None) -> None:
    """Skip where there is no compiler."""
    try:
        find_toolchain()
    except LibraryError as error:
        pytest.skip(str(error))


def _write_truth(images: Path, folder: Path) -> Path:
    """Take what the network itself sees under ONNX Runtime for the truth, as YOLO labels."""
    folder.mkdir()
    device = open_device(DeviceOptions(name="cpu", spec=load_spec(TINY), model_path=TINY))
    listed = list_images(str(images))
    with Detector(device, DetectOptions(conf=0.2)) as detector:
        for result in detector.detect(listed.refs(0, len(listed))):
            assert result.size_hw is not None
            assert result.detections is not None
            height, width = result.size_hw
            lines = [
                f"{kind} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}"
                for (x1, y1, x2, y2), kind in zip(
                    result.detections.xyxy.tolist(), result.detections.class_id.tolist(), strict=True
                )
            ]
            (folder / Path(result.image.image_id).with_suffix(".txt")).write_text("\n".join(lines))
    return folder


def _run(*arguments: str | Path) -> Outcome:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=HANG_S,
    )
    return Outcome(returncode=process.returncode, stdout=process.stdout, stderr=process.stderr)


def test_analyses_and_resumes(tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", 2, seed=99)
    arguments = (
        TINY, "--calibration", write_pictures(tmp_path / "calibration", 8), "--images", images,
        "--ground-truth", _write_truth(images, tmp_path / "truth"), "--output", tmp_path / "work",
        "--tuning-count", "2", "--search-count", "2", "--methods", "max", "--finalists", "3",
        "--batch", "4",
    )  # fmt: skip
    (tmp_path / "work").mkdir()
    (tmp_path / "work/spent.json").write_text('{"seconds": 3601}')
    outcome = _run(*arguments)
    assert outcome.returncode == 1
    assert "the 60 minutes are used up" in outcome.stderr

    outcome = _run(*arguments, "--minutes", "90")
    assert outcome.returncode == 0, outcome.stderr
    study = Study.model_validate_json((tmp_path / "work/int8.json").read_text())
    assert study.batch == 4
    names = [item.variant.name for item in study.finalists]
    assert names[:2] == ["fp32", "int8-max"]
    assert names[2].startswith("mixed-")
    fp32, int8, mixed = study.finalists
    # FP32 on the simulator is what the truth was made of, INT8 is not, and a few layers help.
    assert fp32.mean_ap.coco.ap50 is not None
    assert int8.mean_ap.coco.ap50 is not None
    assert mixed.mean_ap.coco.ap50 is not None
    assert fp32.mean_ap.coco.ap50 > 0.95
    assert int8.mean_ap.coco.ap50 < mixed.mean_ap.coco.ap50 < fp32.mean_ap.coco.ap50
    assert max(head.relative_error for head in study.tuned[0].heads) < 1e-4
    assert min(head.relative_error for head in study.tuned[1].heads) > 1e-2
    assert study.minutes > 60
    assert study.verdict.restored_by is None

    # All is there: the third run computes nothing and says the same.
    again = _run(*arguments, "--minutes", "90")
    assert again.returncode == 0, again.stderr
    assert "compiling" not in again.stderr
    assert again.stdout == outcome.stdout
    assert Study.model_validate_json((tmp_path / "work/int8.json").read_text()).finalists == study.finalists
