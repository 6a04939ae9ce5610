"""A headless Chromium of its own, spoken to over two pipes: no port, no driver, no library.

Messages of the DevTools protocol are JSON, each ended by a zero byte; the browser reads them from descriptor 3 and
answers on descriptor 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.helpers.processes import HANG_S

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser with one tab; `events` gathers what the tab reports, `width` is the open page's in CSS pixels."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="raysail-chromium-")
        ours_out, theirs_in = _high_pipe()
        theirs_out, ours_in = _high_pipe()
        self._write, self._read = theirs_in, theirs_out
        null = os.open(os.devnull, os.O_RDWR)
        self._pid = os.posix_spawn(
            program,
            [program, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            {**os.environ, "HOME": self._profile},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, null, 2),
                (os.POSIX_SPAWN_DUP2, ours_out, 3),
                (os.POSIX_SPAWN_DUP2, ours_in, 4),
            ],
            setpgroup=0,
        )
        for descriptor in (ours_out, ours_in, null):
            os.close(descriptor)
        self._buffer = b""
        self._number = 0
        self.width = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        try:
            self._open_tab()
        except BaseException:
            self.close()
            raise

    def _open_tab(self) -> None:
        target = self._tab()
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def __enter__(self) -> Chromium:  # noqa: PYI034 - Self is not in Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser, and remove what it has written."""
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(HANG_S)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open(self, page: Path, *, width: int, dark: bool = False, medium: str = "screen") -> None:
        """Load a page at a width, and wait until it is loaded and drawn."""
        self.events.clear()
        self.width = width
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=medium, features=[scheme])
        loader = self.call("Page.navigate", url=page.as_uri())["loaderId"]
        # By its loader: the word that the page before has been loaded may come late.
        while not any(_has_loaded(event, loader) for event in self.events):
            self.events.append(self._next(HANG_S))
        # Whoever asks for a height has the page laid out, and only then are its fonts asked for.
        self.evaluate("document.documentElement.scrollHeight && document.fonts.ready.then(() => true)")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, JSON."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return answer["result"].get("value")

    def screenshot(self, path: Path, *, height: int | None = None, top: int = 0) -> None:
        """Save the whole page, or the part from `top` of this height."""
        whole = self.evaluate("document.documentElement.scrollHeight")
        clip = {
            "x": 0,
            "y": top,
            "width": self.width,
            "height": min(height or whole, whole - top),
            "scale": 1,
        }
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _tab(self) -> str:
        """The id of the first tab; the browser answers a little before it has one."""
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline:
            for target in self.call("Target.getTargets")["targetInfos"]:
                if target["type"] == "page":
                    return str(target["targetId"])
            time.sleep(0.05)
        raise RuntimeError("Chromium opened no tab")

    def _next(self, timeout_s: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], timeout_s)[0]:
                raise TimeoutError("Chromium does not answer")
            if not (block := os.read(self._read, 1 << 20)):
                raise RuntimeError("Chromium has ended")
            self._buffer += block
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


def _has_loaded(event: dict[str, Any], loader: str) -> bool:
    parameters = event.get("params", {})
    return (
        event.get("method") == "Page.lifecycleEvent"
        and parameters["loaderId"] == loader
        and parameters["name"] == "load"
    )


def _high_pipe() -> tuple[int, int]:
    """A pipe (read, write) whose descriptors are out of the way of 3 and 4."""
    low = os.pipe()
    high = tuple(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in low)
    for descriptor in low:
        os.close(descriptor)
    return high[0], high[1]
