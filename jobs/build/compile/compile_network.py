"""The sidecar of a freshly compiled BModel: what its ONNX twin says of it, what it cost, how well it agrees."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bmodel.compiler.build import Build, latency_path
from bmodel.compiler.compile import Calibration, CompileRequest, compile_network, rank_layers
from bmodel.compiler.layers import with_followers
from bmodel.container import read_container
from bmodel.errors import ConfigurationError, ToolError
from bmodel.files import replacing
from bmodel.infer_spec import infer_from_container
from bmodel.model_file import CHIP
from bmodel.onnx_file import read_nodes
from bmodel.sidecar import ModelSpec, Verification, write_sidecar
from jobs.build.compile.compile_options import CompileOptions
from jobs.build.compile.source_network import (
    Shape,
    SourceNetwork,
    choose_images,
    shape_label,
    write_calibration_images,
)
from jobs.build.compile.verify import Twins, failure, verify


def describe_build(build: Build, source: SourceNetwork) -> ModelSpec:
    """Describe a build by its own shapes, and by what is known of the network that it was made of."""
    container = read_container(build.bmodel, chip=CHIP)
    spec = infer_from_container(container, build.record.bmodel_sha256, source.stated)
    tools = {"tpu_mlir": build.record.tpu_mlir}
    if build.record.calibration:
        tools["calibration"] = build.record.calibration
    return spec.model_copy(
        update={
            "name": build.record.name,
            "precision": build.record.precision,
            "normalisation": build.record.normalisation,
            "source_name": _relative(source.path, build.bmodel),
            "source_sha256": build.record.source_sha256,
            "latency": build.latency().prediction,
            "tools": tools,
            "licence": source.licence,
        }
    )


def with_verification(spec: ModelSpec, verification: Verification) -> ModelSpec:
    """Add how the network compared with its twin."""
    import onnxruntime

    tools = spec.tools | {"onnxruntime": onnxruntime.__version__}
    return spec.model_copy(update={"verification": verification, "tools": tools})


def copy_with_sidecar(bmodel: Path, spec: ModelSpec, onnx: Path, folder: Path) -> Path:
    """Copy a BModel into a folder, whole or not at all, with its latency report and a sidecar that finds the twin."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / bmodel.name
    with replacing(target) as temporary:
        shutil.copyfile(bmodel, temporary)
    shutil.copyfile(latency_path(bmodel), latency_path(target))
    write_sidecar(spec.model_copy(update={"source_name": _relative(onnx, target)}), target)
    return target


def _relative(onnx: Path, bmodel: Path) -> str:
    return os.path.relpath(onnx.absolute(), bmodel.parent.absolute())


SAMPLE_IMAGES: Final = Path(__file__).parents[3] / "data/sample/images"
SEARCH_IMAGES: Final = 32  # the layer search runs the network hundreds of times on each

Report = Callable[[str], None]


@dataclass(slots=True)
class SizeJob:
    """What the builds of one size share: the calibration's images, then its table, and the layers kept in FP32."""

    source: SourceNetwork
    options: CompileOptions
    report: Report
    scratch: Path
    calibration: Calibration | Path | None = None
    fp32_layers: tuple[str, ...] = field(default=())

    def prepare(self, input_hw: tuple[int, int]) -> None:
        """Fit the calibration's images into the input."""
        quantisation = self.options.quantisation
        if quantisation is None:
            return
        paths = choose_images(quantisation.images, quantisation.count, option="--calibration")
        images = self.scratch / "calibration"
        write_calibration_images(paths, images, input_hw=input_hw, normalisation=self.source.normalisation)
        self.calibration = Calibration(images=images, count=len(paths), method=quantisation.method)
        self.fp32_layers = quantisation.fp32_layers

    def compile(self, shape: Shape) -> Path:
        """Compile for one shape, verify, describe and copy."""
        if self.options.precision == "mixed" and not self.fp32_layers:
            self.fp32_layers = self._worst_layers(shape)
        build = compile_network(self._request(shape), folder=self.options.output, report=self.report)
        if self.calibration is not None:
            # The next batch takes the same ranges, so that batches differ in speed only.
            self.calibration = self.scratch / "calibration.table"
            self.calibration.write_bytes(build.calibration_table.read_bytes())
        spec = self._verified(describe_build(build, self.source), build)
        report_latency(spec, self.report)
        if self.options.copy_to is not None:
            return copy_with_sidecar(build.bmodel, spec, self.source.path, self.options.copy_to)
        return build.bmodel

    def _request(self, shape: Shape) -> CompileRequest:
        quantisation = self.options.quantisation
        stem = self.options.name or self.source.path.stem
        # A size that was not asked for is the file's own, and needs no mention.
        label = shape_label(shape, stem) if self.options.sizes else f"{shape[0]}b"
        quantised_io = quantisation is not None and quantisation.quantised_io
        return CompileRequest(
            onnx=self.source.path,
            name=f"{stem}_{self.options.precision}_{label}" + ("_quantised" if quantised_io else ""),
            input_shape=shape,
            precision=self.options.precision,
            normalisation=self.source.normalisation,
            calibration=self.calibration,
            fp32_layers=self.fp32_layers,
            quantised_io=quantised_io,
        )

    def _worst_layers(self, shape: Shape) -> tuple[str, ...]:
        quantisation = self.options.quantisation
        if quantisation is None or not isinstance(self.calibration, Calibration):
            raise ConfigurationError("--calibration: mixed precision needs images to rank the layers on")
        request = CompileRequest(
            onnx=self.source.path,
            name=f"{self.options.name or self.source.path.stem}_ranking",
            input_shape=shape,
            normalisation=self.source.normalisation,
        )
        count = min(SEARCH_IMAGES, self.calibration.count)
        images = self.calibration.images
        ranked = rank_layers(
            request, folder=self.options.output, images=images, count=count, report=self.report
        )
        worst = [layer.name for layer in ranked.layers[: quantisation.fp32_count]]
        return with_followers(worst, read_nodes(self.source.path), ranked.known)

    def _verified(self, spec: ModelSpec, build: Build) -> ModelSpec:
        """Compare with the twin and write the sidecar; raises ToolError when they differ too much."""
        images = self._images_to_verify(spec.batch)
        if not images:
            self.report(
                "not verified: " + ("as asked" if not self.options.verify_count else "there are no images")
            )
            write_sidecar(spec, build.bmodel)
            return spec
        self.report(f"comparing with ONNX Runtime on the chip simulator, {len(images)} images")
        verification = verify(Twins(bmodel=build.bmodel, onnx=self.source.path, spec=spec), images)
        spec = with_verification(spec, verification)
        write_sidecar(spec, build.bmodel)
        if not verification.passed:
            raise ToolError(f"'{build.bmodel}' is refused: {failure(verification, spec.precision)}")
        self.report(
            f"verified: cosine of the heads {', '.join(f'{value:.5f}' for value in verification.cosine)}"
        )
        return spec

    def _images_to_verify(self, batch: int) -> list[Path]:
        quantisation = self.options.quantisation
        source = self.options.verify_images or (quantisation.images if quantisation else None)
        if source is None and SAMPLE_IMAGES.is_dir():
            source = SAMPLE_IMAGES
        if source is None or not self.options.verify_count:
            return []
        return choose_images(source, max(self.options.verify_count, batch), option="--verify-images")


def report_latency(spec: ModelSpec, report: Report) -> None:
    """Say what the chip is predicted to take."""
    if spec.latency is not None:
        corrected, deviation, raw = (
            value / spec.batch
            for value in (spec.latency.corrected_ms, spec.latency.uncertainty_ms, spec.latency.raw_ms)
        )
        report(
            f"{spec.name}: {corrected:.4g} ± {deviation:.2g} ms per image on BM1684, predicted by the compiler's "
            f"schedule ({raw:.4g} ms uncorrected)"
        )
