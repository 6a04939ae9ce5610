"""Two runs are the same run only if the same pixels would become the same boxes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bmodel.errors import RunError
from bmodel.sidecar import HeadSpec, ModelSpec, Normalisation
from jobs.config.detect_config import DetectConfig
from jobs.run.fingerprint import Fingerprint, check_same, fingerprint
from tests.helpers.small_specs import decoded_spec, head_spec

SPEC = head_spec()


def fingerprint_of(spec: ModelSpec, **options: Any) -> Fingerprint:
    return fingerprint(
        DetectConfig(images="/images", device="timed", service_ms=1.0, **options),
        device="cpu",
        model_sha256="a" * 64,
        spec=spec,
        images_sha256="b" * 64,
        image_count=3,
    )


def with_first_anchor(width: float) -> tuple[HeadSpec, ...]:
    first, *others = SPEC.heads
    changed = first.model_copy(update={"anchors_wh": ((width, 10.0), *first.anchors_wh[1:])})
    return (changed, *others)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (SPEC.model_copy(update={"heads": with_first_anchor(8.25)}), "heads"),
        (SPEC.model_copy(update={"heads": SPEC.heads[::-1]}), "heads"),
        (SPEC.model_copy(update={"normalisation": Normalisation(channels="bgr")}), "normalisation"),
        (SPEC.model_copy(update={"normalisation": Normalisation(mean=(0.0, 0.0, 1e-3))}), "normalisation"),
        (SPEC.model_copy(update={"normalisation": Normalisation(padding=0)}), "normalisation"),
        (SPEC.model_copy(update={"class_names": ("car", "dog", "cat")}), "class-names"),
        (decoded_spec(), "layout"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_edited_sidecar_is_another_run(changed: ModelSpec, named: str) -> None:
    with pytest.raises(RunError, match=f"{named} was .* and is now "):
        check_same(fingerprint_of(SPEC), fingerprint_of(changed), "here")


def test_what_decides_nothing_may_change() -> None:
    moved = SPEC.model_copy(update={"name": "other", "tools": {"compiler": "2"}, "licence": "MIT"})
    same = SPEC.model_copy(update={"heads": with_first_anchor(8.0)})
    for spec in (moved, same):
        check_same(fingerprint_of(SPEC), fingerprint_of(spec, cards=3, shard_size=7), "here")


def test_options_that_decide_are_named() -> None:
    with pytest.raises(RunError, match=r"iou was 0\.65 and is now 0\.5"):
        check_same(fingerprint_of(SPEC), fingerprint_of(SPEC, iou=0.5), "here")


def test_a_fact_that_is_not_known_is_refused() -> None:
    known = fingerprint_of(SPEC).model_dump(by_alias=True)
    assert Fingerprint.model_validate(known) == fingerprint_of(SPEC)
    with pytest.raises(ValidationError, match="unseen"):
        Fingerprint.model_validate({**known, "unseen": 1})


def test_long_values_are_shown_short() -> None:
    names = fingerprint_of(SPEC).model_copy(update={"class_names": ("y" * 500,)})
    with pytest.raises(RunError) as caught:
        check_same(fingerprint_of(SPEC), names, "here")
    assert len(str(caught.value)) < 250
