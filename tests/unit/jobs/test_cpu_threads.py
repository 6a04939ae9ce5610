"""Virtual cards of one host share its cores: each runs the network on its part of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.config.detect_config import parse_config
from jobs.inputs.resolve import load_model, resolve_job
from tests.helpers.job_runs import TINY_ONNX


def threads(cards: int | None, *, device: str = "cpu", cards_of_cluster: int | None = None) -> int | None:
    given = {"images": "/nowhere", "device": device, **({"cards": cards} if cards else {})}
    model: dict[str, object] = {"model": Path(TINY_ONNX)} if device == "cpu" else {"service-ms": 1.0}
    config = parse_config({**given, **model})
    return resolve_job(config, load_model(config), cards_of_cluster=cards_of_cluster).device.threads


@pytest.mark.parametrize("cards", [None, 1, 2, 3, 4000])
def test_the_cores_are_shared_and_nobody_is_left_without_one(cards: int | None) -> None:
    cores = len(os.sched_getaffinity(0))
    each = threads(cards)
    assert each is not None
    assert each >= 1
    assert each == 1 or each * (cards or 1) <= cores
    assert (each + 1) * (cards or 1) > cores


def test_on_other_hosts_and_devices_nothing_is_set() -> None:
    assert threads(2, cards_of_cluster=0) is None
    assert threads(2, device="timed") is None
