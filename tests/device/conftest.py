"""The simulator's libraries, and SAIL: the genuine one where this Python has it, or the stand-in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from bmodel.errors import LibraryError
from bmodel.libraries import find_simulator_libraries
from tests.device.cases import FAKES
from tpu_worker.devices.choose_device import has_sail


@pytest.fixture(scope="session")
def simulator() -> None:
    """Skip where the chip simulator cannot run."""
    try:
        find_simulator_libraries()
    except LibraryError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def sail(simulator: None) -> Iterator[ModuleType]:
    """SAIL on the simulator; the stand-in leaves no trace for other tests of this process."""
    if has_sail():
        yield importlib.import_module("sophon.sail")
        return
    sys.path.insert(0, str(FAKES))
    try:
        yield importlib.import_module("sophon.sail")
    finally:
        sys.path.remove(str(FAKES))
        for name in [name for name in sys.modules if name.partition(".")[0] == "sophon"]:
            del sys.modules[name]


@pytest.fixture
def stand_in(sail: ModuleType) -> Iterator[ModuleType]:
    """SAIL's stand-in, for what the genuine one cannot be made to do; leaves it as it was."""
    if not hasattr(sail, "stand_in"):
        pytest.skip("the genuine SAIL cannot be made to fail on request")
    sail.stand_in.reset()
    yield sail
    sail.stand_in.reset()
