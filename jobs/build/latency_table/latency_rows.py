"""The table of the family's latency: rows, and their Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bmodel.compiler.latency import FP32_NOTE, RATIO, LatencyReport
from bmodel.files import write_whole
from bmodel.sidecar import Precision
from bmodel.validation import ExactModel
from jobs.measure.score import competition_score
from jobs.report.format import figure, markdown_table

COMMAND: Final = "python -m jobs.build.latency_table.make_latency_table"


class TableRow(ExactModel):
    """One network; times in ms per image, ratio: the schedule's over the vendor's measurement."""

    model: str
    size: int
    input_px: int
    precision: Precision
    batch: int
    predicted_ms: float
    corrected_ms: float
    uncertainty_ms: float
    published_bmrt_test_ms: float | None
    published_i_time_ms: float | None
    ratio_to_bmrt_test: float | None
    ratio_to_i_time: float | None
    mean_ap50: float | None
    score_predicted: float | None
    score_published: float | None
    compute_share: float
    bound: str
    teraflops_per_s: float
    compile_s: float


def make_row(item: Published, report: LatencyReport, compile_s: float) -> TableRow:
    """Set what was published beside what is predicted."""
    raw, corrected, uncertainty = (
        value / item.batch
        for value in (
            report.prediction.raw_ms,
            report.prediction.corrected_ms,
            report.prediction.uncertainty_ms,
        )
    )
    return TableRow(
        model=item.model,
        size=item.size,
        input_px=item.input_px,
        precision=item.precision,
        batch=item.batch,
        predicted_ms=raw,
        corrected_ms=corrected,
        uncertainty_ms=uncertainty,
        published_bmrt_test_ms=item.bmrt_test_ms,
        published_i_time_ms=item.i_time_ms,
        ratio_to_bmrt_test=item.bmrt_test_ms and raw / item.bmrt_test_ms,
        ratio_to_i_time=item.i_time_ms and raw / item.i_time_ms,
        mean_ap50=item.mean_ap50,
        score_predicted=_score(item.mean_ap50, corrected),
        score_published=_score(item.mean_ap50, item.i_time_ms),
        compute_share=report.engines.compute,
        bound=report.roofline.bound,
        teraflops_per_s=report.roofline.attained_flops_per_s / 1e12,
        compile_s=compile_s,
    )


def write_tables(rows: Sequence[TableRow], stem: Path) -> None:
    """Write `<stem>.json` and `<stem>.md`."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(row.model_dump_json() for row in rows)
    text = f'{{"command": "{COMMAND}", "ratio": {RATIO}, "rows": [\n{body}\n]}}\n'
    write_whole(stem.with_name(stem.name + ".json"), text)
    write_whole(stem.with_name(stem.name + ".md"), render(rows))


def render(rows: Sequence[TableRow]) -> str:
    """Render the report."""
    ranked = sorted(
        (row for row in rows if row.score_predicted is not None), key=lambda row: -(row.score_predicted or 0)
    )
    return "\n\n".join(
        [
            "# The family's latency on BM1684, predicted",
            (
                f"Made by `{COMMAND}`: every network compiled with random weights, since the compiler's schedule depends "
                "on shapes alone. No card was involved. `schedule` is the compiler's own figure, `corrected` the "
                f"{FP32_NOTE}; one standard deviation. INT8 is rougher: its schedules have been 0.43 to 0.98 of "
                "published measurements. All in ms per image."
            ),
            _latencies(rows),
            (
                "`bmrt_test` is the vendor's measurement; `i_time` the write-up's, of a whole call from Python, which "
                "includes moving images to the card and back."
            ),
            (
                "Of yolov7 at 800 pixels the write-up's print leaves open whether it took 60 or 160 ms; by the schedule it "
                "cannot have been 60."
            ),
            _layers_note(rows),
            "## The score",
            (
                "mAP·100 + (1000 - ms)·0.1, with the write-up's mAP and the corrected prediction; beside it the score "
                "with the write-up's own time, where it was published. The order by prediction:"
            ),
            _scores(ranked),
            "",
        ]
    )


def _latencies(rows: Sequence[TableRow]) -> str:
    return markdown_table(
        [
            "network",
            "size",
            "precision",
            "batch",
            "schedule",
            "corrected",
            "bmrt_test",
            "ratio",
            "i_time",
            "ratio",
            "compiled in",
        ],
        [
            [
                row.model,
                str(row.size) if row.size == row.input_px else f"{row.size} (as {row.input_px})",
                row.precision.upper(),
                str(row.batch),
                f"{row.predicted_ms:.2f}",
                f"{row.corrected_ms:.1f} ± {row.uncertainty_ms:.1f}",
                figure(row.published_bmrt_test_ms, 1),
                figure(row.ratio_to_bmrt_test, 3),
                figure(row.published_i_time_ms, 1),
                figure(row.ratio_to_i_time, 3),
                f"{row.compile_s:.0f} s",
            ]
            for row in rows
        ],
    )


def _scores(ranked: Sequence[TableRow]) -> str:
    return markdown_table(
        ["network", "size", "mAP", "ms, corrected", "score", "score, published"],
        [
            [
                row.model,
                str(row.size),
                figure(row.mean_ap50, 3),
                f"{row.corrected_ms:.1f}",
                figure(row.score_predicted, 1),
                figure(row.score_published, 1),
            ]
            for row in ranked
        ],
    )


def _layers_note(rows: Sequence[TableRow]) -> str:
    return (
        "Computing takes "
        + ", ".join(
            f"{row.compute_share:.0%} of {row.model} {row.size}'s time ({row.teraflops_per_s:.2f} TFLOP/s)"
            for row in rows
            if row.precision == "fp32" and (row.model, row.size) in {("yolov7", 640), ("yolov7-e6e", 1280)}
        )
        + "."
    )


def _score(mean_ap50: float | None, ms: float | None) -> float | None:
    return None if mean_ap50 is None or ms is None else competition_score(mean_ap50, ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A network of the family as it was published.

    size: its input's side as the write-up names it. input_px: what can really be compiled; the write-up's 864 is no
    multiple of yolov7-e6e's largest stride of 64, and its authors' code rounds such a size up.
    """

    model: str
    size: int
    input_px: int
    precision: Precision = "fp32"
    batch: int = 1
    mean_ap50: float | None = None
    i_time_ms: float | None = None
    bmrt_test_ms: float | None = None

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{self.model}_{self.input_px}_{self.precision}_{self.batch}b"


def _write_up(model: str, size: int, mean_ap50: float | None, i_time_ms: float | None = None) -> Published:
    stride = 64 if model == "yolov7-e6e" else 32
    input_px = -(-size // stride) * stride
    bmrt_test_ms = 87.2 if (model, size) == ("yolov7", 640) else None
    return Published(
        model=model,
        size=size,
        input_px=input_px,
        mean_ap50=mean_ap50,
        i_time_ms=i_time_ms,
        bmrt_test_ms=bmrt_test_ms,
    )


PUBLISHED: Final = (
    # On BM1684 nobody published yolov7-tiny; its mAP is the write-up's from a GPU.
    _write_up("yolov7-tiny", 640, 0.668),
    _write_up("yolov7", 640, 0.774, 102.0),
    _write_up("yolov7", 768, 0.788, 146.0),
    # The print leaves open whether 60 or 160 ms, and whether 0.791 or 0.79.
    _write_up("yolov7", 800, None),
    _write_up("yolov7x", 640, 0.773, 159.4),
    _write_up("yolov7x", 864, 0.797),
    _write_up("yolov7x", 960, 0.805),
    _write_up("yolov7-e6e", 640, 0.727),
    _write_up("yolov7-e6e", 864, 0.788),
    _write_up("yolov7-e6e", 960, 0.796),
    _write_up("yolov7-e6e", 1280, 0.817, 633.0),
    Published(model="yolov7", size=640, input_px=640, precision="int8", batch=1, bmrt_test_ms=48.9),
    Published(model="yolov7", size=640, input_px=640, precision="int8", batch=4, bmrt_test_ms=19.4),
)
