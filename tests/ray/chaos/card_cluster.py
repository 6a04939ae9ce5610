"""A Ray cluster of several nodes on this machine, each with virtual cards, whose processes can be killed by number."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.cards.card_slots import card_resources
from tests.helpers.processes import command_of, scaled_s

TOKEN = "0123456789abcdef" * 4
WORKER_NAME = "CardWorker"


class CardCluster:
    """A head without cards, and hosts with cards that come and go.

    kills: how many processes this object has killed with SIGKILL, each of which was alive until then.
    """

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self._folder = folder
        self.kills = 0
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "temp_dir": str(folder / "ray"), "include_dashboard": False},
        )
        self.hosts: list[Any] = []

    @property
    def address(self) -> str:
        """host:port of the head."""
        return str(self._cluster.address)

    def add_host(
        self,
        device_ids: Sequence[int] = (0, 1),
        *,
        virtual: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Any:
        """Start a node with cards of these numbers and wait until the cluster knows it.

        environment: what its processes have beside this one's.
        """
        host = self._cluster.add_node(
            num_cpus=1,
            resources=card_resources(device_ids, virtual=virtual),
            env_vars=dict(environment or {}),
        )
        self.hosts.append(host)
        return host

    def kill_host(self, host: Any) -> None:
        """Kill a node's raylet with SIGKILL, and then what it leaves behind."""
        from ray._private.ray_constants import PROCESS_TYPE_RAYLET

        raylet = host.all_processes[PROCESS_TYPE_RAYLET][0].process
        assert raylet.poll() is None, "the raylet was dead already"
        os.kill(raylet.pid, signal.SIGKILL)
        assert raylet.wait(10) == -signal.SIGKILL
        self.kills += 1
        self.hosts.remove(host)
        self._cluster.remove_node(host, allow_graceful=False)

    def workers(self) -> dict[str, int]:
        """The living workers by their card's lock file: its name → the process that it names."""
        found = {}
        for name, lock in self.lock_files().items():
            words = lock.read_text(encoding="utf-8").split()
            if len(words) > 1 and words[1].isdigit() and _is_worker(int(words[1])):
                found[name] = int(words[1])
        return found

    def lock_files(self) -> dict[str, Path]:
        """Every lock file of a card of this cluster, held or not, by name."""
        # Not by way of Ray's link to the newest session: each process of an actor takes it away and makes it anew.
        sessions = [folder for folder in self._folder.glob("ray/session_*") if not folder.is_symlink()]
        return {lock.name: lock for session in sessions for lock in session.glob("raysail-cards/*.lock")}

    def kill_worker(self, choose: Callable[[list[int]], int]) -> bool:
        """Kill one of the living workers with SIGKILL; False when there is none."""
        alive = sorted(self.workers().values())
        if not alive:
            return False
        pid = choose(alive)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        wait_until(lambda: not _is_worker(pid), 10, f"process {pid} dies")
        self.kills += 1
        return True

    def close(self) -> None:
        """End every process of the cluster."""
        self._cluster.shutdown()


@contextmanager
def card_cluster(*, hosts: int) -> Iterator[CardCluster]:
    """A cluster that asks for its token, with so many hosts of two cards each."""
    folder = Path(tempfile.mkdtemp(prefix="rs-"))  # Ray's socket paths must be short
    # Ray notes the newest cluster in its temporary folder, and jobs of other clusters would go there.
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_TMPDIR": str(folder)}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    _look_at_the_environment_again()
    try:
        cluster = CardCluster(folder)
        try:
            for _ in range(hosts):
                cluster.add_host()
            yield cluster
        finally:
            cluster.close()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        _look_at_the_environment_again()
        shutil.rmtree(folder, ignore_errors=True)


def _look_at_the_environment_again() -> None:
    """Have Ray read whether tokens are asked for: in this process it did so when it was first imported."""
    from ray import _raylet

    raylet: Any = _raylet  # compiled, without types

    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for something to come true; returns after how many seconds it did."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < scaled_s(seconds), f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def _is_worker(pid: int) -> bool:
    """Whether a process lives and is a card's worker: never is another one killed."""
    return WORKER_NAME in command_of(pid)  # a process that is dead and not yet waited for has no command line
