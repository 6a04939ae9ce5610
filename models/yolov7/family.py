"""The four published networks of the YOLOv7 family, as topologies.

Written from the paper (Wang, Bochkovskiy, Liao: "YOLOv7: Trainable bag-of-freebies sets new state-of-the-art for
real-time object detectors", 2022), its tables and the shapes of the published weights. The paper's block names:
ELAN, an aggregation of convolutions at several depths; E-ELAN, two of them in parallel, summed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from bmodel.errors import ConfigurationError
from models.yolov7.topology import AnchorLevels, Plan, Topology

ModelName = Literal["yolov7-tiny", "yolov7", "yolov7x", "yolov7-e6e"]

ANCHORS_TINY: Final[AnchorLevels] = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
ANCHORS_P5: Final[AnchorLevels] = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
ANCHORS_P6: Final[AnchorLevels] = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)


def _elan(
    plan: Plan, hidden: int, inner: int, depth: int, every: int, out: int, source: int | None = None
) -> int:
    """ELAN: two 1×1 branches of `hidden`, then `depth` 3×3 convolutions of `inner` on the second.

    Every `every`-th of them, counted from the last, is concatenated with both branches (deepest first) and mixed
    down to `out` channels.
    """
    entry = plan.last if source is None else source
    first = plan.conv(hidden, source=entry)
    second = plan.conv(hidden, source=entry)
    chain = [plan.conv(inner, 3) for _ in range(depth)]
    plan.concat(*chain[::-1][::every], second, first)
    return plan.conv(out)


def _double_elan(plan: Plan, hidden: int, inner: int, every: int, out: int) -> int:
    """E-ELAN: two ELAN blocks of depth six on the same input, summed."""
    entry = plan.last
    left = _elan(plan, hidden, inner, 6, every, out, entry)
    right = _elan(plan, hidden, inner, 6, every, out, entry)
    return plan.sum_of(right, left)


def _transition(plan: Plan, channels: int, *extra: int) -> int:
    """Halve the size by pooling and by a strided convolution, `channels` each, concatenated with `extra` layers."""
    entry = plan.last
    plan.pool(2, 2)
    pooled = plan.conv(channels)
    plan.conv(channels, source=entry)
    strided = plan.conv(channels, 3, 2)
    return plan.concat(strided, pooled, *extra)


def _climb(plan: Plan, channels: int, lateral: int) -> int:
    """Go up one level: narrow, double the size, concatenate with the backbone's layer `lateral`."""
    plan.conv(channels)
    upper = plan.upsample()
    side = plan.conv(channels, source=lateral)
    return plan.concat(side, upper)


def _tiny() -> Topology:
    plan = Plan()
    plan.conv(32, 3, 2)
    plan.conv(64, 3, 2)
    _tiny_elan(plan, 32, 64)
    levels = []
    for hidden in (64, 128, 256):
        plan.pool(2, 2)
        levels.append(_tiny_elan(plan, hidden, 2 * hidden))
    p3, p4, _ = levels
    p5 = _tiny_pyramid_pool(plan, 256)
    _climb(plan, 128, p4)
    n4 = _tiny_elan(plan, 64, 128)
    _climb(plan, 64, p3)
    n3 = _tiny_elan(plan, 32, 64)
    plan.concat(plan.conv(128, 3, 2), n4)
    m4 = _tiny_elan(plan, 64, 128)
    plan.concat(plan.conv(256, 3, 2), p5)
    m5 = _tiny_elan(plan, 128, 256)
    heads = tuple(plan.conv(channels, 3, source=at) for channels, at in ((128, n3), (256, m4), (512, m5)))
    return _finish("yolov7-tiny", plan, heads, ANCHORS_TINY, leaky=True)


def _tiny_elan(plan: Plan, hidden: int, out: int) -> int:
    return _elan(plan, hidden, hidden, depth=2, every=1, out=out)


def _tiny_pyramid_pool(plan: Plan, channels: int) -> int:
    """Add the small network's pyramid pooling, spelled out in numbered layers."""
    entry = plan.last
    shortcut = plan.conv(channels)
    narrow = plan.conv(channels, source=entry)
    pools = [plan.pool(kernel, 1, source=narrow) for kernel in (5, 9, 13)]
    plan.concat(*reversed(pools), narrow)
    pooled = plan.conv(channels)
    plan.concat(pooled, shortcut)
    return plan.conv(channels)


def _yolov7() -> Topology:
    plan = Plan()
    plan.conv(32, 3)
    plan.conv(64, 3, 2)
    plan.conv(64, 3)
    plan.conv(128, 3, 2)
    _elan(plan, 64, 64, depth=4, every=2, out=256)
    levels = []
    for narrow, hidden, out in ((128, 128, 512), (256, 256, 1024), (512, 256, 1024)):
        _transition(plan, narrow)
        levels.append(_elan(plan, hidden, hidden, depth=4, every=2, out=out))
    p5 = plan.pyramid_pool(512)
    _climb(plan, 256, levels[1])
    n4 = _elan(plan, 256, 128, depth=4, every=1, out=256)
    _climb(plan, 128, levels[0])
    n3 = _elan(plan, 128, 64, depth=4, every=1, out=128)
    _transition(plan, 128, n4)
    m4 = _elan(plan, 256, 128, depth=4, every=1, out=256)
    _transition(plan, 256, p5)
    m5 = _elan(plan, 512, 256, depth=4, every=1, out=512)
    heads = tuple(plan.repconv(channels, source=at) for channels, at in ((256, n3), (512, m4), (1024, m5)))
    return _finish("yolov7", plan, heads, ANCHORS_P5)


def _yolov7x() -> Topology:
    plan = Plan()
    plan.conv(40, 3)
    plan.conv(80, 3, 2)
    plan.conv(80, 3)
    plan.conv(160, 3, 2)
    _deep_elan(plan, 64, 320)
    levels = []
    for narrow, hidden, out in ((160, 128, 640), (320, 256, 1280), (640, 256, 1280)):
        _transition(plan, narrow)
        levels.append(_deep_elan(plan, hidden, out))
    p5 = plan.pyramid_pool(640)
    _climb(plan, 320, levels[1])
    n4 = _deep_elan(plan, 256, 320)
    _climb(plan, 160, levels[0])
    n3 = _deep_elan(plan, 128, 160)
    _transition(plan, 160, n4)
    m4 = _deep_elan(plan, 256, 320)
    _transition(plan, 320, p5)
    m5 = _deep_elan(plan, 512, 640)
    heads = tuple(plan.conv(channels, 3, source=at) for channels, at in ((320, n3), (640, m4), (1280, m5)))
    return _finish("yolov7x", plan, heads, ANCHORS_P5)


def _deep_elan(plan: Plan, hidden: int, out: int) -> int:
    return _elan(plan, hidden, hidden, depth=6, every=2, out=out)


def _yolov7_e6e() -> Topology:
    plan = Plan()
    plan.space_to_depth()
    plan.conv(80, 3)
    levels = []
    for hidden, out in ((64, 160), (128, 320), (256, 640), (384, 960), (512, 1280)):
        plan.downsample(out)
        levels.append(_double_elan(plan, hidden, hidden, every=2, out=out))
    p6 = plan.pyramid_pool(640)
    up = []
    for hidden, out, lateral in ((384, 480, levels[3]), (256, 320, levels[2]), (128, 160, levels[1])):
        _climb(plan, out, lateral)
        up.append(_double_elan(plan, hidden, hidden // 2, every=1, out=out))
    n5, n4, n3 = up
    down = [n3]
    for hidden, out, extra in ((256, 320, n4), (384, 480, n5), (512, 640, p6)):
        plan.concat(plan.downsample(out), extra)
        down.append(_double_elan(plan, hidden, hidden // 2, every=1, out=out))
    heads = tuple(
        plan.conv(channels, 3, source=at) for channels, at in zip((320, 640, 960, 1280), down, strict=True)
    )
    return _finish("yolov7-e6e", plan, heads, ANCHORS_P6, auxiliary=len(heads))


def _finish(
    name: ModelName,
    plan: Plan,
    heads: tuple[int, ...],
    anchors: AnchorLevels,
    *,
    leaky: bool = False,
    auxiliary: int = 0,
) -> Topology:
    return Topology(
        name=name,
        activation="leaky_relu" if leaky else "silu",
        layers=tuple(plan.layers),
        heads=heads,
        strides=tuple(8 << level for level in range(len(heads))),
        anchors=anchors,
        training_detect_index=len(plan.layers) + auxiliary,
    )


_FAMILY: Final[dict[ModelName, Callable[[], Topology]]] = {
    "yolov7-tiny": _tiny,
    "yolov7": _yolov7,
    "yolov7x": _yolov7x,
    "yolov7-e6e": _yolov7_e6e,
}
MODEL_NAMES: Final[tuple[ModelName, ...]] = tuple(_FAMILY)


def model_name(text: str) -> ModelName:
    """Check a network's name; raises ConfigurationError if the family has none of that name."""
    for name in MODEL_NAMES:
        if name == text:
            return name
    raise ConfigurationError(f"model must be one of {', '.join(MODEL_NAMES)}, got '{text}'")


def topology(name: ModelName) -> Topology:
    """Describe the published network of this name."""
    return _FAMILY[name]()
