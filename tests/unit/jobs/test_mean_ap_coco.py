"""COCO's protocol: two libraries, one set of figures, whatever the detections look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.ground_truth import GroundTruth, Scored
from jobs.config.choices import Evaluator
from jobs.measure.coco import coco_ap
from tests.helpers.label_sets import detections_near, random_truth, scored_of, truth_of

Set = tuple[GroundTruth, Scored]


def kept(detections: Scored, rows: NDArray[Any]) -> Scored:
    return Scored(
        image=detections.image[rows],
        class_id=detections.class_id[rows],
        confidence=detections.confidence[rows],
        xyxy=detections.xyxy[rows],
    )


def plain(seed: int, **options: Any) -> Set:
    truth = random_truth(seed)
    return truth, detections_near(truth, seed + 100, **options)


def crowds(seed: int, share: float) -> Set:
    truth = random_truth(seed, crowds=share)
    return truth, detections_near(truth, seed + 100)


def one_class_missing() -> Set:
    truth, detections = plain(1)
    return truth, kept(detections, np.flatnonzero(detections.class_id != 0))


def no_truth_for_a_class() -> Set:
    truth = random_truth(2, classes=3)
    truth = replace(truth, class_names=(*(truth.class_names or ()), "never there"))
    return truth, detections_near(truth, 3, wrong=200)


def only_crowds_of_a_class() -> Set:
    truth = random_truth(4)
    return replace(truth, crowd=truth.class_id == 1), detections_near(truth, 5)


def empty_images() -> Set:
    truth = random_truth(6, images=10)
    truth = replace(truth, image_ids=tuple(f"{number}.jpg" for number in range(40)))
    return truth, detections_near(truth, 7, wrong=300)


def a_crowded_image() -> Set:
    truth = random_truth(8, images=2, objects=40, classes=1)
    return truth, detections_near(truth, 9, copies=8, wrong=400)


def boxes_without_area() -> Set:
    truth, detections = plain(10)
    flat = detections.xyxy.copy()
    flat[::3, 2] = flat[::3, 0]
    return truth, replace(detections, xyxy=flat)


def objects_without_area() -> Set:
    truth, detections = plain(11)
    xyxy = truth.xyxy.copy()
    xyxy[::5, 3] = xyxy[::5, 1]
    return replace(truth, xyxy=xyxy, area=np.where(np.arange(len(xyxy)) % 5, truth.area, 0.0)), detections


def beyond_the_image() -> Set:
    truth, detections = plain(12)
    return truth, replace(detections, xyxy=detections.xyxy - np.float32(150))


def the_truth_itself() -> Set:
    truth = random_truth(13)
    return truth, detections_near(truth, 14, copies=1, jitter=0.0, wrong=0)


def one_object_many_boxes() -> Set:
    truth = truth_of([(0, 0, (10, 10, 60, 60))])
    return truth, scored_of([(0, 0, 0.5, (10, 10, 60, 60))] * 150)


def areas_on_the_borders() -> Set:
    sides = (31.0, 32.0, 33.0, 95.0, 96.0, 97.0, 320.0)
    truth = truth_of([(image, 0, (0, 0, side, side)) for image, side in enumerate(sides)], images=len(sides))
    return truth, scored_of([(image, 0, 0.9, (0, 0, side, side)) for image, side in enumerate(sides)])


def shuffled() -> Set:
    truth, detections = plain(15, steps=10)
    return truth, kept(detections, np.random.default_rng(16).permutation(len(detections)))


SETS: dict[str, Callable[[], Set]] = {
    "plain": lambda: plain(0),
    "tight boxes": lambda: plain(20, jitter=0.03),
    "loose boxes": lambda: plain(21, jitter=0.3),
    "no detections": lambda: (random_truth(22), Scored.empty()),
    "no objects": lambda: (truth_of([], images=3), scored_of([(0, 0, 0.5, (0, 0, 9, 9))])),
    "nothing at all": lambda: (truth_of([], images=3), Scored.empty()),
    "one class missing": one_class_missing,
    "no truth for a class": no_truth_for_a_class,
    "a tenth crowds": lambda: crowds(23, 0.1),
    "half crowds": lambda: crowds(24, 0.5),
    "only crowds": lambda: crowds(25, 1.0),
    "only crowds of a class": only_crowds_of_a_class,
    "ties in confidence": lambda: plain(26, steps=8),
    "all confidences equal": lambda: plain(27, steps=1),
    "ties and crowds": lambda: (crowds(28, 0.3)[0], plain(28, steps=5)[1]),
    "more than 100 detections an image": a_crowded_image,
    "150 boxes on one object": one_object_many_boxes,
    "empty images": empty_images,
    "boxes without area": boxes_without_area,
    "objects without area": objects_without_area,
    "beyond the image": beyond_the_image,
    "the truth itself": the_truth_itself,
    "areas on the borders": areas_on_the_borders,
    "shuffled ties": shuffled,
    "wrong boxes only": lambda: plain(29, copies=0, wrong=500),
    "many of each": lambda: plain(30, copies=25, jitter=0.08),
}


def figures(result: Any, prefix: str = "") -> dict[str, float | None]:
    """Every figure of the result by its path."""
    flat: dict[str, float | None] = {}
    for name, value in result:
        if isinstance(value, dict):
            for key, entry in value.items():
                flat |= figures(entry, f"{prefix}{name}.{key}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def test_there_are_enough_sets() -> None:
    assert len(SETS) >= 20


@pytest.mark.parametrize("name", SETS)
def test_hotcoco_and_pycocotools_agree(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    truth, detections = SETS[name]()
    names = truth.class_names or ()
    fast = figures(coco_ap(truth, detections, names, "hotcoco"))
    reference = figures(coco_ap(truth, detections, names, "pycocotools"))
    assert fast.keys() == reference.keys()
    for figure, value in reference.items():
        if value is None:
            assert fast[figure] is None, figure
        else:
            assert fast[figure] == pytest.approx(value, abs=1e-9, rel=0), figure
    assert capfd.readouterr() == ("", ""), "the libraries must not write into a job's output"


def test_the_sets_differ_in_their_figures() -> None:
    """Sets that all scored 0 would agree about nothing."""
    measured = [
        coco_ap(truth, found, truth.class_names or (), "hotcoco").ap for truth, found in map(_made, SETS)
    ]
    assert len({round(ap, 6) for ap in measured if ap}) >= 18


def _made(name: str) -> Set:
    return SETS[name]()


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
def test_only_a_hundred_boxes_of_a_class_count(evaluator: Evaluator) -> None:
    truth = truth_of([(0, 0, (10, 10, 60, 60))])
    late = scored_of([(0, 0, 0.9, (200, 200, 260, 260))] * 100 + [(0, 0, 0.1, (10, 10, 60, 60))])
    assert coco_ap(truth, late, ("car",), evaluator).ap50 == 0.0
    in_time = kept(late, np.arange(1, 101))
    assert coco_ap(truth, in_time, ("car",), evaluator).ap50 == pytest.approx(0.01)


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
def test_a_box_on_a_crowd_counts_neither_way(evaluator: Evaluator) -> None:
    truth = truth_of([(0, 0, (10, 10, 60, 60)), (0, 0, (100, 100, 300, 300))], crowd=[False, True])
    detections = scored_of([(0, 0, 0.9, (110, 110, 150, 150)), (0, 0, 0.8, (10, 10, 60, 60))])
    result = coco_ap(truth, detections, ("car",), evaluator)
    assert result.ap50 == pytest.approx(1.0)
    assert result.per_class["car"].objects == 1


def test_sizes_go_by_the_objects_own_area_not_its_box() -> None:
    truth = truth_of([(0, 0, (0, 0, 100, 100))])
    slender = replace(truth, area=np.array([500.0]))
    found = scored_of([(0, 0, 0.9, (0, 0, 100, 100))])
    assert coco_ap(truth, found, ("car",), "hotcoco").ap_large == pytest.approx(1.0)
    result = coco_ap(slender, found, ("car",), "hotcoco")
    assert result.ap_small == pytest.approx(1.0)
    assert result.ap_large is None
