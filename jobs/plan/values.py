"""What a plan is made of: what the host's work costs, the network's time on a card, the images, and the fleet."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, model_validator

from bmodel.errors import ConfigurationError
from bmodel.validation import ExactModel, first_fault
from jobs.config.paths import why_neither_file_nor_folder
from jobs.measure.latency import ITimeSource
from jobs.measure.metrics import METRICS, read_metrics
from jobs.run.folder import RunFolder, open_run
from jobs.run.old_names import current_costs
from tpu_worker.values import MOST_PREPARE_THREADS

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
CardTimeSource = ITimeSource | Literal["given"]


class Value(ExactModel):
    """A value whose numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class HostCosts(Value):
    """CPU time of one core, ms: an image's in its worker and in the driver, and a shard's; and where they are from.

    read_ms is for images of `image_megapixels`; preprocess_ms, postprocess_ms and handling_ms (threads, queues,
    the device's host part, tables) are for a network's input of `input_megapixels`. shard_ms: Ray's calls and the
    commit of one shard, on the driver's host; driver_shard_ms is the driver's own part. resident_cores: what Ray's
    processes take of each host. crowding: by what share an image costs more for each doubling of the workers a core above
    one on two cores, since they take the caches from one another. handover_ms: how long a card stands idle between two launches.
    """

    read_ms: NotNegative
    preprocess_ms: NotNegative
    postprocess_ms: NotNegative
    handling_ms: NotNegative
    driver_image_ms: NotNegative
    driver_shard_ms: NotNegative
    shard_ms: NotNegative
    resident_cores: NotNegative
    crowding: NotNegative
    handover_ms: NotNegative
    start_s: NotNegative
    finish_image_ms: NotNegative
    result_bytes: NotNegative
    image_megapixels: Positive
    input_megapixels: Positive
    image_bytes: Positive
    source: str

    @model_validator(mode="before")
    @classmethod
    def _of_today(cls, content: Any) -> Any:
        return current_costs(content) if isinstance(content, dict) else content

    def scaled(self, *, image_megapixels: float, input_megapixels: float) -> HostCosts:
        """The costs for other sizes: reading goes with the image's pixels, all else with those of the input."""
        by_image = image_megapixels / self.image_megapixels
        by_input = input_megapixels / self.input_megapixels
        return self.model_copy(
            update={
                "read_ms": self.read_ms * by_image,
                "preprocess_ms": self.preprocess_ms * by_input,
                "postprocess_ms": self.postprocess_ms * by_input,
                "handling_ms": self.handling_ms * by_input,
                "image_bytes": self.image_bytes * by_image,
                "image_megapixels": image_megapixels,
                "input_megapixels": input_megapixels,
            }
        )

    def crowded_ms(self, workers_per_core: float) -> float:
        """CPU time per image in its worker's process, beside that many others."""
        return self.worker_ms * (1 + self.crowding * math.log2(max(1.0, 2 * workers_per_core)))

    @property
    def worker_ms(self) -> float:
        """CPU time per image in its worker's process, one to itself on two cores."""
        return self.read_ms + self.preprocess_ms + self.postprocess_ms + self.handling_ms


class CardTime(Value):
    """The network's time on a card, ms per image, and how sure that is; a prediction is never called a measurement."""

    image_ms: Positive
    uncertainty_ms: NotNegative = 0.0
    batch: Annotated[int, Field(ge=1)] = 1
    network: str
    input_hw: tuple[int, int]
    precision: str
    source: CardTimeSource


class Fleet(Value):
    """Hosts of a kind, with cards and cores each; bandwidths in bytes per second, None where they are no limit.

    network_bytes_per_s: of each host. storage_bytes_per_s: of the storage that all of them read from.
    """

    hosts: Annotated[int, Field(ge=1)]
    cards_per_host: Annotated[int, Field(ge=1)]
    cores_per_host: Positive
    network_bytes_per_s: Positive | None = None
    storage_bytes_per_s: Positive | None = None

    @property
    def cards(self) -> int:
        """Cards of all hosts."""
        return self.hosts * self.cards_per_host

    @property
    def prepare_threads(self) -> int:
        """Threads a card that read and letterbox, as a worker starts them."""
        return min(MOST_PREPARE_THREADS, max(1, math.floor(self.cores_per_host)))


class Work(Value):
    """The images, how they are cut into shards, and into how many runs: one's figures are written beside the next."""

    images: Annotated[int, Field(ge=1)]
    shard_size: Annotated[int, Field(ge=1)]
    runs: Annotated[int, Field(ge=1)] = 1


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
        reason = first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise ConfigurationError(
            f"--host-costs: must be a table of host costs: {reason} in '{path}'"
        ) from None


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
            **{f"{stage}_ms": stages[stage].mean_ms for stage in ("read", "preprocess", "postprocess")},
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
