"""Which label file belongs to which image: the image's relative path, with the extension replaced by `.txt`.

Where two images of a set would share a label file (`a.jpg` and `a.png`), each keeps its extension: `a.jpg.txt`. So
does an image whose label file would be named like a folder of images (`a.jpg` beside `a.txt/b.jpg`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from data.label_text import FormatError

LONGEST_NAME_BYTES: Final = 255


def stem_of(image_id: str) -> str:
    """The image's id without its extension: `a/b.jpg` → `a/b`."""
    return image_id.removesuffix(PurePosixPath(image_id).suffix)


def label_stems(image_ids: Sequence[str]) -> list[str]:
    """Name each image's label file, without its suffix; all names differ.

    Keeping an extension may collide with yet another image (`a.jpg`, `a.png` and `a.jpg.png`), so this is repeated
    until no two names agree; it ends because full ids all differ. Raises FormatError if an image is named twice, or
    if no name is left: it would be a folder's, or longer than file systems allow.
    """
    stems = [stem_of(image_id) for image_id in image_ids]
    folders = _folders(image_ids)
    while True:
        seen: dict[str, int] = {}
        shared = {position for position, stem in enumerate(stems) if f"{stem}.txt" in folders}
        for position, stem in enumerate(stems):
            if stem in seen:
                shared.update((seen[stem], position))
            seen[stem] = position
        changed = [position for position in shared if stems[position] != image_ids[position]]
        if not changed:
            _refuse_shared(shared, image_ids, folders)
            return stems
        for position in changed:
            stems[position] = image_ids[position]
            _refuse_long(stems[position])


def _folders(image_ids: Sequence[str]) -> set[str]:
    """Every folder that an image lies in, at any depth."""
    folders: set[str] = set()
    for folder in {image_id.rpartition("/")[0] for image_id in image_ids} - {""}:
        parts = folder.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return folders


def _refuse_shared(shared: Collection[int], image_ids: Sequence[str], folders: Collection[str]) -> None:
    if not shared:
        return
    image_id = image_ids[min(shared)]
    if f"{image_id}.txt" in folders:
        raise FormatError(
            f"the label file of '{image_id}' must not be named like a folder of images, got '{image_id}.txt'"
        )
    raise FormatError(f"every image must be named once, got '{image_id}' twice")


def _refuse_long(stem: str) -> None:
    name = stem.rpartition("/")[2] + ".txt"
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise FormatError(
            f"the name of a label file must have at most {LONGEST_NAME_BYTES} bytes, got '{name}': "
            "another image differs from it in its extension alone"
        )


def safe_relative_path(name: str, *, place: str) -> str:
    """Normalise a path, with '/' between its parts; raises FormatError if it leads out of its folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or "\n" in name:
        raise FormatError(f"{place}: a path must be relative and stay inside its folder, got {name!r}")
    return path.as_posix()


def find_files(folder: Path, suffix: str) -> dict[str, Path]:
    """The files below a folder that end in `suffix`: relative path without the suffix → file, sorted.

    Raises FormatError if there is no such folder. Links to folders are not followed: they may form a circle.
    """
    if not folder.is_dir():
        raise FormatError(f"the folder of labels must exist, got '{folder}'")
    found = []
    for parent, _, names in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        found += [(relative / name).as_posix() for name in names if name.endswith(suffix)]
    return {name.removesuffix(suffix): folder / name for name in sorted(found)}


def match_labels(image_ids: Sequence[str], available: Collection[str], *, place: str) -> dict[str, str]:
    """Map each image id to the stem of its label file, for the images that have one.

    A file named after the image's full name wins over one named after its stem, so both conventions are
    read; but not if that is another image's own name (`a.jpg.txt` belongs to `a.jpg.png`, if both exist).
    Raises FormatError for a file that two images could claim.
    """
    matched: dict[str, str] = {}
    own = label_stems(image_ids)
    owners = dict(zip(own, image_ids, strict=True))
    for image_id, stem in zip(image_ids, own, strict=True):
        plain = stem_of(image_id)
        if image_id in available and owners.get(image_id, image_id) == image_id:
            matched[image_id] = image_id
        elif stem in available:
            matched[image_id] = stem
        elif plain in available and plain not in owners:
            raise FormatError(
                f"{place}: '{plain}.txt' could belong to '{image_id}' or to another image of that name; "
                f"name it '{image_id}.txt'"
            )
    return matched


def check_any_matched(
    matched: Mapping[str, str], *, files: Mapping[str, Path], image_ids: Sequence[str]
) -> None:
    """Raise FormatError if there are label files and images, and no file belongs to an image."""
    if files and image_ids and not matched:
        some = next(iter(files.values()))
        raise FormatError(
            f"label files must be named after the images, got '{some}' and the like for images like '{image_ids[0]}'"
        )
