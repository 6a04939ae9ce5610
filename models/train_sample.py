"""Trains the sample network on rendered scenes: a half-width yolov7-tiny, about an hour on two CPU cores.

    python -m models.train_sample --work FOLDER            renders what is missing, trains or goes on, keeps a log

The schedule counts images, not minutes, so that a busy machine changes when it ends and not what comes out.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from data.scenes import CLASS_NAMES, HELD_OUT, TRAINING
from models.anchors import cluster_anchors
from models.average import AveragedNetwork
from models.batches import Batch, ahead, make_batch
from models.loss import Loss, LossWeights, compute_loss
from models.scene_store import SceneStore
from models.score_scenes import score
from models.yolov7 import Network, build_network

WIDTH = 0.5
HEAD_P5_CHANNELS = 192
"""The last head's convolution, narrowed from 256: the ONNX file stays under 6 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How much is seen of what. Sides in pixels; the first `coarse_images` are trained at the smaller side."""

    images: int = 190_000
    coarse_images: int = 110_000
    coarse_px: int = 320
    fine_px: int = 416
    batch: int = 16
    warm_up_steps: int = 500
    peak_rate: float = 3e-3
    last_share: float = 0.02
    weight_decay: float = 0.02
    log_images: int = 3_200
    score_images: int = 16_000
    scored_scenes: int = 200

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.images // self.batch

    def side_px(self, step: int) -> int:
        """The training size at a step."""
        return self.coarse_px if step * self.batch < self.coarse_images else self.fine_px

    def rate(self, step: int) -> float:
        """Learning rate at a step: a linear rise, then half a cosine."""
        rise = min(1.0, (step + 1) / self.warm_up_steps)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return self.peak_rate * rise * (self.last_share + (1 - self.last_share) * fall)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line of the log: mean losses since the last, and figures on held-out scenes where they were taken."""

    minutes: float
    images: int
    side_px: int
    rate: float
    box: float
    objectness: float
    classes: float
    images_per_s: float
    ap50: float | None = None
    ap: float | None = None
    ap_small: float | None = None
    ap50_car: float | None = None
    ap50_person: float | None = None
    ap50_bike: float | None = None


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; where it does not, float32 is faster."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False


class Training:
    """A run of training in a folder: state.pt to go on from, log.csv."""

    def __init__(self, network: Network, schedule: Schedule, held_out: SceneStore, folder: Path) -> None:
        self.network, self.schedule, self.held_out, self.folder = network, schedule, held_out, folder
        self.average = AveragedNetwork(network)
        self.optimiser = torch.optim.AdamW(_parameter_groups(network, schedule.weight_decay), betas=(0.9, 0.99))
        self.step, self.minutes = 0, 0.0
        self._bfloat16 = has_bfloat16()

    def resume(self) -> None:
        """Go on from the folder's state, when there is one."""
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.minutes = state["step"], state["minutes"]

    def save(self) -> None:
        """Keep the state, whole or not at all."""
        temporary = self.folder / "state.pt.tmp"
        state = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "minutes": self.minutes,
        }
        torch.save(state, temporary)
        temporary.replace(self.folder / "state.pt")

    def learn(self, batch: Batch) -> Loss:
        """One step."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            heads = self.network(images)
        detect = self.network.detect
        loss = compute_loss(heads, batch.targets, detect.anchors, detect.strides, LossWeights())
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
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
            return make_batch(scenes, step, schedule.batch, schedule.side_px(step))

        for batch in ahead(make, self.step, schedule.steps):
            loss = self.learn(batch)
            losses.append((loss.box.item(), loss.objectness.item(), loss.classes.item()))
            last = self.step == schedule.steps
            if self.step % every == 0 or last:
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
        _append(self.folder / "log.csv", line)

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
    """Kernels decay; biases and batch norm's scales do not."""
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _append(path: Path, line: LogLine) -> None:
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(LogLine)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(line))


def sample_network(scenes: SceneStore) -> Network:
    """The untrained sample network, its anchors from the first thousand scenes."""
    boxes = np.concatenate([scenes[number].boxes for number in range(min(1000, len(scenes)))])
    anchors = cluster_anchors(boxes[:, 3:] - boxes[:, 1:3])
    torch.manual_seed(1)
    network = build_network(
        "yolov7-tiny", len(CLASS_NAMES), width=WIDTH, head_p5_channels=HEAD_P5_CHANNELS, anchors=anchors
    )
    return network.to(memory_format=torch.channels_last)


def main(arguments: list[str] | None = None) -> None:
    """Train the sample network on rendered scenes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes, state and log")
    parser.add_argument("--scenes", type=int, default=14_000, help="training scenes to render")
    parser.add_argument("--images", type=int, default=Schedule.images, help="images to see in all")
    parser.add_argument("--processes", type=int, default=2, help="renderers at a time")
    options = parser.parse_args(arguments)

    scenes = SceneStore(options.work / "scenes", TRAINING, options.scenes)
    held_out = SceneStore(options.work / "held", HELD_OUT, 500)
    scenes.prepare(options.processes)
    held_out.prepare(options.processes)
    schedule = Schedule(images=options.images, coarse_images=options.images * 11 // 19)
    training = Training(sample_network(scenes), schedule, held_out, options.work)
    training.resume()
    training.run(scenes)


if __name__ == "__main__":
    main()
