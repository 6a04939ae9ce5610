"""Runs what is ready of a reproduction, and writes its page, its figures and its comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bmodel.errors import ConfigurationError
from data.formats import NamedBoxes
from jobs.run.store import LocalStore
from jobs.study.reproduce.compare_page import comparison_section, differences_csv, files_csv
from jobs.study.reproduce.compare_published import ComparisonSummary, compare, read_folder, summarise
from jobs.study.reproduce.reproduction_file import Preparation, Reproduction
from jobs.study.reproduce.reproduction_page import ReproductionResult, Verdict, figures, render, verdict_of
from jobs.study.run_once import run_once

PAGE: Final = "reproduction.md"
FIGURES: Final = "reproduction.json"
FILES: Final = "comparison.csv"
BOXES: Final = "differences.csv"


def run(file: Reproduction, found: Preparation, *, published: Path | None) -> tuple[Verdict, str]:
    """Run every set that is ready and judge; returns the verdict and the page, which lies in the output too.

    Sets that ran already are not run again. Raises RaysailError, FormatError.
    """
    theirs = None if published is None else read_folder(published, "--published")
    if theirs is not None and "b-set" not in found.ready:
        raise ConfigurationError(
            f"--published: is about the B set; {found.absent.get('b-set', 'the file has none')}"
        )
    store = LocalStore(file.output)
    measured = {name: run_once(config) for name, config in found.ready.items()}
    labels = {name: f"{config.output}/labels" for name, config in found.ready.items()}
    judged = figures(file, measured)
    comparison, section = None, ""
    if theirs is not None:
        ours = read_folder(Path(labels["b-set"]), "--detections")
        comparison, section = _compare(theirs, ours, store)
    result = ReproductionResult(
        title=file.title,
        verdict=verdict_of(judged),
        figures=judged,
        sets=measured,
        absent=found.absent,
        labels=labels,
        comparison=comparison,
    )
    page = render(result, comparison=section)
    store.write(PAGE, page.encode())
    store.write(FIGURES, (result.model_dump_json(indent=2) + "\n").encode())
    return result.verdict, f"{page}\nEverything is in {store.place}\n"


def compare_only(published: Path, detections: Path, *, output: Path) -> str:
    """Compare two folders without running anything; returns the page, which lies in the output too."""
    theirs, ours = read_folder(published, "--published"), read_folder(detections, "--detections")
    store = LocalStore(output)
    summary, section = _compare(theirs, ours, store)
    page = f"# Published and own detection files\n\n{section}\n"
    store.write("comparison.md", page.encode())
    store.write("comparison.json", (summary.model_dump_json(indent=2) + "\n").encode())
    return f"{page}\nEverything is in {store.place}\n"


def _compare(
    theirs: Mapping[str, NamedBoxes], ours: Mapping[str, NamedBoxes], store: LocalStore
) -> tuple[ComparisonSummary, str]:
    files = compare(theirs, ours)
    summary = summarise(files)
    store.write(FILES, files_csv(files).encode())
    store.write(BOXES, differences_csv(files).encode())
    return summary, comparison_section(summary, files)
