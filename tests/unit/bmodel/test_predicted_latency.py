"""Latency from schedules: every cycle is accounted for once, and the correction is the documented one."""

from __future__ import annotations

import pytest

from bmodel.compiler.latency import RATIO, RATIO_DEVIATION, analyse, correct
from bmodel.compiler.layers import read_layer_names
from bmodel.compiler.schedule import Command, Schedule, read_schedule
from tests.helpers.paths import FIXTURES

SCHEDULES = FIXTURES / "schedules"

# The schedule's time and the vendor's measurement on a BM1684, ms; FP32, batch 1 (docs/results/latency.md).
PUBLISHED = {
    "yolov7 640": (80.71, 87.2),
    "yolov5s 640": (18.50, 22.41),
    "yolov8s 640": (23.78, 26.47),
    "yolo11s 640": (23.63, 27.02),
    "yolov9s 640": (30.88, 36.52),
    "resnet50 224": (5.99, 6.36),
}


def test_the_correction_is_the_mean_ratio_to_the_published_figures() -> None:
    ratios = [predicted / measured for predicted, measured in PUBLISHED.values()]
    mean = sum(ratios) / len(ratios)
    deviation = (sum((ratio - mean) ** 2 for ratio in ratios) / len(ratios)) ** 0.5
    assert mean == pytest.approx(RATIO, abs=0.001)
    assert deviation == pytest.approx(RATIO_DEVIATION, abs=0.002)


def test_leaving_one_out_every_prediction_is_within_8_percent() -> None:
    for left_out, (predicted, measured) in PUBLISHED.items():
        others = [p / m for name, (p, m) in PUBLISHED.items() if name != left_out]
        assert predicted / (sum(others) / len(others)) == pytest.approx(measured, rel=0.08)


def test_corrects_and_says_how_sure_it_is() -> None:
    fp32 = correct(80.71, "fp32")
    assert fp32.corrected_ms == pytest.approx(91.2, abs=0.1)
    assert fp32.uncertainty_ms == pytest.approx(91.2 * 0.041 / 0.885, abs=0.1)
    int8 = correct(43.06, "int8")
    assert int8.uncertainty_ms / int8.corrected_ms > 3 * fp32.uncertainty_ms / fp32.corrected_ms
    assert "rough" in int8.note
    assert correct(43.06, "mixed") == int8


@pytest.mark.parametrize("name", ["tiny_fp32_1b", "tiny_int8_1b"])
def test_shares_add_up_to_the_whole(name: str) -> None:
    schedule = read_schedule(SCHEDULES / f"{name}.dat")
    report = analyse(schedule)
    engines = report.engines
    assert engines.compute + engines.transfer_alone + engines.idle == pytest.approx(1)
    assert sum(layer.share for layer in report.layers) + engines.idle == pytest.approx(1)
    assert sum(layer.compute_ms for layer in report.layers) == pytest.approx(
        engines.compute * schedule.total_ms
    )
    assert sum(report.functions_ms.values()) == pytest.approx(engines.compute * schedule.total_ms)
    assert [layer.share for layer in report.layers] == sorted((x.share for x in report.layers), reverse=True)


def test_hidden_transfers_cost_nothing() -> None:
    def command(number: int, kind: str, start: int, end: int, moved: int = 0, direction: int = 0) -> Command:
        return Command(
            number=number, layer=f"{kind}_{number}", kind=kind, function="F", start=start, end=end, moved_bytes=moved,
            direction=direction,
        )  # fmt: skip

    schedule = Schedule(
        compute=(command(1, "Conv2D", 10, 29), command(2, "Active", 40, 49)),
        # Before, half beside, wholly beside, and across two computations with the gap between them.
        transfers=(
            command(1, "Load", 0, 9, 100),
            command(2, "Load", 12, 21, 100),
            command(3, "Store", 25, 44, 100, 1),
            command(4, "Store", 60, 69, 100, 2),
        ),
        total_cycles=70,
        flops=1000,
    )
    report = analyse(schedule)
    assert report.engines.compute == pytest.approx(30 / 70)
    assert report.engines.transfer == pytest.approx(50 / 70)
    # 0..9, 30..39 and 60..69; 50..59 is idle.
    assert report.engines.transfer_alone == pytest.approx(30 / 70)
    assert report.engines.idle == pytest.approx(10 / 70)
    shares = {layer.name: layer.share for layer in report.layers}
    assert shares == pytest.approx(
        {
            "Conv2D_1": 20 / 70,
            "Active_2": 10 / 70,
            "Load_1": 10 / 70,
            "Load_2": 0,
            "Store_3": 10 / 70,
            "Store_4": 10 / 70,
        }
    )
    assert schedule.memory_bytes == 500


def test_layers_carry_the_networks_names() -> None:
    schedule = read_schedule(SCHEDULES / "tiny_fp32_1b.dat")
    report = analyse(schedule, read_layer_names(SCHEDULES / "tiny_fp32_1b.operations.json"))
    dearest = report.layers[0]
    assert (dearest.name, dearest.kind) == ("stem_Mul", "Active")
    assert dearest.share == max(layer.share for layer in report.layers)
    assert {layer.name for layer in report.layers if layer.kind == "Conv2D"} >= {
        "stem_conv_Conv",
        "head32_conv_Conv",
    }


def test_roofline_says_what_binds() -> None:
    roofline = analyse(read_schedule(SCHEDULES / "tiny_fp32_1b.dat")).roofline
    assert roofline.intensity == pytest.approx(3085584 / (169216 + 24192))
    assert roofline.bound == "memory"
    assert roofline.attained_flops_per_s < roofline.limit_flops_per_s < 2.2e12
    assert roofline.ridge == pytest.approx(75.1, abs=0.1)
