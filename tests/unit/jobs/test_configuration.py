"""Every option and YAML key: what is taken, and the one line that says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bmodel.errors import ConfigurationError
from jobs.config.detect_config import DetectConfig, parse_config
from tests.helpers.paths import ROOT

MODEL = ROOT / "tests" / "device" / "tiny.onnx"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"its content is looked at later")
    return path


def timed(**options: Any) -> dict[str, Any]:
    """Options that are complete, and these besides."""
    return {"images": "photos", "device": "timed", "service-ms": 5, **options}


def refusal(given: dict[str, Any], config_file: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(given, config_file=config_file)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conf": 0}, "--conf: must be greater than 0, got 0"),
        ({"conf": 1}, "--conf: must be less than 1, got 1"),
        ({"conf": "high"}, "--conf: must be a valid number"),
        ({"conf": "nan"}, "--conf: must be a finite number, got 'nan'"),
        ({"conf": True}, "--conf: must not be true"),
        ({"iou": -0.1}, "--iou: must be greater than or equal to 0, got -0.1"),
        ({"iou": 1.5}, "--iou: must be less than or equal to 1, got 1.5"),
        ({"max-detections": 0}, "--max-detections: must be greater than or equal to 1, got 0"),
        ({"cards": 0}, "--cards: must be greater than or equal to 1, got 0"),
        ({"cards": 1.5}, "--cards: must be a valid integer"),
        ({"cards": False}, "--cards: must not be false"),
        ({"shard-size": -3}, "--shard-size: must be greater than or equal to 1, got -3"),
        ({"shard-deadline": 0}, "--shard-deadline: must be greater than 0, got 0"),
        ({"shard-deadline": "inf"}, "--shard-deadline: must be a finite number, got 'inf'"),
        ({"limit": 0}, "--limit: must be greater than or equal to 1, got 0"),
        ({"max-failed": -1}, "--max-failed: must be greater than or equal to 0, got -1"),
        ({"save-images": "some"}, "--save-images: must be a valid integer"),
        ({"service-ms": 0}, "--service-ms: must be greater than 0, got 0"),
        ({"device": "gpu"}, "--device: must be 'auto', 'cpu', 'simulator', 'libbmrt', 'sail' or 'timed'"),
        ({"label-format": "coco"}, "--label-format: must be 'yolo', 'yolo-conf-second', 'truth'"),
        ({"score-protocol": "mine"}, "--score-protocol: must be 'voc', 'yolo' or 'coco', got 'mine'"),
        ({"evaluator": "own"}, "--evaluator: must be 'hotcoco' or 'pycocotools', got 'own'"),
        ({"preprocess": "bmcv"}, "--preprocess: bmcv needs device sail, got device timed"),
        ({"resume": "yes"}, "--resume: must be true or false, got 'yes'"),
        ({"resume": True}, "--resume: needs output"),
        ({"output": ""}, "--output: must not be empty"),
        ({"images": ""}, "--images: must have at least 1 character"),
        ({"images": 7}, "--images: must be a valid string, got 7"),
        ({"images": ["a"]}, "--images: must be a valid string"),
        ({"confidence": 0.5}, "--confidence: is not an option of this job"),
        ({"device": "cpu", "service-ms": None}, "--model: is required"),
        ({"device": "timed", "service-ms": None}, "--service-ms: is required with device timed"),
        ({"class-names": "nowhere.txt"}, "--class-names: must be a file, and 'nowhere.txt' is not there"),
        ({"model": "x" * 300}, "cannot be reached: File name too long"),
        ({"model": 3}, "--model: must be a path, got 3"),
        ({"fault-file": "nowhere"}, "--fault-file: must be a file"),
        ({"exclude": "0"}, "--exclude: needs a device with real cards, got device timed"),
        ({"exclude": "-1"}, "--exclude: must be card numbers with commas between, got '-1'"),
        ({"exclude": "1;2"}, "--exclude: must be card numbers with commas between, got '1;2'"),
        ({"exclude": ""}, "--exclude: must be card numbers with commas between, got ''"),
        ({"exclude": True}, "--exclude: must not be true"),
        ({"exclude": [0, 1]}, "--exclude: must be a valid string, got [0, 1]"),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_line_with_its_name_rule_and_value(
    options: dict[str, Any], message: str
) -> None:
    assert message in refusal(timed(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"service-ms": 5}, "--service-ms: needs device timed, got device cpu"),
        ({"fault-file": str(MODEL.parent / "conftest.py")}, "--fault-file: needs device timed"),
        ({"preprocess": "bmcv"}, "--preprocess: bmcv needs device sail, got device cpu"),
    ],
)
def test_options_that_do_not_fit_the_device(options: dict[str, Any], message: str, model: Path) -> None:
    assert message in refusal({"images": "photos", "device": "cpu", "model": str(model), **options})


def test_cards_are_left_out_of_this_host_and_of_no_cluster(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    bmodel = model.with_suffix(".bmodel")
    bmodel.touch()
    given = {"images": "x", "model": str(bmodel), "exclude": "0, 2"}
    assert parse_config(given).exclude == "0, 2"
    assert parse_config({**given, "exclude": 3}).exclude == "3", "a number of YAML's"
    message = (
        "--exclude: applies to this host's cards in a local job, but this job joins the cluster at 'h:1'"
    )
    assert message in refusal({**given, "address": "h:1"})
    monkeypatch.setenv("RAY_ADDRESS", "h:1")
    assert message in refusal(given)


def test_a_missing_image_source_is_named() -> None:
    assert refusal({"device": "timed", "service-ms": 5}) == "--images: is required"


def test_model_must_be_a_file_of_a_known_kind(tmp_path: Path) -> None:
    assert "is a folder" in refusal({"images": "x", "model": str(tmp_path)})
    fifo = tmp_path / "pipe.onnx"
    os.mkfifo(fifo)
    assert "is not a regular file" in refusal({"images": "x", "model": str(fifo)})
    other = tmp_path / "weights.pt"
    other.write_bytes(b"")
    assert f"--model: must end in .bmodel or .onnx, got '{other}'" in refusal(
        {"images": "x", "model": str(other)}
    )


def test_text_from_a_command_line_becomes_numbers() -> None:
    config = parse_config(timed(conf="0.25", cards="4", limit="10"))
    assert (config.conf, config.cards, config.limit) == (0.25, 4, 10)


def test_defaults_are_the_documented_ones(model: Path) -> None:
    config = parse_config({"images": "x", "model": str(model)})
    assert (config.device, config.conf, config.iou, config.max_detections) == ("auto", 0.001, 0.65, 300)
    assert (config.label_format, config.evaluator, config.score_protocol) == ("yolo", "hotcoco", "voc")
    assert (config.resume, config.no_wait, config.single_label) == (False, False, False)


def test_a_configuration_cannot_be_changed() -> None:
    config = parse_config(timed())
    with pytest.raises(ValueError, match="frozen"):
        config.conf = 0.5


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# 351 bytes that stand for a list of a thousand million texts.
MULTIPLIED = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 9)
)


def test_a_value_of_an_alias_is_shown_in_part_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "conf: [" + "0.25, " * 10_000 + "]\n")
    assert len(refusal(timed(), path)) < 500


def test_aliases_may_be_used(tmp_path: Path) -> None:
    path = written(tmp_path, "images: &place photos\nground-truth: *place\ndevice: timed\nservice-ms: 5\n")
    config = parse_config({}, config_file=path)
    assert (config.images, config.ground_truth) == ("photos", "photos")


def test_yaml_supplies_what_the_command_line_leaves_out(tmp_path: Path) -> None:
    path = written(tmp_path, "images: photos\ndevice: timed\nservice-ms: 5\nconf: 0.3\nmax_failed: 2\n")
    config = parse_config({"conf": 0.4}, config_file=path)
    assert (config.images, config.conf, config.max_failed) == ("photos", 0.4, 2)


def test_an_empty_yaml_file_supplies_nothing(tmp_path: Path) -> None:
    assert parse_config(timed(), config_file=written(tmp_path, "# nothing\n")) == parse_config(timed())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conf: 7\n", "--conf: must be less than 1, got 7 in '{path}'"),
        ("confidence: 0.5\n", "--confidence: is not an option of this job in '{path}'"),
        ("conf:\n", "--conf: must be a valid number, got None in '{path}'"),
        ("cards: yes\n", "--cards: must not be true in '{path}'"),
        ("resume: 1\n", "--resume: must be true or false, got 1 in '{path}'"),
        ("conf: 0.1\nconf: 0.2\n", "key 'conf' is given twice"),
        ("max-failed: 1\nmax_failed: 2\n", "gives the key 'max-failed' twice"),
        ("- conf\n", "must hold one mapping"),
        ("3: 4\n", "must hold one mapping"),
        ("conf: [0.1\n", "is not YAML"),
        ("? [a]\n: b\n", "is not YAML"),
        ("day: 2024-99-99\n", "is not YAML"),
        ("conf: !!python/object/apply:os.getcwd []\n", "is not YAML"),
        ("[" * 5000, "nested too deeply"),
        (b"\xff\xfe\x00conf", "is not YAML"),
        (MULTIPLIED, "is not YAML: it stands for more than 100000 values"),
        ("a: &a [*a]\n", "is not YAML: it stands for more than 100000 values"),
        ("#" * 1_000_001, "must have at most 1000000 bytes, got 1000001"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_wrong_yaml_file_is_one_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    assert message.format(path=path) in refusal(timed(), path)


def test_a_yaml_file_that_is_not_there(tmp_path: Path) -> None:
    assert "--config: cannot read" in refusal(timed(), tmp_path / "job.yaml")
    assert "--config: cannot read" in refusal(timed(), tmp_path)


def test_every_option_has_help_and_a_hyphenated_name() -> None:
    for name, field in DetectConfig.model_fields.items():
        assert field.description, name
        assert field.alias == name.replace("_", "-")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "--output: is required under ray job"),
        ("result/run", "--output: must be absolute or a URL under ray job"),
        ("/data/run", None),
        ("s3://bucket/run", None),
    ],
)
def test_under_a_ray_job_the_output_must_outlive_the_job(
    output: str | None, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    given = timed() if output is None else timed(output=output)
    if message is None:
        assert parse_config(given).output == output
    else:
        assert message in refusal(given)
