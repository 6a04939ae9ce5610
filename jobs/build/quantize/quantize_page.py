"""The analysis of INT8 for people: tables in Markdown, beside the JSON that holds everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bmodel.compiler.latency import INT8_NOTE
from bmodel.files import write_whole
from jobs.build.quantize.choice import Finalist, Study, Tuned, ap50_of
from jobs.report.format import figure, markdown_table

SHOWN_LAYERS: Final = 20


def write_report(study: Study, stem: Path) -> None:
    """Write `<stem>.json` and `<stem>.md`."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_whole(stem.with_name(stem.name + ".json"), study.model_dump_json(indent=1) + "\n")
    write_whole(stem.with_name(stem.name + ".md"), render(study))


def render(study: Study) -> str:
    """Render the report."""
    return "\n\n".join(
        [
            f"# INT8 against FP32: {study.network}",
            study.verdict.text,
            (
                f"Made by `{study.command}` in {study.minutes:.0f} minutes on the chip simulator, which computes bit for bit "
                f"what BM1684 does; compiled with tpu_mlir {study.tools['tpu_mlir']}. Times are predicted by the compiler's "
                f"schedule for launches of {study.batch} and given per image, corrected. INT8's are {INT8_NOTE}."
            ),
            "## The finalists",
            (
                f"On {study.scored_images} images that had no part in calibrating or choosing. AP and AP50 by COCO's protocol, "
                "mAP by the competition's; score = mAP·100 + (1000 - ms)·0.1."
            ),
            _finalists(study),
            "By class and size of object (AP50 by class, AP by size):",
            _by_class_and_size(study.finalists),
            "## All variants",
            (
                f"On {study.tuning_images} other images, by which the finalists were chosen. A head's error is the root of its "
                "summed squared differences from FP32, over FP32's own. Agreement is AP50 with FP32's detections of confidence "
                "0.25 and above for the truth."
            ),
            _tuned(study.tuned, study.batch),
            "## The layers",
            (
                f"The compiler's ranking: 1 - cosine of the outputs when only this layer is in INT8. The {SHOWN_LAYERS} worst "
                f"of {len(study.ranking)}; mixed-n keeps the first n in FP32, and with them the layers without weights "
                "whose inputs all come from there: activations, concatenations, the heads' reordering."
            ),
            _ranking(study),
            "",
        ]
    )


def in_order(finalists: Sequence[Finalist]) -> list[Finalist]:
    """From all FP32 to all INT8: FP32, mixed with ever fewer FP32 layers, INT8."""
    return [finalists[0], *sorted(finalists[1:], key=lambda item: -len(item.variant.fp32_layers))]


def _finalists(study: Study) -> str:
    fp32 = study.finalists[0]
    rows = []
    for item in in_order(study.finalists):
        coco, latency = item.mean_ap.coco, item.latency
        rows.append(
            [
                item.variant.name,
                str(len(item.variant.fp32_layers)) if item.variant.precision == "mixed" else "",
                figure(coco.ap50, 4),
                f"{ap50_of(item) - ap50_of(fp32):+.4f}",
                figure(coco.ap, 4),
                figure(item.mean_ap.voc.ap50, 4),
                f"{latency.corrected_ms / study.batch:.3g} ± {latency.uncertainty_ms / study.batch:.2g}",
                f"{latency.raw_ms / fp32.latency.raw_ms:.0%}",
                "" if item.score is None else f"{item.score:.2f}",
            ]
        )
    head = ["", "FP32 layers", "AP50", "against FP32", "AP", "mAP", "ms", "of FP32's", "score"]
    return markdown_table(head, rows)


def _by_class_and_size(finalists: Sequence[Finalist]) -> str:
    names = list(finalists[0].mean_ap.coco.per_class)
    rows = [
        [
            item.variant.name,
            *(figure(item.mean_ap.coco.per_class[name].ap50, 4) for name in names),
            *(
                figure(value, 4)
                for value in (
                    item.mean_ap.coco.ap_small,
                    item.mean_ap.coco.ap_medium,
                    item.mean_ap.coco.ap_large,
                )
            ),
        ]
        for item in in_order(finalists)
    ]
    return markdown_table(["", *names, "small", "medium", "large"], rows)


def _tuned(tuned: Sequence[Tuned], batch: int) -> str:
    strides = [head.stride for head in tuned[0].heads]
    rows = [
        [
            item.variant.name,
            *(f"{head.relative_error:.4f}" for head in item.heads),
            f"{item.agreement:.4f}",
            f"{item.latency.raw_ms / batch:.3f}",
            f"{item.latency.corrected_ms / batch:.3f}",
        ]
        for item in tuned
    ]
    head = ["", *(f"error, stride {stride}" for stride in strides), "agreement", "ms raw", "ms corrected"]
    return markdown_table(head, rows)


def _ranking(study: Study) -> str:
    rows = [
        [str(place), layer.name, layer.kind, f"{layer.loss:.3g}"]
        for place, layer in enumerate(study.ranking[:SHOWN_LAYERS], start=1)
    ]
    return markdown_table(["", "layer", "kind", "loss"], rows)
