"""Cards that break under a running job: what people see of it, and that the figures and files are whole all the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.job_runs import assert_each_once, metrics, options_of, run_here, run_job
from tests.ray.conftest import SharedCluster

LINE = re.compile(
    r"\d+ of 40 images, [\d.]+ images/s(, \d+ s left)?(, \d+ failed)?"
    r"|card \d on \S+ \(node \w+\) (failed, and is started again: .*|is quarantined .*)"
)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("segfault", "failed, and is started again: ActorDiedError"),
        ("fail", None),
    ],
)
def test_a_fault_is_told_in_one_line_and_costs_no_image(
    fault: str, words: str | None, pictures: Path, cluster: SharedCluster, tmp_path: Path
) -> None:
    armed = tmp_path / "fault"
    armed.write_text(fault, encoding="utf-8")
    run = tmp_path / "run"
    options = {
        "images": pictures,
        "device": "timed",
        "service-ms": 200,
        "shard-size": 2,
        "cards": 2,
        "fault-file": armed,
        "output": run,
        "address": cluster.address,
    }
    done = run_job(*options_of(options), environment=cluster.environment)
    assert done.returncode == 0, done.stderr
    assert_each_once(run, 40)
    assert metrics(run)["images"]["failed"] == 0
    assert done.stdout.startswith("Images  "), "nothing but the table"
    assert f"Everything is in {run}" in done.stdout.splitlines()[-1]
    strange = [line for line in done.stderr.splitlines() if not LINE.fullmatch(line)]
    assert strange == []
    if words is not None:
        assert words in done.stderr
    assert not armed.exists(), "the fault happened"


def test_a_model_that_no_card_can_load_ends_the_run_with_the_reason(
    pictures: Path, cluster: SharedCluster, tmp_path: Path
) -> None:
    armed = tmp_path / "fault"
    armed.write_text("fail always", encoding="utf-8")
    run = tmp_path / "run"
    options = {
        "images": pictures,
        "device": "timed",
        "service-ms": 10,
        "cards": 1,
        "fault-file": armed,
        "output": run,
        "address": cluster.address,
    }
    done = run_here("detect", *options_of(options))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("raysail: no card is left of 1: "), last
    assert "failed as asked" in last
    assert (done.stdout, (run / "_SUCCESS").exists()) == ("", False)
    armed.unlink()
    options.pop("fault-file")
    again = run_here("detect", *options_of(options), "--resume")
    assert again.returncode == 0, again.stderr
    assert_each_once(run, 40)
