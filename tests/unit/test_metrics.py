"""metrics.json: its published schema is the code's, and it validates what a run writes."""

from __future__ import annotations

from pathlib import Path

from jobs.measure.metrics import json_schema

ROOT = Path(__file__).resolve().parents[2]


def test_published_schema_is_the_codes_own() -> None:
    published = (ROOT / "docs" / "metrics.schema.json").read_text(encoding="utf-8")
    assert published == json_schema(), (
        'run: python -c "from jobs.measure.metrics import json_schema; print(json_schema(), end=str())" '
        "> docs/metrics.schema.json"
    )
