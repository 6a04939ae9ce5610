"""A: what the user names → the list of images, in an order that never depends on the machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from bmodel.errors import ConfigurationError
from cluster.pool.work import Shard
from jobs.inputs.image_sources import find_images, hide_secrets
from tpu_worker.values import ImageRef

_AT_ONCE = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageList:
    """The images of a run, in order; columnar, so that ten million of them fit in memory.

    image_ids: array of texts. own_paths: array of texts of equal length; None where each path is the root and the id.
    """

    image_ids: pa.LargeStringArray
    own_paths: pa.LargeStringArray | None
    root: str = ""

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def paths(self) -> pa.LargeStringArray:
        """Where each image lies, a local path or a URL."""
        return self._paths(0, len(self))

    def refs(self, start: int, stop: int) -> list[ImageRef]:
        """The images start … stop-1."""
        ids, paths = self.image_ids[start:stop].to_pylist(), self._paths(start, stop).to_pylist()
        return [
            ImageRef(index=start + offset, image_id=image_id, path=path)
            for offset, (image_id, path) in enumerate(zip(ids, paths, strict=True))
        ]

    def _paths(self, start: int, stop: int) -> pa.LargeStringArray:
        if self.own_paths is not None:
            return self.own_paths[start:stop]
        root = pa.scalar(self.root, pa.large_string())
        return pc.binary_join_element_wise(
            root, self.image_ids[start:stop], pa.scalar("/", pa.large_string())
        )

    def sha256(self) -> str:
        """Hash of ids in order; where the images lie may change between a run and its resumption."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _AT_ONCE):
            ids = self.image_ids[start : start + _AT_ONCE].to_pylist()
            digest.update("".join(f"{image_id}\n" for image_id in ids).encode())
        return digest.hexdigest()


def list_images(source: str, *, limit: int | None = None) -> ImageList:
    """List the images that `source` names; raises ConfigurationError when there are none or two share an id."""
    found = find_images(source)
    shown = hide_secrets(source)
    if not found.image_ids:
        raise ConfigurationError(f"--images: must name at least one image, and '{shown}' has none")
    _refuse_repeated_ids(found.image_ids, shown)
    stop = len(found.image_ids) if limit is None else limit
    return ImageList(
        image_ids=pa.array(found.image_ids[:stop], pa.large_string()),
        own_paths=None if found.paths is None else pa.array(found.paths[:stop], pa.large_string()),
        root=found.root,
    )


def _refuse_repeated_ids(ids: Sequence[str], source: str) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for image_id in ids:
        if image_id in seen:
            raise ConfigurationError(
                f"--images: every image must be named once, and '{source}' repeats '{image_id}'"
            )
        seen.add(image_id)


LARGEST_DEFAULT_SHARD = 256
SHARDS_PER_CARD = 8


def default_shard_size(image_count: int, *, cards: int, batch: int) -> int:
    """Images a shard: several shards a card for balance, at most 256, whole batches."""
    wanted = min(LARGEST_DEFAULT_SHARD, -(-image_count // (cards * SHARDS_PER_CARD)))
    return max(1, -(-wanted // batch)) * batch


def make_shards(image_count: int, shard_size: int) -> list[Shard]:
    """Cut image_count images into shards of shard_size, the last one smaller."""
    if shard_size < 1:
        raise ValueError(f"shard_size must be positive, got {shard_size}")
    return [Shard(start, min(start + shard_size, image_count)) for start in range(0, image_count, shard_size)]


def remaining_shards(shards: Sequence[Shard], committed: Iterable[Shard]) -> list[Shard]:
    """What of the shards no committed range covers; a shard committed in parts leaves its gaps."""
    done = sorted(committed)
    remaining: list[Shard] = []
    position = 0
    for shard in sorted(shards):
        start = shard.start
        while position < len(done) and done[position].stop <= shard.start:
            position += 1
        at = position
        while at < len(done) and done[at].start < shard.stop:
            if done[at].start > start:
                remaining.append(Shard(start, done[at].start))
            start = max(start, done[at].stop)
            at += 1
        if start < shard.stop:
            remaining.append(Shard(start, shard.stop))
    return remaining
