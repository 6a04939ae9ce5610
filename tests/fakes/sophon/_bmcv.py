"""The card's image operations as far as preprocessing uses them, on OpenCV.

Strict where the card is: decoded JPEGs are YUV and nothing but a format conversion takes them, progressive JPEGs and
other files are refused, resizing takes sides of 16 to 4,096 pixels and changes them 32 times at most and is NEAREST
unless asked otherwise, a conversion writes into an image made before.

As lax where SAIL is: what writes into an image made before raises nothing. `convert_format` returns an error number,
`convert_to` success, its failure a line in the log.
"""

# ruff: noqa: ARG002 - arguments that the stand-in has no use for are part of the interface

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from sophon.sail import Handle


class Format(enum.Enum):
    FORMAT_YUV420P = 0
    FORMAT_RGB_PLANAR = 8
    FORMAT_BGR_PLANAR = 9


class ImgDtype(enum.Enum):
    DATA_TYPE_EXT_FLOAT32 = 0
    DATA_TYPE_EXT_1N_BYTE = 1
    DATA_TYPE_EXT_1N_BYTE_SIGNED = 3


class bmcv_resize_algorithm(enum.Enum):  # noqa: N801 - the vendor's name
    BMCV_INTER_NEAREST = 0
    BMCV_INTER_LINEAR = 1
    BMCV_INTER_BICUBIC = 2


_INTERPOLATION = {
    bmcv_resize_algorithm.BMCV_INTER_NEAREST: cv2.INTER_NEAREST,
    bmcv_resize_algorithm.BMCV_INTER_LINEAR: cv2.INTER_LINEAR,
    bmcv_resize_algorithm.BMCV_INTER_BICUBIC: cv2.INTER_CUBIC,
}


def _error(text: str) -> Exception:
    from sophon import sail

    return sail.SailBMImageError(text)


class BMImage:
    """Height first. Pixels are kept as RGB planes (3, H, W) whatever the format says."""

    def __init__(self, handle: Handle, height: int, width: int, form: Format, dtype: ImgDtype) -> None:
        self._format, self._dtype = form, dtype
        kind = np.float32 if dtype == ImgDtype.DATA_TYPE_EXT_FLOAT32 else np.uint8
        self.planes: np.ndarray[Any, Any] = np.zeros((3, height, width), kind)

    def height(self) -> int:
        return self.planes.shape[1]

    def width(self) -> int:
        return self.planes.shape[2]

    def format(self) -> Format:
        return self._format

    def dtype(self) -> ImgDtype:
        return self._dtype


class Decoder:
    """A video or picture file, decoded by the card."""

    def __init__(self, path: str, compressed: bool = True, device_id: int = 0) -> None:
        from sophon import sail

        sail.stand_in.enter("Decoder")
        with open(path, "rb") as file:  # noqa: PTH123 - as terse as the thing it stands for
            self._data = file.read()

    def read(self, handle: Handle) -> BMImage:
        from sophon import sail

        sail.stand_in.enter("Decoder.read")
        if self._data[:2] != b"\xff\xd8" or b"\xff\xc2" in self._data[:4096]:
            raise sail.SailDecoderError("the decoder takes baseline JPEGs only")
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(self._data, np.uint8), flags)
        image = BMImage(
            handle, bgr.shape[0], bgr.shape[1], Format.FORMAT_YUV420P, ImgDtype.DATA_TYPE_EXT_1N_BYTE
        )
        image.planes = np.ascontiguousarray(bgr[:, :, ::-1].transpose(2, 0, 1))
        return image


class PaddingAtrr:
    """Where in the output the image goes, and the colour around it."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(("stx", "sty", "w", "h", "r", "g", "b"), 0)

    def set_stx(self, value: int) -> None:
        self.values["stx"] = value

    def set_sty(self, value: int) -> None:
        self.values["sty"] = value

    def set_w(self, value: int) -> None:
        self.values["w"] = value

    def set_h(self, value: int) -> None:
        self.values["h"] = value

    def set_r(self, value: int) -> None:
        self.values["r"] = value

    def set_g(self, value: int) -> None:
        self.values["g"] = value

    def set_b(self, value: int) -> None:
        self.values["b"] = value


def _scales(image: BMImage, width: int, height: int, place: dict[str, int]) -> bool:
    """Whether the video post-processor takes it, by the runtime's own limits."""
    if place["stx"] + place["w"] > width or place["sty"] + place["h"] > height:
        return False
    sides = (image.width(), image.height(), width, height, place["w"], place["h"])
    if min(sides) < 16 or max(sides) > 4096:
        return False
    pairs = ((image.width(), place["w"]), (image.height(), place["h"]))
    return all(source <= 32 * target and target <= 32 * source for source, target in pairs)


class ImageTensor:
    """A Tensor over an image's memory on the card, with none on the host."""

    def __init__(self, image: BMImage) -> None:
        self._image = image

    def shape(self) -> list[int]:
        return [1, *self._image.planes.shape]

    def memory_set(self, value: np.generic) -> None:
        """A number of another type than the Tensor's is logged, and the memory stays as it is."""
        if value.dtype == self._image.planes.dtype:
            self._image.planes[...] = value

    def asnumpy(self) -> np.ndarray[Any, Any]:
        planes = self._image.planes
        ordered = planes if self._image.format() == Format.FORMAT_RGB_PLANAR else planes[::-1]
        return ordered[None].copy()


class Bmcv:
    """Image operations of one card."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def convert_format(self, image: BMImage, output: BMImage) -> int:
        from sophon import sail

        if status := sail.stand_in.status("convert_format"):
            return status
        output.planes = image.planes.copy()
        return 0

    def vpp_resize_padding(
        self,
        image: BMImage,
        width: int,
        height: int,
        padding: PaddingAtrr,
        algorithm: bmcv_resize_algorithm = bmcv_resize_algorithm.BMCV_INTER_NEAREST,
    ) -> BMImage:
        from sophon import sail

        sail.stand_in.enter("vpp_resize_padding")
        place = padding.values
        if image.format() == Format.FORMAT_YUV420P:
            raise _error("not supported")
        if not _scales(image, width, height, place):
            # The reason is in the log alone.
            sail._log("bmcv_image_vpp_convert_padding err=-1")
            raise _error("BMImage related error!")
        output = BMImage(self._handle, height, width, image.format(), image.dtype())
        for plane, colour in enumerate("rgb"):
            output.planes[plane] = place[colour]
            output.planes[plane][
                place["sty"] : place["sty"] + place["h"], place["stx"] : place["stx"] + place["w"]
            ] = cv2.resize(
                image.planes[plane], (place["w"], place["h"]), interpolation=_INTERPOLATION[algorithm]
            )
        return output

    def convert_to(self, image: BMImage, output: BMImage, factors: tuple[tuple[float, float], ...]) -> int:
        """Factors are in the order of the image's planes."""
        from sophon import sail

        if sail.stand_in.status("convert_to"):
            sail._log("bmcv_image_convert_to error")
            return 0
        if output.planes.shape != image.planes.shape or len(factors) != 3:
            raise _error("invalid argument")
        order = (0, 1, 2) if image.format() == Format.FORMAT_RGB_PLANAR else (2, 1, 0)
        for plane, (scale, shift) in zip(order, factors, strict=True):
            values = image.planes[plane].astype(np.float32) * np.float32(scale) + np.float32(shift)
            output.planes[plane] = values
        return 0

    def bm_image_to_tensor(self, image: BMImage) -> ImageTensor:
        from sophon import sail

        sail.stand_in.enter("bm_image_to_tensor")
        if image.format() == Format.FORMAT_YUV420P:
            raise _error("not supported")
        return ImageTensor(image)

    def get_bm_image_data_format(self, dtype: Any) -> ImgDtype:
        from sophon import sail

        return {
            sail.Dtype.BM_FLOAT32: ImgDtype.DATA_TYPE_EXT_FLOAT32,
            sail.Dtype.BM_UINT8: ImgDtype.DATA_TYPE_EXT_1N_BYTE,
            sail.Dtype.BM_INT8: ImgDtype.DATA_TYPE_EXT_1N_BYTE_SIGNED,
        }[dtype]
