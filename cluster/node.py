"""Starts and stops this host's part of a Ray cluster: cards registered, tokens on, dashboard on loopback.

`ray start --block` runs in a process group of its own, so that stopping ends that node and nothing else on the host
(`ray stop` would end every Ray process of the user).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bmodel.errors import RunError
from bmodel.libraries import cache_folder
from bmodel.signals import signals_held_back
from cluster.temporary_folder import private_folder

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
DASHBOARD_PORT = 8265
EXPORTERS = "prom_metrics_service_discovery.json"  # Ray's name for it


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeOptions:
    """How a node joins a cluster or becomes its head.

    address: host:port of the head; None to be the head itself. port: the head's own. resources: what the node registers
    (cluster.cards.card_slots.card_resources). dashboard_port: the head's, on loopback.
    """

    address: str | None
    port: int
    resources: dict[str, float]
    dashboard_port: int = DASHBOARD_PORT


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedNode:
    """A running node. pid: of `ray start --block`, the leader of the node's process group."""

    pid: int
    address: str
    log: Path


def start_node(options: NodeOptions) -> StartedNode:
    """Start the node and wait until Ray says that it is up; raises RunError with Ray's own words when it is not."""
    running = read_state()
    if running is not None:
        raise RunError(f"a node is running already (process {running.pid}, {running.address}); stop it first")
    log = _state_folder() / "node.log"
    pid = None
    try:
        # Amid these steps, a process may be there whose number is not known yet.
        with signals_held_back():
            private_folder(_temporary_folder(options).parent)
            pid = _spawn(_command(options), log)
        _wait_until_up(pid, log)
    except BaseException:  # no note of it exists yet, so nothing else would end it
        if pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        raise
    address = options.address or f"{own_address()}:{options.port}"
    state = {"pid": pid, "started": _start_ticks(pid), "address": address, "log": str(log)}
    (_state_folder() / "node.json").write_text(json.dumps(state) + "\n", encoding="utf-8")
    return StartedNode(pid=pid, address=address, log=log)


def run_node(options: NodeOptions) -> int:
    """Run the node in the foreground until a signal ends it, for a service manager; returns Ray's exit code."""
    private_folder(_temporary_folder(options).parent)
    return subprocess.run(_command(options), env=_environment(), check=False).returncode


def stop_node() -> StartedNode | None:
    """Stop the node that `start_node` started; returns it, or None when there is none."""
    node = read_state()
    (_state_folder() / "node.json").unlink(missing_ok=True)
    if node is None:
        return None
    os.kill(node.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _is_alive(node.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    # What is left of the group no longer listens.
    for group_signal in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(node.pid, group_signal)
        except ProcessLookupError:
            break
        time.sleep(1.0)
    return node


def read_state() -> StartedNode | None:
    """The running node, from the note of its start; None when there is none, or its process is gone."""
    try:
        state = json.loads((_state_folder() / "node.json").read_text(encoding="utf-8"))
        node = StartedNode(pid=int(state["pid"]), address=str(state["address"]), log=Path(state["log"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # A number that was given to another process meanwhile does not count.
    return node if _is_alive(node.pid) and _start_ticks(node.pid) == state.get("started") else None


def ensure_token() -> Path | None:
    """Make sure that a token exists for the head; returns the file if this call made it.

    Ray finds a token in RAY_AUTH_TOKEN, in the file RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token.
    """
    if has_token():
        return None
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def has_token() -> bool:
    """Whether Ray would find an authentication token in this environment."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path.is_file() and bool(path.read_text(encoding="utf-8").strip())


def own_address() -> str:
    """The address under which other hosts reach this one, as far as it can tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address; UDP sends nothing on connect
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _command(options: NodeOptions) -> list[str]:
    # Not the `ray` script: its first line may name another Python than this one.
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
    if options.address is None:
        command += ["--head", f"--port={options.port}", "--dashboard-host=127.0.0.1"]
        command += [f"--dashboard-port={options.dashboard_port}"]
    else:
        command += [f"--address={options.address}"]
    # Any that is free, which the agent itself finds: where another cluster's listens already, no job could be submitted.
    command += ["--dashboard-agent-listen-port=0"]
    command += [f"--temp-dir={_temporary_folder(options)}"]
    return [*command, f"--resources={json.dumps(options.resources)}", "--disable-usage-stats"]


def exporters_list(options: NodeOptions) -> Path:
    """Where the head writes the list of the cluster's exporters, for Prometheus."""
    return _temporary_folder(options) / EXPORTERS


def _temporary_folder(options: NodeOptions) -> Path:
    """The node's own, inside a folder that only this user can enter (cluster/temporary_folder.py).

    A submitted job joins the cluster that a note in the head's folder names.

    In Ray's common folder the note is overwritten by every other `ray start --head` of the host, and the job would
    end up on that one's cluster. The name is short because the paths of Ray's sockets must be.
    """
    port = options.address.rpartition(":")[2] if options.address else options.port
    kind = "node" if options.address else "head"
    return Path(tempfile.gettempdir()) / f"raysail-{os.getuid()}-{port}" / kind


def _environment() -> dict[str, str]:
    """Tokens on, and this Python's programs first: a job's `python` is the one that has Raysail's needs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "RAY_AUTH_MODE": "token", "PATH": path}


def _spawn(command: list[str], log: Path) -> int:
    """Start a program in a session of its own that outlives this process; returns its number."""
    with log.open("wb") as output:
        return os.posix_spawn(
            command[0],
            command,
            _environment(),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
            ],
            setsid=True,
        )


def _wait_until_up(pid: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8", errors="replace")
        if "Ray runtime started" in text:
            return
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            code = os.waitstatus_to_exitcode(status)
            raise RunError(f"ray start ended with code {code}: {' '.join(lines[-3:])}")
        time.sleep(0.2)
    raise RunError(f"ray start was not up within {START_TIMEOUT_S:.0f} s; see '{log}'")


def _state_folder() -> Path:
    folder = cache_folder() / "node"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def _start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the boot: tells it from a later one of the same number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None
