"""G: committed detections → one label file an image; derived, so they can be rebuilt from Parquet at any time.

An image without detections has an empty file; a failed image has none, since nothing is known of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bmodel.sidecar import ModelSpec
from data.formats import LabelFormat, format_labels, label_stems
from jobs.run.commit import CommitLog
from jobs.run.rows import image_rows
from jobs.run.store import LocalStore, RunStore, as_run_error
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
    """Write the label files of every committed image into `folder` of the store; returns their number.

    device: whose times the rows hold. The competition's format carries the image's inference time: measured on a
    card, predicted without one, left out where there is neither.
    """
    image_ids = [name for table in log.tables("images") for name in table.column("image_id").to_pylist()]
    names = label_names(image_ids)
    on_card = device in CARD_DEVICES
    predicted_ms = spec.predicted_image_ms if device in {"cpu", "simulator"} else None
    write = _writer(store, folder, list(names.values()))
    written = 0
    for row in image_rows(log):
        if not row.ok or row.size_hw is None:
            write.discard(names[row.image_id])
            continue
        text = format_labels(
            label_format,
            xyxy=row.detections.xyxy,
            confidence=row.detections.confidence,
            class_id=row.detections.class_id,
            size_hw=row.size_hw,
            class_names=spec.class_names,
            time_ms=row.inference_ms if on_card else predicted_ms,
        )
        write(names[row.image_id], text)
        written += 1
    return written


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
