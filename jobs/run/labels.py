"""G: committed detections → one label file per image; derived, so they can be rebuilt from Parquet at any time.

An image without detections has an empty file; a failed image has none, since nothing is known of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bmodel.sidecar import ModelSpec
from data.formats import LabelFormat, format_labels, label_stems
from jobs.run.commit import CommitLog
from jobs.run.image_columns import RunImages, read_images
from jobs.run.rows import PartRows, read_detections
from jobs.run.store import LocalStore, RunStore, as_run_error
from tpu_worker.boxes import Detections
from tpu_worker.devices import CARD_DEVICES


def label_names(image_ids: list[str]) -> dict[str, str]:
    """Each image's label file: the suffix gives way to .txt, but where two files would collide it is kept."""
    return {image_id: f"{stem}.txt" for image_id, stem in zip(image_ids, label_stems(image_ids), strict=True)}


def write_labels(
    log: CommitLog,
    store: RunStore,
    *,
    label_format: LabelFormat,
    spec: ModelSpec,
    device: str,
    folder: str = "labels",
) -> int:
    """Write the label files of every committed image; the arguments are those of LabelFiles. Returns their number."""
    images = read_images(log.tables("images"))
    files = LabelFiles(store, images, label_format=label_format, spec=spec, device=device, folder=folder)
    read_detections(log, images, [files])
    return files.written


class LabelFiles:
    """Writes the label file of each image that went through while its detections are read.

    written: how many files it has written so far.
    """

    def __init__(
        self,
        store: RunStore,
        images: RunImages,
        *,
        label_format: LabelFormat,
        spec: ModelSpec,
        device: str,
        folder: str = "labels",
    ) -> None:
        """Make the folders that the files need.

        folder: where in the store. device: whose times the rows hold. The competition's format carries the image's
        inference time: measured on a card, predicted without one, left out where there is neither.
        """
        self._format: LabelFormat = label_format
        self._class_names = spec.class_names
        self._names = list(label_names(images.image_ids()).values())
        self._is_measured = device in CARD_DEVICES
        self._predicted_ms = spec.predicted_image_ms if device in {"cpu", "simulator"} else None
        self._write = _writer(store, folder, self._names)
        self.written = 0

    def add(self, part: PartRows) -> None:
        """Write the files of a part's images."""
        columns = part.images.columns
        sizes_hw = part.images.sizes_hw(part.start, part.stop)
        for position, size_hw, detections in zip(
            range(part.start, part.stop), sizes_hw, part.by_image(), strict=True
        ):
            name = self._names[position]
            if size_hw is None or not columns.ok[position]:
                self._write.discard(name)
                continue
            inference_ms = float(columns.stages["inference"][position])
            self._write(name, self._text(detections, size_hw, inference_ms))
            self.written += 1

    def _text(self, detections: Detections, size_hw: tuple[int, int], inference_ms: float) -> str:
        return format_labels(
            self._format,
            xyxy=detections.xyxy,
            confidence=detections.confidence,
            class_id=detections.class_id,
            size_hw=size_hw,
            class_names=self._class_names,
            time_ms=inference_ms if self._is_measured else self._predicted_ms,
        )


def _writer(store: RunStore, folder: str, names: list[str]) -> _LabelWriter:
    if not isinstance(store, LocalStore):
        return _LabelWriter(store, folder, None)
    base = store.folder / folder
    for parent in {PurePosixPath(name).parent for name in names}:
        with as_run_error("make", str(base / parent)):
            (base / parent).mkdir(parents=True, exist_ok=True)
    return _LabelWriter(store, folder, base)


@dataclass(frozen=True, slots=True)
class _LabelWriter:
    """Writes label files in place: they are derived, and a run counts only once all of them were written."""

    store: RunStore
    folder: str
    base: Path | None

    def __call__(self, name: str, text: str) -> None:
        if self.base is None:
            self.store.write(f"{self.folder}/{name}", text.encode())
            return
        with as_run_error("write", str(self.base / name)):
            (self.base / name).write_text(text, encoding="utf-8")

    def discard(self, name: str) -> None:
        """Remove the file that an earlier attempt left for an image that has failed since."""
        self.store.remove(f"{self.folder}/{name}")
