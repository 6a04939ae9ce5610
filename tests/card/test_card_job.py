"""A whole job on a real card, each way of preparing images; what else has the card open is told meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from tests.card.cases import EXCLUDE, HOLD_CARD, any_case, need_device_file, need_library
from tests.helpers.job_runs import (
    TINY_BMODEL,
    assert_each_once,
    finished,
    metrics,
    options_of,
    rows,
    run_job,
    write_pictures,
)
from tests.helpers.other_process import another_process, with_project
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.card

# A job with a cluster of its own, on the cards that the tests may use.
OF_HOST = {"exclude": EXCLUDE} if EXCLUDE else {}
ALONE = {"RAY_ADDRESS": "", "PYTHONPATH": with_project()}


@pytest.fixture(scope="module")
def pictures(card_id: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve baseline JPEGs, one progressive, one PNG."""
    folder = write_pictures(tmp_path_factory.mktemp("pictures"), 12, size_hw=(426, 640))
    picture = cv2.imread(str(folder / "a" / "0000.jpg"))
    assert picture is not None
    assert cv2.imwrite(str(folder / "progressive.jpg"), picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert cv2.imwrite(str(folder / "picture.png"), picture)
    return folder


@pytest.mark.parametrize("preprocess", ["opencv", "bmcv"])
def test_a_job_does_every_image_and_measures_the_card(
    pictures: Path, tmp_path: Path, preprocess: str
) -> None:
    if preprocess == "bmcv":
        need_library("sail")
    run = tmp_path / "run"
    options = {"images": pictures, "model": TINY_BMODEL, "preprocess": preprocess, "output": run, **OF_HOST}
    finished(*options_of(options), environment=ALONE)
    assert_each_once(run, 14)
    found = metrics(run)
    assert found["device"] in {"sail", "libbmrt"}
    assert found["images"]["failed"] == 0
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    is_measured = found["latency"]["i_time_source"] == "measured on BM1684"
    assert is_measured is not record.get("on_simulator", False), "SAIL on the simulator is no card"
    print(preprocess, found["latency"], found["prepared"])  # noqa: T201 - to be sent back
    if preprocess == "opencv":
        assert found["prepared"] is None
        return
    images = rows(run, "images").to_pylist()
    by_name = {image["image_id"]: image["prepared_on"] for image in images}
    assert by_name.pop("picture.png") == "host"
    by_name.pop("progressive.jpg")  # either, by the vendor's version
    assert set(by_name.values()) == {"card"}
    assert sum(found["prepared"].values()) == 14


def test_a_job_says_who_shares_its_card(card_id: int, pictures: Path, tmp_path: Path) -> None:
    need_device_file(card_id)
    run = tmp_path / "run"
    options = {"images": pictures, "model": TINY_BMODEL, "cards": 1, "output": run, **OF_HOST}
    with another_process(HOLD_CARD.format(case=any_case("tiny_fp32_1b", card_id)), ROOT) as other:
        done = run_job(*options_of(options), environment=ALONE)
    assert done.returncode == 0, done.stderr
    assert f"is also used by process {other.pid} (" in done.stderr
    [card] = metrics(run)["cards"]
    assert any(user.startswith(f"process {other.pid} (") for user in card["other_users"])
