"""`raysail node`, `raysail submit` and `ray job stop` as an administrator and a user type them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.job_runs import TINY_ONNX, assert_each_once, commit_count, write_pictures
from tests.helpers.other_user import can_enter, needs_root
from tests.helpers.paths import ROOT
from tests.helpers.processes import HANG_S, command_of, processes_with, start_process
from tests.ray.chaos.card_cluster import wait_until
from tests.ray.conftest import SharedCluster, free_port

RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
RAYSAIL = [sys.executable, "-m", "jobs.command_line"]
SUBMIT = [
    sys.executable,
    "-c",
    "from jobs.command_line import run_alone; from jobs.commands.submit import command; run_alone(command, prog_name='submit')",
]


def run(
    command: list[str], *arguments: object, environment: dict[str, str], timeout: float = HANG_S
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that speaks of Ray's tokens or clusters."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "RAY_USAGE_STATS_ENABLED": "0", **more}


class Host:
    """A made-up host: a home and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.token = folder / ".ray" / "auth_token"
        self.environment = clean_environment(HOME=str(folder), RAYSAIL_CACHE=str(folder / "cache"))

    def node(self, *arguments: object) -> str:
        done = run(RAYSAIL, "node", *arguments, environment=self.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def two_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host, str, int]]:
    """A head with two cards, a worker with three that joined as the head said, the address, the dashboard's port."""
    head, worker = Host(tmp_path_factory.mktemp("head")), Host(tmp_path_factory.mktemp("worker"))
    port = free_port()
    try:
        said = head.node(
            *("start", "--head", "--port", free_port(), "--dashboard-port", port, "--virtual-cards", 2)
        )
        [address] = re.findall(r"On the next host: +raysail node start --address (\S+)", said)
        assert str(head.token) in said
        worker.token.parent.mkdir()
        worker.token.write_bytes(head.token.read_bytes())
        worker.node("start", "--address", address, "--virtual-cards", 3)
        yield head, worker, address, port
    finally:
        worker.node("stop")
        head.node("stop")


CLIENT = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("CARDS", sum(node["Resources"].get("bm1684", 0) for node in ray.nodes() if node["Alive"]))
"""


def client(address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-c", CLIENT], address, environment=environment, timeout=HANG_S)


def test_both_hosts_cards_are_there_for_a_client_with_the_token(
    two_hosts: tuple[Host, Host, str, int],
) -> None:
    head, _, address, _ = two_hosts
    assert oct(head.token.stat().st_mode & 0o777) == "0o600"
    done = client(address, {**head.environment, "RAY_AUTH_MODE": "token"})
    assert "CARDS 5" in done.stdout, done.stdout + done.stderr


def test_no_other_user_reaches_what_the_workers_import(two_hosts: tuple[Host, Host, str, int]) -> None:
    needs_root()
    port = two_hosts[2].rpartition(":")[2]
    for kind in ("head", "node"):
        folder = Path(tempfile.gettempdir()) / f"raysail-{os.getuid()}-{port}" / kind
        assert any(path.name.startswith("session_") for path in folder.iterdir())
        assert not can_enter(folder)


def test_clients_without_the_token_are_refused(two_hosts: tuple[Host, Host, str, int]) -> None:
    address = two_hosts[2]
    environments = {
        "no token": clean_environment(RAY_AUTH_MODE="disabled"),
        "another token": clean_environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="f" * 64),
    }
    with ThreadPoolExecutor() as pool:  # Ray takes its time to give up
        refused = dict(
            zip(environments, pool.map(lambda one: client(address, one), environments.values()), strict=True)
        )
    for who, done in refused.items():
        assert done.returncode != 0, who
        assert "CARDS" not in done.stdout, who
        assert re.search("auth|token", done.stdout + done.stderr, re.IGNORECASE), done.stderr


def test_the_dashboard_listens_on_loopback_alone(two_hosts: tuple[Host, Host, str, int]) -> None:
    _, _, address, port = two_hosts
    host = address.rpartition(":")[0]
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    if host == "127.0.0.1":
        pytest.skip("this machine has no other address")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=5).close()


def test_a_second_node_on_a_host_is_refused(two_hosts: tuple[Host, Host, str, int]) -> None:
    head, *_ = two_hosts
    done = run(RAYSAIL, "node", "start", "--head", "--virtual-cards", 1, environment=head.environment)
    assert done.returncode == 1
    assert "a node is running already" in done.stderr


def test_stopping_one_node_leaves_the_others(
    two_hosts: tuple[Host, Host, str, int], cluster: SharedCluster
) -> None:
    head, worker, address, _ = two_hosts
    assert "Stopped the node" in worker.node("stop")
    assert "No Raysail node" in worker.node("stop")
    deadline = time.monotonic() + HANG_S
    while "CARDS 2" not in (done := client(address, {**head.environment, "RAY_AUTH_MODE": "token"})).stdout:
        assert time.monotonic() < deadline, done.stdout + done.stderr
    others = client(cluster.address, clean_environment(**cluster.environment))
    assert "CARDS 3" in others.stdout, others.stderr


def test_a_worker_without_a_token_is_told_where_to_get_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    done = run(RAYSAIL, "node", "start", "--address", "127.0.0.1:1", environment=host.environment)
    assert done.returncode == 2
    assert "this host has no token" in done.stderr


def test_a_start_that_is_interrupted_leaves_no_node_behind(tmp_path: Path) -> None:
    host = Host(tmp_path)
    arguments = ["--head", "--port", free_port(), "--dashboard-port", free_port(), "--virtual-cards", 1]
    # A shell's background jobs, the tests themselves perhaps, ignore SIGINT, and so would this one.
    starting = start_process(
        ["env", "--default-signal=INT", *RAYSAIL, "node", "start", *map(str, arguments)],
        folder=ROOT,
        environment=host.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    def node() -> list[int]:
        return [pid for pid in processes_with(f"HOME={tmp_path}") if "start --block" in command_of(pid)]

    wait_until(lambda: bool(node()), 60, "Ray's own command runs")
    for pid in node():
        os.kill(pid, signal.SIGSTOP)  # so that it cannot be up before the signal comes
    starting.send_signal(signal.SIGINT)
    out, err = starting.communicate(timeout=HANG_S)
    assert starting.returncode != 0, out + err
    wait_until(lambda: not processes_with(f"HOME={tmp_path}"), 60, "everything has ended")
    assert "No Raysail node" in host.node("stop")


# Jobs.


def submit(
    cluster: SharedCluster, *arguments: object, detach: bool = False
) -> subprocess.CompletedProcess[str]:
    options = ["--address", cluster.jobs_url, *(["--detach"] if detach else []), "--"]
    environment = clean_environment(RAY_AUTH_TOKEN_PATH=cluster.environment["RAY_AUTH_TOKEN_PATH"])
    return run(SUBMIT, *options, *arguments, environment=environment, timeout=HANG_S)


def test_a_submitted_job_shows_its_log_and_ends_with_its_own_code(
    cluster: SharedCluster, tmp_path: Path
) -> None:
    pictures = write_pictures(tmp_path / "my pictures; $(touch x)", 8)
    (pictures / "a" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    output = tmp_path / "run"
    job = ["--images", pictures, "--model", TINY_ONNX, "--output", output]
    done = submit(cluster, *job, "--max-failed", 0)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "8 ok of 9" in done.stdout
    assert_each_once(output, 9)
    refused = submit(cluster, *job)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "holds a run already" in refused.stdout


def test_a_job_stays_on_its_cluster_when_the_host_gets_another(
    two_hosts: tuple[Host, Host, str, int], cluster: SharedCluster, tmp_path: Path
) -> None:
    # Where Ray has one temporary folder for all, the newest cluster of a host takes the older one's jobs.
    head, _, address, port = two_hosts
    code = "import os; print('AT', os.environ['RAY_ADDRESS'])"

    def submit_to(url: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        job = ["job", "submit", "--address", url, "--", "python", "-c", code]
        return run([*RAY, *job], environment=environment)

    with ThreadPoolExecutor() as pool:
        ours = pool.submit(
            submit_to, f"http://127.0.0.1:{port}", {**head.environment, "RAY_AUTH_MODE": "token"}
        )
        others = pool.submit(submit_to, cluster.jobs_url, clean_environment(**cluster.environment))
    for done, wanted in ((ours.result(), address), (others.result(), cluster.address)):
        assert f"AT {wanted}\n" in done.stdout, done.stdout + done.stderr


def test_a_job_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(
        SUBMIT,
        *(
            "--address",
            f"http://127.0.0.1:{free_port()}",
            "--",
            "--images",
            tmp_path,
            "--output",
            tmp_path / "run",
        ),
        environment=clean_environment(HOME=str(tmp_path)),
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--address: cannot use the job server at 'http://127.0.0.1:" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_job_that_ray_stops_says_how_to_go_on_and_goes_on(cluster: SharedCluster, tmp_path: Path) -> None:
    pictures, output = write_pictures(tmp_path / "many", 120), tmp_path / "run"
    job = [
        "--images",
        pictures,
        "--model",
        TINY_ONNX,
        "--device",
        "timed",
        "--shard-size",
        4,
        "--output",
        output,
    ]
    submitted = submit(cluster, *job, "--service-ms", 2000, detach=True)
    assert submitted.returncode == 0, submitted.stderr
    [job_id] = re.findall(r"Submitted (\S+)\.", submitted.stderr)
    deadline = time.monotonic() + HANG_S
    while commit_count(output) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    environment = clean_environment(**cluster.environment)
    stopped = run([*RAY, "job", "stop"], "--address", cluster.jobs_url, job_id, environment=environment)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    log = run([*RAY, "job", "logs"], "--address", cluster.jobs_url, job_id, environment=environment)
    assert "stopped by SIGTERM" in log.stdout, log.stdout
    assert "--resume goes on" in log.stdout
    done = commit_count(output)
    assert 3 <= done < 30
    assert not (output / "_SUCCESS").exists()
    resumed = submit(cluster, *job, "--service-ms", 5, "--resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert_each_once(output, 120)
    assert commit_count(output) == 30
