"""A detection job with a folder of its own: run it, go on with it, or read what it found when it ended."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from bmodel.errors import ConfigurationError
from cluster.address import cluster_address
from jobs.config.detect_config import DetectConfig
from jobs.console.stop_signals import Stopped
from jobs.inputs.images import list_images
from jobs.inputs.resolve import load_model, resolve_job
from jobs.measure.evaluate_run import evaluate_run
from jobs.measure.metrics import Metrics, read_metrics
from jobs.report.write_report import write_report
from jobs.run.folder import RUN, SUCCESS, RunFolder, open_run
from jobs.run.record import run_facts
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
    """Run a job into its output folder; one that is finished there is read, one that was stopped is gone on with.

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
            raise Stopped(f"{text}; the same command goes on") from None
    elif config.ground_truth is not None and config.device != "timed":
        evaluate_run(output)
        write_report(open_run(output))
    return read_metrics(open_run(output))


def is_finished(config: DetectConfig) -> bool:
    """Whether this very job ended in its output folder: same options, images, model and device."""
    run = _run_in(config.output or "")
    if run is None or SUCCESS not in run.store.names(""):
        return False
    job = resolve_job(config, load_model(config), cards_of_cluster=_cards_of_cluster(config, run))
    facts = run_facts(config, job, list_images(config.images, limit=config.limit))
    same_options = _material(facts["configuration"]) == _material(run.facts["configuration"])
    return same_options and all(facts[name] == run.facts.get(name) for name in ("fingerprint", "spec"))


def _cards_of_cluster(config: DetectConfig, run: RunFolder) -> int | None:
    """On a cluster that would have to be joined to be counted, what the run says; None for this host's own."""
    if not cluster_address(config.address):
        return None
    return int(run.facts.get("device") in CARD_DEVICES)


def _run_in(output: str) -> RunFolder | None:
    if "://" not in output and not Path(output).is_dir():  # a store would make the folder
        return None
    return open_run(output) if RUN in open_store(output).names("") else None


def _material(configuration: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in configuration.items() if name not in _IMMATERIAL}
