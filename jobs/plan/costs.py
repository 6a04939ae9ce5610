"""Where the costs of the host's work come from: a table that was measured and is shipped, a file, or a run."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from bmodel.errors import ConfigurationError
from jobs.metrics_file import METRICS, read_metrics
from jobs.path_kind import why_neither_file_nor_folder
from jobs.plan.values import HostCosts
from jobs.run_folder.folder import RunFolder, open_run

DEFAULT_COSTS: Final = "host_costs.json"


def default_costs() -> HostCosts:
    """The table that is shipped; its `source` says on what it was measured."""
    return HostCosts.model_validate_json((files("jobs.plan") / DEFAULT_COSTS).read_bytes())


def read_costs(path: Path, defaults: HostCosts) -> HostCosts:
    """Read a table that `--save-costs` wrote, or take a run's stage times; raises ConfigurationError."""
    if reason := why_neither_file_nor_folder(path):
        raise ConfigurationError(
            f"--host-costs: must be a table, a run or its {METRICS}, and '{path}' {reason}"
        )
    if path.is_dir() or path.name == METRICS:
        return costs_of_run(open_run(str(path if path.is_dir() else path.parent)), defaults)
    try:
        return HostCosts.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise ConfigurationError(f"--host-costs: must be a table of host costs: {told} in '{path}'") from None


def costs_of_run(run: RunFolder, defaults: HostCosts) -> HostCosts:
    """The mean stage times of a run, all else from `defaults`.

    They are wall times: on a host whose cores were busy they are longer than the work is, and the plan is then slower
    than it need be.
    """
    metrics = read_metrics(run)
    stages = metrics.latency.stages
    if stages is None:
        raise ConfigurationError(f"--host-costs: not one image went through in '{run.store.place}'")
    height, width = metrics.model.input_hw
    scaled = defaults.scaled(image_megapixels=_megapixels(run), input_megapixels=height * width / 1e6)
    return scaled.model_copy(
        update={
            **{f"{stage}_ms": stages[stage].mean_ms for stage in ("decode", "preprocess", "postprocess")},
            "source": f"stage times of the run '{run.store.place}', wall time; the rest {defaults.source}",
        }
    )


def _megapixels(run: RunFolder) -> float:
    """Mean size of the images that went through."""
    pixels = np.concatenate(
        [
            table.column("height").drop_null().to_numpy()
            * table.column("width").drop_null().to_numpy().astype(float)
            for table in run.log.tables("images")
        ]
    )
    return float(pixels.mean()) / 1e6
