"""Fixtures that every tier shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.examples import load_profile
from tests.helpers.processes import end_what_is_left

load_profile()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """End what a test has started and not ended: no fixture, since one that fails has no teardown."""
    end_what_is_left()


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of real photographs, their truth and a reference network."""
    folder = os.environ.get("RAYSAIL_TEST_PHOTOGRAPHS")
    if not folder:
        pytest.skip("RAYSAIL_TEST_PHOTOGRAPHS does not name a folder of test photographs")
    path = Path(folder)
    if not (path / "reference.json").is_file():
        pytest.fail(f"RAYSAIL_TEST_PHOTOGRAPHS names '{folder}', which holds no reference.json")
    return path.resolve()
