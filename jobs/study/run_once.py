"""A detection job with a folder of its own: run it, resume it, or read what it found when it ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bmodel.errors import ConfigurationError
from cluster.address import cluster_address
from jobs.config.detect_config import DetectConfig, describe_validation_error, parse_config
from jobs.config.paths import why_not_a_file
from jobs.config.yaml_file import OptionsModel, option_name, read_yaml_mapping
from jobs.console.stop_signals import Stopped
from jobs.derive import evaluate_run
from jobs.inputs.images import list_images
from jobs.inputs.resolve import load_model, resolve_job
from jobs.measure.metrics import Metrics, read_metrics
from jobs.run.folder import RUN, SUCCESS, RunFolder, open_run
from jobs.run.record import new_record
from jobs.run.store import open_store
from tpu_worker.devices import CARD_DEVICES

# What may change without changing a figure.
_IMMATERIAL = frozenset(
    {
        "address",
        "cards",
        "exclude",
        "max-failed",
        "no-wait",
        "output",
        "resume",
        "save-images",
        "shard-deadline",
        "shard-size",
    }
)


def run_once(config: DetectConfig) -> Metrics:
    """Run a job into its output folder; one that is finished there is read, one that was stopped is resumed.

    What is read is held against the truth once more: label files may have been mended since. The job's table goes to
    standard error, so that standard output stays the caller's. Raises RaysailError, a RunError among them when the
    folder holds a run with other options.
    """
    output = config.output
    if output is None:
        raise ConfigurationError("--output: is required for a run that is to be found again")
    if not is_finished(config):
        from jobs.detect import detect

        try:
            with redirect_stdout(sys.stderr):
                detect(config.model_copy(update={"resume": True}))
        except Stopped as stopped:
            text, _, _ = str(stopped).partition(";")  # behind it stands how `raysail detect` goes on
            raise Stopped(f"{text}; the same command resumes it") from None
    elif config.ground_truth is not None and config.device != "timed":
        evaluate_run(output)
    return read_metrics(open_run(output))


def is_finished(config: DetectConfig) -> bool:
    """Whether this very job ended in its output folder: same options, images, model and device."""
    run = _run_in(config.output or "")
    if run is None or SUCCESS not in run.store.names(""):
        return False
    job = resolve_job(config, load_model(config), cards_of_cluster=_cards_of_cluster(config, run))
    now, before = (
        new_record(
            config,
            list_images(config.images, limit=config.limit),
            device=job.device.name,
            ran=job.ran,
            spec=job.spec,
        ),
        run.record,
    )
    same_options = _material(now.configuration) == _material(before.configuration)
    return same_options and (now.fingerprint, now.spec) == (before.fingerprint, before.spec)


def _cards_of_cluster(config: DetectConfig, run: RunFolder) -> int | None:
    """On a cluster that would have to be joined to be counted, what the run says; None for this host's own."""
    if not cluster_address(config.address):
        return None
    return int(run.record.device in CARD_DEVICES)


def _run_in(output: str) -> RunFolder | None:
    if "://" not in output and not Path(output).is_dir():  # a store would make the folder
        return None
    return open_run(output) if RUN in open_store(output).names("") else None


def _material(configuration: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in configuration.items() if name not in _IMMATERIAL}


Part = TypeVar("Part", bound=OptionsModel)


def read_job_file(path: Path, kind: type[Part]) -> Part:
    """Read and check such a file; raises ConfigurationError naming key, rule, value and file."""
    if reason := why_not_a_file(path):
        raise ConfigurationError(f"FILE: must be a YAML file, and '{path}' {reason}")
    try:
        return kind.model_validate(read_yaml_mapping(path))
    except ValidationError as error:
        raise ConfigurationError(
            f"{describe_validation_error(error).removeprefix('--')} in '{path}'"
        ) from None


def config_of(options: Mapping[str, Any], own: Mapping[str, Any], *, place: Path) -> DetectConfig:
    """The configuration of one run: the file's options, and what the file says elsewhere.

    own: options that such a file must not repeat among its options. Raises ConfigurationError naming option, rule,
    value and file.
    """
    given = {option_name(key): value for key, value in options.items()}
    for name in given.keys() & own.keys():
        raise ConfigurationError(f"options.{name}: is already set elsewhere in the file, in '{place}'")
    try:
        return parse_config({**given, **own})
    except ConfigurationError as error:
        raise ConfigurationError(f"options.{str(error).removeprefix('--')} in '{place}'") from None
