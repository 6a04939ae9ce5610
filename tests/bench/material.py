"""What the benchmarks run on: photographs and a published detector where there are some, the sample set else.

RAYSAIL_TEST_PHOTOGRAPHS names a folder with `images/*.jpg` and `yolov5n_3output_320_1b.onnx`, a YOLOv5n of 80 classes
with raw heads. Without it, the sample set and the sample network stand in: its images are rendered, and its network
has three classes, so figures about heads are not comparable.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bmodel.model_file import load_spec
from bmodel.sidecar import ModelSpec
from models.resize_onnx import resize_onnx
from tests.helpers.paths import ROOT
from tpu_worker.letterbox import InputWriter, Letterbox

BUILD = ROOT / "build" / "bench"
IMAGE_COUNT = 64
Heads = list[NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Images and a network. anchors: what the network's file does not tell."""

    name: str
    images: tuple[Path, ...]
    network: Path
    anchors: str | None

    @property
    def spec(self) -> ModelSpec:
        return load_spec(self.network, anchors=self.anchors)

    def pixels(self) -> list[NDArray[np.uint8]]:
        """Every image, decoded."""
        return [np.asarray(cv2.imread(str(path)), np.uint8) for path in self.images]


def find_material() -> Material:
    folder = os.environ.get("RAYSAIL_TEST_PHOTOGRAPHS")
    if folder:
        base = Path(folder).resolve()
        return Material(
            name="photographs",
            images=tuple(sorted((base / "images").glob("*.jpg"))[:IMAGE_COUNT]),
            network=base / "yolov5n_3output_320_1b.onnx",
            anchors="yolov5",
        )
    return Material(
        name="sample",
        images=tuple(sorted((ROOT / "data" / "sample" / "images").glob("*.jpg"))[:IMAGE_COUNT]),
        network=ROOT / "models" / "sample_yolov7tiny_416.onnx",
        anchors=None,
    )


def images_of_size(material: Material, size_hw: tuple[int, int]) -> list[Path]:
    """JPEGs of exactly this size: those of the material that have it, if they are at least eight; else made of it."""
    pixels = material.pixels()
    own = [path for path, image in zip(material.images, pixels, strict=True) if image.shape[:2] == size_hw]
    if len(own) >= 8:
        return own
    folder = BUILD / material.name / f"{size_hw[0]}x{size_hw[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for path, image in zip(material.images[:16], pixels[:16], strict=True):
        made.append(folder / path.name)
        if not made[-1].is_file():
            cv2.imwrite(str(made[-1]), _cropped(image, size_hw), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return made


def _cropped(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The middle of an image in another aspect ratio, scaled to the size."""
    ratio = min(image.shape[0] / size_hw[0], image.shape[1] / size_hw[1])
    height, width = round(size_hw[0] * ratio), round(size_hw[1] * ratio)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    part = image[top : top + height, left : left + width]
    return np.asarray(cv2.resize(part, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def repeated(material: Material, count: int) -> Path:
    """A folder with `count` links to the images, each under a name of its own."""
    folder = BUILD / material.name / f"repeated-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        source = material.images[number % len(material.images)]
        link = folder / f"{number:06d}{source.suffix}"
        if not link.is_symlink() or link.readlink() != source:
            link.unlink(missing_ok=True)
            link.symlink_to(source)
    return folder


def network_640(material: Material) -> tuple[Path, ModelSpec]:
    """The network for 640 × 640 inputs, and its spec."""
    path = BUILD / material.name / f"{material.network.stem}-640.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    if material.anchors is None:
        resize_onnx(material.network, path, (640, 640))
    elif not path.is_file():
        _enlarge(material.network, path, 640)
    return path, load_spec(path, anchors=material.anchors)


def _enlarge(source: Path, target: Path, side: int) -> None:
    """The same network for another square input: only the shapes of input, outputs and heads name a size."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    factor = side // model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            value = numpy_helper.to_array(attribute.t)
            grown = None
            if value.shape == (5,):  # of a head: 1, anchors, values, rows, columns
                grown = value * np.array([1, 1, 1, factor, factor], value.dtype)
            elif value.shape == () and value.dtype == np.float32:  # rows or columns after enlarging
                grown = np.asarray(value * factor, np.float32)
            if grown is not None:
                attribute.t.CopyFrom(numpy_helper.from_array(grown, attribute.t.name))
    _grow(model.graph.input[0], factor, (2, 3))
    for output in model.graph.output:
        _grow(output, factor, (2, 3))
    del model.graph.value_info[:]
    onnx.save(model, str(target))


def _grow(value: Any, factor: int, axes: tuple[int, ...]) -> None:
    for axis in axes:
        value.type.tensor_type.shape.dim[axis].dim_value *= factor


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What the 640 network answers to each image: raw heads, and where the image lay in the input."""

    spec: ModelSpec
    heads: list[Heads]
    letterboxes: list[Letterbox]

    def only(self, chosen: Sequence[int]) -> Recorded:
        """Some of the images."""
        return Recorded(
            spec=self.spec,
            heads=[self.heads[number] for number in chosen],
            letterboxes=[self.letterboxes[number] for number in chosen],
        )


def recorded_heads(material: Material, count: int = IMAGE_COUNT) -> Recorded:
    """Run the 640 network on the images, or read what it said before."""
    path, spec = network_640(material)
    folder = path.parent / "heads-640"
    folder.mkdir(exist_ok=True)
    session: Any = None
    heads: list[Heads] = []
    letterboxes = []
    for image in material.images[:count]:
        pixels = np.asarray(cv2.imread(str(image)), np.uint8)
        height, width = pixels.shape[:2]
        letterboxes.append(Letterbox.fit((height, width), spec.input_hw))
        kept = folder / f"{image.stem}.npz"
        if not kept.is_file():
            session = session or _session(path)
            target = np.zeros((1, 3, *spec.input_hw), np.float32)
            InputWriter(spec.normalisation, spec.input_hw).write(pixels, letterboxes[-1], target[0], None)
            np.savez(kept, *session.run(None, {spec.input.name: target}))
        with np.load(kept) as file:
            heads.append([np.ascontiguousarray(file[name]) for name in file.files])
    return Recorded(spec=spec, heads=heads, letterboxes=letterboxes)


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
