"""Trains the sample network on rendered scenes: a half-width yolov7-tiny, about an hour on two CPU cores.

    python -m models.training.train_sample --work FOLDER            renders what is missing, trains or goes on, keeps a log

Each core trains a share of every batch in a process of its own, and the gradients are averaged: they meet once a
step, where threads of one process would wait for one another at every layer and lose most on a machine with other
work. The schedule counts images, not minutes, so that a busy machine changes when it ends and not what comes out.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import distributed, multiprocessing

from data.scenes import CLASS_NAMES, HELD_OUT, TRAINING
from models.training.anchors import cluster_anchors
from models.training.scene_store import SceneStore
from models.training.training import Team, Training
from models.training.training_schedule import Schedule
from models.yolov7.network import Network, build_network

WIDTH = 0.5
HEAD_P5_CHANNELS = 192
"""The last head's convolution, narrowed from 256: the ONNX file stays under 6 MB."""


HELD_OUT_SCENES = 500
IMAGES, COARSE_IMAGES, CLOSING_IMAGES = 200_000, 91_200, 48_000


def sample_network(scenes: SceneStore) -> Network:
    """The untrained sample network, its anchors from the first thousand scenes."""
    boxes = np.concatenate([scenes[number].boxes for number in range(min(1000, len(scenes)))])
    anchors = cluster_anchors(boxes[:, 3:] - boxes[:, 1:3])
    torch.manual_seed(1)
    return build_network(
        "yolov7-tiny", len(CLASS_NAMES), width=WIDTH, head_p5_channels=HEAD_P5_CHANNELS, anchors=anchors
    )


def _train(rank: int, work: Path, scene_count: int, schedule: Schedule, team_size: int) -> None:
    """Train as one process of the team."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // team_size))
    cv2.setNumThreads(1)
    if team_size > 1:
        meeting = (work / "meeting").absolute()
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=team_size
        )
    scenes = SceneStore(work / "scenes", TRAINING, scene_count)
    held_out = SceneStore(work / "held", HELD_OUT, HELD_OUT_SCENES)
    training = Training(sample_network(scenes), schedule, held_out, work, Team(rank=rank, size=team_size))
    training.resume()
    training.run(scenes)
    if team_size > 1:
        distributed.destroy_process_group()


def main(arguments: list[str] | None = None) -> None:
    """Train the sample network on rendered scenes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes, state and log")
    parser.add_argument("--scenes", type=int, default=14_000, help="training scenes to render")
    parser.add_argument("--images", type=int, default=IMAGES, help="images to see in all")
    parser.add_argument("--coarse-images", type=int, default=COARSE_IMAGES, help="of these at 320 pixels")
    parser.add_argument(
        "--closing-images", type=int, default=CLOSING_IMAGES, help="of these in the last stage"
    )
    parser.add_argument("--processes", type=int, default=2, help="processes to render and to train with")
    options = parser.parse_args(arguments)

    SceneStore(options.work / "scenes", TRAINING, options.scenes).prepare(options.processes)
    SceneStore(options.work / "held", HELD_OUT, HELD_OUT_SCENES).prepare(options.processes)
    (options.work / "meeting").unlink(missing_ok=True)
    schedule = Schedule(
        images=options.images, coarse_images=options.coarse_images, closing_images=options.closing_images
    )
    job = (options.work, options.scenes, schedule, options.processes)
    multiprocessing.spawn(_train, job, nprocs=options.processes)


if __name__ == "__main__":
    main()
