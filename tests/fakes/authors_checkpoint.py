"""Writes a checkpoint the way the YOLOv7 authors' program does: whole modules, pickled under its class names.

Run as a program of its own, because it registers stand-ins under `models.yolo` and `models.common`, names that
must not exist in the process that reads the file.

    python authors_checkpoint.py OUTPUT.pt yolov7-tiny [--training] [--half] [--ema]

Beside OUTPUT.pt it writes OUTPUT.npz: an image and the raw heads of the saved weights for it.
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.yolov7 import layers
from models.yolov7.detect_layer import DetectLayer
from models.yolov7.network import Network, build_network

INPUT_HW = (128, 128)
CLASS_NAMES = ["car", "person", "bike"]


def stand_in(module: str, name: str) -> type[nn.Module]:
    """A class that pickles under the authors' name."""
    holder = sys.modules.setdefault(module, types.ModuleType(module))
    if not hasattr(holder, name):
        setattr(holder, name, type(name, (nn.Module,), {"__module__": module}))
    return getattr(holder, name)


def converted(ours: nn.Module, *, implicit: bool = False) -> nn.Module:
    """The same tensors in stand-ins, all the way down; PyTorch's own classes stay."""
    names = {
        layers.ConvUnit: ("models.common", "Conv"),
        layers.RepConv: ("models.common", "RepConv"),
        layers.Downsample: ("models.common", "DownC"),
        layers.PyramidPool: ("models.common", "SPPCSPC"),
        layers.SpaceToDepth: ("models.common", "ReOrg"),
        layers.Concat: ("models.common", "Concat"),
        layers.Add: ("models.common", "Shortcut"),
        layers.Implicit: ("models.common", "ImplicitA"),
        DetectLayer: ("models.yolo", "IDetect" if implicit else "Detect"),
    }
    if type(ours) not in names:
        for name, child in ours.named_children():
            setattr(ours, name, converted(child))
        return ours
    theirs = stand_in(*names[type(ours)])()
    for name, parameter in ours.named_parameters(recurse=False):
        theirs.register_parameter(name, parameter)
    for name, buffer in ours.named_buffers(recurse=False):
        theirs.register_buffer(name, buffer)
    for name, child in ours.named_children():
        theirs.add_module(name, converted(child))
    return theirs


def authors_model(network: Network, *, implicit: bool) -> nn.Module:
    """The whole module, with the plain attributes that the authors' program leaves on it."""
    model = stand_in("models.yolo", "Model")()
    numbered = []
    for number, block in enumerate(network.model):
        layer = converted(block, implicit=implicit)
        layer.i, layer.f, layer.type = number, -1, f"{type(layer).__module__}.{type(layer).__name__}"
        layer.np = sum(parameter.numel() for parameter in layer.parameters())
        numbered.append(layer)
    detect = numbered[-1]
    detect.nc, detect.no, detect.nl, detect.na = 3, 8, len(network.detect.strides), 3
    detect.grid = [torch.zeros(1)] * detect.nl
    detect.stride = torch.tensor(network.detect.strides, dtype=torch.float32)
    model.model = nn.Sequential(*numbered)
    model.yaml = {"nc": 3, "depth_multiple": 1.0, "anchors": [[10, 13], [16, 30]], "ch": 3}
    model.save = [1, 2, 3]
    model.names = CLASS_NAMES
    model.traced = False
    model.stride = detect.stride
    model.hyp = {"lr0": 0.01, "loss_ota": 1}
    model.gr = 1.0
    model.class_weights = torch.ones(3)
    return model


def randomise(network: Network) -> None:
    """Statistics as training leaves them: nothing is 0 or 1."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(7)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)


def main() -> None:
    """Write the checkpoint."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("model")
    for flag in ("--training", "--half", "--ema"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()

    torch.manual_seed(1)
    network = build_network(options.model, 3, implicit=options.training).eval()
    with torch.no_grad():
        randomise(network)
        if options.half:
            network.half().float()
        image = torch.rand(1, 3, *INPUT_HW)
        heads = network(image)
    np.savez(options.output.with_suffix(".npz"), image.numpy(), *(head.numpy() for head in heads))

    model = authors_model(network, implicit=options.training)
    model = model.half() if options.half else model
    checkpoint = {
        "epoch": -1,
        "best_fitness": np.array([0.513]),
        "training_results": None,
        "model": None if options.ema else model,
        "ema": model if options.ema else None,
        "updates": 12 if options.ema else None,
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(4)}}, "param_groups": [{"lr": 0.1}]},
        "wandb_id": None,
    }
    torch.save(checkpoint, options.output)


if __name__ == "__main__":
    main()
