"""SIGTERM and SIGINT: raised at once, held back where Ray would lose them, and harmless afterwards."""

# ruff: noqa: PT012 - what a block does before and after the signal is what is tested

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from bmodel.signals import STOP_SIGNALS
from jobs.console import stop_signals
from jobs.console.stop_signals import Stopped, stoppable
from tests.helpers.paths import ROOT
from tests.helpers.processes import start_process


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


HANGS = """
import ctypes, sys
from jobs.console.stop_signals import stoppable
with stoppable(limit_s=float(sys.argv[1])) as stop, stop.deferred():
    print("ready", flush=True)
    # As a library that goes on waiting when a signal interrupts it: Python's own handler never has its turn.
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""


def hanging(limit_s: float) -> subprocess.Popen[str]:
    """A command whose main thread never comes back from a library."""
    command = [sys.executable, "-c", HANGS, str(limit_s)]
    process = start_process(
        command, folder=ROOT, environment=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_what_hangs_in_a_library_is_ended_in_time(number: signal.Signals) -> None:
    process = hanging(0.5)
    process.send_signal(number)
    _, err = process.communicate()
    assert (process.returncode, err.count("\n")) == (1, 1)
    assert err.startswith(f"raysail: stopped by {number.name}, without waiting for what did not answer")


def test_a_second_signal_ends_what_hangs_at_once() -> None:
    process = hanging(1e6)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)  # two of one kind that come together are one to the kernel
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    # Where the handler had its turn before all hung, the second signal has its default effect.
    assert (process.returncode, "stopped by SIGTERM" in err) in [(1, True), (-signal.SIGTERM, False)]


def test_a_block_that_ends_in_time_ends_its_guard() -> None:
    before = threading.active_count()
    with pytest.raises(Stopped), stoppable(limit_s=0.2):
        send(signal.SIGTERM)
    assert threading.active_count() == before
    time.sleep(0.4)  # and nothing ends this process


def test_a_run_that_does_not_move_is_spoken_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signals, "STALL_NOTICE_S", 0.5)
    told: list[str] = []
    with stoppable() as stop, stop.deferred(tell=told.append):
        deadline_s = time.monotonic() + 20
        while not told and time.monotonic() < deadline_s:
            time.sleep(0.1)
        time.sleep(1.5)
    assert len(told) == 1
    assert "Ray or the output folder does not answer" in told[0]
