"""Turns a run of training into the sample network's files, and measures them.

python -m models.training.export_sample --work FOLDER     averaged weights → fused → ONNX and sidecar; COCO figures on the
                                                 sample set and on the held-out scenes
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bmodel.sidecar import ModelSpec, write_sidecar
from data.scenes import CLASS_NAMES, HELD_OUT, SAMPLE, TRAINING
from data.scenes.sample_set import IMAGE_COUNT
from models.training.scene_store import SIDE_PX, SceneStore
from models.training.score_scenes import Figures, score
from models.training.train_sample import HELD_OUT_SCENES, sample_network
from models.yolov7.export_onnx import Provenance, describe_onnx, export_onnx
from models.yolov7.network import Network

OUTPUT = Path(__file__).parents[1] / "sample_yolov7tiny_416.onnx"
Anchors = tuple[tuple[float, float], ...]
LARGEST_BYTES = 6_000_000


def averaged_network(work: Path) -> Network:
    """Load the network with a run's averaged weights, for inference."""
    state = torch.load(work / "state.pt", weights_only=True)
    network = sample_network(SceneStore(work / "scenes", TRAINING, 1000))
    network.load_state_dict(state["average"])
    return network.eval()


def write_network(network: Network, path: Path) -> ModelSpec:
    """Write the ONNX file, its batch left open, and the sidecar; raises ValueError if the file is too large."""
    input_hw = (SIDE_PX, SIDE_PX)
    export_onnx(network, path, input_hw, None)
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise ValueError(f"the file must be at most {LARGEST_BYTES} bytes, got {size} for '{path}'")
    provenance = Provenance(name="sample_yolov7tiny_416", class_names=CLASS_NAMES, licence="Apache-2.0")
    described = describe_onnx(network, path, input_hw, None, provenance)
    heads = tuple(
        head.model_copy(update={"anchors_wh": _tenths(head.anchors_wh)}) for head in described.heads
    )
    spec = described.model_copy(update={"heads": heads})
    write_sidecar(spec, path)
    return spec


def _tenths(anchors_wh: Anchors) -> Anchors:
    """The anchors as they were chosen, to a tenth of a pixel, without float32's tail of digits."""
    return tuple((round(width, 1), round(height, 1)) for width, height in anchors_wh)


def onnx_network(path: Path) -> Callable[[Tensor], list[Tensor]]:
    """Turn the file into a function, run by ONNX Runtime: (N, 3, H, W) images → raw heads."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(head) for head in session.run(None, {name: images.numpy()})]

    return run


def measure(path: Path, spec: ModelSpec, store: SceneStore) -> Figures:
    """Score the ONNX file on all scenes of a store."""
    anchors = torch.tensor([head.anchors_wh for head in spec.heads])
    strides = tuple(head.stride for head in spec.heads)
    return score(onnx_network(path), anchors, strides, store, len(store))


def largest_difference(network: Network, path: Path) -> float:
    """How far the file's heads are from the network's own, over a batch of noise."""
    images = torch.from_numpy(np.random.default_rng(1).random((2, 3, SIDE_PX, SIDE_PX), np.float32))
    with torch.inference_mode():
        pairs = zip(network(images), onnx_network(path)(images), strict=True)
        return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)


def main(arguments: list[str] | None = None) -> None:
    """Export and measure the sample network."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the training's folder")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    network = averaged_network(options.work)
    spec = write_network(network, options.output)
    stores = {
        f"sample set ({IMAGE_COUNT})": SceneStore(options.work / "sample", SAMPLE, IMAGE_COUNT),
        f"held-out scenes ({HELD_OUT_SCENES})": SceneStore(options.work / "held", HELD_OUT, HELD_OUT_SCENES),
    }
    difference = largest_difference(network, options.output)
    lines = [
        f"{options.output}: {options.output.stat().st_size} bytes, PyTorch - ONNX at most {difference:.1e}"
    ]
    for name, store in stores.items():
        store.prepare(1)
        figures = measure(options.output, spec, store)
        classes = ", ".join(f"{c} {v:.3f}" for c, v in zip(CLASS_NAMES, figures.ap50_by_class, strict=True))
        lines.append(
            f"{name}: AP50 {figures.ap50:.3f} ({classes}), AP {figures.ap:.3f}, AP small {figures.ap_small:.3f}"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
