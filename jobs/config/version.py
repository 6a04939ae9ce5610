"""Which Raysail this is."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

PRODUCT: Final = "raysail"
_PROJECT_FILE: Final = Path(__file__).resolve().parents[2] / "pyproject.toml"


def product_version(project_file: Path = _PROJECT_FILE) -> str:
    """The version of the code that runs: the checkout's own, else the installed distribution's, else `unknown`."""
    return _of_checkout(project_file) or _of_distribution()


def _of_checkout(project_file: Path) -> str | None:
    try:
        text = project_file.read_text(encoding="utf-8")
    except OSError:
        return None
    # Python 3.10 has no TOML reader, and another project's file may lie above an installed package.
    found = re.search(rf'^\[project\]\nname = "{PRODUCT}"\nversion = "([^"]+)"$', text, re.MULTILINE)
    return found[1] if found else None


def _of_distribution() -> str:
    try:
        return version(PRODUCT)
    except PackageNotFoundError:
        return "unknown"
