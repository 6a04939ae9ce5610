"""What a path given by a user really is, so that one clear sentence replaces a failure later on."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_not_a_file(path: Path) -> str | None:
    """Why a path is not a file that this process may read, as the end of a sentence; None if it is one."""
    mode = _mode(path)
    if isinstance(mode, str):
        return mode
    if stat.S_ISDIR(mode):
        return "is a folder"
    if not stat.S_ISREG(mode):
        return "is not a regular file"
    return None if os.access(path, os.R_OK) else "cannot be read by this user"


def why_not_a_folder(path: Path) -> str | None:
    """Why a path is not a folder that this process may list, as the end of a sentence; None if it is one."""
    mode = _mode(path)
    if isinstance(mode, str):
        return mode
    if not stat.S_ISDIR(mode):
        return "is not a folder"
    return None if os.access(path, os.R_OK | os.X_OK) else "cannot be read by this user"


def why_neither_file_nor_folder(path: Path) -> str | None:
    """Why a path is neither a readable file nor a readable folder; None if it is one of them."""
    as_file, as_folder = why_not_a_file(path), why_not_a_folder(path)
    if as_file is None or as_folder is None:
        return None
    return as_folder if as_file == "is a folder" else as_file


def _mode(path: Path) -> int | str:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError as error:  # a folder that may not be searched, a name that is too long, a ring of links
        return f"cannot be reached: {error.strerror}"
    except ValueError:
        return "is not a possible file name"
