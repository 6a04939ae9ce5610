"""A finished build: the folder that `compile.py` leaves, and the record of how it was made.

<name>/<name>.bmodel                what the card runs
<name>/<name>.bmodel.latency.json   what its schedule says
<name>/schedule.dat                 the schedule; operations.json names its layers
<name>/calibration.table            INT8: every layer's range
<name>/layers.table                 mixed precision: the layers kept in FP32
<name>/build.json                   the record
<name>/logs/                        the tools' output
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bmodel.compiler.compiler_tools import CALIBRATION_TABLE
from bmodel.compiler.latency import LatencyReport
from bmodel.errors import ModelFileError
from bmodel.files import file_sha256
from bmodel.sidecar import Normalisation, Precision
from bmodel.validation import ExactModel, first_fault

SCHEDULE: Final = "schedule.dat"
OPERATIONS: Final = "operations.json"
LATENCY_SUFFIX: Final = ".latency.json"
RECORD: Final = "build.json"


class BuildRecord(ExactModel):
    """How a build was made, and from what.

    regrouped_layers: what was taken out of the compiler's groups, for it was fed the wrong images there.
    """

    name: str
    source_name: str
    source_sha256: str
    input_shape: tuple[int, int, int, int]
    precision: Precision
    normalisation: Normalisation
    calibration: str
    fp32_layers: tuple[str, ...]
    regrouped_layers: tuple[str, ...] = ()
    quantised_io: bool
    bmodel_sha256: str
    tpu_mlir: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """A finished build's folder."""

    folder: Path
    record: BuildRecord

    @property
    def bmodel(self) -> Path:
        """The compiled network."""
        return self.folder / f"{self.record.name}.bmodel"

    @property
    def calibration_table(self) -> Path:
        """Every layer's range; only after INT8 or mixed precision."""
        return self.folder / CALIBRATION_TABLE

    def latency(self) -> LatencyReport:
        """Read what the schedule says."""
        return read_latency(latency_path(self.bmodel))


def read_build(folder: Path) -> Build:
    """Read a build's record; raises ModelFileError when the folder is no whole build."""
    try:
        record = BuildRecord.model_validate_json((folder / RECORD).read_bytes())
    except OSError as error:
        raise ModelFileError(f"'{folder}' is not a build: it has no {RECORD} ({error.strerror})") from error
    except ValidationError as error:
        raise ModelFileError(f"the record '{folder / RECORD}' is damaged: {first_fault(error)}") from error
    build = Build(folder=folder, record=record)
    if not build.bmodel.is_file() or file_sha256(build.bmodel) != record.bmodel_sha256:
        raise ModelFileError(f"'{build.bmodel}' is missing or not what was built")
    return build


def latency_path(bmodel: Path) -> Path:
    """Where the latency report of a BModel lies: `x.bmodel` → `x.bmodel.latency.json`."""
    return bmodel.with_name(bmodel.name + LATENCY_SUFFIX)


def read_latency(path: Path) -> LatencyReport:
    """Read a build's latency report; raises ModelFileError naming the file."""
    try:
        return LatencyReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"cannot read the latency report '{path}': {error.strerror}") from error
    except ValidationError as error:
        raise ModelFileError(f"the latency report '{path}' is damaged: {first_fault(error)}") from error
