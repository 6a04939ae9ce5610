"""Draws where a launch's time goes: the dearest layers as bars, in SVG, for reports."""

from __future__ import annotations

from html import escape
from typing import Final

from bmodel.compiler.latency import LatencyReport, LayerCost

ROW_PX: Final = 22
LABEL_PX: Final = 250
BAR_PX: Final = 380
WIDTH_PX: Final = LABEL_PX + BAR_PX + 90
TOP_PX: Final = 34
# By what the layer does; told apart by lightness too, for readers who see no hues.
COLOURS: Final = {
    "Conv2D": "#1f4e79",
    "Active": "#c55a11",
    "Lut": "#c55a11",
    "Load": "#8faadc",
    "Store": "#8faadc",
}
OTHER_COLOUR: Final = "#7f7f7f"


def latency_svg(report: LatencyReport, *, layers: int = 10) -> str:
    """Draw the dearest layers, and all the others together as the last bar; times are the schedule's, uncorrected."""
    total_ms = report.prediction.raw_ms
    shown = report.layers[:layers]
    rest = LayerCost(
        name=f"{len(report.layers) - len(shown)} others",
        kind="",
        compute_ms=0.0,
        transfer_ms=0.0,
        share=sum(layer.share for layer in report.layers[layers:]),
    )
    rows = [*shown, rest] if len(shown) < len(report.layers) else list(shown)
    longest = max((row.share for row in rows), default=1.0) or 1.0
    height = TOP_PX + ROW_PX * len(rows) + 8
    title = f"{total_ms:.4g} ms by the compiler's schedule, {len(report.layers)} layers"
    bars = [_bar(row, number, longest, total_ms) for number, row in enumerate(rows)]
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height}" width="{WIDTH_PX}" '
                f'height="{height}" font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">'
            ),
            f'<text x="0" y="18" font-weight="bold">{escape(title)}</text>',
            *bars,
            "</svg>",
            "",
        ]
    )


def _bar(row: LayerCost, number: int, longest: float, total_ms: float) -> str:
    top = TOP_PX + ROW_PX * number
    width = BAR_PX * row.share / longest
    label = row.name if len(row.name) <= 36 else f"…{row.name[-35:]}"
    return (
        f'<text x="{LABEL_PX - 6}" y="{top + 14}" text-anchor="end">{escape(label)}</text>'
        f'<rect x="{LABEL_PX}" y="{top + 2}" width="{width:.1f}" height="{ROW_PX - 6}" '
        f'fill="{COLOURS.get(row.kind, OTHER_COLOUR)}"><title>{escape(f"{row.name} {row.kind}")}</title></rect>'
        f'<text x="{LABEL_PX + width + 5:.1f}" y="{top + 14}">{row.share * total_ms:.3g} ms, {row.share:.1%}</text>'
    )
