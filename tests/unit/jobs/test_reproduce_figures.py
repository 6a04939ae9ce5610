"""Verdicts: pass, fail or not measurable; never a pass without truth, nor by a time from another source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.inputs.ran_model import ModelMetrics
from jobs.measure.latency import ITimeSource, LatencyMetrics, ThroughputMetrics
from jobs.measure.mean_ap_values import CocoAp, MeanAp, VocAp, YoloAp
from jobs.measure.metrics import ImageCounts, Metrics, TimeSpent
from jobs.study.reproduction_file import Reproduction, SetName
from jobs.study.reproduction_page import Figure, ReproductionResult, figures, render, verdict_of
from jobs.study.run_once import read_job_file
from tests.helpers.reproduction_files import COUNT, reproduction, write_yaml

CARD: ITimeSource = "measured on BM1684"
SCHEDULE: ITimeSource = "predicted by the compiler's schedule"


def metrics(
    *,
    map50: float | None = None,
    i_time_ms: float | None = None,
    source: ITimeSource = "none",
    failed: int = 0,
) -> Metrics:
    mean_ap = None
    if map50 is not None:
        sizes = dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"), 0.1)
        mean_ap = MeanAp(
            coco=CocoAp(**sizes, per_class={}),
            yolo=YoloAp(ap=0.1, ap50=map50, precision=0.1, recall=0.1, per_class={}),
            voc=VocAp(ap50=0.2, per_class={}),
        )
    return Metrics(
        device="sail" if source == CARD else "cpu",
        images=ImageCounts(total=COUNT, ok=COUNT - failed, failed=failed, failures={}),
        detections=0,
        map=mean_ap,
        latency=LatencyMetrics(i_time_ms=i_time_ms, i_time_source=source, stages=None),
        throughput=ThroughputMetrics(images_per_s=None, steady_images_per_s=None),
        score=None,
        score_protocol="yolo",
        cards=(),
        model=ModelMetrics(
            name="x", sha256="0" * 64, precision="fp32", input_hw=(64, 96), batch=1, classes=3
        ),
        time=TimeSpent(detect_s=1, write_s=1),
        versions={},
    )


def expectation(tmp_path: Path, source: ITimeSource = CARD) -> Reproduction:
    expected: dict[str, Any] = {
        "map50": {"set": "validation", "published": 0.774, "tolerance": 0.01},
        "i-time-ms": {"set": "b-set", "published": 102, "tolerance": 10, "source": source},
        "score": {"published": 167.2, "tolerance": 2},
    }
    content = reproduction(tmp_path, {"expectations": expected})
    return read_job_file(write_yaml(tmp_path / "small.yaml", content), Reproduction)


def judged(tmp_path: Path, measured: dict[SetName, Metrics], **options: Any) -> dict[str, Figure]:
    found = figures(expectation(tmp_path, **options), measured)
    return {f"{one.name} {one.set}" if one.name.startswith("images") else one.name: one for one in found}


def both(map50: float | None, i_time_ms: float | None, source: ITimeSource = CARD) -> dict[SetName, Metrics]:
    return {
        "b-set": metrics(i_time_ms=i_time_ms, source=source),
        "validation": metrics(map50=map50, i_time_ms=i_time_ms, source=source),
    }


@pytest.mark.parametrize(
    ("map50", "i_time_ms", "verdicts", "verdict"),
    [
        (0.774, 102.0, "pass pass pass", "pass"),
        (0.784, 112.0, "pass pass pass", "pass"),
        (0.764, 112.0, "pass pass pass", "pass"),  # just inside all three
        (0.7639, 102.0, "fail pass pass", "fail"),
        (0.774, 112.1, "pass fail pass", "fail"),
        (0.774, 80.0, "pass fail fail", "fail"),  # faster is not what was published either
        (0.70, 102.0, "fail pass fail", "fail"),
    ],
)
def test_a_figure_passes_within_its_tolerance(
    tmp_path: Path, map50: float, i_time_ms: float, verdicts: str, verdict: str
) -> None:
    found = judged(tmp_path, both(map50, i_time_ms))
    assert [found[name].verdict for name in ("mAP@0.5", "i_time (ms)", "score")] == verdicts.split()
    assert verdict_of(tuple(found.values())) == verdict
    score = map50 * 100 + (1000 - i_time_ms) * 0.1
    assert found["score"].measured == pytest.approx(score)
    assert found["score"].deviation == pytest.approx(score - 167.2)


def test_without_truth_there_is_no_map_and_no_score(tmp_path: Path) -> None:
    found = judged(tmp_path, both(None, 102.0))
    assert (found["mAP@0.5"].verdict, found["mAP@0.5"].measured) == ("not measurable", None)
    assert (found["score"].verdict, found["i_time (ms)"].verdict) == ("not measurable", "pass")
    assert "no truth" in found["mAP@0.5"].note


def test_a_prediction_is_no_measurement(tmp_path: Path) -> None:
    found = judged(tmp_path, both(0.774, 102.0, SCHEDULE))
    assert (found["i_time (ms)"].verdict, found["score"].verdict) == ("not measurable", "not measurable")
    assert found["i_time (ms)"].note == f"must be {CARD}; 102.00 ms are {SCHEDULE}"
    assert found["mAP@0.5"].verdict == "pass"


def test_a_measurement_is_no_prediction(tmp_path: Path) -> None:
    assert judged(tmp_path, both(0.774, 102.0, SCHEDULE), source=SCHEDULE)["i_time (ms)"].verdict == "pass"
    assert (
        judged(tmp_path, both(0.774, 102.0, CARD), source=SCHEDULE)["i_time (ms)"].verdict == "not measurable"
    )


def test_a_set_that_is_not_there_leaves_its_figures_open(tmp_path: Path) -> None:
    found = judged(tmp_path, {"b-set": metrics(i_time_ms=102.0, source=CARD)})
    assert found["mAP@0.5"].note == "validation is not there"
    assert (found["mAP@0.5"].verdict, found["i_time (ms)"].verdict) == ("not measurable", "pass")
    assert "images that went through validation" not in found


def test_images_alone_reproduce_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path, both(None, None))
    assert found["images that went through b-set"].verdict == "pass"
    assert verdict_of(tuple(found.values())) == "not measurable"


def test_an_image_that_failed_fails_the_whole(tmp_path: Path) -> None:
    measured = both(0.774, 102.0)
    measured["b-set"] = metrics(i_time_ms=102.0, source=CARD, failed=1)
    found = judged(tmp_path, measured)
    assert found["images that went through b-set"].measured == COUNT - 1
    assert verdict_of(tuple(found.values())) == "fail"


@pytest.mark.parametrize(
    ("map50", "i_time_ms", "words"),
    [
        (0.774, 102.0, "**Reproduced: every figure that could be measured here is within its tolerance.**"),
        (0.5, 102.0, "**Not reproduced: mAP@0.5 of validation, score of validation and b-set.**"),
        (None, 102.0, "tolerance.** Not measurable here: mAP@0.5, score."),
        (None, None, "**Nothing that was published could be measured here.**"),
    ],
)
def test_the_page_says_so_in_its_first_sentence(
    tmp_path: Path, map50: float | None, i_time_ms: float | None, words: str
) -> None:
    measured = both(map50, i_time_ms)
    found = figures(expectation(tmp_path), measured)
    result = ReproductionResult(
        title="In small",
        verdict=verdict_of(found),
        figures=found,
        sets=measured,
        absent={},
        labels={name: f"result/{name}/labels" for name in measured},
    )
    title, verdict, *_ = render(result).split("\n\n")
    assert title == "# In small"
    assert words in verdict
    assert ReproductionResult.model_validate_json(result.model_dump_json()) == result
