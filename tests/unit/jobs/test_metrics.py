"""metrics.json: its published schema is the code's, and it validates what a run writes."""

from __future__ import annotations

from jobs.measure.metrics import json_schema
from tests.helpers.paths import ROOT


def test_published_schema_is_the_codes_own() -> None:
    published = (ROOT / "docs" / "metrics.schema.json").read_text(encoding="utf-8")
    assert published == json_schema(), (
        'run: python -c "from jobs.measure.metrics import json_schema; print(json_schema(), end=str())" '
        "> docs/metrics.schema.json"
    )
