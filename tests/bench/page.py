"""docs/results/bench.json → docs/results/bench.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jobs.report.format import markdown_table
from tests.bench.record import Bench, Figure, Part, Table

LINES = {
    "1": "The card is busy",
    "2": "Against the vendor sample's serial flow",
    "3": "Against Ray Data, and against the cores",
    "4": "What an image costs the host",
    "5": "Raw heads to boxes",
    "6": "The driver",
    "7": "1 to 64 cards",
    "8": "Start-up",
    "9": "Scoring",
    "peer": "The peer is no straw man",
}


def write_page(bench: Bench, path: Path) -> None:
    path.write_text(page_of(bench), encoding="utf-8")


def page_of(bench: Bench) -> str:
    blocks = [
        "# Benchmarks",
        (
            "Made by `make bench`; every figure with its raw samples is in `bench.json`. A figure is the median of its "
            "rounds, and a ratio is taken within a round: peer or bound and Raysail ran in turn on the same machine. "
            "[docs/speed.md](../speed.md) says what is measured and where the time goes."
        ),
        _summary(bench),
        *(_part(part) for part in bench.parts),
        "## Circumstances",
        _circumstances(bench),
    ]
    return "\n\n".join(blocks) + "\n"


def _summary(bench: Bench) -> str:
    figures = [figure for part in bench.parts for figure in part.figures if figure.goal is not None]
    figures.sort(key=lambda figure: (figure.line == "peer", figure.line))
    met = sum(figure.met is True for figure in figures)
    rows = [
        (LINES.get(figure.line, figure.line), figure.text, _goal(figure), _value(figure), _verdict(figure))
        for figure in figures
    ]
    head = ("what", "figure", "goal", "measured", "met")
    return f"{met} of {len(figures)} goals are met.\n\n" + markdown_table(head, rows, text=head)


def _part(part: Part) -> str:
    blocks = [f"## {part.title}", _figures(part.figures)]
    notes = [f"- {figure.text}: {figure.note}." for figure in part.figures if figure.note]
    if notes:
        blocks.append("\n".join(notes))
    blocks += [_table(table) for table in part.tables]
    return "\n\n".join(blocks)


def _figures(figures: Iterable[Figure]) -> str:
    rows = [(figure.text, _value(figure), _range(figure), _goal(figure), _raw(figure)) for figure in figures]
    head = ("figure", "median", "rounds", "goal", "medians of the samples")
    return markdown_table(head, rows, text=("figure", "medians of the samples"))


def _table(table: Table) -> str:
    rows = [tuple(cell if isinstance(cell, str) else _short(cell) for cell in row) for row in table.rows]
    note = f"\n\n{table.note}." if table.note else ""
    return f"**{table.title}**\n\n" + markdown_table(table.head, rows, text=table.head[:1]) + note


def _value(figure: Figure) -> str:
    return _with_unit(figure.value, figure.unit)


def _range(figure: Figure) -> str:
    low, high = min(figure.values), max(figure.values)
    return f"{_short(low)} – {_short(high)} ({len(figure.values)})" if len(figure.values) > 1 else "1"


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    low, high = figure.goal.at_least, figure.goal.at_most
    if low is not None and high is not None:
        return f"{_short(low)} to {_short(high)}"
    return (
        f"≥ {_with_unit(low, figure.unit)}" if low is not None else f"≤ {_with_unit(high or 0, figure.unit)}"
    )


def _raw(figure: Figure) -> str:
    medians = (
        f"{name} {_short(sorted(values)[len(values) // 2])}" for name, values in figure.samples.items()
    )
    return ", ".join(medians) + (f" {figure.samples_unit}" if figure.samples else "")


def _verdict(figure: Figure) -> str:
    return "yes" if figure.met else "**no**"


def _with_unit(value: float, unit: str) -> str:
    return f"{_short(value)} {unit}".strip()


def _short(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _circumstances(bench: Bench) -> str:
    rows = [
        (
            part.title,
            part.measured,
            f"{part.commit[:10]}{' with changes' if part.changed else ''}",
            part.material,
            f"{part.machine.processor}, {part.machine.cores} cores, {part.machine.memory_gb:.0f} GB",
            f"{part.load:.2f}",
            f"{part.seconds:.0f}",
        )
        for part in bench.parts
    ]
    head = ("part", "measured", "commit", "material", "machine", "load before", "seconds")
    versions = sorted({f"{name} {number}" for part in bench.parts for name, number in part.versions.items()})
    return markdown_table(head, rows, text=head[:5]) + "\n\n" + ", ".join(versions) + "."
