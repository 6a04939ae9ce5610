"""A trained network's form for inference: batch norm, RepConv and implicit values folded into convolutions."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from models.yolov7.detect_layer import DetectLayer
from models.yolov7.layers import ConvUnit, RepConv
from models.yolov7.network import Network


def fuse(network: Network) -> Network:
    """Copy the network in evaluation mode, with one convolution where there were several linear layers."""
    fused = copy.deepcopy(network).eval()
    with torch.no_grad():
        for module in list(fused.modules()):
            if isinstance(module, ConvUnit) and isinstance(module.bn, nn.BatchNorm2d):
                module.conv = fold_batch_norm(module.conv, module.bn)
                module.bn = nn.Identity()
        for number, module in enumerate(fused.model):
            if isinstance(module, RepConv):
                fused.model[number] = merge_branches(module)
        fold_implicit(fused.detect)
    return fused


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Fold a batch norm into the convolution without bias before it: one convolution with bias."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    fused = nn.utils.skip_init(
        nn.Conv2d,
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        device=conv.weight.device,
    )
    fused.weight.copy_(conv.weight * scale.view(-1, 1, 1, 1))
    fused.bias.copy_(norm.bias - norm.running_mean * scale)
    return fused.requires_grad_(conv.weight.requires_grad)


def merge_branches(block: RepConv) -> ConvUnit:
    """Merge both branches into one 3×3 convolution: the 1×1 kernel becomes the middle of a 3×3 kernel of zeros."""
    dense = fold_batch_norm(block.rbr_dense[0], block.rbr_dense[1])
    point = fold_batch_norm(block.rbr_1x1[0], block.rbr_1x1[1])
    dense.weight += functional.pad(point.weight, (1, 1, 1, 1))
    dense.bias += point.bias
    unit = ConvUnit(dense.in_channels, dense.out_channels, 3, act="silu")
    unit.conv, unit.bn, unit.act = dense, nn.Identity(), block.act
    return unit.eval()


def fold_implicit(detect: DetectLayer) -> None:
    """Move the implicit values into the heads' weights and biases, in place: im·(W(x + ia) + b)."""
    if not detect.has_implicit:
        return
    for head, shift, scale in zip(detect.m, detect.ia, detect.im, strict=True):
        head.bias += functional.conv2d(shift.implicit, head.weight).flatten()
        head.bias *= scale.implicit.flatten()
        head.weight *= scale.implicit.view(-1, 1, 1, 1)
    del detect.ia, detect.im
