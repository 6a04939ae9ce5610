"""Carries a storm out on a cluster, and counts what really happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.job_runs import TINY_BMODEL, commit_count
from tests.helpers.paths import ROOT
from tests.helpers.processes import scaled_s, start_process
from tests.ray.chaos.card_cluster import CardCluster
from tests.ray.chaos.plan import SHARD_SIZE, Blow, Damage, Life, Storm

LONGEST_LIFE_S = 150.0
DEADLINE_S = 4.0


@dataclass(slots=True)
class Tally:
    """What really happened in a storm.

    drivers, workers, hosts: processes killed with SIGKILL. faults: faults that a device took. voided: commits that
    a resumed driver found damaged. missed: blows that the last driver was too quick for. output: what it said.
    """

    drivers: int = 0
    workers: int = 0
    hosts: int = 0
    faults: int = 0
    voided: int = 0
    missed: int = 0
    seconds: float = 0.0
    output: str = ""

    @property
    def kills(self) -> int:
        """All that were killed."""
        return self.drivers + self.workers + self.hosts


def start_driver(
    run: Path | str,
    *,
    images: Path,
    address: str,
    device: str = "timed",
    service_ms: float = 12,
    doom: tuple[str, int] | None = None,
    more: Sequence[object] = (),
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start `raysail detect --resume`, to be killed at a stage of a commit or not; it ends with the test at the latest."""
    stage, commit = doom or ("never", 0)
    options: list[object] = ["--images", images, "--model", TINY_BMODEL, "--device", device, "--output", run]
    options += ["--address", address, "--shard-size", SHARD_SIZE, "--label-format", "none", "--resume"]
    if device == "timed":
        options += ["--service-ms", service_ms]
    return start_process(
        [sys.executable, "-m", "tests.ray.chaos.doomed", f"{stage}:{commit}", *map(str, [*options, *more])],
        folder=ROOT,
        environment={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def end_of(driver: subprocess.Popen[str], *, timeout: float = LONGEST_LIFE_S) -> str:
    """Wait for a driver's end; returns what it said."""
    try:
        return driver.communicate(timeout=scaled_s(timeout))[0]
    except subprocess.TimeoutExpired:
        driver.kill()
        said = driver.communicate()[0]
        raise AssertionError(f"the driver did not end within {timeout} s, and said:\n{said}") from None


def weather(storm: Storm, cluster: CardCluster, *, images: Path, run: Path) -> Tally:
    """Live through a storm; the last driver must end well."""
    tally, dice, began = Tally(), random.Random(storm.seed + 1), time.monotonic()
    for number, life in enumerate(storm.lives):
        if life.damage:
            damage(run, life.damage, dice)
        fault_file = run.parent / f"fault-{storm.seed}-{number}"
        driver = start_driver(
            run,
            images=images,
            address=cluster.address,
            device=storm.device,
            service_ms=storm.service_ms,
            doom=life.doom,
            more=_fault_options(life, fault_file),
        )
        missed = _strike(life, cluster, run, driver, tally, dice)
        tally.missed += 0 if life.doom else missed
        tally.output = end_of(driver)
        wanted = -signal.SIGKILL if life.doom else 0
        assert driver.returncode == wanted, f"life {number} ended with {driver.returncode}: {tally.output}"
        tally.drivers += life.doom is not None
        tally.faults += len(list(fault_file.parent.glob(f"{fault_file.name}.taken-*")))
        tally.voided += tally.output.count("images are done again")
    tally.seconds = time.monotonic() - began
    return tally


def _fault_options(life: Life, file: Path) -> list[object]:
    if life.fault is None:
        return []
    file.write_text(life.fault, encoding="utf-8")
    return ["--fault-file", file, "--shard-deadline", DEADLINE_S]


def _strike(
    life: Life,
    cluster: CardCluster,
    run: Path,
    driver: subprocess.Popen[str],
    tally: Tally,
    dice: random.Random,
) -> int:
    """Strike each blow once the driver has got so far; returns how many came to nothing because it ended first."""
    before, missed = commit_count(run), len(life.blows)
    for after, blow in life.blows:
        deadline = time.monotonic() + scaled_s(LONGEST_LIFE_S)
        while driver.poll() is None and time.monotonic() < deadline:
            if commit_count(run) - before >= after and _hit(blow, cluster, tally, dice):
                missed -= 1
                break
            time.sleep(0.01)
    return missed


def _hit(blow: Blow, cluster: CardCluster, tally: Tally, dice: random.Random) -> bool:
    if blow == "worker":
        hit = cluster.kill_worker(dice.choice)
        tally.workers += hit
        return hit
    host = dice.choice(cluster.hosts)
    cluster.kill_host(host)
    tally.hosts += 1
    cluster.add_host()
    return True


def damage(run: Path, kind: Damage, dice: random.Random) -> None:
    """Do to a run's folder what a bad disk or a dead driver does."""
    if kind == "half a line":
        with (run / "commits.jsonl").open("ab") as file:
            file.write(b'{"stem":"0000000000-00')
        return
    if kind == "unfinished file":
        (run / "images" / ".part-0000000000-0000000010.parquet.0badc0de.tmp").write_bytes(b"PAR1")
        return
    # A part file that a driver died over before it wrote its commit is nobody's, and its loss nobody's loss.
    kept = sorted((run / "commits.jsonl").read_text(encoding="utf-8").splitlines())
    if kind in {"wrong number", "lost field"}:
        _damage_record(run, kept, kind, dice)
        return
    folder = dice.choice(("images", "detections"))
    part = run / folder / json.loads(dice.choice(kept))[folder]["file"]
    content = bytearray(part.read_bytes())
    if kind == "remove":
        part.unlink()
    elif kind == "truncate":
        part.write_bytes(content[: dice.randrange(len(content))])
    else:
        content[dice.randrange(len(content))] ^= 0x40
        part.write_bytes(content)


def _damage_record(run: Path, lines: list[str], kind: Damage, dice: random.Random) -> None:
    """Make a record say something else and stay whole JSON: nothing but its own contradictions tells."""
    number = dice.randrange(len(lines))
    record = json.loads(lines[number])
    if kind == "lost field":
        del record[dice.choice(("start", "attempt", "images", "detections"))]
    else:
        record[dice.choice(("start", "stop"))] += dice.choice((SHARD_SIZE // 2, SHARD_SIZE))
    lines[number] = json.dumps(record, separators=(",", ":"))
    (run / "commits.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
