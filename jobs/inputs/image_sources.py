"""The five kinds of image source: a folder, a text list, a COCO JSON, a Parquet column, and a folder's URL.

An image's id is its path relative to the image root, with '/' between the parts; it names the image in every output.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from bmodel.errors import ConfigurationError
from jobs.config.paths import why_neither_file_nor_folder, why_not_a_folder

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
PATH_COLUMNS = ("path", "image_path", "file_name", "filepath", "uri")
# Parameters of a URL that open a store: of Azure's shared access signatures, of presigned URLs, of Arrow's own.
_SECRET_PARAMETER = re.compile(
    r"([?&][^=&]*(?:sig|signature|token|secret|password|credential|key)[^=&]*=)[^&]*", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundImages:
    """What a source holds. paths: where each image lies, a local path or URL; None where that is root/id."""

    image_ids: list[str]
    paths: list[str] | None = None
    root: str = ""


def find_images(source: str) -> FoundImages:
    """Find the images that a source names; raises ConfigurationError."""
    if "://" in source and not source.startswith("file:///"):
        return _from_url(source)
    path = Path(unquote(urlsplit(source).path) if "://" in source else source)
    if why_not_a_folder(path) is None:
        return _from_folder(path)
    if reason := why_neither_file_nor_folder(path):
        raise ConfigurationError(f"--images: must be a folder, a list or a URL, and '{source}' {reason}")
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _from_coco(path)
    if suffix == ".parquet":
        return _from_parquet(path)
    if suffix in IMAGE_SUFFIXES:
        return FoundImages(image_ids=[_checked_id(path.name, source)], root=str(path.resolve().parent))
    return _from_text_list(path)


def _from_folder(folder: Path) -> FoundImages:
    root = folder.resolve()
    return FoundImages(
        image_ids=sorted(_walk(root), key=lambda image_id: image_id.split("/")), root=str(root)
    )


def _walk(root: Path) -> Iterator[str]:
    """Every entry with an image's suffix, whatever it is: a folder or a FIFO so named becomes a failed row.

    Links to files are followed, links to folders are not: they may lead out of the root, or round in circles.
    """
    for folder, names, files in os.walk(root, onerror=_refuse_folder):
        names[:] = [name for name in names if not name.startswith(".")]
        relative = Path(folder).relative_to(root)
        for name in [*files, *names]:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield _checked_id((relative / name).as_posix(), str(root))


def _refuse_folder(error: OSError) -> NoReturn:
    """A folder that cannot be listed may hold images, and leaving them out silently is no choice."""
    raise ConfigurationError(
        f"--images: every folder must be readable, and '{error.filename}' is not: {error.strerror}"
    )


def _checked_id(image_id: str, place: str) -> str:
    """The id itself, normalised, if it can name an output file inside the result folder."""
    path = PurePosixPath(image_id)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise ConfigurationError(
            f"--images: a path must stay inside the image root, got '{image_id}' in '{place}'"
        )
    try:
        printable = "\n" not in image_id and "\0" not in image_id and image_id.encode() != b""
    except UnicodeEncodeError:
        printable = False
    if not printable:
        raise ConfigurationError(
            f"--images: a file name must be valid UTF-8 without line breaks: {image_id!r} in '{place}'"
        )
    return path.as_posix()


def _from_coco(path: Path) -> FoundImages:
    try:
        document = json.loads(path.read_bytes())
        names = [entry["file_name"] for entry in document["images"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            f"--images: '{path}' is not a COCO JSON with images[].file_name: {error!r}"
        ) from None
    root = path.resolve().parent
    if names and (root / "images").is_dir() and not os.path.lexists(root / str(names[0])):
        root /= "images"
    return _listed(names, root, place=path)


def _from_parquet(path: Path) -> FoundImages:
    try:
        file = pq.ParquetFile(path)
        name = next((name for name in PATH_COLUMNS if name in file.schema_arrow.names), None)
        if name is None:
            raise ConfigurationError(
                f"--images: '{path}' must have one of the columns {', '.join(PATH_COLUMNS)}"
            )
        values = file.read(columns=[name]).column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"--images: '{path}' is not a Parquet file: {error}") from None
    return _listed(values, path.resolve().parent, place=path)


def _from_text_list(path: Path) -> FoundImages:
    try:
        # Only a line feed ends a line: str.splitlines() also cuts at characters that a file name may hold.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ConfigurationError(f"--images: cannot read '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"--images: must be a text list, COCO JSON, Parquet file or image, and '{path}' is none of them"
        ) from None
    names = [text for line in lines if (text := line.strip(" \t\r")) and not _is_comment(text)]
    return _listed(names, path.resolve().parent, place=path)


def _is_comment(line: str) -> bool:
    """Whether a line of a list begins with '#' and is not the name of an image such as '#1.jpg'."""
    if not line.startswith("#"):
        return False
    return line[1:2].isspace() or PurePosixPath(line).suffix.lower() not in IMAGE_SUFFIXES


def _listed(values: Sequence[object], folder: Path, *, place: Path) -> FoundImages:
    """The paths of a list: relative ones lie in `folder`; the ids of absolute ones and of URLs start at their root."""
    texts = [value for value in values if isinstance(value, str) and value]
    if len(texts) != len(values):
        raise ConfigurationError(f"--images: every path must be a text that is not empty in '{place}'")
    kinds = {"URL" if "://" in text else "absolute" if text.startswith("/") else "relative" for text in texts}
    if len(kinds) > 1:
        raise ConfigurationError(
            f"--images: '{place}' mixes {' and '.join(sorted(kinds))} paths; use one kind"
        )
    if kinds <= {"relative"}:
        return FoundImages(image_ids=[_checked_id(text, str(place)) for text in texts], root=str(folder))
    parts = [_url_parts(text) if kinds == {"URL"} else PurePosixPath(text).parts for text in texts]
    if any(".." in of_one for of_one in parts):
        raise ConfigurationError(f"--images: absolute paths must not contain '..' in '{place}'")
    common = _common_length([of_one[:-1] for of_one in parts])
    ids = [_checked_id("/".join(of_one[common:]), str(place)) for of_one in parts]
    return FoundImages(image_ids=ids, paths=texts)


def _common_length(paths: Sequence[tuple[str, ...]]) -> int:
    """How many parts all paths begin with."""
    first, last = min(paths), max(paths)
    differing = (
        position for position, (one, other) in enumerate(zip(first, last, strict=False)) if one != other
    )
    return next(differing, min(len(first), len(last)))


def _url_parts(text: str) -> tuple[str, ...]:
    url = urlsplit(text, allow_fragments=False)
    host = url.netloc.rpartition("@")[2]  # what stands before it are credentials
    return (url.scheme, host, *(part for part in unquote(url.path).split("/") if part))


def _from_url(text: str) -> FoundImages:
    try:
        url = urlsplit(text, allow_fragments=False)
        filesystem, base = pyarrow.fs.FileSystem.from_uri(text)
        entries = filesystem.get_file_info(pyarrow.fs.FileSelector(base, recursive=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = why_no_store(error, text)
        raise ConfigurationError(f"--images: cannot list '{hide_secrets(text)}': {reason}") from None
    keys = [
        entry.path[len(base) :].lstrip("/")
        for entry in entries
        if entry.type == pyarrow.fs.FileType.File and Path(entry.path).suffix.lower() in IMAGE_SUFFIXES
    ]
    keys = [key for key in keys if not any(part.startswith(".") for part in key.split("/"))]
    keys.sort(key=lambda key: key.split("/"))
    folder = f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"
    query = f"?{url.query}" if url.query else ""
    return FoundImages(
        image_ids=[_checked_id(key, hide_secrets(text)) for key in keys],
        paths=[f"{folder}/{quote(key)}{query}" for key in keys],
    )


def hide_secrets(text: str) -> str:
    """A URL without the key, password and signature that may stand in it; other texts as they are.

    A password with a '/' or '?' in it is no valid URL and hides its '@' from a parser, so everything up to the last
    '@' goes: of a valid URL with a password and an '@' in its path that hides more than it must.
    """
    scheme, mark, rest = text.partition("://")
    secrets, at, shown = rest.rpartition("@")
    if not mark:
        return text
    if not at or not (":" in secrets or "@" in rest.split("/", 1)[0]):
        return _SECRET_PARAMETER.sub(r"\1***", text)
    return _SECRET_PARAMETER.sub(r"\1***", f"{scheme}{mark}***@{shown}")


def why_no_store(error: Exception, text: str) -> str:
    """What an object store's library says of a URL, unless that may repeat the URL's key and password."""
    reason = " ".join(str(error).split())
    if hide_secrets(text) == text or not isinstance(error, (pa.ArrowInvalid, ValueError)):
        return reason.replace(text, hide_secrets(text))
    return "it is no URL of a known kind; '/', '@', '%', blanks and the like in a key must be percent-encoded"
