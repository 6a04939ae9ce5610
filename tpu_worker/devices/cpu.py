"""ONNX Runtime on the CPU: an ONNX file itself, or the ONNX twin that a BModel's sidecar names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import DeviceError
from bmodel.sidecar import ModelSpec
from tpu_worker.devices.choose_device import cpu_model_path
from tpu_worker.devices.options import DeviceOptions
from tpu_worker.devices.protocol import Batch, check_batch


class CpuDevice:
    """A network on this machine's cores. Results are ONNX Runtime's, not the chip's."""

    def __init__(self, options: DeviceOptions) -> None:
        import onnxruntime

        if options.model_path is None:
            raise DeviceError("the device 'cpu' needs a model file")
        self._options = options
        path = cpu_model_path(options.model_path, options.spec)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads or 0
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        # Threads that spin while they wait would take the cores from reading, letterboxing and decoding.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
            raise DeviceError(f"{options.place}: ONNX Runtime cannot load '{path}': {error}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise DeviceError(f"{options.place}: must have one input, got {len(inputs)} in '{path}'")
        self._input_name: str = inputs[0].name
        self._dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        self._launch = _launch_size(inputs[0].shape, options)
        self._is_open = True

    @property
    def spec(self) -> ModelSpec:
        """The network that is loaded."""
        return self._options.spec

    def run(self, batch: Batch) -> list[NDArray[np.float32]]:
        """Run a batch; a twin of a smaller batch runs several times."""
        check_batch(batch, self.spec)
        if not self._is_open:
            raise DeviceError(f"{self._options.place}: the device is closed")
        launches = []
        try:
            for start in range(0, self.spec.batch, self._launch):
                part = np.ascontiguousarray(batch[start : start + self._launch], dtype=self._dtype)
                launches.append(self._session.run(None, {self._input_name: part}))
        except Exception as error:  # As above.
            raise DeviceError(f"{self._options.place}: ONNX Runtime failed: {error}") from error
        if len(launches) == 1:
            return self._ordered(launches[0])
        return self._ordered([np.concatenate(parts) for parts in zip(*launches, strict=True)])

    def close(self) -> None:
        """Forget the network."""
        self._is_open = False
        self.__dict__.pop("_session", None)

    def _ordered(self, outputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Put outputs into the spec's order by shape: a compiler renames and reorders them."""
        left = list(outputs)
        ordered = []
        for stated in self.spec.outputs:
            for position, output in enumerate(left):
                if output.shape == stated.shape:
                    ordered.append(np.asarray(left.pop(position), dtype=np.float32))
                    break
            else:
                shapes = [output.shape for output in outputs]
                raise DeviceError(f"{self._options.place}: no output has shape {stated.shape}, got {shapes}")
        return ordered


def _launch_size(shape: list[int | str | None], options: DeviceOptions) -> int:
    """Return how many images one call of ONNX Runtime takes."""
    own = shape[0] if shape and isinstance(shape[0], int) else options.spec.batch
    if own < 1 or options.spec.batch % own:
        raise DeviceError(
            f"{options.place}: the ONNX twin's batch {own} must divide the model's {options.spec.batch}"
        )
    return own
