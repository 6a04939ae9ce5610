"""One run of training: its steps, the averaged gradients of a team of processes, the state it resumes from, the log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from bmodel.files import replacing
from models.training.augment import CLOSING, WIDE
from models.training.average import AveragedNetwork
from models.training.batches import Batch, make_batch, prefetch
from models.training.loss import Loss, LossWeights, compute_loss
from models.training.scene_store import SceneStore
from models.training.score_scenes import score
from models.training.training_schedule import LogLine, Schedule, append_line
from models.yolov7.network import Network


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; otherwise float32 is faster."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """The rank of this process in a team of `size`; rank 0 scores, logs and saves."""

    rank: int
    size: int

    def average_gradients(self, network: torch.nn.Module) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([item.numel() for item in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


class Training:
    """A run of training in a folder: `state.pt`, from which it resumes, and `log.csv`."""

    def __init__(
        self, network: Network, schedule: Schedule, held_out: SceneStore, folder: Path, team: Team
    ) -> None:
        self.team = team
        self.network, self.schedule, self.held_out, self.folder = network, schedule, held_out, folder
        self.average = AveragedNetwork(network)
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(network, schedule.weight_decay), betas=(0.9, 0.99)
        )
        self.step, self.minutes = 0, 0.0
        self._bfloat16 = has_bfloat16()

    def resume(self) -> None:
        """Resume from the folder's state, if there is one."""
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.minutes = state["step"], state["minutes"]

    def save(self) -> None:
        """Write the state, whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "minutes": self.minutes,
        }
        with replacing(self.folder / "state.pt") as temporary:
            torch.save(state, temporary)

    def learn(self, batch: Batch) -> Loss:
        """One step."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            heads = self.network(batch.images)
        detect = self.network.detect
        closing = self.schedule.is_closing(self.step)
        weights = LossWeights(box=self.schedule.closing_box_weight) if closing else LossWeights()
        loss = compute_loss(heads, batch.targets, detect.anchors, detect.strides, weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        self.team.average_gradients(self.network)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.step += 1
        self.average.follow(self.network, self.step)
        return loss

    def run(self, scenes: SceneStore) -> None:
        """Train to the schedule's end."""
        self.network.train()
        schedule = self.schedule
        every, scored = schedule.log_images // schedule.batch, schedule.score_images // schedule.batch
        losses: list[tuple[float, float, float]] = []
        start = time.monotonic()

        def make(step: int) -> Batch:
            share, team = schedule.batch // self.team.size, self.team
            variation = CLOSING if schedule.is_closing(step) else WIDE
            return make_batch(scenes, step * team.size + team.rank, share, schedule.side_px(step), variation)

        for batch in prefetch(make, self.step, schedule.steps):
            loss = self.learn(batch)
            losses.append((loss.box.item(), loss.objectness.item(), loss.classes.item()))
            last = self.step == schedule.steps
            if self.team.rank == 0 and (self.step % every == 0 or last):
                elapsed, start = time.monotonic() - start, time.monotonic()
                self.minutes += elapsed / 60
                self._log(losses, elapsed, with_score=self.step % scored == 0 or last)
                losses = []
                self.save()
                start = time.monotonic()

    def _log(self, losses: list[tuple[float, float, float]], elapsed_s: float, *, with_score: bool) -> None:
        box, objectness, classes = np.mean(losses, 0).tolist()
        line = LogLine(
            minutes=round(self.minutes, 2),
            images=self.step * self.schedule.batch,
            side_px=self.schedule.side_px(self.step - 1),
            rate=round(self.schedule.rate(self.step), 6),
            box=round(box, 4),
            objectness=round(objectness, 4),
            classes=round(classes, 4),
            images_per_s=round(len(losses) * self.schedule.batch / elapsed_s, 1),
            **(self._scores() if with_score else {}),
        )
        append_line(self.folder / "log.csv", line)

    def _scores(self) -> dict[str, float]:
        detect = self.average.network.detect
        anchors = torch.tensor(detect.anchor_levels())
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            figures = score(
                self.average.network, anchors, detect.strides, self.held_out, self.schedule.scored_scenes
            )
        car, person, bike = figures.ap50_by_class
        named = {"ap50": figures.ap50, "ap": figures.ap, "ap_small": figures.ap_small}
        named |= {"ap50_car": car, "ap50_person": person, "ap50_bike": bike}
        return {name: round(value, 4) for name, value in named.items()}


def _parameter_groups(network: torch.nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay applies to kernels, not to biases and batch norm's scales."""
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
