"""libbmrt as a device: `libbmrt` on a real card, `simulator` on the chip simulator, the same code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.libraries import find_card_libraries, find_simulator_libraries
from bmodel.sidecar import ModelSpec
from tpu_worker.devices.bmrt_engine import BmrtEngine
from tpu_worker.devices.check_file import check_bmodel
from tpu_worker.devices.options import DeviceOptions
from tpu_worker.devices.protocol import Batch, check_batch
from tpu_worker.devices.quantise import dequantise, quantise


class BmrtDevice:
    """A BModel under the vendor's C runtime.

    The simulator computes bit for bit what the chip does, slowly; a process can have one simulated card.
    """

    def __init__(self, options: DeviceOptions) -> None:
        path, network = check_bmodel(options)
        libraries = find_simulator_libraries() if options.name == "simulator" else find_card_libraries()
        self._spec = options.spec
        self._engine = BmrtEngine(
            libraries,
            path=path,
            network=network,
            device_id=options.device_id,
            inputs=(options.spec.input,),
            outputs=options.spec.outputs,
        )

    @property
    def spec(self) -> ModelSpec:
        """The network that is loaded."""
        return self._spec

    def run(self, batch: Batch) -> list[NDArray[np.float32]]:
        """Run a batch, quantised and scaled back where the network's inputs and outputs are."""
        check_batch(batch, self._spec)
        stored = self._engine.launch([quantise(batch, self._spec.input)])
        return [dequantise(array, tensor) for array, tensor in zip(stored, self._spec.outputs, strict=True)]

    def close(self) -> None:
        """Give the card back."""
        self._engine.close()
