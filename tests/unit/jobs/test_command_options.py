"""Options as the command line's own parser hands them over, beside what a YAML file sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from bmodel.errors import ConfigurationError
from jobs.config import choices
from jobs.config.command_options import detect_command
from jobs.config.detect_config import DetectConfig
from jobs.plan.plan_options import PlanOptions
from tpu_worker.detector import DetectOptions

TIMED = ("--images", "photos", "--device", "timed", "--service-ms", "5")
BOOLEANS = sorted(name for name, field in DetectConfig.model_fields.items() if field.annotation is bool)


def flags(name: str) -> tuple[str, str]:
    """The flags that set and clear a boolean option."""
    option = name.replace("_", "-")
    return f"--{option}", f"--{option.removeprefix('no-')}" if option.startswith("no-") else f"--no-{option}"


def parsed(*arguments: str) -> DetectConfig:
    """What `raysail detect` makes of a command line."""
    seen: list[DetectConfig] = []

    def keep(config: DetectConfig) -> int:
        seen.append(config)
        return 0

    app = typer.Typer()
    app.command()(detect_command(keep))
    outcome = CliRunner().invoke(app, list(arguments))
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == 0, outcome.output
    return seen[0]


def job_file(folder: Path, **options: str) -> str:
    path = folder / "job.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in options.items()), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize("in_file", ["true", "false", None])
def test_the_command_line_sets_and_clears_what_a_file_says(
    name: str, in_file: str | None, tmp_path: Path
) -> None:
    given = {} if in_file is None else {name: in_file}
    common = (*TIMED, "--output", "result/x", "--config", job_file(tmp_path, **given))
    on, off = flags(name)
    assert getattr(parsed(*common, on), name) is True
    assert getattr(parsed(*common, off), name) is False
    assert getattr(parsed(*common), name) is (in_file == "true")


def test_every_other_option_of_the_command_line_wins_too(tmp_path: Path) -> None:
    config = parsed(*TIMED, "--iou", "0", "--config", job_file(tmp_path, iou="0.4", conf="0.3"))
    assert (config.iou, config.conf) == (0.0, 0.3)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        *(("iou", value, True) for value in (0.0, 0.65, 1.0)),
        *(("iou", value, False) for value in (-0.01, 1.01)),
        *(("conf", value, True) for value in (1e-9, 0.999)),
        *(("conf", value, False) for value in (0.0, 1.0)),
        *(("max_detections", value, True) for value in (1, 30_000)),
        *(("max_detections", value, False) for value in (0, 30_001)),
    ],
)
def test_the_command_line_and_the_detector_have_the_same_limits(name: str, value: Any, allowed: bool) -> None:
    option = ("--" + name.replace("_", "-"), str(value))
    if allowed:
        assert getattr(parsed(*TIMED, *option), name) == getattr(DetectOptions(**{name: value}), name)
        return
    with pytest.raises(ConfigurationError, match="^" + option[0]):
        parsed(*TIMED, *option)
    with pytest.raises(ConfigurationError, match=f"^{name}"):
        DetectOptions(**{name: value})


def test_the_command_line_and_the_detector_have_the_same_defaults_under_the_same_names() -> None:
    shared = DetectConfig.model_fields.keys() & DetectOptions.__dataclass_fields__.keys()
    assert shared == {"conf", "iou", "max_detections", "single_label", "ignore_exif", "reduced_jpeg"}
    for name in shared:
        assert DetectConfig.model_fields[name].default == getattr(DetectOptions(), name), name


def test_detect_and_plan_have_the_same_largest_shard() -> None:
    limits = [str(kind.model_fields["shard_size"].metadata) for kind in (DetectConfig, PlanOptions)]
    assert limits[0] == limits[1]


def test_a_choice_of_devices_is_auto_or_one_that_exists() -> None:
    assert get_args(choices.DeviceChoice) == ("auto", *get_args(choices.DeviceName))
    assert get_args(choices.LabelFormat) == (*get_args(choices.WrittenFormat), "none")
