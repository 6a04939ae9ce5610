"""Puts a published checkpoint's tensors into a network of the family: all of them, or none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import ConfigurationError, ModelFileError
from models.checkpoint.checkpoint_weights import Weights
from models.yolov7.family import MODEL_NAMES, ModelName, topology
from models.yolov7.network import Network, build_network
from models.yolov7.topology import AnchorLevels, Topology

_NUMBERED: Final = re.compile(r"model\.(\d+)\.(.+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedNetwork:
    """A network with a checkpoint's weights.

    `training_only` are the tensors of auxiliary branches, which inference does not use; `implicit` tells whether
    the checkpoint is of the training form, its implicit values apart.
    """

    name: ModelName
    network: Network
    class_count: int
    loaded: int
    training_only: tuple[str, ...]
    implicit: bool


def identify(weights: Weights) -> ModelName:
    """Find out which network of the family a checkpoint belongs to, by the number of its last layer.

    Raises ModelFileError if it is none of them.
    """
    last = max(
        (int(match[1]) for name in weights.tensors if (match := _NUMBERED.fullmatch(name))), default=None
    )
    if last is None:
        raise ModelFileError("the checkpoint's tensors are not named 'model.<number>.…'")
    for name in MODEL_NAMES:
        plan = topology(name)
        if last in (plan.detect_index, plan.training_detect_index):
            return name
    known = ", ".join(f"{name} {topology(name).detect_index}" for name in MODEL_NAMES)
    raise ModelFileError(f"the checkpoint's last layer has number {last}; the family's have {known}")


def load_network(weights: Weights, name: ModelName) -> ImportedNetwork:
    """Build the network and fill it.

    Raises ModelFileError listing the tensors that are missing, left over, of another shape or not finite.
    """
    plan = topology(name)
    tensors, training_only = _deploy_names(weights.tensors, plan)
    anchors = _anchors(tensors, plan)
    class_count = _class_count(tensors, plan, len(anchors[0]))
    implicit = f"model.{plan.detect_index}.ia.0.implicit" in tensors
    network = build_network(name, class_count, anchors=anchors, implicit=implicit)
    _fill(network, tensors)
    _set_epsilons(network, weights.batch_norm_eps, plan)
    return ImportedNetwork(
        name=name,
        network=network.eval(),
        class_count=class_count,
        loaded=len(tensors),
        training_only=training_only,
        implicit=implicit,
    )


def class_names_for(weights: Weights, class_count: int, given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Use the given names, or else the checkpoint's own; raises ConfigurationError unless there is one per class."""
    names = given or weights.class_names
    if names is None:
        raise ConfigurationError(
            f"the checkpoint does not name its {class_count} classes: give --class-names"
        )
    if len(names) != class_count:
        raise ConfigurationError(f"the checkpoint has {class_count} classes, got {len(names)} class names")
    return names


def _renumbered(name: str, plan: Topology) -> str | None:
    """A tensor's name in the deploy form; None for a tensor of an auxiliary branch."""
    match = _NUMBERED.fullmatch(name)
    if match is None or plan.training_detect_index == plan.detect_index:
        return name
    number, rest = int(match[1]), match[2]
    if number == plan.training_detect_index:
        return None if rest.startswith("m2.") else f"model.{plan.detect_index}.{rest}"
    return None if number >= plan.detect_index else name


def _deploy_names(
    tensors: dict[str, NDArray[Any]], plan: Topology
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    in_training = any(name.startswith(f"model.{plan.training_detect_index}.") for name in tensors)
    if not in_training:
        return dict(tensors), ()
    renamed = {name: _renumbered(name, plan) for name in tensors}
    kept = {new: tensors[old] for old, new in renamed.items() if new is not None}
    return kept, tuple(old for old, new in renamed.items() if new is None)


def _anchors(tensors: dict[str, NDArray[Any]], plan: Topology) -> AnchorLevels:
    """Anchors in pixels; where a checkpoint has only those in strides, those in pixels are added to `tensors`."""
    prefix = f"model.{plan.detect_index}"
    anchors = tensors.get(f"{prefix}.anchors")
    levels = len(plan.strides)
    if anchors is None or anchors.ndim != 3 or anchors.shape[0] != levels or anchors.shape[2] != 2:
        raise ModelFileError(
            f"the detection layer of {plan.name} needs '{prefix}.anchors' of shape ({levels}, anchors, 2)"
        )
    pixels = anchors * np.asarray(plan.strides, dtype=np.float32)[:, None, None]
    grid = tensors.setdefault(f"{prefix}.anchor_grid", pixels[:, None, :, None, None, :])
    if grid.size != pixels.size or not np.allclose(grid.ravel(), pixels.ravel(), rtol=1e-2):
        raise ModelFileError(
            f"'{prefix}.anchor_grid' must be '{prefix}.anchors' times the strides {plan.strides}"
        )
    return tuple(
        tuple((float(width), float(height)) for width, height in level)
        for level in grid.reshape(pixels.shape)
    )


def _class_count(tensors: dict[str, NDArray[Any]], plan: Topology, anchors_per_head: int) -> int:
    name = f"model.{plan.detect_index}.m.0.weight"
    weight = tensors.get(name)
    if weight is None or weight.ndim != 4:
        raise ModelFileError(f"the detection layer of {plan.name} needs '{name}' of four dimensions")
    outputs = weight.shape[0]
    if outputs % anchors_per_head or outputs // anchors_per_head < 6:
        raise ModelFileError(
            f"'{name}' has {outputs} outputs, which are not {anchors_per_head} times 5 + classes"
        )
    return int(outputs // anchors_per_head - 5)


def _fill(network: Network, tensors: dict[str, NDArray[Any]]) -> None:
    import torch

    wanted = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    shared = shapes.keys() & tensors.keys()
    problems = {
        "missing": sorted(shapes.keys() - tensors.keys()),
        "left over": sorted(tensors.keys() - shapes.keys()),
        "of another shape": [
            f"{name} {tensors[name].shape} for {shapes[name]}"
            for name in sorted(shared)
            if tensors[name].shape != shapes[name]
        ],
        "not finite": [name for name in sorted(shared) if not np.isfinite(tensors[name]).all()],
    }
    if any(problems.values()):
        listed = "; ".join(
            f"{len(names)} {what}: {_some(names)}" for what, names in problems.items() if names
        )
        raise ModelFileError(f"the checkpoint does not fit {network.topology.name}: {listed}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(torch.from_numpy(np.array(tensors[name])))


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(name if name.isprintable() else ascii(name) for name in names[:most]) + (
        ", …" if len(names) > most else ""
    )


def _set_epsilons(network: Network, epsilons: dict[str, float], plan: Topology) -> None:
    """Take each batch norm's constant from the checkpoint, where it is recorded: a plain dict of tensors has none."""
    from torch import nn

    renamed = {_renumbered(f"{name}.eps", plan): value for name, value in epsilons.items()}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = renamed.get(f"{name}.eps", module.eps)
