"""Measured beside published: pass, fail or not measurable, and never a pass without truth or from another source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from bmodel.validation import ExactModel
from jobs.config.choices import ScoreProtocol
from jobs.measure.metrics import Metrics
from jobs.measure.score import competition_score, map50_of
from jobs.report.format import figure, markdown_table
from jobs.study.compare_published import ComparisonSummary
from jobs.study.reproduction_file import ExpectedMap, ExpectedTime, Reproduction, SetName

Verdict = Literal["pass", "fail", "not measurable"]
IMAGES: Final = "images that went through"


class Figure(ExactModel):
    """One figure. measured: null where it is not measurable, and `note` says why. deviation: measured - published."""

    name: str
    set: str
    published: float
    tolerance: float
    measured: float | None
    deviation: float | None
    verdict: Verdict
    note: str = ""


def figures(file: Reproduction, measured: Mapping[SetName, Metrics]) -> tuple[Figure, ...]:
    """Judge every expectation, and for every set that ran whether each of its images went through."""
    found = [_images(name, file.sets[name].count, metrics) for name, metrics in measured.items()]
    expected = file.expectations
    map50, i_time_ms = None, None
    if expected.map50 is not None:
        map50 = _map50(expected.map50, measured.get(expected.map50.set))
        found.append(map50)
    if expected.i_time_ms is not None:
        i_time_ms = _i_time(expected.i_time_ms, measured.get(expected.i_time_ms.set))
        found.append(i_time_ms)
    if expected.score is not None and map50 is not None and i_time_ms is not None:
        found.append(_score(expected.score.published, expected.score.tolerance, map50, i_time_ms))
    return tuple(found)


def verdict_of(found: tuple[Figure, ...]) -> Verdict:
    """Fail where anything failed; pass only where something that was published passed."""
    verdicts = {figure.verdict for figure in found if figure.name != IMAGES}
    if any(figure.verdict == "fail" for figure in found):
        return "fail"
    return "pass" if "pass" in verdicts else "not measurable"


def _images(name: SetName, count: int, metrics: Metrics) -> Figure:
    return _judged(IMAGES, name, count, 0, float(metrics.images.ok), "")


def _map50(expected: ExpectedMap, metrics: Metrics | None) -> Figure:
    measured, note = None, f"{expected.set} is not there"
    if metrics is not None:
        measured = map50_of(metrics.map, metrics.score_protocol)
        note = (
            f"{metrics.score_protocol} protocol"
            if measured is not None
            else "there is no truth to measure it by"
        )
    return _judged("mAP@0.5", expected.set, expected.published, expected.tolerance, measured, note)


def _i_time(expected: ExpectedTime, metrics: Metrics | None) -> Figure:
    measured, note = None, f"{expected.set} is not there"
    if metrics is not None:
        latency = metrics.latency
        note = latency.i_time_source
        if latency.i_time_ms is None:
            note = f"needs a card: the {metrics.device} device measures none, and nothing predicts one"
        elif latency.i_time_source == expected.source:
            measured = latency.i_time_ms
        else:
            note = f"must be {expected.source}; {latency.i_time_ms:.2f} ms are {latency.i_time_source}"
    return _judged("i_time (ms)", expected.set, expected.published, expected.tolerance, measured, note)


def _score(published: float, tolerance: float, map50: Figure, i_time_ms: Figure) -> Figure:
    measured, note = None, "needs mAP@0.5 and i_time"
    if map50.measured is not None and i_time_ms.measured is not None:
        measured = competition_score(map50.measured, i_time_ms.measured)
        note = f"i_time {i_time_ms.note}"
    sets = dict.fromkeys((map50.set, i_time_ms.set))
    return _judged("score", " and ".join(sets), published, tolerance, measured, note)


def _judged(
    name: str, set_name: str, published: float, tolerance: float, measured: float | None, note: str
) -> Figure:
    deviation = None if measured is None else measured - published
    verdict: Verdict = "not measurable"
    if deviation is not None:  # the last digits of a sum must not decide
        verdict = "pass" if abs(deviation) <= tolerance + 1e-9 else "fail"
    return Figure(
        name=name,
        set=set_name,
        published=published,
        tolerance=tolerance,
        measured=measured,
        deviation=deviation,
        verdict=verdict,
        note=note,
    )


VERDICTS: Final[dict[Verdict, str]] = {
    "pass": "Reproduced: every figure that could be measured here is within its tolerance",
    "fail": "Not reproduced",
    "not measurable": "Nothing that was published could be measured here",
}
# A figure's digits, by its name.
_DIGITS: Final = {"mAP@0.5": 4, "i_time (ms)": 2, "score": 2}


class ReproductionResult(ExactModel):
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
