"""SIGTERM and SIGINT: raised at once, held back where Ray would lose them, and harmless afterwards."""

# ruff: noqa: PT012 - what a block does before and after the signal is what is tested

from __future__ import annotations

import os
import signal
import threading

import pytest

from bmodel.signals import STOP_SIGNALS
from jobs.console.stop_signals import Stopped, stoppable


def send(number: int) -> None:
    """A signal to this process; its handler has run when this returns."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_raises_stopped_with_its_name(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"stopped by {number.name}"), stoppable():
        send(number)
        pytest.fail("it went on")
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_deferred_signal_is_noted_and_raised_by_check(number: signal.Signals) -> None:
    reached = []
    with pytest.raises(Stopped, match=number.name), stoppable() as stop, stop.deferred():
        stop.check()
        send(number)
        reached.append(stop.signal_name)
        stop.check()
        reached.append("too far")
    assert reached == [number.name]


def test_a_deferred_signal_is_raised_at_the_end_at_the_latest() -> None:
    reached = []
    with pytest.raises(Stopped), stoppable() as stop:
        with stop.deferred():
            send(signal.SIGTERM)
            reached.append("end of the block")
        reached.append("too far")
    assert reached == ["end of the block"]


def test_after_a_deferred_block_signals_raise_at_once_again() -> None:
    with pytest.raises(Stopped), stoppable() as stop:
        with stop.deferred():
            pass
        send(signal.SIGTERM)
        pytest.fail("it went on")


def test_while_ray_starts_an_exit_becomes_stopped_even_if_errors_are_swallowed() -> None:
    with pytest.raises(Stopped, match="SIGINT"), stoppable() as stop, stop.while_ray_starts():
        try:
            send(signal.SIGINT)
        except Exception:  # noqa: BLE001 - what Ray does while it starts its processes
            pytest.fail("the request was lost")


def test_while_ray_starts_its_own_handler_means_the_same() -> None:
    def rays_own(number: int, _frame: object) -> None:
        raise SystemExit(number)

    with pytest.raises(Stopped, match="SIGTERM"), stoppable() as stop, stop.while_ray_starts():
        signal.signal(signal.SIGTERM, rays_own)
        send(signal.SIGTERM)


def test_after_ray_has_started_its_handler_is_replaced() -> None:
    with pytest.raises(Stopped, match="SIGTERM"), stoppable() as stop:
        with stop.while_ray_starts():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send(signal.SIGTERM)
        pytest.fail("it went on")


def test_a_second_signal_has_its_default_effect() -> None:
    with pytest.raises(Stopped), stoppable() as stop, stop.deferred():
        send(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is not signal.SIG_DFL


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    found: list[object] = []

    def work() -> None:
        before = [signal.getsignal(number) for number in STOP_SIGNALS]
        with stoppable() as stop, stop.deferred():
            stop.check()
            found.append([signal.getsignal(number) for number in STOP_SIGNALS] == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True]
