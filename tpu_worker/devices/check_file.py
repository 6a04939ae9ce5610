"""The last look at a BModel before native code gets it: libraries of the vendor crash on files that Python refuses."""

from __future__ import annotations

from pathlib import Path

from bmodel.container import read_container
from bmodel.errors import DeviceError
from bmodel.files import file_sha256
from bmodel.model_file import CHIP, check_spec
from tpu_worker.devices.options import DeviceOptions


def check_bmodel(options: DeviceOptions) -> tuple[Path, str]:
    """Return the file and its network's name; raises ModelFileError unless it is the very file of the spec."""
    path = options.model_path
    if path is None:
        raise DeviceError(f"the device '{options.name}' needs a model file")
    container = read_container(path, chip=CHIP)
    check_spec(options.spec, container, file_sha256(path), path)
    return path, container.single_network().name
