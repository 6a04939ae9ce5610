"""Which devices drive a real card, and with which networks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.device.cases import FP32, INT8, Case
from tpu_worker.devices.choose_device import has_libsophon, has_sail

# Cards of the host that others work on, like 0,3.
EXCLUDE = os.environ.get("RAYSAIL_TEST_EXCLUDE")
# Has a case's card open until its input ends.
HOLD_CARD = """
import sys
from tests.device.cases import Case
device = {case!r}.open()
print('held', flush=True)
sys.stdin.read()
"""
CASES = [Case(name=name, model=model) for name in ("sail", "libbmrt") for model in (*FP32, *INT8)]


def on_card(case: Case, card_id: int) -> Case:
    """The case on this card; skips without the library that it needs."""
    need_library(case.name)
    return replace(case, device_id=card_id)


def any_case(model: str, card_id: int) -> Case:
    """A network by whichever library there is, SAIL first; skips without any."""
    return on_card(Case(name="sail" if has_sail() else "libbmrt", model=model), card_id)


def need_device_file(card_id: int) -> None:
    """Skip where the card has no device file of its own, by which its users are found."""
    if not Path(f"/dev/bm-sophon{card_id}").exists():
        pytest.skip(f"NO DEVICE FILE: there is no /dev/bm-sophon{card_id} by which a card's users are found")


def need_library(name: str) -> None:
    """Skip without the library of a device."""
    if name == "sail" and not has_sail():
        pytest.skip("NO SAIL: sophon.sail is not installed for this Python")
    if name == "libbmrt" and not has_libsophon():
        pytest.skip("NO LIBSOPHON: it is not installed where RAYSAIL_LIBSOPHON or its package would have it")
