"""Makes `models/tiny.onnx`, the smallest network with the shape of a detector, and its sidecar.

Eight SiLU convolutions and three raw heads (strides 8, 16, 32; three anchors and three classes each) over an
input of 64 x 96 pixels, not square so that a swap of height and width shows. Batch,
height and width are symbolic. The weights are random but drawn from a fixed seed and scaled layer by layer on
seeded pictures, so that every output varies and some boxes pass a confidence of 0.25. It detects nothing; it
is for tests and for a first run on the chip simulator, which needs milliseconds for it.

    python -m models.training.make_tiny [FOLDER]

also draws pictures to calibrate with, when given a folder for them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.files import file_sha256
from bmodel.sidecar import HeadSpec, ModelSpec, TensorSpec, write_sidecar

Array = NDArray[np.float32]

INPUT_HW: Final = (64, 96)
CLASS_NAMES: Final = ("car", "person", "bike")
STRIDES: Final = (8, 16, 32)
ANCHORS_WH: Final = (
    ((6.0, 6.0), (10.0, 8.0), (8.0, 14.0)),
    ((16.0, 12.0), (14.0, 24.0), (28.0, 18.0)),
    ((36.0, 30.0), (30.0, 52.0), (72.0, 48.0)),
)
# (name, input, channels in, channels out, stride)
LAYERS: Final = (
    ("stem", "images", 3, 8, 2),
    ("down4", "stem", 8, 16, 2),
    ("down8", "down4", 16, 16, 2),
    ("body8", "down8", 16, 16, 1),
    ("down16", "body8", 16, 16, 2),
    ("body16", "down16", 16, 16, 1),
    ("down32", "body16", 16, 24, 2),
    ("body32", "down32", 24, 24, 1),
)
HEAD_INPUTS: Final = (("body8", 16), ("body16", 16), ("body32", 24))
LOGIT_SPREAD: Final = 1.5  # standard deviation of the raw outputs
OBJECTNESS_BIAS: Final = -2.0  # so that few boxes pass
OPSET: Final = 13
IR_VERSION: Final = 8  # the newest that the vendor's compiler, with its older onnx, reads


@dataclass(slots=True)
class Graph:
    """An ONNX graph that grows: nodes, weights, and the outputs so far."""

    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node; returns its output's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes))
        return output


def draw_pictures(count: int, *, seed: int) -> list[NDArray[np.uint8]]:
    """Draw seeded BGR pictures, (H, W, 3) of the network's size: gradients, rectangles and discs, lightly blurred."""
    random = np.random.default_rng(seed)
    height, width = INPUT_HW
    pictures = []
    for _ in range(count):
        ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
        picture = 255 * (ramp * random.random(3) + (1 - ramp) * random.random(3)) * np.ones((1, width, 1))
        canvas = np.ascontiguousarray(picture.astype(np.uint8))
        for _ in range(int(random.integers(3, 10))):
            colour = tuple(int(value) for value in random.integers(0, 256, 3))
            x, y = int(random.integers(0, width)), int(random.integers(0, height))
            if random.random() < 0.5:
                size = random.integers(4, 40, 2)
                cv2.rectangle(canvas, (x, y), (x + int(size[0]), y + int(size[1])), colour, -1)
            else:
                cv2.circle(canvas, (x, y), int(random.integers(2, 20)), colour, -1)
        pictures.append(np.asarray(cv2.GaussianBlur(canvas, (3, 3), 0), np.uint8))
    return pictures


def _network_input(pictures: list[NDArray[np.uint8]]) -> Array:
    """(N, H, W, 3) BGR bytes → (N, 3, H, W) RGB in 0..1."""
    stacked = np.stack(pictures)[..., ::-1].transpose(0, 3, 1, 2)
    scaled: Array = np.ascontiguousarray(stacked, np.float32) / np.float32(255)
    return scaled


def _add_convolution(
    graph: Graph, layer: tuple[str, str, int, int, int], random: np.random.Generator
) -> None:
    name, source, channels_in, channels_out, stride = layer
    graph.weights[f"{name}.weight"] = random.standard_normal((channels_out, channels_in, 3, 3)).astype(
        np.float32
    )
    graph.weights[f"{name}.bias"] = np.zeros(channels_out, np.float32)
    graph.add(
        "Conv",
        [source, f"{name}.weight", f"{name}.bias"],
        f"{name}_conv",
        kernel_shape=[3, 3],
        strides=[stride, stride],
        pads=[1, 1, 1, 1],
    )
    graph.add("Sigmoid", [f"{name}_conv"], f"{name}_gate")
    graph.add("Mul", [f"{name}_conv", f"{name}_gate"], name)


def _add_head(graph: Graph, index: int, random: np.random.Generator) -> None:
    """1 x 1 convolution, then (N, A*(5+C), H, W) → (N, A, H, W, 5+C) for whatever N, H and W are."""
    source, channels_in = HEAD_INPUTS[index]
    fields = 5 + len(CLASS_NAMES)
    name = f"head{STRIDES[index]}"
    shape = (len(ANCHORS_WH[index]) * fields, channels_in, 1, 1)
    graph.weights[f"{name}.weight"] = random.standard_normal(shape).astype(np.float32)
    graph.weights[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    graph.add("Conv", [source, f"{name}.weight", f"{name}.bias"], f"{name}_conv", kernel_shape=[1, 1])
    graph.add("Shape", [f"{name}_conv"], f"{name}_shape")
    graph.add("Gather", [f"{name}_shape", "axis_batch"], f"{name}_batch", axis=0)
    graph.add("Gather", [f"{name}_shape", "axes_hw"], f"{name}_hw", axis=0)
    graph.add("Concat", [f"{name}_batch", "anchors_fields", f"{name}_hw"], f"{name}_split", axis=0)
    graph.add("Reshape", [f"{name}_conv", f"{name}_split"], f"{name}_apart")
    graph.outputs.append(graph.add("Transpose", [f"{name}_apart"], name, perm=[0, 1, 3, 4, 2]))


def _model_bytes(graph: Graph, extra_output: str | None = None) -> bytes:
    from onnx import TensorProto, checker, helper, numpy_helper

    names = graph.outputs if extra_output is None else [extra_output]
    shapes: dict[str, list[str | int]] = {
        name: ["batch", 3, f"h{name}", f"w{name}", 5 + len(CLASS_NAMES)] for name in graph.outputs
    }
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes.get(name, ["batch", "c", "h", "w"]))
        for name in names
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    weights = [numpy_helper.from_array(value, name) for name, value in graph.weights.items()]
    built = helper.make_graph(graph.nodes, "tiny", [images], outputs, weights)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="raysail")
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _scale_weights(graph: Graph, images: Array) -> None:
    """Scale every convolution so that its output has zero mean and a fixed spread per channel on `images`."""
    import onnxruntime

    spread = {layer[0]: 1.0 for layer in LAYERS} | {f"head{stride}": LOGIT_SPREAD for stride in STRIDES}
    for name, deviation in spread.items():
        session = onnxruntime.InferenceSession(
            _model_bytes(graph, f"{name}_conv"), providers=["CPUExecutionProvider"]
        )
        (output,) = session.run(None, {"images": images})
        factor = deviation / np.maximum(output.std(axis=(0, 2, 3)), 1e-6)
        graph.weights[f"{name}.weight"] *= factor[:, None, None, None]
        graph.weights[f"{name}.bias"] = (-output.mean(axis=(0, 2, 3)) * factor).astype(np.float32)
        if name.startswith("head"):
            graph.weights[f"{name}.bias"][4 :: 5 + len(CLASS_NAMES)] += OBJECTNESS_BIAS


def build_tiny(*, seed: int = 1684) -> bytes:
    """Build the network; returns the bytes of an ONNX file. The same seed gives the same bytes."""
    random = np.random.default_rng(seed)
    graph = Graph()
    for layer in LAYERS:
        _add_convolution(graph, layer, random)
    graph.weights["axis_batch"] = np.array([0], np.int64)
    graph.weights["axes_hw"] = np.array([2, 3], np.int64)
    graph.weights["anchors_fields"] = np.array([3, 5 + len(CLASS_NAMES)], np.int64)
    for index in range(len(STRIDES)):
        _add_head(graph, index, random)
    _scale_weights(graph, _network_input(draw_pictures(16, seed=seed)))
    return _model_bytes(graph)


def tiny_spec(path: Path) -> ModelSpec:
    """Describe the network at `path`, for batch 1."""
    height, width = INPUT_HW
    outputs = tuple(
        TensorSpec(name=f"head{s}", shape=(1, 3, height // s, width // s, 5 + len(CLASS_NAMES)))
        for s in STRIDES
    )
    heads = tuple(
        HeadSpec(output=index, stride=stride, anchors_wh=ANCHORS_WH[index])
        for index, stride in enumerate(STRIDES)
    )
    return ModelSpec(
        name="tiny",
        file_sha256=file_sha256(path),
        input=TensorSpec(name="images", shape=(1, 3, height, width)),
        outputs=outputs,
        layout="heads",
        heads=heads,
        class_names=CLASS_NAMES,
        licence="Apache-2.0",
    )


def main(arguments: list[str]) -> None:
    """Write the network and its sidecar beside this file, and pictures into the given folder."""
    path = Path(__file__).parents[1] / "tiny.onnx"
    path.write_bytes(build_tiny())
    write_sidecar(tiny_spec(path), path)
    for folder in arguments:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(draw_pictures(32, seed=7)):
            cv2.imwrite(str(Path(folder) / f"{number:03}.png"), picture)


if __name__ == "__main__":
    main(sys.argv[1:])
