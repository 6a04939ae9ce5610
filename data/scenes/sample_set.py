"""The sample set on disk: 102 pictures with YOLO labels, a COCO JSON, and a manifest to check them against.

data/sample/images/scene-000.jpg …      data/sample/labels/scene-000.txt …      data/sample/instances.json
data/sample/manifest.json               the SHA-256 of every picture's pixels before encoding, and of its file
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from data.formats import format_labels, write_coco
from data.scenes.render import CLASS_NAMES, Scene
from data.scenes.series import SAMPLE

IMAGE_COUNT = 102


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplePicture:
    """A picture of the sample set, with the hashes that its pixels and its file must have."""

    name: str
    height: int
    width: int
    boxes: int
    pixels_sha256: str
    file_sha256: str


def picture_name(number: int) -> str:
    """The file name of a picture of the sample set."""
    return f"scene-{number:03}.jpg"


def write_sample(folder: Path) -> list[SamplePicture]:
    """Write the whole set; existing files are replaced one by one."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    scenes = [SAMPLE.scene(number) for number in range(IMAGE_COUNT)]
    pictures = [_write_picture(folder, number, scene) for number, scene in enumerate(scenes)]
    _write_instances(folder / "instances.json", scenes)
    manifest = {"opencv": cv2.__version__, "pictures": [asdict(picture) for picture in pictures]}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return pictures


def pixels_sha256(scene: Scene) -> str:
    """SHA-256 of the picture's rows, blue, green and red per pixel, before encoding."""
    return hashlib.sha256(np.ascontiguousarray(scene.bgr).tobytes()).hexdigest()


def label_text(scene: Scene) -> str:
    """The scene's truth as the text of a YOLO label file."""
    size_hw = (scene.bgr.shape[0], scene.bgr.shape[1])
    certain = np.ones(len(scene.class_id))
    boxes = scene.xyxy.astype(np.float64)
    return format_labels("truth", boxes, certain, scene.class_id, size_hw, CLASS_NAMES, None)


def _write_picture(folder: Path, number: int, scene: Scene) -> SamplePicture:
    name = picture_name(number)
    jpeg = SAMPLE.jpeg(number, scene)
    (folder / "images" / name).write_bytes(jpeg)
    (folder / "labels" / name).with_suffix(".txt").write_text(label_text(scene), encoding="utf-8")
    return SamplePicture(
        name=name,
        height=scene.bgr.shape[0],
        width=scene.bgr.shape[1],
        boxes=len(scene.class_id),
        pixels_sha256=pixels_sha256(scene),
        file_sha256=hashlib.sha256(jpeg).hexdigest(),
    )


def _write_instances(path: Path, scenes: list[Scene]) -> None:
    xyxy = np.concatenate([scene.xyxy for scene in scenes]).astype(np.float64)
    write_coco(
        path,
        image_ids=[picture_name(number) for number in range(len(scenes))],
        size_hw=[(scene.bgr.shape[0], scene.bgr.shape[1]) for scene in scenes],
        class_names=CLASS_NAMES,
        box_image=np.repeat(np.arange(len(scenes)), [len(scene.class_id) for scene in scenes]),
        class_id=np.concatenate([scene.class_id for scene in scenes]),
        xyxy=xyxy,
        crowd=np.zeros(len(xyxy), np.bool_),
        area=(xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]),
    )
