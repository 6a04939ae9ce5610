"""Preprocessing on the card: JPEG decoding, letterboxing and normalisation by its image processors (BMCV).

What the card refuses (anything but a baseline JPEG) and what its scaler is known not to take is prepared on the host
instead, image by image; both write into the same batch, so a batch may hold images of either way. The vendor's
letterbox truncates where ours rounds: boxes are mapped back with the numbers that were really used.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bmodel.errors import LibraryError
from bmodel.sidecar import ModelSpec, Placement
from tpu_worker.devices.native_output import process_output, quiet
from tpu_worker.devices.sail import load_sail
from tpu_worker.launch import Prepared
from tpu_worker.letterbox import Letterbox

# What BM1684's video post-processor scales: pixels a side, of the image, of the network's input and of the image within
# it, and how many times larger or smaller a side may become. By libsophon's documentation (bmcv_image_vpp_basic) and its
# source, whose table has the same limits for every pair of formats that is used here.
MINIMUM_SIDE: Final = 16
MAXIMUM_SIDE: Final = 4096
MOST_TIMES: Final = 32
# SAIL takes a file of any other name for a video, whose colours are others.
_SUFFIXES: Final = {".jpg", ".jpeg", ".JPG", ".JPEG"}
# Fills the card's image before it is normalised: SAIL reports a failed normalisation in its log alone and returns
# success. No pixel has this value, and nothing overflows that meets it later.
_UNWRITTEN: Final = np.float32(-(2.0**100))

_log = logging.getLogger(__name__)


class CardPreprocessor:
    """Prepares images on one card; may be used by several threads, each with image operations of its own."""

    def __init__(self, *, device_id: int, spec: ModelSpec) -> None:
        self._sail = load_sail()
        if not hasattr(self._sail, "Bmcv"):
            raise LibraryError("preprocess: this build of SAIL has no image operations (BMCV)")
        self._device_id = device_id
        self._spec = spec
        self._of_thread = threading.local()
        self._lock = threading.Lock()
        self._has_refused = False

    def write(
        self,
        path: Path,
        source_hw: tuple[int, int],
        target: NDArray[np.float32],
        *,
        started: float | None = None,
    ) -> Prepared | None:
        """Fill `target` (3, H, W) with a JPEG file's image, normalised; None when it is left to the host.

        source_hw: height and width that the file's header states; the card has to find the same.
        started: when preparing began by `time.perf_counter`, from which read_ms counts; None: now.
        An image that is left to the host leaves `target` as it was.
        """
        if started is None:
            started = time.perf_counter()
        letterbox = truncating_letterbox(source_hw, self._spec.input_hw, self._spec.normalisation.placement)
        try:
            _require_scalable(letterbox)
            with quiet(process_output()):
                planes, read = self._prepare(path, letterbox)
        except Exception as error:  # noqa: BLE001 - SAIL's errors share no base; whatever it is, the host can do it
            self._tell_first(path, error)
            return None
        target[...] = planes
        return Prepared(
            letterbox=letterbox,
            read_ms=(read - started) * 1e3,
            preprocess_ms=(time.perf_counter() - read) * 1e3,
            prepared_on="card",
        )

    def _prepare(self, path: Path, letterbox: Letterbox) -> tuple[NDArray[np.float32], float]:
        """Return the image's planes (3, H, W), and when it was decoded."""
        if path.suffix not in _SUFFIXES:
            raise ValueError(
                f"SAIL knows pictures by their name, which must end in {', '.join(sorted(_SUFFIXES))}"
            )
        sail, (handle, bmcv) = self._sail, self._operations()
        # Unlike `Bmcv.imread`, the decoder releases the GIL.
        decoded = sail.Decoder(str(path), True, self._device_id).read(handle)  # noqa: FBT003 - the vendor's order
        if (decoded.height(), decoded.width()) != letterbox.source_hw:
            raise ValueError(f"the card decoded {decoded.height()} rows of {decoded.width()} pixels")
        read = time.perf_counter()
        planes = self._letterboxed(bmcv, handle, decoded, letterbox)
        if planes.shape != (1, 3, *letterbox.input_hw) or planes.dtype != np.float32:
            raise ValueError(f"the card prepared {planes.dtype} {planes.shape}")
        return planes[0], read

    def _letterboxed(self, bmcv: Any, handle: Any, decoded: Any, letterbox: Letterbox) -> NDArray[Any]:
        sail, input_hw = self._sail, letterbox.input_hw
        layout = getattr(sail.Format, f"FORMAT_{self._spec.normalisation.channels.upper()}_PLANAR")
        # A decoded JPEG is YUV, which the other operations do not take.
        planar = sail.BMImage(handle, *letterbox.source_hw, layout, sail.ImgDtype.DATA_TYPE_EXT_1N_BYTE)
        _require_success("convert_format", bmcv.convert_format(decoded, planar))
        padding = self._padding(letterbox)
        boxed = bmcv.vpp_resize_padding(planar, input_hw[1], input_hw[0], padding, _linear(sail))
        floats = bmcv.get_bm_image_data_format(sail.Dtype.BM_FLOAT32)
        values = sail.BMImage(handle, *input_hw, layout, floats)
        before = bmcv.bm_image_to_tensor(values)
        # Early versions of SAIL cannot fill memory: there a failed normalisation goes unseen.
        if hasattr(before, "memory_set"):
            before.memory_set(_UNWRITTEN)
        _require_success("convert_to", bmcv.convert_to(boxed, values, self._factors()))
        planes = np.asarray(bmcv.bm_image_to_tensor(values).asnumpy())
        if _UNWRITTEN in (planes.flat[0], planes.flat[-1]):
            raise ValueError("the card did not normalise the image")
        return planes

    def _operations(self) -> tuple[Any, Any]:
        """Return this thread's handle of the card and its image operations."""
        operations: tuple[Any, Any] | None = getattr(self._of_thread, "operations", None)
        if operations is None:
            handle = self._sail.Handle(self._device_id)
            operations = self._of_thread.operations = handle, self._sail.Bmcv(handle)
        return operations

    def _padding(self, letterbox: Letterbox) -> Any:
        padding = self._sail.PaddingAtrr()
        padding.set_stx(letterbox.left)
        padding.set_sty(letterbox.top)
        padding.set_w(letterbox.resized_hw[1])
        padding.set_h(letterbox.resized_hw[0])
        for set_colour in (padding.set_r, padding.set_g, padding.set_b):
            set_colour(self._spec.normalisation.padding)
        return padding

    def _factors(self) -> tuple[tuple[float, float], ...]:
        """Return scale and offset of each plane: (pixel - mean) * scale = pixel * scale + (-mean * scale)."""
        normalisation = self._spec.normalisation
        return tuple(
            (scale, -mean * scale)
            for mean, scale in zip(normalisation.mean, normalisation.scale, strict=True)
        )

    def _tell_first(self, path: Path, error: Exception) -> None:
        """Log why the host prepares an image; once, since a set of PNGs would fill the log. metrics.json counts."""
        with self._lock:
            is_first, self._has_refused = not self._has_refused, True
        if is_first:
            _log.warning(
                "the card refuses '%s' first, so the host prepares it: %s: %s",
                path,
                type(error).__name__,
                error,
            )


def truncating_letterbox(
    source_hw: tuple[int, int], input_hw: tuple[int, int], placement: Placement = "centre"
) -> Letterbox:
    """Place an image as the vendor's samples do: sides are cut to whole pixels, not rounded."""
    if placement == "stretch":
        return Letterbox.fit(source_hw, input_hw, placement)
    ratio = min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])
    height, width = (max(1, int(side * ratio)) for side in source_hw)
    return Letterbox.place(source_hw, input_hw, (height, width), placement)


def _require_scalable(letterbox: Letterbox) -> None:
    """Raise ValueError for what lies outside the scaler's limits."""
    for name in ("source_hw", "input_hw", "resized_hw"):
        size_hw: tuple[int, int] = getattr(letterbox, name)
        if not all(MINIMUM_SIDE <= side <= MAXIMUM_SIDE for side in size_hw):
            raise ValueError(
                f"{name}: sides must be within {MINIMUM_SIDE} and {MAXIMUM_SIDE} pixels, got {size_hw}"
            )
    for source, resized in zip(letterbox.source_hw, letterbox.resized_hw, strict=True):
        if max(source, resized) > MOST_TIMES * min(source, resized):
            raise ValueError(f"a side may change {MOST_TIMES} times, got {source} to {resized} pixels")


def _require_success(operation: str, status: int) -> None:
    """Operations that write into an image made before raise nothing: they return the card's error number."""
    if status:
        raise ValueError(f"{operation} failed on the card with status {status}")


def _linear(sail: ModuleType) -> Any:
    """Return the interpolation that networks are trained with; the default is NEAREST."""
    return sail.bmcv_resize_algorithm.BMCV_INTER_LINEAR
