"""What people are told while a run goes on: a plain line now and then in a log, a live one on a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import time

import pytest

from jobs.console import progress
from jobs.console.progress import RunProgress


def test_a_log_gets_a_line_at_the_end() -> None:
    log = io.StringIO()
    with RunProgress(total=10, stream=log) as told:
        told.advance(4, failed=0, detections=1)
        told.advance(6, failed=2, detections=1)
    assert re.fullmatch(r"10 of 10 images, [\d.]+ images/s, 2 failed\n", log.getvalue())


def test_a_run_that_did_nothing_says_nothing() -> None:
    log = io.StringIO()
    with RunProgress(total=10, already=10, stream=log):
        pass
    assert log.getvalue() == ""


def test_a_log_gets_lines_now_and_then_with_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    log = io.StringIO()
    with RunProgress(total=100, already=50, stream=log) as told:
        told.advance(1, failed=0, detections=1)
        told.advance(24, failed=1, detections=1)
    first, second, last = log.getvalue().splitlines()
    assert re.fullmatch(r"51 of 100 images, [\d.]+ images/s, \d+ s left", first)
    assert re.fullmatch(r"75 of 100 images, [\d.]+ images/s, \d+ s left, 1 failed", second)
    assert last.startswith("75 of 100 images")


def test_speed_counts_only_what_this_driver_did() -> None:
    log = io.StringIO()
    with RunProgress(total=1_000_001, already=1_000_000, stream=log) as told:
        told._started_s -= 10
        told.advance(1, failed=0, detections=1)
    assert "1000001 of 1000001 images, 0.1 images/s" in log.getvalue()


def test_sentences_come_as_they_are() -> None:
    log = io.StringIO()
    with RunProgress(total=2, stream=log) as told:
        told.tell("card 0 on host [red] failed")
    assert log.getvalue() == "card 0 on host [red] failed\n"


def everything(terminal: int) -> str:
    """What was written to a terminal so far: one read gives what is there at that moment, which may be a part."""
    os.set_blocking(terminal, False)
    shown, quiet_since = b"", time.monotonic()
    while time.monotonic() - quiet_since < 0.3:
        try:
            shown += os.read(terminal, 100_000)
            quiet_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    return shown.decode()


def test_a_terminal_gets_a_live_line_and_the_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as terminal:
        with RunProgress(total=10, stream=terminal) as told:
            told.advance(5, failed=0, detections=1)
            told.tell("card 0 on host [red] failed")
            assert told._live is not None
            told._live.refresh()  # it draws ten times a second by itself
        shown = everything(leader)
    os.close(leader)
    assert "5/10" in shown
    assert "card 0 on host [red] failed" in shown
    assert "of 10 images" not in shown, "no log lines on a terminal"


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as terminal:
        with RunProgress(total=10, stream=terminal) as told:
            told.advance(5, failed=0, detections=1)
        shown = everything(leader)
    os.close(leader)
    assert "5 of 10 images" in shown


@pytest.mark.parametrize(("detections", "warns"), [(0, True), (1, False)])
def test_images_without_any_detection_are_told_once(detections: int, warns: bool) -> None:
    stream = io.StringIO()
    with RunProgress(total=300, stream=stream) as told:
        told.advance(60, failed=20, detections=0)
        assert "Warning" not in stream.getvalue()
        told.advance(60, failed=0, detections=detections)
        told.advance(60, failed=0, detections=0)
    assert stream.getvalue().count("Warning: no detection on any of 100 images") == warns
