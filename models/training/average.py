"""The running average of a network's weights: smoother than those of any single step; this is what is published."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


class AveragedNetwork:
    """An exponential average of weights and of batch norm's statistics.

    The average covers about the last 1 / (1 - decay) steps; fewer at the start, while the weights still change fast.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999, rise_steps: float = 400.0) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay, self._rise_steps = decay, rise_steps

    def follow(self, network: nn.Module, step: int) -> None:
        """Add the network's weights after this step, counted from 1."""
        share = 1.0 - self._decay * (1.0 - math.exp(-step / self._rise_steps))
        current = network.state_dict()
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(current[name], share)
                else:
                    value.copy_(current[name])
