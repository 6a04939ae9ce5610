"""What the sample network's training rests on: matching, loss, averaging, figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (the extra 'models')")

from torch import Tensor  # noqa: E402

from models.training.assignment import match  # noqa: E402
from models.training.average import AveragedNetwork  # noqa: E402
from models.training.loss import LossWeights, ciou, compute_loss, decode  # noqa: E402
from models.training.score_scenes import decode_heads, evaluate_coco, suppress  # noqa: E402

pytestmark = pytest.mark.models

ANCHORS_PX = torch.tensor([[[10.0, 20.0], [40.0, 20.0]]])
STRIDES = (8,)


def targets(*rows: tuple[float, ...]) -> Tensor:
    """Image, class, centre x, centre y, width, height in pixels."""
    return torch.tensor(rows).reshape(-1, 6)


def raw_head(fill: float = 0.0) -> Tensor:
    return torch.full((2, 2, 6, 8, 5 + 3), fill)


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def answer(box: tuple[float, float, float, float], row: int, column: int, anchor: int) -> list[float]:
    """Raw scores that decode to a box (centre x, centre y, w, h in pixels) from a place."""
    x, y = (box[0] / 8 - column + 0.5) / 2, (box[1] / 8 - row + 0.5) / 2
    w, h = (math.sqrt(side / float(ANCHORS_PX[0, anchor, k])) / 2 for k, side in enumerate(box[2:]))
    return [logit(value) for value in (x, y, w, h)]


def test_a_box_counts_for_its_cell_and_the_two_nearest_neighbours() -> None:
    found = match(targets((1, 2, 28.0, 22.0, 12.0, 18.0)), ANCHORS_PX[0] / 8, (6, 8), 8)
    places = set(zip(found.anchor.tolist(), found.row.tolist(), found.column.tolist(), strict=True))
    # 28 / 8 = 3.5 is nearer to the cell on the right, 22 / 8 = 2.75 to the one below.
    assert {place for place in places if place[0] == 0} == {(0, 2, 3), (0, 2, 4), (0, 3, 3)}
    assert set(found.image.tolist()) == {1}
    assert set(found.class_id.tolist()) == {2}


def test_a_box_at_the_corner_counts_for_no_cell_outside() -> None:
    found = match(
        targets((0, 0, 1.0, 1.0, 10.0, 20.0), (0, 0, 63.0, 47.0, 10.0, 20.0)), ANCHORS_PX[0] / 8, (6, 8), 8
    )
    first = {
        (r, c)
        for a, r, c in zip(found.anchor.tolist(), found.row.tolist(), found.column.tolist(), strict=True)
        if a == 0
    }
    assert first == {(0, 0), (5, 7)}


@pytest.mark.parametrize(
    ("width", "height", "anchors"), [(10, 20, {0, 1}), (9, 60, {0}), (100, 10, {1}), (400, 4, set())]
)
def test_an_anchor_answers_for_boxes_of_up_to_four_times_its_sides(
    width: float, height: float, anchors: set[int]
) -> None:
    if (width, height) == (10, 20):
        width = 10.5  # 40 / 10.5 < 4: both answer
    found = match(targets((0, 0, 30.0, 20.0, width, height)), ANCHORS_PX[0] / 8, (6, 8), 8)
    assert set(found.anchor.tolist()) == anchors


def test_ciou_is_one_for_equal_boxes_and_negative_for_distant_ones() -> None:
    box = torch.tensor([[5.0, 5.0, 2.0, 4.0]])
    assert ciou(box, box).item() == pytest.approx(1.0, abs=1e-5)
    assert ciou(box, box + torch.tensor([[20.0, 0, 0, 0]])).item() < -0.5


def test_ciou_of_boxes_of_one_aspect_is_overlap_less_distance() -> None:
    first = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    second = torch.tensor([[1.0, 0.0, 2.0, 2.0]])
    # Overlap 2 of 6; centres 1 apart, the hull's diagonal squared 9 + 4.
    assert ciou(first, second).item() == pytest.approx(2 / 6 - 1 / 13, abs=1e-5)


def test_decoding_inverts_what_the_scores_were_made_for() -> None:
    box = (30.0, 22.0, 12.0, 18.0)
    found = match(targets((0, 1, *box)), ANCHORS_PX[0] / 8, (6, 8), 8)
    rows = [
        answer(box, r, c, a)
        for a, r, c in zip(found.anchor.tolist(), found.row.tolist(), found.column.tolist(), strict=True)
    ]
    decoded = decode(torch.tensor(rows), found) * 8
    assert torch.allclose(decoded, torch.tensor(box).expand_as(decoded), atol=1e-3)


def test_the_right_answer_costs_less_than_any_other() -> None:
    box = (30.0, 22.0, 12.0, 18.0)
    wanted = targets((0, 1, *box))
    head = raw_head(-8.0)
    found = match(wanted, ANCHORS_PX[0] / 8, (6, 8), 8)
    for a, r, c in zip(found.anchor.tolist(), found.row.tolist(), found.column.tolist(), strict=True):
        head[0, a, r, c] = torch.tensor([*answer(box, r, c, a), 8.0, -8.0, 8.0, -8.0])

    def total(raw: Tensor) -> float:
        return float(compute_loss([raw], wanted, ANCHORS_PX / 8, STRIDES, LossWeights()).total)

    right = total(head)
    assert right < 0.05
    for column, change in ((0, 2.0), (3, 1.0), (4, -8.0), (5, 16.0), (6, -16.0)):
        wrong = head.clone()
        wrong[0, 0, found.row[0], found.column[0], column] += change
        assert total(wrong) > right


def test_objectness_is_pulled_to_the_overlap_that_was_reached() -> None:
    head = raw_head().requires_grad_()
    loss = compute_loss(
        [head], targets((0, 1, 30.0, 22.0, 12.0, 18.0)), ANCHORS_PX / 8, STRIDES, LossWeights()
    )
    loss.objectness.backward()
    gradient = head.grad[..., 4]
    assert gradient[1].min() > 0  # nothing there: down everywhere
    assert gradient[0, 0, 2, 3] < gradient[0, 0, 0, 0]


def test_a_batch_without_boxes_has_only_objectness_to_learn() -> None:
    loss = compute_loss([raw_head()], targets(), ANCHORS_PX / 8, STRIDES, LossWeights())
    assert float(loss.box) == float(loss.classes) == 0.0
    assert float(loss.objectness) == pytest.approx(9.0 * 4.0 * math.log(2), rel=1e-5)


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    head = torch.randn(2, 2, 6, 8, 8, requires_grad=True)
    wanted = targets((0, 1, 30.0, 22.0, 12.0, 18.0), (1, 0, 50.0, 10.0, 40.0, 18.0))
    optimiser = torch.optim.Adam([head], lr=0.2)
    totals = []
    for _ in range(60):
        loss = compute_loss([head], wanted, ANCHORS_PX / 8, STRIDES, LossWeights()).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        totals.append(loss.item())
    assert totals[-1] < 0.1 * totals[0]


def test_the_average_follows_the_weights_and_copies_counters() -> None:
    network = torch.nn.BatchNorm1d(2)
    average = AveragedNetwork(network, decay=0.5, rise_steps=1e-9)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.num_batches_tracked.fill_(7)
    average.follow(network, 1)
    assert average.network.weight.tolist() == [2.0, 2.0]
    assert int(average.network.num_batches_tracked) == 7
    assert not average.network.training


def test_decoded_heads_agree_with_the_answers_put_in() -> None:
    head = raw_head(-20.0)
    box = (30.0, 22.0, 12.0, 18.0)
    head[1, 1, 2, 3] = torch.tensor([*answer(box, 2, 3, 1), 20.0, -20.0, -20.0, 20.0])
    empty, one = decode_heads([head], ANCHORS_PX, STRIDES)
    assert len(empty) == 0
    assert one.shape == (1, 6)
    assert np.allclose(one[0], (24.0, 13.0, 36.0, 31.0, 1.0, 2.0), atol=1e-3)


def test_suppression_keeps_the_better_of_two_and_every_class() -> None:
    rows = np.array(
        [(0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0), (0, 0, 10, 9, 0.7, 1), (5, 5, 15, 15, 0.6, 0)],
        np.float32,
    )
    assert suppress(rows)[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.6])


def test_figures_of_perfect_and_of_no_detections() -> None:
    truths = [
        {"image_id": 1, "category_id": k + 1, "bbox": [10.0 * k, 0.0, 8.0, 8.0], "area": 64.0, "iscrowd": 0}
        for k in range(3)
    ]
    found = [
        {"image_id": 1, "category_id": t["category_id"], "bbox": t["bbox"], "score": 0.9} for t in truths
    ]
    perfect = evaluate_coco([{"id": 1}], truths, found)
    assert (perfect.ap, perfect.ap50, perfect.ap_small) == pytest.approx((1.0, 1.0, 1.0))
    assert perfect.ap50_by_class == pytest.approx((1.0, 1.0, 1.0))
    assert evaluate_coco([{"id": 1}], truths, []).ap50 == 0.0
