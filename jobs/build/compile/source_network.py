"""Which input shapes a network is to be compiled for: what is asked for, as far as the ONNX file allows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bmodel.anchors import Anchors
from bmodel.errors import ConfigurationError, ModelFileError, ToolError
from bmodel.files import file_sha256
from bmodel.infer_spec import Stated, complete, default_normalisation, infer_from_onnx
from bmodel.layouts import LayoutName
from bmodel.model_file import load_spec
from bmodel.onnx_file import OnnxFile, read_onnx
from bmodel.sidecar import ModelSpec, Normalisation, sidecar_path
from bmodel.validation import first_fault
from jobs.inputs.images import list_images
from tpu_worker.image_header import ImageError
from tpu_worker.letterbox import Letterbox
from tpu_worker.read_image import ReadOptions, read_image

Shape: TypeAlias = tuple[int, int, int, int]


def parse_batches(text: str | None) -> tuple[int, ...]:
    """`1,4` → (1, 4); nothing → ()."""
    return tuple(dict.fromkeys(_number(part, "--batch") for part in text.split(","))) if text else ()


def parse_sizes(text: str | None) -> tuple[tuple[int, int], ...]:
    """`640,384x640` → ((640, 640), (384, 640)), heights first; nothing → ()."""
    sizes = []
    for part in text.split(",") if text else ():
        sides = [_number(side, "--size") for side in re.split("[xX]", part)]
        if len(sides) > 2:
            raise ConfigurationError(f"--size: must be SIDE or HEIGHTxWIDTH, got '{part}'")
        sizes.append((sides[0], sides[-1]))
    return tuple(dict.fromkeys(sizes))


def input_shapes(
    onnx: OnnxFile, sidecar: ModelSpec | None, batches: tuple[int, ...], sizes: tuple[tuple[int, int], ...]
) -> list[Shape]:
    """Return the shapes to compile for, size by size.

    What is not asked for is the file's own, or its sidecar's where the file leaves it open. Raises
    ConfigurationError when the file has a fixed shape and another is asked for, or leaves a size open that nobody
    names.
    """
    if len(onnx.inputs) != 1 or len(onnx.inputs[0].shape) != 4 or onnx.inputs[0].shape[1] not in {3, None}:
        found = [tensor.shape for tensor in onnx.inputs]
        raise ConfigurationError(f"a detector has one input (N, 3, H, W), got {found} in '{onnx.path}'")
    own_batch, _, *own_hw = onnx.inputs[0].shape
    known = sidecar.input.shape if sidecar else None
    if not batches:
        batches = (own_batch or (known[0] if known else 1),)
    if not sizes:
        sizes = (_own_size(onnx, own_hw, known),)
    shapes: list[Shape] = [(batch, 3, height, width) for (height, width), batch in product(sizes, batches)]
    for shape in shapes:
        _check(shape, (own_batch, own_hw[0], own_hw[1]), onnx)
    return shapes


def _own_size(onnx: OnnxFile, own_hw: list[int | None], known: tuple[int, ...] | None) -> tuple[int, int]:
    height = own_hw[0] or (known[2] if known else None)
    width = own_hw[1] or (known[3] if known else None)
    if height is None or width is None:
        raise ConfigurationError(f"--size: '{onnx.path}' leaves its input size open, so one must be named")
    return height, width


def shape_label(shape: Shape, stem: str) -> str:
    """Return what tells a shape in a file's name: the size, unless `stem` has it already, and the batch."""
    batch, _, height, width = shape
    size = f"{height}" if height == width else f"{height}x{width}"
    has_size = re.search(rf"(?<!\d){size}(?!\d)", stem) is not None
    return f"{batch}b" if has_size else f"{size}_{batch}b"


def _check(shape: Shape, own: tuple[int | None, int | None, int | None], onnx: OnnxFile) -> None:
    wanted = (shape[0], shape[2], shape[3])
    for name, option, has, asked in zip(
        ("batch", "height", "width"), ("--batch", "--size", "--size"), own, wanted, strict=True
    ):
        if has is not None and has != asked:
            raise ConfigurationError(
                f"{option}: '{onnx.path}' has a fixed {name} of {has}, it cannot be compiled for {asked}; export it "
                f"with an open {name}, or once for each shape"
            )


def _number(text: str, option: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigurationError(f"{option}: must be positive whole numbers, got '{text}'")
    return int(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceNetwork:
    """An ONNX file, and what its shapes do not tell.

    sidecar: what lies beside the file. stated: the options', or the sidecar's, or the file's metadata.
    """

    onnx: OnnxFile
    sha256: str
    sidecar: ModelSpec | None
    stated: Stated

    @property
    def path(self) -> Path:
        """The file."""
        return self.onnx.path

    @property
    def normalisation(self) -> Normalisation:
        """How pixels become its input."""
        return self.sidecar.normalisation if self.sidecar else default_normalisation(self.stated.layout)

    @property
    def licence(self) -> str | None:
        """Its weights' licence."""
        return self.sidecar.licence if self.sidecar else None

    def check(self, shape: Shape) -> ModelSpec:
        """Run it once on zeros and describe what comes out as a detector's.

        Raises ModelFileError when ONNX Runtime cannot load or run it or its outputs are none of a detector's,
        ConfigurationError when anchors or class names do not fit.
        """
        outputs = _run(self.path, shape)
        if len(outputs) != len(self.onnx.outputs):
            raise ModelFileError(
                f"'{self.path}' has {len(self.onnx.outputs)} outputs and gave {len(outputs)}"
            )
        closed = replace(
            self.onnx,
            inputs=(replace(self.onnx.inputs[0], shape=shape),),
            outputs=tuple(
                replace(tensor, shape=output)
                for tensor, output in zip(self.onnx.outputs, outputs, strict=True)
            ),
        )
        try:
            return infer_from_onnx(closed, self.sha256, self.stated, batch=shape[0])
        except ValidationError as error:
            raise ModelFileError(f"{first_fault(error)} in '{self.path}'") from error


def read_network(
    path: Path,
    *,
    anchors: str | Anchors | None = None,
    class_names: tuple[str, ...] | None = None,
    layout: LayoutName | None = None,
) -> SourceNetwork:
    """Read an ONNX file and its sidecar, if it has one; what is given here is preferred to the sidecar's."""
    onnx = read_onnx(path)
    sidecar = load_spec(path) if sidecar_path(path).is_file() else None
    if anchors is None and sidecar is not None and sidecar.heads:
        finest_first = sorted(sidecar.heads, key=lambda head: head.stride)
        anchors = tuple(head.anchors_wh for head in finest_first)
    if sidecar is not None:
        class_names = class_names or sidecar.class_names
        layout = layout or sidecar.layout
    stated = complete(Stated(anchors=anchors, class_names=class_names, layout=layout), onnx)
    return SourceNetwork(onnx=onnx, sha256=file_sha256(path), sidecar=sidecar, stated=stated)


def _run(path: Path, shape: Shape) -> list[tuple[int, ...]]:
    """Return the shapes of all outputs."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        (image,) = session.get_inputs()
        kind = np.float16 if image.type == "tensor(float16)" else np.float32
        outputs = session.run(None, {image.name: np.zeros(shape, kind)})
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own.
        reason = str(error).splitlines()[0]
        raise ModelFileError(
            f"ONNX Runtime cannot run '{path}' with an input of {shape}: {reason}"
        ) from error
    return [tuple(output.shape) for output in outputs]


def choose_images(source: Path, count: int, *, option: str) -> list[Path]:
    """Choose `count` images, or all where there are fewer, spread evenly over a folder or list.

    Raises ConfigurationError naming `option` when there are none.
    """
    if count < 1:
        raise ConfigurationError(f"{option}: at least 1 image is needed, got {count}")
    if not source.exists():
        raise ConfigurationError(f"{option}: there is no '{source}'")
    try:
        paths = [Path(str(path)) for path in list_images(str(source)).paths]
    except ConfigurationError as error:
        raise ConfigurationError(f"{option}: {str(error).removeprefix('--images: ')}") from error
    taken = min(count, len(paths))
    return [paths[position * len(paths) // taken] for position in range(taken)]


def write_calibration_images(
    paths: Sequence[Path], folder: Path, *, input_hw: tuple[int, int], normalisation: Normalisation
) -> None:
    """Write each image letterboxed as `folder`/NNNN.png; raises ConfigurationError naming one that cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        try:
            bgr = read_image(str(path), ReadOptions()).bgr
        except ImageError as error:
            raise ConfigurationError(f"--calibration: '{path}' cannot be used: {error}") from error
        target = folder / f"{number:04}.png"
        if not cv2.imwrite(str(target), letterboxed(bgr, input_hw, normalisation)):
            raise ToolError(f"cannot write '{target}': the disk may be full")


def letterboxed(
    bgr: NDArray[np.uint8], input_hw: tuple[int, int], normalisation: Normalisation
) -> NDArray[np.uint8]:
    """Fit a BGR image (H, W, 3) into the network's input as the detector does, before normalisation."""
    place = Letterbox.fit((bgr.shape[0], bgr.shape[1]), input_hw, normalisation.placement)
    height, width = place.resized_hw
    canvas = np.full((*input_hw, 3), normalisation.padding, np.uint8)
    resized = bgr
    if bgr.shape[:2] != place.resized_hw:
        resized = np.asarray(cv2.resize(bgr, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    canvas[place.top : place.top + height, place.left : place.left + width] = resized
    return canvas
