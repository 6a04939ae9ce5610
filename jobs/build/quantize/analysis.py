"""The analysis of INT8, step by step: compile, compare on tuning images, rank layers, choose, score, judge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bmodel.compiler.build import Build
from bmodel.compiler.compile import Calibration, CompileRequest, rank_layers
from bmodel.compiler.layers import LayerRanking, RankedLayer, last_layers, with_followers
from bmodel.onnx_file import read_nodes
from bmodel.sidecar import ModelSpec, write_sidecar
from data.columns import GroundTruth
from data.ground_truth import read_ground_truth
from jobs.build.compile.compile_network import describe_build
from jobs.build.compile.compile_options import parse_method
from jobs.build.compile.source_network import Shape, SourceNetwork, write_calibration_images
from jobs.build.quantize.choice import (
    FP32,
    Finalist,
    Tuned,
    Variant,
    best,
    choose_finalists,
    int8_variant,
    mixed_variants,
)
from jobs.build.quantize.measure_variants import (
    Observed,
    agreement,
    head_errors,
    observe,
    score_detections,
    simulate_scored,
)
from jobs.build.quantize.quantize_options import Bench, ImageSplit, QuantizeOptions
from jobs.measure.score import score_of
from tpu_worker.devices import DeviceOptions
from tpu_worker.read_image import ReadOptions, read_image


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Everything that was found out, but for the verdict."""

    tuned: tuple[Tuned, ...]
    ranking: tuple[RankedLayer, ...]
    finalists: tuple[Finalist, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """An analysis of one network at one shape."""

    source: SourceNetwork
    shape: Shape
    spec: ModelSpec
    split: ImageSplit
    truth: GroundTruth
    options: QuantizeOptions
    bench: Bench

    def run(self) -> Findings:
        """Do what is not done yet; raises BudgetSpentError when the time is used up."""
        self._write_calibration_images()
        self.bench.report(f"FP32 under ONNX Runtime on {len(self.split.tuning)} tuning images")
        reference = self._reference()
        fp32 = self._tune(FP32, reference)
        int8 = [self._tune(int8_variant(method), reference) for method in self.options.methods]
        method = best(int8).variant.method or self.options.methods[0]
        ranking = self._rank_layers()
        mixed = self._tune_mixed(fp32, ranking, method, reference)
        chosen = choose_finalists(fp32, int8, mixed, limit=self.options.finalists)
        finalists = tuple(self._score(item) for item in chosen)
        return Findings(tuned=(fp32, *int8, *mixed), ranking=ranking.layers, finalists=finalists)

    def _tune_mixed(
        self, fp32: Tuned, ranking: LayerRanking, method: str, reference: Sequence[Observed]
    ) -> list[Tuned]:
        """Keep more and more of the worst layers in FP32; what is predicted to be no faster than FP32 is left out."""
        nodes = read_nodes(self.source.path)
        mixed = []
        heads = last_layers(nodes, {tensor.name for tensor in self.source.onnx.outputs})
        for variant in mixed_variants(
            ranking.layers, heads, method, lambda layers: with_followers(layers, nodes, ranking.known)
        ):
            raw_ms = self._build(variant).latency().prediction.raw_ms
            if raw_ms < fp32.latency.raw_ms:
                mixed.append(self._tune(variant, reference))
            else:
                self.bench.report(
                    f"{variant.name}: {raw_ms:.4g} ms uncorrected, no faster than FP32: left out"
                )
        return mixed

    def _tune(self, variant: Variant, reference: Sequence[Observed]) -> Tuned:
        build = self._build(variant)
        return self.bench.kept(
            f"tuned/{variant.name}.json", Tuned, lambda: self._compare(variant, build, reference)
        )

    def _compare(self, variant: Variant, build: Build, reference: Sequence[Observed]) -> Tuned:
        self.bench.report(f"{variant.name}: {len(self.split.tuning)} tuning images on the simulator")
        options = self._simulator(build)
        found = observe(options, self.split.tuning, self.bench.clock.check)
        tuned = Tuned(
            variant=variant,
            heads=head_errors(options.spec, found, reference),
            agreement=agreement(found, reference, options.spec.class_names),
            latency=build.latency().prediction,
            bmodel_sha256=build.record.bmodel_sha256,
            images=len(self.split.tuning),
        )
        self.bench.report(
            f"{variant.name}: agrees with FP32 to {tuned.agreement:.4f}, {tuned.latency.raw_ms:.4g} ms uncorrected"
        )
        return tuned

    def _score(self, tuned: Tuned) -> Finalist:
        variant = tuned.variant
        build = self._build(variant)

        def simulate() -> Finalist:
            self.bench.report(f"{variant.name}: {len(self.split.scored)} scored images on the simulator")
            folder = self.bench.folder / "scored" / variant.name
            options = self._simulator(build)
            detections, seconds = simulate_scored(options, self.split.scored, folder, self.bench.clock.check)
            mean_ap = score_detections(self.truth, detections)
            return Finalist(
                variant=variant,
                mean_ap=mean_ap,
                latency=tuned.latency,
                score=score_of(mean_ap, tuned.latency.corrected_ms / self.shape[0], "voc"),
                images=len(detections),
                seconds=round(seconds, 1),
            )

        return self.bench.kept(f"scored/{variant.name}.json", Finalist, simulate)

    def _rank_layers(self) -> LayerRanking:
        images = min(len(self.split.calibration), self.options.search_count)

        def search() -> LayerRanking:
            request = replace(self._request("ranking", FP32, None), input_shape=self._one_image)
            folder, pictures = self.bench.folder / "builds", self._calibration_folder
            return rank_layers(
                request, folder=folder, images=pictures, count=images, report=self.bench.report
            )

        return self.bench.kept("ranking.json", LayerRanking, search)

    def _build(self, variant: Variant) -> Build:
        calibration: Calibration | Path | None = None
        if variant.precision == "int8":
            calibration = self._ranges(variant)
        elif variant.precision == "mixed":
            calibration = self._build(int8_variant(parse_method(variant.method or ""))).calibration_table
        return self.bench.build(self._request(variant.name, variant, calibration))

    def _ranges(self, variant: Variant) -> Calibration | Path:
        """Return how the variant's ranges are found: as `raysail compile` does, on launches of one image."""
        method = parse_method(variant.method or "")
        count = len(self.split.calibration)
        found = Calibration(images=self._calibration_folder, count=count, method=method)
        if self.shape == self._one_image:
            return found
        request = replace(
            self._request(f"{variant.name}-ranges", variant, found), input_shape=self._one_image
        )
        return self.bench.build(request).calibration_table

    @property
    def _one_image(self) -> Shape:
        """The shape that ranges and ranking are found at: of one image, where the file allows it."""
        return (self.source.onnx.inputs[0].shape[0] or 1, *self.shape[1:])

    def _request(self, name: str, variant: Variant, calibration: Calibration | Path | None) -> CompileRequest:
        return CompileRequest(
            onnx=self.source.path,
            name=name,
            input_shape=self.shape,
            precision=variant.precision,
            normalisation=self.source.normalisation,
            calibration=calibration,
            fp32_layers=variant.fp32_layers,
        )

    def _simulator(self, build: Build) -> DeviceOptions:
        spec = describe_build(build, self.source)
        write_sidecar(spec, build.bmodel)
        return DeviceOptions(name="simulator", spec=spec, model_path=build.bmodel)

    def _reference(self) -> list[Observed]:
        spec = self.spec.model_copy(update={"normalisation": self.source.normalisation})
        options = DeviceOptions(name="cpu", spec=spec, model_path=self.source.path)
        return observe(options, self.split.tuning, self.bench.clock.check)

    @property
    def _calibration_folder(self) -> Path:
        return self.bench.folder / "calibration"

    def _write_calibration_images(self) -> None:
        if len(list(self._calibration_folder.glob("*.png"))) != len(self.split.calibration):
            write_calibration_images(
                self.split.calibration,
                self._calibration_folder,
                input_hw=self.spec.input_hw,
                normalisation=self.source.normalisation,
            )


def read_truth(options: QuantizeOptions, split: ImageSplit, class_names: tuple[str, ...]) -> GroundTruth:
    """Read the truth of the scored images; raises FormatError for one that does not fit them."""
    sizes = {image.image_id: read_image(image.path, ReadOptions()).size_hw for image in split.scored}
    return read_ground_truth(options.ground_truth, images=sizes, class_names=class_names)


def fingerprint(
    source: SourceNetwork, split: ImageSplit, options: QuantizeOptions, tpu_mlir: str
) -> dict[str, str]:
    """Return what two runs must have in common for the second to go on with the first's work."""
    return {
        "network": source.sha256,
        "compiler": tpu_mlir,
        "calibration images": _hash_files(split.calibration),
        "tuning images": _hash_files(Path(image.path) for image in split.tuning),
        "scored images": _hash_files(Path(image.path) for image in split.scored),
        "search": str(options.search_count),
        "batch": str(options.batch),
    }


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
