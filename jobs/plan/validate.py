"""Holds the plan against real runs of the timed device: `python -m jobs.plan.validate --images FOLDER`.

The host's work is measured first, in one process without Ray. Then each number of cards runs as a real job, on a
cluster of its own, and what the plan says of it stands beside what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

from jobs.config.detect_config import parse_config
from jobs.measure.metrics import read_metrics
from jobs.plan.fleet_model import pace
from jobs.plan.measure_host import measure_host
from jobs.plan.values import CardTime, Fleet, HostCosts, Work, default_costs
from jobs.report.format import figure, markdown_table
from jobs.run.folder import open_run
from tpu_worker.detector import DetectOptions
from tpu_worker.devices.timed import standard_spec

CARDS: Final = (1, 2, 4, 8, 16)
SERVICE_MS: Final = (91.2, 30.0)
COMMAND: Final = "python -m jobs.plan.validate"


def main() -> None:
    """Measure, run, compare; every finished row is kept, so that the command resumes where it was stopped."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("--images", default="data/sample/images")
    parser.add_argument("--cards", type=int, nargs="+", default=CARDS)
    parser.add_argument("--service-ms", type=float, nargs="+", default=SERVICE_MS)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each run should about take")
    parser.add_argument("--output", type=Path, default=Path("docs/results/plan.json"))
    options = parser.parse_args()
    result = _begun(options.output, options.images)
    costs = HostCosts.model_validate(result["host_costs"])
    for service_ms in options.service_ms:
        for cards in options.cards:
            if any((row["service_ms"], row["cards"]) == (service_ms, cards) for row in result["rows"]):
                continue
            result["rows"].append(_row(costs, options.images, service_ms, cards, options.seconds))
            options.output.write_text(
                json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            sys.stderr.write(f"{result['rows'][-1]}\n")
    sys.stdout.write(table(result["rows"]) + "\n")


def _begun(output: Path, images: str) -> dict[str, Any]:
    if output.is_file():
        return dict(json.loads(output.read_text(encoding="utf-8")))
    costs = measure_host(
        images, spec=standard_spec(), options=DetectOptions(), model=None, defaults=default_costs()
    )
    return {"command": COMMAND, "cores": cores(), "host_costs": costs.model_dump(), "rows": []}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _row(costs: HostCosts, images: str, service_ms: float, cards: int, seconds: float) -> dict[str, Any]:
    """One run beside its plan."""
    card = CardTime(
        image_ms=service_ms,
        network="timed640",
        input_hw=(640, 640),
        precision="fp32",
        source="given",
    )
    fleet = Fleet(hosts=1, cards_per_host=cards, cores_per_host=cores())
    guess = pace(costs, card, fleet, Work(images=1000, shard_size=32))
    count = max(40 * cards, int(guess.images_per_s * seconds))
    shard_size = max(1, min(64, count // (cards * 8)))
    planned = pace(costs, card, fleet, Work(images=count, shard_size=shard_size))
    measured = run_timed(images, service_ms=service_ms, cards=cards, count=count, shard_size=shard_size)
    steady = measured["steady_images_per_s"]
    return {
        "service_ms": service_ms,
        "cards": cards,
        "images": count,
        "shard_size": shard_size,
        "planned_images_per_s": round(planned.images_per_s, 3),
        "bottleneck": planned.bottleneck,
        "cores_used": round(next(s.used for s in planned.stations if s.name == "cores"), 4),
        "measured_images_per_s": round(steady, 3),
        "whole_run_images_per_s": round(measured["images_per_s"], 3),
        "plan_over_measured": round(planned.images_per_s / steady, 4),
        "inference_ms": round(measured["inference_ms"], 3),
        "busy_cores": round(measured["busy_cores"], 3),
        "driver_cores": round(measured["driver_cores"], 3),
        "start_s": round(measured["start_s"], 2),
    }


def run_timed(images: str, *, service_ms: float, cards: int, count: int, shard_size: int) -> dict[str, float]:
    """Run a real job on a cluster of its own; its throughput, and how many cores the whole machine had busy."""
    from jobs.detect import detect

    with tempfile.TemporaryDirectory() as folder:
        config = parse_config(
            {
                "images": _enough_images(images, count, Path(folder) / "images"),
                "device": "timed",
                "service-ms": service_ms,
                "cards": cards,
                "shard-size": shard_size,
                "label-format": "none",
                "output": f"{folder}/run",
            }
        )
        before, driver_before = _busy_s(), time.process_time()
        with redirect_stdout(sys.stderr):
            detect(config)
        busy_s, driver_s = _busy_s() - before, time.process_time() - driver_before
        metrics = read_metrics(open_run(f"{folder}/run"))
        shutil.rmtree(f"{folder}/run")
    throughput, stages = metrics.throughput, metrics.latency.stages
    if throughput.images_per_s is None or throughput.steady_images_per_s is None or stages is None:
        raise RuntimeError(f"a run of {count} images is too short to measure a throughput")
    return {
        "images_per_s": throughput.images_per_s,
        "steady_images_per_s": throughput.steady_images_per_s,
        "inference_ms": stages["inference"].mean_ms,
        "busy_cores": busy_s / metrics.time.detect_s,
        "driver_cores": driver_s / metrics.time.detect_s,
        "start_s": metrics.time.detect_s - count / throughput.images_per_s,
    }


def _enough_images(images: str, count: int, folder: Path) -> str:
    """A folder with as many images, links to the given ones."""
    found = sorted(path.resolve() for path in Path(images).rglob("*.jpg"))
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:07}.jpg").symlink_to(found[number % len(found)])
    return str(folder)


def _busy_s() -> float:
    """CPU seconds that all processes of the machine have taken since it started."""
    with Path("/proc/stat").open(encoding="utf-8") as file:
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    head = ("card time, ms", "cards", "planned", "measured", "planned / measured", "cores used", "the limit")
    return markdown_table(
        head,
        [
            (
                figure(row["service_ms"], 1),
                str(row["cards"]),
                figure(row["planned_images_per_s"], 1),
                figure(row["measured_images_per_s"], 1),
                figure(row["plan_over_measured"], 3),
                f"{row['cores_used']:.0%}",
                row["bottleneck"],
            )
            for row in rows
        ],
        text={"the limit"},
    )


if __name__ == "__main__":
    main()
