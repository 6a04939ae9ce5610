"""The analysis of INT8: which images serve for what, what is kept, which networks are chosen, what is concluded."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bmodel.compiler.latency import correct
from bmodel.compiler.layers import LayerRanking, RankedLayer
from bmodel.errors import ConfigurationError
from bmodel.model_file import load_spec
from jobs.build.quantize.choice import (
    Finalist,
    HeadError,
    Study,
    Tuned,
    Variant,
    best,
    choose_finalists,
    int8_variant,
    judge,
    mixed_variants,
    spread,
    worthwhile,
)
from jobs.build.quantize.measure_variants import Observed, agreement, head_errors, scored
from jobs.build.quantize.quantize_options import Bench, BudgetSpentError, QuantizeOptions, split_images
from jobs.build.quantize.quantize_page import render, write_report
from jobs.measure.mean_ap_values import CocoAp, CocoClassAp, MeanAp, VocAp, YoloAp
from tests.helpers.paths import ROOT
from tpu_worker.boxes import Detections

FP32 = Variant(name="fp32", precision="fp32")


def _layers(count: int) -> tuple[RankedLayer, ...]:
    return tuple(RankedLayer(name=f"l{n}", kind="Conv", loss=1 / (n + 1)) for n in range(count))


def _mixed(count: int) -> Variant:
    return next(v for v in mixed_variants(_layers(99), (), "kl", tuple) if len(v.fp32_layers) == count)


def _tuned(variant: Variant, agrees: float, raw_ms: float) -> Tuned:
    return Tuned(
        variant=variant,
        heads=(
            HeadError(stride=8, cosine=0.99, relative_error=0.05),
            HeadError(stride=16, cosine=0.99, relative_error=0.15),
        ),
        agreement=agrees,
        latency=correct(raw_ms, variant.precision),
        bmodel_sha256="0" * 64,
        images=4,
    )


def _finalist(variant: Variant, ap50: float, raw_ms: float) -> Finalist:
    each = {"car": CocoClassAp(ap=ap50 / 2, ap50=ap50, objects=3)}
    coco = CocoAp(
        ap=ap50 / 2, ap50=ap50, ap75=None, ap_small=0.1, ap_medium=None, ap_large=0.3, per_class=each
    )
    yolo = YoloAp(ap=ap50 / 2, ap50=ap50, precision=1.0, recall=1.0, per_class={})
    return Finalist(
        variant=variant,
        mean_ap=MeanAp(coco=coco, yolo=yolo, voc=VocAp(ap50=ap50, per_class={})),
        latency=correct(raw_ms, variant.precision),
        score=150.0,
        images=10,
        seconds=1.0,
    )


def _images(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), np.full((8, 8, 3), number, np.uint8))
    return folder


def _options(tmp_path: Path, *, available: int = 30, **changes: object) -> QuantizeOptions:
    values: dict[str, object] = {
        "calibration": _images(tmp_path / "calibration", available),
        "images": _images(tmp_path / "images", 5),
        "ground_truth": tmp_path / "truth",
        "output": tmp_path / "work",
        "report": tmp_path / "int8",
        "calibration_count": 10,
        "tuning_count": 4,
    }
    return QuantizeOptions(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("available", "calibration", "tuning"), [(30, 10, 4), (14, 10, 4), (8, 4, 4), (9, 5, 4)]
)
def test_images_are_split_into_sets_without_overlap(
    tmp_path: Path, available: int, calibration: int, tuning: int
) -> None:
    split = split_images(_options(tmp_path, available=available))
    names = {path.name for path in split.calibration}
    tuned = {Path(image.path).name for image in split.tuning}
    assert (len(split.calibration), len(split.tuning), len(split.scored)) == (calibration, tuning, 5)
    assert not names & tuned
    assert [image.index for image in split.tuning] == list(range(tuning))


def test_scored_images_may_not_calibrate(tmp_path: Path) -> None:
    options = _options(tmp_path)
    shared = next(iter(sorted((tmp_path / "calibration").iterdir())))
    (tmp_path / "images/link.png").symlink_to(shared)
    with pytest.raises(ConfigurationError, match="is one of the scored images too"):
        split_images(options)


def test_a_handful_of_images_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 8 images are needed, got 7"):
        split_images(_options(tmp_path, available=7))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tuning_count", 33),
        ("search_count", 0),
        ("finalists", 7),
        ("finalists", 2),
        ("minutes", 0),
        ("tolerance", -1),
    ],
)
def test_refuses_counts_out_of_range(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"--{name.replace('_', '-')}: must be from"):
        _options(tmp_path, **{name: value})


def test_mixed_networks_keep_the_worst_layers_and_double() -> None:
    heads, more, *variants = mixed_variants(_layers(11), ["h8", "l1"], "max", tuple)
    assert (heads.name, heads.fp32_layers) == ("mixed-heads", ("h8", "l1"))
    assert (more.name, more.fp32_layers) == ("mixed-heads-4", ("h8", "l1", "l0", "l2", "l3"))
    assert [len(variant.fp32_layers) for variant in variants] == [1, 2, 4, 8]
    assert variants[2].fp32_layers == ("l0", "l1", "l2", "l3")
    assert {variant.method for variant in variants} == {"max"}
    assert list(mixed_variants((), (), "max", tuple)) == []


def test_finalists_are_fp32_the_best_int8_and_mixed_ones_from_fast_to_accurate() -> None:
    fp32 = _tuned(FP32, 0.99, 10)
    kl, worst, top = (
        _tuned(int8_variant("kl"), 0.8, 4),
        _tuned(int8_variant("max"), 0.7, 4),
        _tuned(int8_variant("mse"), 0.9, 4),
    )
    # mixed-1 is slower than mixed-2 and no better; mixed-16 is best and not faster than FP32.
    figures = ((1, 7.0, 0.91), (2, 6.0, 0.92), (4, 8.0, 0.93), (8, 9.0, 0.95), (16, 10.0, 0.99))
    mixed = [_tuned(_mixed(n), agrees, ms) for n, ms, agrees in figures]

    def names(limit: int, int8: list[Tuned], mixed: list[Tuned]) -> list[str]:
        return [item.variant.name for item in choose_finalists(fp32, int8, mixed, limit=limit)]

    int8 = [kl, worst, top]
    assert names(6, int8, mixed) == ["fp32", "int8-mse", "mixed-2", "mixed-8", "mixed-4", "int8-kl"]
    assert names(5, int8, mixed) == ["fp32", "int8-mse", "mixed-2", "mixed-8", "int8-kl"]
    assert names(4, int8, mixed) == ["fp32", "int8-mse", "mixed-2", "mixed-8"]
    assert names(3, int8, mixed) == ["fp32", "int8-mse", "mixed-8"]
    assert names(6, [kl], mixed) == ["fp32", "int8-kl", "mixed-2", "mixed-8", "mixed-4"]
    assert names(6, int8, mixed[:1]) == ["fp32", "int8-mse", "mixed-1", "int8-kl"]
    assert names(6, [kl, top], []) == ["fp32", "int8-mse", "int8-kl"]


def test_a_long_row_is_spread_evenly() -> None:
    row = [_tuned(_mixed(2**n), 0.9 + n / 100, n + 1.0) for n in range(6)]
    assert worthwhile(row[::-1]) == row
    chosen = [item.latency.raw_ms for item in spread(row, 3)]
    assert chosen == [1, 6, 3]
    assert spread(row, 6) == [row[0], row[5], *row[1:5]]
    assert spread(row[:1], 4) == [row[0]]
    assert spread([], 2) == []


def test_of_equals_the_one_with_fewer_fp32_layers_is_best() -> None:
    equal = [_tuned(_mixed(8), 0.9, 5), _tuned(_mixed(2), 0.9, 5), _tuned(_mixed(4), 0.9, 5)]
    assert best(equal).variant.name == "mixed-2"


@pytest.mark.parametrize(
    ("int8", "mixed", "restored_by", "words"),
    [
        (0.795, (), "int8-kl", "no layer needs to stay in FP32"),
        (0.700, ((8, 0.799, 9), (4, 0.796, 7), (2, 0.794, 6)), "mixed-4", "With 4 layers in FP32"),
        (0.700, ((4, 0.799, 10),), None, "this search could not do it"),
        (0.700, ((4, 0.790, 7),), None, "this search could not do it"),
    ],
)
def test_judges_by_tolerance_and_predicted_time(
    int8: float, mixed: tuple[tuple[int, float, float], ...], restored_by: str | None, words: str
) -> None:
    finalists = [
        _finalist(FP32, 0.8, 10),
        _finalist(int8_variant("kl"), int8, 4),
        *(_finalist(_mixed(count), ap50, ms) for count, ap50, ms in mixed),
    ]
    verdict = judge(finalists, tolerance=0.0051)
    assert verdict.restored_by == restored_by
    assert words in verdict.text
    assert verdict.int8_loss == pytest.approx(0.8 - int8)
    assert (verdict.fp32_layers is None) == (restored_by is None)


def _bench(folder: Path, *, minutes: float = 60, network: str = "a") -> Bench:
    return Bench.open(folder, {"network": network}, minutes=minutes, report=lambda _line: None)


def test_a_result_is_made_once(tmp_path: Path) -> None:
    made = []

    def make() -> LayerRanking:
        made.append(1)
        return LayerRanking(layers=_layers(2), images=3)

    first = _bench(tmp_path).kept("ranking.json", LayerRanking, make)
    assert _bench(tmp_path).kept("ranking.json", LayerRanking, make) == first
    assert made == [1]
    # What a crash cut short is made again.
    (tmp_path / "ranking.json").write_text('{"layers": [')
    assert _bench(tmp_path).kept("ranking.json", LayerRanking, make) == first
    assert made == [1, 1]


def test_a_folder_belongs_to_one_analysis(tmp_path: Path) -> None:
    _bench(tmp_path)
    with pytest.raises(ConfigurationError, match="holds an analysis of another network"):
        _bench(tmp_path, network="b")


def test_the_time_of_all_runs_counts(tmp_path: Path) -> None:
    (tmp_path / "spent.json").write_text(json.dumps({"seconds": 3590}))
    bench = _bench(tmp_path)
    bench.clock.check()
    assert json.loads((tmp_path / "spent.json").read_text())["seconds"] >= 3590
    (tmp_path / "spent.json").write_text(json.dumps({"seconds": 3601}))
    with pytest.raises(BudgetSpentError, match="with more --minutes to go on"):
        _bench(tmp_path).clock.check()
    _bench(tmp_path, minutes=61).clock.check()


def _observed(boxes: list[tuple[float, float]], *, offset: float = 0.0) -> Observed:
    """One car of 10 x 10 pixels for each (left, confidence), and heads of the tiny network."""
    xyxy = np.array([[left, 5, left + 10, 15] for left, _ in boxes], np.float32).reshape(-1, 4)
    spec = load_spec(ROOT / "models/tiny.onnx")
    random = np.random.default_rng(1)
    return Observed(
        detections=Detections(
            xyxy=xyxy + np.float32(offset),
            confidence=np.array([confidence for _, confidence in boxes], np.float32),
            class_id=np.zeros(len(boxes), np.int32),
        ),
        heads=[random.standard_normal(output.shape[1:]).astype(np.float32) for output in spec.outputs],
    )


def test_agreement_takes_sure_detections_for_the_truth() -> None:
    names = ("car", "person")
    reference = [_observed([(0, 0.9), (30, 0.3), (60, 0.2)]), _observed([])]
    assert agreement(reference, reference, names) == pytest.approx(1, abs=0.01)
    assert agreement([_observed([(0, 0.9)]), _observed([])], reference, names) == pytest.approx(0.5, abs=0.01)
    moved = [_observed([(0, 0.9), (30, 0.3)], offset=8), _observed([])]
    assert agreement(moved, reference, names) == 0
    with pytest.raises(ConfigurationError, match="sees nothing"):
        agreement(reference, [_observed([(0, 0.1)]), _observed([])], names)


def test_detections_of_all_images_become_columns() -> None:
    images = [_observed([(0, 0.9), (30, 0.3)]), _observed([]), _observed([(5, 0.5)])]
    columns = scored([image.detections for image in images])
    assert columns.image.tolist() == [0, 0, 2]
    assert columns.confidence.tolist() == pytest.approx([0.9, 0.3, 0.5])
    assert len(scored([])) == 0


def test_errors_are_measured_a_head() -> None:
    spec = load_spec(ROOT / "models/tiny.onnx")
    reference = [_observed([]), _observed([])]
    found = [
        Observed(detections=image.detections, heads=[head.copy() for head in image.heads])
        for image in reference
    ]
    for image in found:
        image.heads[1] *= np.float32(1.1)
        image.heads[2] *= np.float32(-1)
    errors = head_errors(spec, found, reference)
    assert [error.stride for error in errors] == [8, 16, 32]
    assert [error.relative_error for error in errors] == pytest.approx([0, 0.1, 2], abs=1e-6)
    assert [error.cosine for error in errors] == pytest.approx([1, 1, -1])


def test_the_report_holds_every_figure_and_its_json_reads_back(tmp_path: Path) -> None:
    finalists = (
        _finalist(FP32, 0.8, 10),
        _finalist(int8_variant("kl"), 0.7123, 4),
        _finalist(_mixed(2), 0.7987, 6),
    )
    study = Study(
        command="raysail quantize x.onnx",
        network="x.onnx",
        network_sha256="0" * 64,
        tools={"tpu_mlir": "1.30.2"},
        batch=4,
        calibration_images=10,
        tuning_images=4,
        scored_images=5,
        tuned=(_tuned(FP32, 0.99, 10), _tuned(int8_variant("kl"), 0.8, 4)),
        ranking=_layers(30),
        finalists=finalists,
        verdict=judge(finalists, tolerance=0.005),
        minutes=12.3,
    )
    write_report(study, tmp_path / "deep/int8")
    assert Study.model_validate_json((tmp_path / "deep/int8.json").read_text()) == study
    text = (tmp_path / "deep/int8.md").read_text()
    assert text == render(study)
    for wanted in (
        "raysail quantize x.onnx",
        "-0.0877",
        "0.7987",
        "60%",
        "| 20 | l19 |",
        "With 2 layers in FP32",
        # An image's part of a launch of four: 10 ms by the schedule, 11.3 ms corrected.
        "| 2.82 ± 0.13 |",
        "| 2.500 | 2.825 |",
    ):
        assert wanted in text
    assert "l20" not in text
    # One row in each of the three tables of variants.
    assert sum(line.startswith("| fp32 |") for line in text.splitlines()) == 3
