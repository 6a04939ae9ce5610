"""How mAP is reported: one block per protocol, the part of `metrics.json` under `map`.

Every figure is a fraction in 0..1. `per_class` has the classes with objects, by name; the averages are over those
alone. A figure is null where no object could have entered it.
"""

from __future__ import annotations

from pydantic import Field

from bmodel.validation import ExactModel

Fraction = float | None


class CocoClassAp(ExactModel):
    """One class in COCO's protocol."""

    ap: Fraction = Field(description="mean over IoU 0.50:0.95")
    ap50: Fraction
    objects: int = Field(description="objects of the class, crowds left out")


class CocoAp(ExactModel):
    """COCO's protocol: 101 recall points, at most 100 detections of a class an image, crowds ignored."""

    ap: Fraction = Field(description="mean over IoU 0.50:0.95")
    ap50: Fraction
    ap75: Fraction
    ap_small: Fraction = Field(description="objects below 32² square pixels")
    ap_medium: Fraction = Field(description="objects from 32² to 96² square pixels")
    ap_large: Fraction = Field(description="objects above 96² square pixels")
    per_class: dict[str, CocoClassAp]


class YoloClassAp(ExactModel):
    """One class in the YOLO authors' protocol."""

    ap: float = Field(description="mean over IoU 0.50:0.95")
    ap50: float
    precision: float = Field(description="at IoU 0.5 and the confidence where the mean F1 is highest")
    recall: float = Field(description="at the same point")
    objects: int


class YoloAp(ExactModel):
    """The YOLO authors' protocol: all detections of all images, crowds left out of the truth."""

    ap: Fraction = Field(description="mean over IoU 0.50:0.95")
    ap50: Fraction
    precision: Fraction = Field(
        description="mean over classes at the confidence where the mean F1 is highest"
    )
    recall: Fraction = Field(description="at the same point")
    per_class: dict[str, YoloClassAp]


class VocClassAp(ExactModel):
    """One class in the VOC protocol."""

    ap50: float
    objects: int


class VocAp(ExactModel):
    """The competition's protocol: whole pixels, area under the monotone precision-recall curve at IoU 0.5."""

    ap50: Fraction
    per_class: dict[str, VocClassAp]


class MeanAp(ExactModel):
    """One set of detections by all three protocols."""

    coco: CocoAp
    yolo: YoloAp
    voc: VocAp
