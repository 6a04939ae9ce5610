"""Writes an ONNX graph node by node.

The networks here are lists of a dozen kinds of layers, so the graph is written from the topology itself: it is
static, has the same bytes every time and with any version of PyTorch, and needs no run of the network.
Operators of opset 13 only, which the vendor's compiler reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

OPSET: Final = 13
IR_VERSION: Final = 8

Array = NDArray[np.float32] | NDArray[np.int64]


@dataclass(kw_only=True, slots=True)
class GraphWriter:
    """Adds to an onnx.ModelProto in place; every method adds one operation and returns the name of its output.

    `name` is the output's name and must be new. Weights are written straight into the model: the large networks
    would otherwise be in memory several times.
    """

    model: Any
    constants: set[str] = field(default_factory=set)

    @classmethod
    def new(cls, name: str) -> GraphWriter:
        """Begin an empty model."""
        import onnx

        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="raysail")
        model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
        model.graph.name = name
        return cls(model=model)

    def declare_input(self, name: str, shape: Sequence[int | str]) -> None:
        """Declare a float32 input; a dimension given as text is open."""
        self.model.graph.input.append(_float_value(name, shape))

    def declare_output(self, name: str, shape: Sequence[int | str]) -> None:
        """Declare a float32 output; a dimension given as text is open."""
        self.model.graph.output.append(_float_value(name, shape))

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add any operator with one output."""
        import onnx

        node = onnx.helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        self.model.graph.node.append(node)
        return name

    def constant(self, name: str, value: Array) -> str:
        """Add a constant, once however often it is used."""
        import onnx

        if name not in self.constants:
            self.constants.add(name)
            tensor = self.model.graph.initializer.add()
            tensor.name = name
            tensor.dims.extend(value.shape)
            tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            tensor.raw_data = value.tobytes()
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Add a list of whole numbers."""
        return self.constant(name, np.asarray(values, dtype=np.int64))

    def convolution(
        self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32], stride: int, name: str
    ) -> str:
        """Convolve with a square kernel, weight (out, in, k, k), keeping height and width apart from the stride."""
        kernel = weight.shape[2]
        inputs = [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node(
            "Conv",
            inputs,
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
        )

    def max_pool(self, x: str, kernel: int, stride: int, padding: int, name: str) -> str:
        """Pool the largest value of a square window."""
        return self.node(
            "MaxPool",
            [x],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[padding] * 4,
        )

    def activation(self, x: str, kind: str, name: str) -> str:
        """Apply `silu`, as a product with a sigmoid, or `leaky_relu` with slope 0.1."""
        if kind == "leaky_relu":
            return self.node("LeakyRelu", [x], name, alpha=0.1)
        return self.node("Mul", [x, self.node("Sigmoid", [x], f"{name}.sigmoid")], name)

    def concat(self, sources: Sequence[str], axis: int, name: str) -> str:
        """Join along an axis."""
        return self.node("Concat", sources, name, axis=axis)

    def double_size(self, x: str, name: str) -> str:
        """Double height and width by repeating pixels."""
        scales = self.constant("double_size.scales", np.asarray([1, 1, 2, 2], dtype=np.float32))
        return self.node(
            "Resize",
            [x, "", scales],
            name,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )

    def every_second_pixel(self, x: str, row: int, column: int, name: str) -> str:
        """Take every second row and column, from `row` and `column` on."""
        largest = np.iinfo(np.int64).max
        inputs = [
            x,
            self.integers(f"{name}.starts", (row, column)),
            self.integers("every_second.ends", (largest, largest)),
            self.integers("every_second.axes", (2, 3)),
            self.integers("every_second.steps", (2, 2)),
        ]
        return self.node("Slice", inputs, name)

    def reshape(self, x: str, shape: Sequence[int], name: str) -> str:
        """Reshape; one dimension may be -1."""
        return self.node("Reshape", [x, self.integers(f"{name}.shape", shape)], name)

    def last_axis(self, x: str, start: int, end: int, name: str) -> str:
        """Take a range of the last axis of a 5-D tensor."""
        inputs = [
            x,
            self.integers(f"{name}.starts", (start,)),
            self.integers(f"{name}.ends", (end,)),
            self.integers("last_axis.axes", (4,)),
        ]
        return self.node("Slice", inputs, name)


def _float_value(name: str, shape: Sequence[int | str]) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))
