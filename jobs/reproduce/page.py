"""The one page of a reproduction: what was published, what was measured, what is missing; Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bmodel.sidecar import Frozen
from jobs.metrics import Metrics
from jobs.reproduce.compare_published import ComparisonSummary
from jobs.reproduce.figures import Figure, Verdict
from jobs.reproduce.file import SetName
from jobs.score import ScoreProtocol, map50_of
from jobs.text_tables import figure, markdown_table

VERDICTS: Final[dict[Verdict, str]] = {
    "pass": "Reproduced: every figure that could be measured here is within its tolerance",
    "fail": "Not reproduced",
    "not measurable": "Nothing that was published could be measured here",
}
# A figure's digits, by its name.
_DIGITS: Final = {"mAP@0.5": 4, "i_time (ms)": 2, "score": 2}


class ReproductionResult(Frozen):
    """All that a reproduction found. sets: metrics of the sets that ran. absent: what to put where for the others."""

    title: str
    verdict: Verdict
    figures: tuple[Figure, ...]
    sets: dict[SetName, Metrics]
    absent: dict[SetName, str]
    labels: dict[SetName, str]
    comparison: ComparisonSummary | None = None


def render(result: ReproductionResult, *, comparison: str = "") -> str:
    """The page; comparison: the section about the published files, in Markdown."""
    parts = [
        f"# {result.title}",
        _verdict(result),
        _figures(result.figures),
        *(f"Missing: {text}." for text in result.absent.values()),
    ]
    if result.sets:
        parts += ["## What ran", _sets(result), *_where(result)]
    if comparison:
        parts += ["## Beside the published files", comparison]
    return "\n\n".join(parts) + "\n"


def _verdict(result: ReproductionResult) -> str:
    left = [figure.name for figure in result.figures if figure.verdict == "not measurable"]
    if result.verdict == "fail":
        failed = [f"{figure.name} of {figure.set}" for figure in result.figures if figure.verdict == "fail"]
        return f"**{VERDICTS['fail']}: {', '.join(failed)}.**" + _not_measurable(left)
    return f"**{VERDICTS[result.verdict]}.**" + _not_measurable(left)


def _not_measurable(names: list[str]) -> str:
    return f" Not measurable here: {', '.join(names)}." if names else ""


def _figures(found: Iterable[Figure]) -> str:
    return markdown_table(
        ["figure", "set", "published", "tolerance", "measured", "deviation", "verdict", "note"],
        [_figure_row(one, _DIGITS.get(one.name, 0)) for one in found],
        text=["figure", "set", "verdict", "note"],
    )


def _figure_row(one: Figure, digits: int) -> list[str]:
    known = [figure(value, digits) for value in (one.published, one.tolerance, one.measured)]
    return [one.name, one.set, *known, figure(one.deviation, digits, sign=True), one.verdict, one.note]


def _sets(result: ReproductionResult) -> str:
    head = ["set", "images", "failed", "detections", "YOLO mAP@0.5", "VOC", "COCO", "i_time (ms)", "source"]
    return markdown_table(head, [_set_row(*item) for item in result.sets.items()], text=["set", "source"])


def _set_row(name: str, metrics: Metrics) -> list[str]:
    protocols: tuple[ScoreProtocol, ...] = ("yolo", "voc", "coco")
    return [
        name,
        *(str(count) for count in (metrics.images.total, metrics.images.failed, metrics.detections)),
        *(figure(map50_of(metrics.map, protocol), 4) for protocol in protocols),
        figure(metrics.latency.i_time_ms, 2),
        metrics.latency.i_time_source,
    ]


def _where(result: ReproductionResult) -> list[str]:
    metrics = next(iter(result.sets.values()))
    model = metrics.model
    size = f"{model.input_hw[0]}x{model.input_hw[1]}"
    facts = (
        f"{model.name}, {model.precision.upper()}, {size}, batch {model.batch}, {model.classes} classes",
        f"device {metrics.device}",
        f"SHA-256 `{model.sha256}`",
        *(f"{name} {version}" for name, version in metrics.versions.items()),
    )
    labels = [
        f"- labels of {name} in the competition's format: `{folder}`"
        for name, folder in result.labels.items()
    ]
    return ["; ".join(facts) + ".", "\n".join(labels)]
