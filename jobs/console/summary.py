"""The short table at the end of a run; at most 80 columns wide. Every number is from metrics.json."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from jobs.console.progress import nothing_found
from jobs.measure.metrics import Metrics
from jobs.run.folder import RunFolder

WIDTH = 80
MOST_CLASSES = 10
# What users open first, in this order, and what each one is.
WRITTEN = {
    "report.html": "",
    "labels": "/",
    "detections": "/ (Parquet)",
    "images": "/ (Parquet)",
}


def print_summary(metrics: Metrics, run: RunFolder) -> None:
    """Print a run's figures and where its files are."""
    console = Console(
        # Class and file names may contain brackets, which are not mark-up.
        file=sys.stdout,
        width=None if sys.stdout.isatty() else WIDTH,
        highlight=False,
        markup=False,
    )
    console.print(_figures(metrics))
    if metrics.images.ok and not metrics.detections:
        console.print(nothing_found(metrics.images.ok))
    if metrics.map is not None and metrics.map.coco.per_class:
        console.print(_classes(metrics))
    there = set(run.store.entries())
    console.print("Written: " + ", ".join(name + what for name, what in WRITTEN.items() if name in there))
    console.print(f"Everything is in {run.store.place}", soft_wrap=True)


def _figures(metrics: Metrics) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    counts = metrics.images
    failures = ", ".join(f"{number} at {stage}" for stage, number in counts.failures.items())
    failed = f", {counts.failed} failed ({failures})" if counts.failed else ""
    table.add_row("Images", f"{counts.ok} ok of {counts.total}{failed}")
    table.add_row("Detections", f"{metrics.detections}")
    table.add_row("Model", f"{metrics.model.name} on {metrics.device}, {len(metrics.cards)} card(s)")
    _add_map_rows(table, metrics)
    if metrics.latency.stages:
        means = ", ".join(f"{stage} {times.mean_ms:.1f}" for stage, times in metrics.latency.stages.items())
        table.add_row("Mean ms per image", means)
    if metrics.prepared is not None:
        table.add_row("Prepared", f"{metrics.prepared.card} on the card, {metrics.prepared.host} on the host")
    table.add_row("Throughput", _number(metrics.throughput.images_per_s, "{:.1f} images/s"))
    table.add_row(
        "i_time", _number(metrics.latency.i_time_ms, "{:.1f} ms") + f" ({metrics.latency.i_time_source})"
    )
    table.add_row("Score", _number(metrics.score, "{:.2f}") + f" ({metrics.score_protocol} mAP@0.5)")
    return table


def _add_map_rows(table: Table, metrics: Metrics) -> None:
    if metrics.map is None:
        table.add_row(
            "mAP", "unknown (no ground truth)" if metrics.device != "timed" else "none (synthetic detections)"
        )
        return
    coco, yolo, voc = metrics.map.coco, metrics.map.yolo, metrics.map.voc
    sizes = ", ".join(
        f"{size} {_number(ap)}"
        for size, ap in zip("SML", (coco.ap_small, coco.ap_medium, coco.ap_large), strict=True)
    )
    table.add_row("COCO protocol", f"AP50 {_number(coco.ap50)}, AP {_number(coco.ap)} ({sizes})")
    table.add_row("YOLO protocol", f"AP50 {_number(yolo.ap50)}, AP {_number(yolo.ap)}")
    table.add_row("VOC protocol", f"AP50 {_number(voc.ap50)}")


def _classes(metrics: Metrics) -> Table:
    table = Table("class", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("objects", "COCO AP50", "COCO AP", "YOLO AP50", "VOC AP50"):
        table.add_column(name, justify="right")
    if metrics.map is None:
        return table
    rows = sorted(metrics.map.coco.per_class.items(), key=lambda item: -item[1].objects)
    for name, coco in rows[:MOST_CLASSES]:
        yolo, voc = metrics.map.yolo.per_class.get(name), metrics.map.voc.per_class.get(name)
        table.add_row(
            name,
            str(coco.objects),
            _number(coco.ap50),
            _number(coco.ap),
            _number(yolo.ap50 if yolo else None),
            _number(voc.ap50 if voc else None),
        )
    if len(rows) > MOST_CLASSES:
        table.add_row(f"… {len(rows) - MOST_CLASSES} more in metrics.json")
    return table


def _number(value: float | None, form: str = "{:.4f}") -> str:
    return "unknown" if value is None else form.format(value)
