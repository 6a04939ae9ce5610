"""Joins a Ray cluster, or starts a local one with virtual cards and token authentication."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

from bmodel.errors import ConfigurationError, RaysailError, RunError
from cluster.temporary_folder import temporary_ray_folder

PACKAGES = ("bmodel", "data", "models", "tpu_worker", "cluster", "jobs")
CONNECT_TIMEOUT_S = 10.0
SHUTDOWN_LIMIT_S = 10.0
_ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def connected(address: str | None, *, local_resources: dict[str, float]) -> Iterator[None]:
    """Stay connected to Ray for the length of a `with` block.

    address: of a running cluster (see cluster/address.py), or None for a new local one whose only node registers
    `local_resources`. Raises ConfigurationError when the cluster cannot be joined.
    """
    with ExitStack() as stack:
        folder = None if address else stack.enter_context(temporary_ray_folder())
        stack.callback(_shut_down)
        _connect(address, local_resources, folder)
        yield


@contextmanager
def nothing_on_stdout() -> Iterator[None]:
    """Keep standard output for results: Ray prints there what it notices about its workers, whatever its settings."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _shut_down() -> None:
    """Leave Ray, and end this process's own cluster; a part of it that does not answer is killed after a while."""
    timer = threading.Timer(SHUTDOWN_LIMIT_S, _kill_own_cluster)
    timer.daemon = True
    timer.start()
    try:
        ray.shutdown()
    finally:
        timer.cancel()


def _kill_own_cluster() -> None:
    """Kill the raylet and the GCS that this process has started, and no others."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):  # it has just ended, or has a name that is not text
            name, fields = stat.read_text().rsplit(")", 1)
            pid, _, program = name.partition(" (")
            if int(fields.split()[1]) == os.getpid() and program in {"raylet", "gcs_server"}:
                os.kill(int(pid), signal.SIGKILL)


def _connect(address: str | None, local_resources: dict[str, float], folder: Path | None) -> None:
    try:
        if address:
            _join(address)
        else:
            _start_local(local_resources, folder)
    except RaysailError:
        raise
    except Exception as error:  # Ray raises bare exceptions too, as when its own processes are slow to start
        reason = " ".join(str(error).split())
        if address is None:
            raise RunError(f"Ray did not start on this host: {reason}") from error
        raise ConfigurationError(f"--address: cannot use the Ray cluster at '{address}': {reason}") from error


def _start_local(resources: dict[str, float], folder: Path | None) -> None:
    """A cluster for this process alone. GCS, raylet and workers listen on every interface even so: hence the token.

    Ray turns token authentication on for a new local cluster unless RAY_AUTH_MODE says otherwise, so here it may
    not. The token lives in this process's environment and its children's, never on disk.
    """
    os.environ.pop("RAY_AUTH_MODE", None)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Nobody who runs a detection has agreed to usage reports.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        resources=resources,
        include_dashboard=False,
        _temp_dir=str(folder),
        **_quiet(),
    )


def _join(address: str) -> None:
    _check_that_something_answers(address)
    # Ray uses a token for a cluster it found by itself, but not for one that is named, unless told to.
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):  # in a submitted job, whose code is with it
        ray.init(address=address, **_quiet())
        return
    with tempfile.TemporaryDirectory() as folder:
        # Without a working directory, workers would look for code in this process's folder first: on another host
        # that may be a checkout of another version.
        (Path(folder) / "raysail").touch()
        ray.init(address=address, runtime_env={**code_for_workers(), "working_dir": folder}, **_quiet())


def _check_that_something_answers(address: str) -> None:
    """Ray itself would try for many minutes to reach a head that is not there."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # "auto", or a form that Ray will judge
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ConnectionError(f"nothing answers there ({error.strerror or error})") from None


def _quiet() -> dict[str, Any]:
    """Workers write to their log files: the job itself prints its progress and its failures."""
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    return {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}


def code_for_workers() -> dict[str, Any]:
    """The runtime environment that carries this code to the nodes of a cluster; models travel separately."""
    return {
        "py_modules": [str(_ROOT / package) for package in PACKAGES],
        "excludes": ["*.bmodel", "*.onnx", "data/sample", "sample/", "__pycache__"],
    }
