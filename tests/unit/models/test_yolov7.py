"""The family against its published figures, and fusing against the unfused network."""

from __future__ import annotations

import math

import pytest

from bmodel.errors import ConfigurationError
from models.yolov7.family import MODEL_NAMES, ModelName, model_name, topology

torch = pytest.importorskip("torch", reason="needs PyTorch (the extra 'models')")

from models.yolov7.fuse import fuse  # noqa: E402
from models.yolov7.layers import ConvUnit  # noqa: E402
from models.yolov7.network import Network, build_network, parameter_count  # noqa: E402

pytestmark = pytest.mark.models

# Narrow enough for a test; what a block does does not depend on its width.
WIDTHS: dict[ModelName, float] = {"yolov7-tiny": 1.0, "yolov7": 0.5, "yolov7x": 0.25, "yolov7-e6e": 0.25}


def shapes_only(name: ModelName, class_count: int = 80, *, implicit: bool = False) -> Network:
    """A network that has shapes and no memory."""
    with torch.device("meta"):
        return build_network(name, class_count, implicit=implicit)


def trained_looking(name: ModelName, width: float, *, implicit: bool) -> Network:
    """Random weights with batch norm statistics, biases and implicit values that are neither 0 nor 1."""
    torch.manual_seed(3)
    network = build_network(name, 4, width=width, implicit=implicit)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.8, 1.6)
                module.bias.normal_(0, 0.1)
        for parameter in network.detect.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    network.eval()
    return network


# The figures that the authors' program prints of its own checkpoints ("Model Summary", in public logs).
@pytest.mark.parametrize(
    ("name", "unfused", "fused", "published_millions"),
    [
        ("yolov7-tiny", 6_227_101, 6_219_709, 6.2),
        ("yolov7", 37_620_125, 36_905_341, 36.9),
        ("yolov7x", 71_344_389, 71_311_741, 71.3),
        ("yolov7-e6e", 151_757_244, 151_687_420, 151.7),
    ],
)
def test_parameter_counts_are_the_published_ones(
    name: ModelName, unfused: int, fused: int, published_millions: float
) -> None:
    network = shapes_only(name)

    assert parameter_count(network) == unfused
    assert parameter_count(fuse(network)) == fused
    assert round(fused / 1e6, 1) == published_millions


# Number, sources, parameters with 80 classes; rows of the tables that the authors' program prints, in public logs.
@pytest.mark.parametrize(
    ("name", "number", "sources", "parameters"),
    [
        ("yolov7", 0, (-1,), 928),
        ("yolov7", 5, (3,), 8_320),
        ("yolov7", 36, (35, 33, 31, 30), 0),
        ("yolov7", 37, (36,), 1_050_624),
        ("yolov7", 40, (37,), 525_312),
        ("yolov7", 42, (41, 39), 0),
        ("yolov7", 51, (50,), 7_609_344),
        ("yolov7", 54, (37,), 262_656),
        ("yolov7", 55, (54, 53), 0),
        ("yolov7", 58, (57,), 295_168),
        ("yolov7", 62, (61, 60, 59, 58, 57, 56), 0),
        ("yolov7-tiny", 56, (55, 54, 53, 52), 0),
        ("yolov7-tiny", 57, (56,), 8_320),
        ("yolov7-tiny", 59, (58, 47), 0),
        ("yolov7-tiny", 61, (59,), 16_512),
        ("yolov7-e6e", 1, (0,), 8_800),
        ("yolov7-e6e", 2, (1,), 70_880),
        ("yolov7-e6e", 11, (10, 8, 6, 4, 3), 0),
        ("yolov7-e6e", 12, (11,), 51_520),
        ("yolov7-e6e", 13, (2,), 10_368),
    ],
)
def test_layers_are_the_published_ones(
    name: ModelName, number: int, sources: tuple[int, ...], parameters: int
) -> None:
    network = shapes_only(name)

    assert network.topology.layers[number].sources == sources
    assert parameter_count(network.model[number]) == parameters


@pytest.mark.parametrize(("implicit", "parameters"), [(False, 113_085), (True, 115_066)])
def test_detection_layer_counts_with_sixteen_classes(implicit: bool, parameters: int) -> None:
    assert parameter_count(shapes_only("yolov7", 16, implicit=implicit).detect) == parameters


@pytest.mark.parametrize(
    ("name", "number", "training_number"),
    [("yolov7-tiny", 77, 77), ("yolov7", 105, 105), ("yolov7x", 121, 121), ("yolov7-e6e", 261, 265)],
)
def test_detection_layer_has_its_published_number(name: ModelName, number: int, training_number: int) -> None:
    plan = topology(name)

    assert plan.detect_index == number
    assert plan.training_detect_index == training_number
    assert plan.heads == tuple(range(number - len(plan.strides), number))


@pytest.mark.parametrize(
    ("name", "input_hw", "grids"),
    [
        ("yolov7-tiny", (640, 640), [(80, 80), (40, 40), (20, 20)]),
        ("yolov7", (384, 640), [(48, 80), (24, 40), (12, 20)]),
        ("yolov7x", (864, 864), [(108, 108), (54, 54), (27, 27)]),
        ("yolov7-e6e", (1280, 1280), [(160, 160), (80, 80), (40, 40), (20, 20)]),
    ],
)
def test_raw_heads_have_their_shapes(
    name: ModelName, input_hw: tuple[int, int], grids: list[tuple[int, int]]
) -> None:
    heads = shapes_only(name)(torch.empty(2, 3, *input_hw, device="meta"))

    assert [tuple(head.shape) for head in heads] == [(2, 3, *grid, 85) for grid in grids]


def test_names_are_those_of_the_checkpoints() -> None:
    names = shapes_only("yolov7", implicit=True).state_dict().keys()

    for name in (
        "model.0.conv.weight",
        "model.0.bn.running_var",
        "model.51.cv7.bn.num_batches_tracked",
        "model.102.rbr_dense.0.weight",
        "model.104.rbr_1x1.1.running_mean",
        "model.105.m.2.bias",
        "model.105.ia.0.implicit",
        "model.105.im.2.implicit",
        "model.105.anchors",
        "model.105.anchor_grid",
    ):
        assert name in names
    assert {"model.2.cv1.conv.weight", "model.2.cv3.bn.bias"} <= shapes_only("yolov7-e6e").state_dict().keys()


@pytest.mark.parametrize(
    ("name", "implicit"), [*((name, True) for name in MODEL_NAMES), ("yolov7-tiny", False)]
)
def test_fused_and_unfused_agree(name: ModelName, implicit: bool) -> None:
    network = trained_looking(name, WIDTHS[name], implicit=implicit)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.rand(1, 3, 128, 64)

    fused = fuse(network)
    with torch.no_grad():
        pairs = list(zip(network(images), fused(images), strict=True))

    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    assert not fused.detect.has_implicit
    for expected, got in pairs:
        assert expected.std() > 0.05  # the comparison would mean nothing on outputs that are all alike
        assert (expected - got).abs().max() < 1e-4
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_fusing_again_changes_nothing() -> None:
    once = fuse(trained_looking("yolov7-tiny", 0.25, implicit=True))
    twice = fuse(once)

    assert all(torch.equal(once.state_dict()[key], value) for key, value in twice.state_dict().items())


def test_half_width_with_a_trimmed_head() -> None:
    network = build_network("yolov7-tiny", 3, width=0.5, head_p5_channels=192)

    assert parameter_count(network) == 1_438_808
    widths = [module.conv.out_channels for module in network.modules() if isinstance(module, ConvUnit)]
    assert all(width % 16 == 0 for width in widths)
    assert network.model[76].conv.out_channels == 192


def test_anchors_are_kept_in_pixels_and_in_strides() -> None:
    anchors = (((8, 16), (24, 32)), ((40, 48), (56, 64)), ((72, 80), (88, 96)))
    detect = build_network("yolov7-tiny", 3, width=0.25, anchors=anchors).detect

    assert detect.anchor_levels() == anchors
    assert detect.anchors[1].tolist() == [[2.5, 3.0], [3.5, 4.0]]
    assert detect.m[0].out_channels == 2 * 8
    with pytest.raises(ValueError, match=r"anchors must have shape \(3, 2, 2\), got \(1, 2, 2\)"):
        detect.set_anchors(anchors[:1])


def test_untrained_heads_expect_few_objects() -> None:
    detect = build_network("yolov7-tiny", 3, width=0.25).detect

    for head, stride in zip(detect.m, detect.strides, strict=True):
        bias = head.bias.view(3, -1)
        cells = (640 // stride) ** 2
        assert bias[:, 4].exp().mul(cells).tolist() == pytest.approx([8] * 3)
        assert bias[:, 5:].sigmoid().sum(dim=1).tolist() == pytest.approx([0.6] * 3)
        assert bias[:, :4].abs().max() < 0.2


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = build_network("yolov7-tiny", 3, width=0.25, implicit=True)

    loss = sum(head.square().mean() for head in network(torch.rand(2, 3, 64, 64)))
    loss.backward()

    idle = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []
    assert math.isfinite(loss.item())


@pytest.mark.parametrize(
    ("class_count", "width", "message"),
    [(0, 1.0, "class_count must be at least 1, got 0"), (3, 0.0, "width must be positive, got 0.0")],
)
def test_senseless_networks_are_refused(class_count: int, width: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_network("yolov7-tiny", class_count, width=width)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"model must be one of yolov7-tiny, .*, got 'yolov9'"):
        model_name("yolov9")
