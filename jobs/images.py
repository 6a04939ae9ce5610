"""A: what the user names → the list of images, in an order that never depends on the machine.

Sources: a folder (recursive), a text list, a COCO JSON, a Parquet file with a column of paths, or the URL of a
folder in an object store. An image's id is its path relative to the image root, with '/' between the parts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from bmodel.errors import ConfigurationError
from tpu_worker.values import ImageRef

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
PATH_COLUMNS = ("path", "image_path", "file_name", "filepath", "uri")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageList:
    """The images of a run, in order; columnar, so that ten million of them fit in memory.

    image_ids, paths: string arrays of equal length.
    """

    image_ids: pa.StringArray
    paths: pa.StringArray

    def __len__(self) -> int:
        return len(self.image_ids)

    def refs(self, start: int, stop: int) -> list[ImageRef]:
        """The images start … stop-1."""
        ids, paths = self.image_ids[start:stop].to_pylist(), self.paths[start:stop].to_pylist()
        return [
            ImageRef(index=start + offset, image_id=image_id, path=path)
            for offset, (image_id, path) in enumerate(zip(ids, paths, strict=True))
        ]

    def sha256(self) -> str:
        """Hash of ids in order; where the images lie may change between a run and its resumption."""
        digest = hashlib.sha256()
        for image_id in self.image_ids:
            digest.update(image_id.as_py().encode() + b"\n")
        return digest.hexdigest()


def list_images(source: str, *, limit: int | None = None) -> ImageList:
    """List the images that `source` names; raises ConfigurationError when there are none or two share an id."""
    if "://" in source:
        pairs = _from_url(source)
    else:
        path = Path(source)
        if path.is_dir():
            pairs = _from_folder(path)
        elif not path.is_file():
            raise ConfigurationError(
                f"--images: must be a folder, a list or a URL, and '{source}' is not there"
            )
        elif path.suffix == ".json":
            pairs = _from_coco(path)
        elif path.suffix == ".parquet":
            pairs = _from_parquet(path)
        elif path.suffix in IMAGE_SUFFIXES:
            pairs = [(path.name, str(path.resolve()))]
        else:
            pairs = _from_text_list(path)
    chosen = pairs[:limit] if limit else pairs
    if not chosen:
        raise ConfigurationError(f"--images: must name at least one image, and '{source}' has none")
    _refuse_repeated_ids([image_id for image_id, _ in pairs], source)
    return ImageList(
        image_ids=pa.array([image_id for image_id, _ in chosen], pa.string()),
        paths=pa.array([path for _, path in chosen], pa.string()),
    )


def _from_folder(root: Path) -> list[tuple[str, str]]:
    absolute = root.resolve()
    found = sorted(_walk(absolute), key=lambda relative: PurePosixPath(relative).parts)
    return [(relative, f"{absolute}/{relative}") for relative in found]


def _walk(root: Path) -> Iterator[str]:
    """Every entry with an image's suffix, whatever it is: a folder or a FIFO so named becomes a failed row.

    Links to files are followed, links to folders are not: they may lead out of the root, or round in circles.
    """
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        relative = Path(folder).relative_to(root)
        for name in [*files, *names]:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield _checked_id((relative / name).as_posix(), str(root))


def _checked_id(image_id: str, place: str) -> str:
    """The id itself, if it can name an output file inside the result folder."""
    parts = PurePosixPath(image_id).parts
    if not parts or image_id.startswith("/") or ".." in parts:
        raise ConfigurationError(
            f"--images: a path must stay inside the image root, got '{image_id}' in '{place}'"
        )
    try:
        printable = "\n" not in image_id and "\0" not in image_id and image_id.encode() != b""
    except UnicodeEncodeError:
        printable = False
    if not printable:
        raise ConfigurationError(
            f"--images: a file name must be valid UTF-8 without line breaks: {image_id!r}"
        )
    return PurePosixPath(image_id).as_posix()


def _from_coco(path: Path) -> list[tuple[str, str]]:
    try:
        document = json.loads(path.read_bytes())
        names = [entry["file_name"] for entry in document["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"--images: '{path}' is not a COCO JSON with images[].file_name: {error}"
        ) from None
    root = path.resolve().parent
    if (root / "images").is_dir() and names and not (root / str(names[0])).exists():
        root /= "images"
    return _under_root(names, root, place=str(path))


def _from_parquet(path: Path) -> list[tuple[str, str]]:
    try:
        file = pq.ParquetFile(path)
        name = next((name for name in PATH_COLUMNS if name in file.schema_arrow.names), None)
        if name is None:
            raise ConfigurationError(
                f"--images: '{path}' must have one of the columns {', '.join(PATH_COLUMNS)}"
            )
        values = file.read(columns=[name]).column(0).to_pylist()
    except pa.ArrowInvalid as error:
        raise ConfigurationError(f"--images: '{path}' is not a Parquet file: {error}") from None
    return _named(values, path)


def _from_text_list(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"--images: must be a text list, COCO JSON, Parquet file or image, and '{path}' is none of them"
        ) from None
    return _named([line.strip() for line in lines if line.strip() and not line.startswith("#")], path)


def _named(values: Sequence[object], path: Path) -> list[tuple[str, str]]:
    """Paths of a list: URLs as they are, relative ones from the list's folder; the ids start at their common root."""
    if not all(isinstance(value, str) and value for value in values):
        raise ConfigurationError(f"--images: every path must be a text that is not empty in '{path}'")
    texts = [str(value) for value in values]
    outside = [text for text in texts if "://" in text or text.startswith("/")]
    if not outside:
        return _under_root(texts, path.resolve().parent, place=str(path))
    if len(outside) != len(texts):
        raise ConfigurationError(f"--images: '{path}' mixes absolute and relative paths; use one of the two")
    if any(".." in PurePosixPath(text).parts for text in texts):
        raise ConfigurationError(f"--images: absolute paths must not contain '..' in '{path}'")
    parents = [text.rsplit("/", 1)[0] for text in texts]
    root = os.path.commonpath(parents) if parents and "://" not in parents[0] else _common_url(parents)
    return [(_checked_id(text[len(root) :].lstrip("/"), str(path)), text) for text in texts]


def _common_url(parents: Sequence[str]) -> str:
    split = [parent.split("/") for parent in parents]
    common: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join(common)


def _under_root(names: Sequence[object], root: Path, *, place: str) -> list[tuple[str, str]]:
    ids = [_checked_id(str(name), place) for name in names]
    return [(image_id, f"{root}/{image_id}") for image_id in ids]


def _from_url(url: str) -> list[tuple[str, str]]:
    scheme = url.split("://", 1)[0]
    try:
        filesystem, base = pyarrow.fs.FileSystem.from_uri(url)
        entries = filesystem.get_file_info(pyarrow.fs.FileSelector(base, recursive=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigurationError(f"--images: cannot list '{url}': {error}") from None
    keys = [
        entry.path
        for entry in entries
        if entry.type == pyarrow.fs.FileType.File and Path(entry.path).suffix.lower() in IMAGE_SUFFIXES
    ]
    ids = sorted((key[len(base) :].lstrip("/") for key in keys), key=lambda name: PurePosixPath(name).parts)
    query = f"?{url.split('?', 1)[1]}" if "?" in url else ""
    return [(_checked_id(image_id, url), f"{scheme}://{base}/{image_id}{query}") for image_id in ids]


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
