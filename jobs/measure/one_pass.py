"""H: one pass over a run's committed parts: each file is opened once, whatever is derived from it.

The tables of the images come first: they are small, and only all of them say what an image's label file is called and
where in the truth it stands. Then come the detections, part by part, to all who take them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmodel.sidecar import ModelSpec
from data.columns import GroundTruth, Scored
from data.ground_truth import read_ground_truth
from jobs.config.choices import DEFAULT_EVALUATOR, Evaluator
from jobs.measure.match import Matches, match_boxes
from jobs.measure.mean_ap import evaluate
from jobs.measure.mean_ap_values import MeanAp
from jobs.run.commit import CommitLog
from jobs.run.image_columns import RunImages
from jobs.run.rows import PartRows, TakesRows, read_detections

# Without truth nobody knows which confidence serves best: the one most detectors show boxes from.
CONFIDENCE_WITHOUT_TRUTH: Final = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRows:
    """What one pass over a run keeps in memory.

    detection_count: of the whole run. truth: of the run's images; None where there is none.
    scored: the detections of the truth's images; without truth those of at least CONFIDENCE_WITHOUT_TRUTH, their images
    positions in `images`. matches: of truth and scored, drawn once for mAP and for the report.
    """

    images: RunImages
    detection_count: int
    truth: GroundTruth | None
    scored: Scored
    matches: Matches | None

    def mean_ap(self, evaluator: Evaluator = DEFAULT_EVALUATOR) -> MeanAp | None:
        """The run's mAP by all protocols; objects on failed images count as missed. None without truth."""
        if self.truth is None:
            return None
        return evaluate(self.truth, self.scored, evaluator=evaluator, matches=self.matches)


def read_truth(ground_truth: Path, images: RunImages, spec: ModelSpec) -> GroundTruth:
    """The truth of a run's images, its classes matched to the network's by name; raises FormatError."""
    # A failed image has no size of its own. Its objects are missed at any size; the network's stands in.
    sizes = {
        image_id: size_hw or spec.input_hw
        for image_id, size_hw in zip(images.image_ids(), images.sizes_hw(), strict=True)
    }
    return read_ground_truth(ground_truth, images=sizes, class_names=spec.class_names)


def read_rows(
    log: CommitLog,
    images: RunImages,
    truth: GroundTruth | None,
    takers: Sequence[TakesRows] = (),
    *,
    made_up: bool = False,
) -> RunRows:
    """Open each part of the detections once, for what is scored and for `takers`; raises RunError.

    images: what `read_images` made of the same commits. made_up: the detections are the timed device's, so that nothing
    is scored or shown; without takers their files are not opened at all.
    """
    scored = _ScoredColumns(images, truth)
    read_detections(log, images, takers if made_up else (scored, *takers))
    columns = scored.columns()
    return RunRows(
        images=images,
        detection_count=sum(commit.parts["detections"].rows for commit in log.commits),
        truth=truth,
        scored=columns,
        matches=None if truth is None else match_boxes(truth, columns),
    )


class _ScoredColumns:
    """Gathers the detections that are scored, or shown where there is no truth."""

    def __init__(self, images: RunImages, truth: GroundTruth | None) -> None:
        self._position: NDArray[np.int32] = np.arange(len(images), dtype=np.int32)
        self._least = CONFIDENCE_WITHOUT_TRUTH
        if truth is not None:
            known = {image_id: position for position, image_id in enumerate(truth.image_ids)}
            ids = images.image_ids()
            self._position = np.array([known.get(image_id, -1) for image_id in ids], np.int32)
            self._least = -np.inf
        self._parts: list[Scored] = []

    def add(self, part: PartRows) -> None:
        image = self._position[part.position]
        kept = (image >= 0) & (part.confidence >= self._least)
        self._parts.append(
            Scored(
                image=image[kept],
                class_id=part.class_id[kept],
                confidence=part.confidence[kept],
                xyxy=part.xyxy[kept],
            )
        )

    def columns(self) -> Scored:
        parts = self._parts or [Scored.empty()]
        return Scored(
            image=np.concatenate([part.image for part in parts]),
            class_id=np.concatenate([part.class_id for part in parts]),
            confidence=np.concatenate([part.confidence for part in parts]),
            xyxy=np.concatenate([part.xyxy for part in parts]),
        )
