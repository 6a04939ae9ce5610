"""Health samples of the cards (health.parquet) → a chart a quantity."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.report.charts import Chart, Shape, line, ticks
from jobs.report.format import decimal
from jobs.run_folder.folder import RunFolder

HEALTH = "health.parquet"
MOST_POINTS = 400
MOST_NAMED = 5
_UNITS = {
    "c": "°C",
    "percent": "%",
    "mb": "MB",
    "mib": "MiB",
    "bytes": "bytes",
    "w": "W",
    "mhz": "MHz",
    "ms": "ms",
}


def health_charts(run: RunFolder) -> tuple[Chart, ...]:
    """A chart for every number sampled, a line a card; nothing without samples.

    health.parquet has a column `card`, one of times in ms since the run began whose name ends in `_ms`, and numbers
    whose names end in their unit.
    """
    if HEALTH not in run.store.names(""):
        return ()
    try:
        table = pq.read_table(io.BytesIO(run.store.read(HEALTH)))
    except pa.ArrowException:  # a report does not hang on it
        return ()
    time = next((name for name in table.column_names if name.endswith("_ms")), None)
    if time is None or "card" not in table.column_names or not table.num_rows:
        return ()
    numbers = [
        name
        for name in table.column_names
        if name != time
        and (pa.types.is_integer(kind := table.schema.field(name).type) or pa.types.is_floating(kind))
    ]
    charts = [_chart(table, time, name) for name in numbers]
    return tuple(chart for chart in charts if chart is not None)


def _chart(table: pa.Table, time: str, name: str) -> Chart | None:
    known = table.filter(pc.is_valid(table.column(name)))
    if not known.num_rows:
        return None
    seconds = known.column(time).to_numpy().astype(np.float64) / 1000
    values = known.column(name).to_numpy().astype(np.float64)
    cards = np.array(known.column("card").to_pylist())
    low, high = float(min(0.0, values.min())), float(values.max()) * 1.08 or 1.0
    first, last = float(seconds.min()), float(seconds.max())
    names = sorted(set(cards.tolist()))
    shapes = []
    for position, card in enumerate(names):
        rows = np.flatnonzero(cards == card)
        rows = rows[np.argsort(seconds[rows], kind="stable")]
        rows = rows[:: max(1, len(rows) // MOST_POINTS)]
        few = len(names) <= MOST_NAMED
        shapes.append(
            Shape(
                path=line(
                    (seconds[rows] - first) / max(last - first, 1e-9), (values[rows] - low) / (high - low)
                ),
                css=f"line series-{position}" if few else "line thin",
                title=card,
                key=card if few else "",
            )
        )
    quantity, unit = _quantity(name)
    return Chart(
        title=quantity,
        note=f"{decimal(float(values.min()))} to {decimal(float(values.max()))} {unit}".rstrip(),
        x_label="s since the run began",
        x_ticks=ticks(first, last, most=4),
        y_ticks=ticks(low, high, most=4),
        shapes=tuple(shapes),
    )


def _quantity(name: str) -> tuple[str, str]:
    words, _, unit = name.rpartition("_")
    if not words or unit not in _UNITS:
        words, unit = name, ""
    return words.replace("_", " ").capitalize(), _UNITS.get(unit, "")
