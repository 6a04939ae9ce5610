"""metrics.json in a run's folder: the one place that writes and reads it."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from bmodel.errors import ConfigurationError, RunError
from jobs.metrics import Metrics
from jobs.run_folder.folder import SUCCESS, RunFolder

METRICS: Final = "metrics.json"


def write_metrics(run: RunFolder, metrics: Metrics) -> None:
    """Put the run's figures in their place, whole."""
    run.store.write(METRICS, (metrics.model_dump_json(indent=2) + "\n").encode())


def read_metrics(run: RunFolder) -> Metrics:
    """The run's figures; raises ConfigurationError while it has none, RunError when they are damaged or lost."""
    try:
        return Metrics.model_validate_json(run.store.read(METRICS))
    except FileNotFoundError:
        if SUCCESS in run.store.names(""):
            raise RunError(f"'{run.store.place}/{METRICS}' is missing") from None
        raise ConfigurationError(
            f"RUN: must be finished (go on with it by --resume), and '{run.store.place}' has no {METRICS}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{place}: {first['msg']} in '{run.store.place}/{METRICS}'") from error
