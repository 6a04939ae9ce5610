"""`make bench`: measure all parts, or some, and write docs/results/bench.json and bench.md.

    python -m tests.bench [PART ...] [--resume] [--list]

Every part runs in a process of its own with a time limit, and is written as soon as it is measured; --resume leaves
out those that were measured at this very commit on this machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from tests.bench.findings import Findings
from tests.bench.machine import commit, this_machine, versions
from tests.bench.material import BUILD, find_material
from tests.bench.page import write_page
from tests.bench.record import Bench, Part, read_bench, write_bench
from tests.helpers.paths import ROOT

RESULTS = ROOT / "docs" / "results" / "bench.json"
PEERS = BUILD / "peers"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A part's module `tests.bench.part_<name>`. limit_s: when it is given up. peers: needs libraries of peers."""

    limit_s: float
    peers: bool = False


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "card": Entry(limit_s=300),
        "serial": Entry(limit_s=500),
        "raydata": Entry(limit_s=900, peers=True),
        "host": Entry(limit_s=240),
        "heads": Entry(limit_s=240, peers=True),
        "driver": Entry(limit_s=600),
        "cards": Entry(limit_s=900),
        "start": Entry(limit_s=240),
        "scoring": Entry(limit_s=240),
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(ENTRIES)} [all]")
    parser.add_argument("--resume", action="store_true", help="leave out what this commit has measured here")
    parser.add_argument("--alone", metavar="FILE", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in ENTRIES]
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}; they are {', '.join(ENTRIES)}")
    if options.alone:
        measure_alone(options.parts[0], options.alone)
    else:
        sys.exit(measure_all(options.parts or list(ENTRIES), resume=options.resume))


def measure_all(names: list[str], *, resume: bool) -> int:
    """Measure parts one after another; returns 1 when one of them could not be measured."""
    failed = []
    for name in names:
        if resume and is_measured(read_bench(RESULTS), name):
            print(f"{name}: measured already", flush=True)
            continue
        print(f"{name}: at most {ENTRIES[name].limit_s / 60:.0f} minutes ...", flush=True)
        part = _in_a_process(name)
        if part is None:
            failed.append(name)
            continue
        bench = read_bench(RESULTS).with_part(part, tuple(ENTRIES))
        write_bench(bench, RESULTS)
        write_page(bench, RESULTS.with_suffix(".md"))
        for figure in part.figures:
            verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
            print(f"  {figure.text}: {figure.value:.4g} {figure.unit} {verdict}", flush=True)
    if failed:
        print(f"not measured: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def is_measured(bench: Bench, name: str) -> bool:
    """Whether the part stands there from this commit and machine."""
    now, changed = commit()
    return any(
        part.name == name and (part.commit, part.changed) == (now, False) and part.machine == this_machine()
        for part in bench.parts
        if not changed
    )


def _in_a_process(name: str) -> Part | None:
    entry = ENTRIES[name]
    BUILD.mkdir(parents=True, exist_ok=True)
    kept = BUILD / f"{name}.json"
    kept.unlink(missing_ok=True)
    paths = [str(ROOT), *([str(PEERS)] if entry.peers else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "tests.bench", name, "--alone", str(kept)]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=entry.limit_s)
    except subprocess.TimeoutExpired:
        print(f"  {name} did not end within {entry.limit_s:.0f} s", flush=True)
        return None
    return Part.model_validate_json(kept.read_bytes()) if done.returncode == 0 and kept.is_file() else None


def measure_alone(name: str, kept: Path) -> None:
    """Measure one part in this process."""
    load, started = os.getloadavg()[0], time.monotonic()
    material = find_material()
    findings: Findings = import_module(f"tests.bench.part_{name}").measure(material)
    now, changed = commit()
    part = Part(
        name=name,
        title=findings.title,
        figures=findings.figures,
        tables=findings.tables,
        material=material.name,
        commit=now,
        changed=changed,
        measured=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        seconds=round(time.monotonic() - started, 1),
        load=load,
        machine=this_machine(),
        versions=versions(),
    )
    kept.write_text(part.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
