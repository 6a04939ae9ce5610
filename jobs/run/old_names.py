"""What runs of Raysail 0.1 name otherwise: the one place where their names become today's, on reading.

0.1 called the first stage `decode` (of images; the last one decoded outputs), and in metrics.json temperatures by two
spellings. Files are never rewritten for it; a run that 0.1 began and a later version resumed has parts of both kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_STAGES: Final = {"decode": "read"}
_COLUMNS: Final = {"decode_ms": "read_ms"}
_HEALTH: Final = {
    "chip_celsius_max": "chip_temperature_c_max",
    "chip_celsius_mean": "chip_temperature_c_mean",
    "board_celsius_max": "board_temperature_c_max",
}
Content = dict[str, Any]


def current_part(table: pa.Table) -> pa.Table:
    """A part's table with today's columns and stages; one that has them is returned as it is."""
    if not _COLUMNS.keys() & set(table.schema.names):
        return table
    table = table.rename_columns([_COLUMNS.get(name, name) for name in table.schema.names])
    if "stage" not in table.schema.names:
        return table
    stage = table.column("stage")
    for old, new in _STAGES.items():
        stage = pc.if_else(pc.equal(stage, old), new, stage)
    return table.set_column(table.schema.get_field_index("stage"), "stage", stage)


def current_metrics(content: Content) -> Content:
    """Metrics of schema version 1 as those of version 2; what is not as version 1 has it is left for the schema to refuse."""
    images, latency, health = (content.get(name) for name in ("images", "latency", "health"))
    changes: Content = {"schema_version": 2}
    if isinstance(images, dict) and isinstance(images.get("failures"), dict):
        changes["images"] = {**images, "failures": _renamed(images["failures"], _STAGES)}
    if isinstance(latency, dict) and isinstance(latency.get("stages"), dict):
        changes["latency"] = {**latency, "stages": _renamed(latency["stages"], _STAGES)}
    if isinstance(health, list):
        changes["health"] = [_renamed(card, _HEALTH) if isinstance(card, dict) else card for card in health]
    return {**content, **changes}


def current_costs(content: Content) -> Content:
    """A table of host costs, as `raysail plan --save-costs` writes it, with today's names."""
    return _renamed(content, _COLUMNS)


def _renamed(content: Mapping[str, Any], names: Mapping[str, str]) -> Content:
    return {names.get(name, name): value for name, value in content.items()}
