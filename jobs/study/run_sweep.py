"""What becomes of a point of a sweep: it runs, or there is a reason why it cannot, and perhaps a prediction."""

from __future__ import annotations

from pathlib import Path

from bmodel.errors import RaysailError
from bmodel.sidecar import ModelSpec
from cluster.address import cluster_address
from data.formats import FormatError
from jobs.config.detect_config import DetectConfig
from jobs.config.paths import why_not_a_file
from jobs.console.stop_signals import Stopped
from jobs.inputs.images import list_images
from jobs.inputs.resolve import check_ground_truth, load_model, resolve_job
from jobs.measure.score import map50_of
from jobs.study.predictions import Predictions
from jobs.study.run_once import config_of, is_finished, run_once
from jobs.study.sweep_file import Sweep, size_label
from jobs.study.sweep_points import Figures, Point, Row, Status, make_row


def check_options(sweep: Sweep, place: Path) -> None:
    """Raise ConfigurationError for options that no point could run with, before the first of them does."""
    options = {name: value for name, value in sweep.options.items() if name not in {"device", "service-ms"}}
    # The timed device is the one that needs no network.
    config_of(options, {"images": sweep.images, "device": "timed", "service-ms": 1.0}, place=place)


def check_point(point: Point, sweep: Sweep, predictions: Predictions, *, place: Path) -> Row:
    """A point without running it: `ready` if it can run, with its figures if it ran before."""
    config, reason = settle(point, sweep, place)
    if config is None:
        return _not_run(point, sweep, predictions, reason)
    predicted = predictions.of(point)
    try:
        if not is_finished(config):
            return make_row(point, sweep, status="ready", predicted=predicted)
    except RaysailError as error:
        return make_row(point, sweep, status="failed", reason=str(error), predicted=predicted)
    return run_point(point, sweep, predictions, place=place)


def run_point(point: Point, sweep: Sweep, predictions: Predictions, *, place: Path) -> Row:
    """Run a point, unless it ran before or cannot. An error in its run is its own: the sweep goes on.

    Raises Stopped when the sweep is asked to stop, ConfigurationError for options that are wrong for every point.
    """
    config, reason = settle(point, sweep, place)
    if config is None:
        return _not_run(point, sweep, predictions, reason)
    predicted = predictions.of(point)
    try:
        metrics = run_once(config)
    except Stopped:
        raise
    except (RaysailError, FormatError) as error:
        return make_row(point, sweep, status="failed", reason=str(error), predicted=predicted)
    figures = Figures(
        map50=map50_of(metrics.map, metrics.score_protocol),
        map_protocol=metrics.score_protocol,
        i_time_ms=metrics.latency.i_time_ms,
        i_time_source=metrics.latency.i_time_source,
        score=metrics.score,
        device=metrics.device,
        images=metrics.images.total,
        failed=metrics.images.failed,
        run=str(config.output),
    )
    reason = f"{figures.failed} of {figures.images} images failed" if figures.failed else ""
    return make_row(point, sweep, status="run", reason=reason, figures=figures, predicted=predicted)


def _not_run(point: Point, sweep: Sweep, predictions: Predictions, reason: str) -> Row:
    predicted = predictions.of(point)
    status: Status = "missing" if predicted is None else "predicted"
    return make_row(point, sweep, status=status, reason=reason, predicted=predicted)


def settle(point: Point, sweep: Sweep, place: Path) -> tuple[DetectConfig | None, str]:
    """The job of a point, or why it cannot run here; raises ConfigurationError for options that are wrong anyway."""
    if reason := why_not_a_file(point.file):
        return None, f"'{point.file}' {reason}"
    device = str(sweep.options.get("device", "auto"))
    if point.preprocess == "bmcv" and device not in {"auto", "sail"}:
        return None, f"bmcv needs device sail, got device {device}"
    config = _config(point, sweep, place)
    try:
        spec = load_model(config)
        reason = _why_another_network(spec, point) or _why_not_here(config, spec, point)
        if not reason:
            check_ground_truth(config, spec, list_images(config.images, limit=config.limit))
    except (RaysailError, FormatError) as error:
        return None, str(error).removeprefix("--")
    return (None, reason) if reason else (config, "")


def _config(point: Point, sweep: Sweep, place: Path) -> DetectConfig:
    own = {
        "images": sweep.images,
        "model": point.file,
        "preprocess": point.preprocess,
        "output": str(sweep.output / point.name),
        **({"ground-truth": str(sweep.ground_truth)} if sweep.ground_truth else {}),
    }
    return config_of(sweep.options, own, place=place)


def _why_another_network(spec: ModelSpec, point: Point) -> str:
    found = (spec.input_hw, spec.precision, spec.batch)
    if found == (point.input_hw, point.precision, point.batch):
        return ""
    return (
        f"must be {size_label(point.input_hw)} {point.precision} batch {point.batch}, got "
        f"{size_label(spec.input_hw)} {spec.precision} batch {spec.batch} in '{point.file}'"
    )


def _why_not_here(config: DetectConfig, spec: ModelSpec, point: Point) -> str:
    """Why the device cannot be had. A cluster is not joined for that: which cards it has, the run itself finds out."""
    device: str = config.device
    on_cluster = cluster_address(config.address) is not None
    if on_cluster and device == "auto":
        return ""
    device = resolve_job(config, spec, cards_of_cluster=1 if on_cluster else None).device.name
    if point.preprocess == "bmcv" and device != "sail":
        return f"bmcv needs device sail, got device {device}"
    return ""
