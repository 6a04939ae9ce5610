"""G: committed detections → one label file an image; derived, so they can be rebuilt from Parquet at any time.

An image without detections has an empty file; a failed image has none, since nothing is known of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from bmodel.errors import RunError
from bmodel.sidecar import ModelSpec
from data.formats import LabelFormat, format_labels
from jobs.commit import CommitLog
from jobs.latency import CARD_DEVICES, predicted_i_time_ms
from jobs.local_store import LocalStore
from jobs.read_run import image_rows
from jobs.run_store import RunStore


def label_names(image_ids: list[str]) -> dict[str, str]:
    """Each image's label file: the suffix gives way to .txt, but where two files would collide it is kept."""
    stems = {image_id: str(PurePosixPath(image_id).with_suffix("")) for image_id in image_ids}
    count = Counter(stems.values())
    kept = {f"{image_id}.txt" for image_id, stem in stems.items() if count[stem] > 1}
    return {
        image_id: f"{image_id}.txt" if count[stem] > 1 or f"{stem}.txt" in kept else f"{stem}.txt"
        for image_id, stem in stems.items()
    }


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

    The competition's format carries the image's inference time: measured on a card, predicted without one, left out
    where there is neither.
    """
    image_ids = [name for table in log.tables("images") for name in table.column("image_id").to_pylist()]
    names = label_names(image_ids)
    on_card = device in CARD_DEVICES
    predicted_ms = predicted_i_time_ms(spec) if device in {"cpu", "simulator"} else None
    write = _writer(store, folder, list(names.values()))
    written = 0
    for row in image_rows(log):
        if not row.ok or row.size_hw is None:
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
    if isinstance(store, LocalStore):
        base = store.folder / folder
        for parent in {PurePosixPath(name).parent for name in names}:
            (base / parent).mkdir(parents=True, exist_ok=True)
    return _LabelWriter(store, folder)


@dataclass(frozen=True, slots=True)
class _LabelWriter:
    """Writes label files in place: they are derived, and a run counts only once all of them were written."""

    store: RunStore
    folder: str

    def __call__(self, name: str, text: str) -> None:
        if isinstance(self.store, LocalStore):
            path = self.store.folder / self.folder / name
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise RunError(f"cannot write '{path}': {error.strerror}") from error
        else:
            self.store.write(f"{self.folder}/{name}", text.encode())
