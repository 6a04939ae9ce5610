"""The renderer: the same picture from the same seed, exact boxes, and its rules of what is labelled."""

from __future__ import annotations

import numpy as np
import pytest

from data.scenes import CLASS_NAMES, HELD_OUT, SAMPLE, TRAINING, render_scene
from data.scenes.bike import build_bike
from data.scenes.camera import Camera, Pose, direction
from data.scenes.car import build_car
from data.scenes.dice import Dice
from data.scenes.layout import Layout, Plan
from data.scenes.model import Light, Model, add_box, rectangle
from data.scenes.person import build_walker
from data.scenes.population import BIKE, CAR, NO_CLASS, PERSON, REFERENCE_PX, Thing
from data.scenes.render import SEEN_COVERAGE, SMALLEST_PX, _front_to_back, _visible_box

EASTWARDS = direction(0)


def camera(height_m: float = 1.6) -> Camera:
    return Camera(size_hw=(240, 320), focal_px=320.0, horizon_px=100.0, height_m=height_m, look=(0.0, 1.0))


def plan() -> Plan:
    layout = Layout(kind="plaza", road=(5.0, 9.0), zebra_m=0.0, walls_m=5.0, far_m=50.0, paving_m=0.8)
    light = Light(sun=(0.0, 1.0, 0.0), ambient=0.8, casts_shadows=False)
    return Plan(layout=layout, camera=camera(), light=light, weather="clear", fog_m=300.0)


def thing(class_id: int, model: Model, x_m: float, z_m: float) -> Thing:
    return Thing(parts=((class_id, model),), pose=Pose(x_m=x_m, z_m=z_m, heading=EASTWARDS), depth_m=z_m)


def person(x_m: float, z_m: float, seed: int = 1) -> Thing:
    return thing(PERSON, build_walker(Dice(seed)), x_m, z_m)


def wall(x_m: float, z_m: float, width_m: float, height_m: float) -> Thing:
    model = Model(footprint=rectangle(width_m / 2, 0.1), height_m=height_m)
    add_box(model, (-width_m / 2, -0.1, 0.0), (width_m / 2, 0.1, height_m), (90, 90, 90))
    return thing(NO_CLASS, model, x_m, z_m)


def labels(*things: Thing) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Labels of things, given far ones first."""
    return [
        (item.class_id, item.box) for item in _front_to_back(list(things), plan()) if item.box is not None
    ]


@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_seed_gives_the_same_picture_and_boxes_again(number: int) -> None:
    first, other = SAMPLE.scene(number), SAMPLE.scene(number + 1)
    again = SAMPLE.scene(number)
    assert np.array_equal(first.bgr, again.bgr)
    assert np.array_equal(first.xyxy, again.xyxy)
    assert np.array_equal(first.class_id, again.class_id)
    assert first.bgr.shape != other.bgr.shape or not np.array_equal(first.bgr, other.bgr)


def test_series_share_no_scene() -> None:
    pictures = [series.scene(0).bgr for series in (SAMPLE, TRAINING, HELD_OUT)]
    assert len({series.stream for series in (SAMPLE, TRAINING, HELD_OUT)}) == 3
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize("seed", range(40, 46))
def test_every_box_keeps_the_rules(seed: int) -> None:
    scene = render_scene(seed, (312, 416))
    assert scene.bgr.shape == (312, 416, 3)
    assert scene.bgr.dtype == np.uint8
    assert len(scene.xyxy) == len(scene.class_id)
    left, top, right, bottom = scene.xyxy.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= 416).all()
    assert (bottom <= 312).all()
    smallest = SMALLEST_PX * 416 / REFERENCE_PX
    assert ((right - left) * (bottom - top) >= smallest * smallest).all()
    assert set(scene.class_id.tolist()) <= set(range(len(CLASS_NAMES)))


def test_all_classes_appear() -> None:
    seen = {int(class_id) for seed in range(6) for class_id in render_scene(seed, (240, 320)).class_id}
    assert seen == {CAR, PERSON, BIKE}


def test_a_box_is_the_extent_of_the_pixels_that_are_seen() -> None:
    sprite = person(0.0, 8.0).parts[0][1].sketch(
        Pose(x_m=0.0, z_m=8.0, heading=EASTWARDS), camera(), plan().light
    ).rasterise((240, 320))  # fmt: skip
    assert sprite is not None
    rows, columns = np.nonzero(sprite.coverage >= SEEN_COVERAGE)
    expected = (
        sprite.left + columns.min(), sprite.top + rows.min(), sprite.left + columns.max() + 1, sprite.top + rows.max() + 1,
    )  # fmt: skip
    assert _visible_box(sprite, np.zeros((240, 320), np.bool_)) == expected


def test_a_half_hidden_person_has_the_box_of_the_half_that_is_seen() -> None:
    ((_, whole),) = labels(person(0.0, 10.0))
    ((_, upper),) = labels(person(0.0, 10.0), wall(0.0, 8.0, 4.0, 0.8))
    assert upper[1] == whole[1]
    assert upper[3] < whole[3] - 10


def test_what_is_mostly_hidden_is_not_in_the_picture_at_all() -> None:
    drawn = _front_to_back([person(0.0, 10.0), wall(0.0, 8.0, 4.0, 1.5)], plan())
    assert [item.class_id for item in drawn] == [NO_CLASS]


def test_what_hides_nothing_takes_nothing_away() -> None:
    assert (
        labels(person(0.0, 10.0), wall(0.0, 12.0, 4.0, 1.5)) == []
    )  # the wall must be given first: it is farther
    assert len(labels(wall(0.0, 12.0, 4.0, 1.5), person(0.0, 10.0))) == 1


def test_what_the_border_cuts_mostly_off_is_not_in_the_picture() -> None:
    assert len(labels(person(4.9, 10.0))) == 1
    assert labels(person(5.1, 10.0)) == []


def test_what_is_too_small_is_not_in_the_picture() -> None:
    # A walker of 1.7 m by 0.6 m is 4 pixels in size (root of the area) at about 80 m with this lens.
    assert len(labels(person(0.0, 40.0))) == 1
    assert labels(person(0.0, 120.0)) == []


@pytest.mark.parametrize(
    ("class_id", "metres_wide", "metres_high"),
    [(CAR, (3.7, 5.6), (1.4, 2.4)), (BIKE, (1.1, 2.0), (0.6, 1.3))],
)
def test_things_have_their_size_in_perspective(
    class_id: int, metres_wide: tuple[float, float], metres_high: tuple[float, float]
) -> None:
    for seed in range(8):
        model = build_car(Dice(seed)) if class_id == CAR else build_bike(Dice(seed))[0]
        ((found, box),) = labels(thing(class_id, model, 0.0, 16.0))
        scale = camera().focal_px / 16.0
        assert found == class_id
        assert metres_wide[0] <= (box[2] - box[0]) / scale <= metres_wide[1]
        assert metres_high[0] <= (box[3] - box[1]) / scale <= metres_high[1]


def test_view_and_ground_are_inverse() -> None:
    turned = Camera(size_hw=(10, 10), focal_px=1.0, horizon_px=0.0, height_m=1.0, look=direction(37))
    x, z = Dice(5).units(50) * 40 - 20, Dice(6).units(50) * 40
    assert np.allclose(turned.ground(*turned.view(x, z)), (x, z), atol=1e-3)


def test_the_camera_sees_its_own_height_at_the_horizon() -> None:
    points = np.array([(0.0, 1.6, 5.0), (3.0, 1.6, 40.0), (0.0, 0.0, 10.0)])
    pixels, depth = camera(1.6).project(points)
    assert pixels[:2, 1].tolist() == [100.0, 100.0]
    assert pixels[2].tolist() == [160.0, 100.0 + 320 * 1.6 / 10]
    assert depth.tolist() == [5.0, 40.0, 10.0]


def test_dice_give_the_words_of_pcg64() -> None:
    words = np.random.PCG64(np.random.SeedSequence((7, 9))).random_raw(3)
    dice = Dice(7, 9)
    assert [dice.unit() for _ in range(3)] == [int(word >> np.uint64(11)) / 2.0**53 for word in words]
    assert Dice(7, 9).bytes(2, 3).tobytes() == words.astype("<u8").tobytes()[:6]


def test_dice_stay_in_range() -> None:
    dice = Dice(1)
    assert {dice.whole(2, 4) for _ in range(200)} == {2, 3, 4}
    assert all(-1.5 <= dice.between(-1.5, 2.5) < 2.5 for _ in range(200))
