"""`raysail submit` refuses what would be lost before anything travels."""

from __future__ import annotations

from pathlib import Path

import pytest

from bmodel.errors import ConfigurationError
from jobs.commands.submit import check_output, last_value


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], None),
        (["--output"], None),
        (["--output", "/a"], "/a"),
        (["--output=/a=b"], "/a=b"),
        (["--output", "/a", "--conf", "0.1", "--output=/b"], "/b"),
        (["--output-x", "/a"], None),
    ],
)
def test_the_last_value_counts(arguments: list[str], value: str | None) -> None:
    assert last_value(arguments, "--output") == value


@pytest.mark.parametrize("output", ["/data/run", "s3://bucket/run"])
def test_an_output_that_stays_is_taken(output: str) -> None:
    check_output(["--output", output])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--output: is required"),
        (["--output", "result/x"], "must be absolute or a URL for a submitted job, got 'result/x'"),
        (["--output", "/data/run", "--output=run"], "got 'run'"),
    ],
)
def test_an_output_that_would_be_lost_is_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check_output(arguments)


def test_the_output_of_a_configuration_file_is_looked_at(tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text("output: run\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="got 'run'"):
        check_output(["--config", str(config)])
    check_output(["--config", str(config), "--output", "/data/run"])
    check_output(["--config", "/only/on/the/cluster.yaml"])
