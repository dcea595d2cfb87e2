"""One image file in, one array of pixels out, by one rule.

What a file holds is told by its content, whatever its name. Its first frame is taken and turned as its EXIF
orientation says. Palettes are looked up, transparent pixels are laid over white, and CMYK, YCbCr, HSV and LAB become
RGB. Grey of 16 bits, and of 32 bits as long as its values fit in 16, is divided by 257 and rounded; of colour with 16
bits Pillow gives the upper 8. Floating-point images are refused, as nothing says which value is white. The result is
RGB, or ITU-R 601-2 luma, (299·R + 587·G + 114·B) / 1000. Only then is it resized: bilinear, the filter widened by the
scale when shrinking, so that every pixel of the original counts.

A file is bad, with a reason, when it is empty, is of no format in `EXTENSIONS`, ends early, fails a checksum of PNG, or
has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` (89 million). Wrong bytes in the middle of a JPEG go unnoticed: the
format has no checksum. No embedded colour profile is applied.

Shape key: C channels, H height, W width.
"""

from __future__ import annotations

import functools
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from assay.errors import DataError

DECODER = 1
"""Raised when the rule changes the pixels of some file."""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".avif", ".avifs"),
    }
)
"""Extensions of the formats read, in lower case. Left out of what Pillow knows: formats that start another program
(EPS), cannot be told by their content (TGA), or are no photographs."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WHITE = (255, 255, 255, 255)
_WITH_ALPHA = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RuntimeError),
    *(EOFError, AssertionError, struct.error, zlib.error),
)
"""What Pillow's parsers are known to raise on damaged files."""


class _FitSection(Protocol):
    @property
    def size(self) -> tuple[int, int] | None: ...
    @property
    def fit(self) -> Literal["crop", "stretch", "pad"]: ...
    @property
    def color(self) -> Literal["rgb", "grey"]: ...


@dataclass(frozen=True, kw_only=True)
class ImageForm:
    """What every image is brought to.

    Attributes:
        size: height and width, or None to leave each image at its own.
        fit: how an image of another shape is brought to ``size``. ``crop``: scaled until it covers it, and cut at the
            centre; ``stretch``: each side by itself; ``pad``: scaled until it fits in, with black margins.
        color: ``rgb``, three channels, or ``grey``, one.
    """

    size: tuple[int, int] | None = None
    fit: Literal["crop", "stretch", "pad"] = "crop"
    color: Literal["rgb", "grey"] = "rgb"

    @classmethod
    def of(cls, section: _FitSection) -> ImageForm:
        """As a recipe's data section says."""
        return cls(size=section.size, fit=section.fit, color=section.color)

    @property
    def channels(self) -> int:
        return 3 if self.color == "rgb" else 1


def decode(content: bytes, form: ImageForm) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 (C, H, W). May be called from several threads at once.

    Raises:
        DataError: the file is bad; the message is the reason alone, such as ``image file is truncated``.
    """
    if not content:
        raise DataError("the file is empty")
    if content.startswith(_PNG_SIGNATURE):
        _check_png(content)
    try:
        with _pillow_kept_quiet(), Image.open(io.BytesIO(content), formats=_formats_here()) as image:
            plain = _plain(_upright(image), form.color)
            return _array(plain if form.size is None else _fitted(plain, *form.size, form.fit), form.channels)
    except UnidentifiedImageError:
        raise DataError("it is no image of a format that is read here") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(
            f"it says that it has more than {Image.MAX_IMAGE_PIXELS:,} pixels, which is refused as it could fill memory"
        ) from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(reason or f"it cannot be decoded ({type(error).__name__})") from error


# --- colours ----------------------------------------------------------------------------------------------------------


def _upright(image: Image.Image) -> Image.Image:
    """The image's first frame, decoded and turned as its EXIF orientation says."""
    if image.mode == "RGB" and "transparency" in image.info and _sixteen_bits(image):
        raise ValueError("colour of 16 bits with a transparent colour is not read here")
    image.load()  # reads what a PNG says of its orientation after its pixels, too
    info = image.info
    if not any(key in info for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")):
        return image
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE:  # the pixels are fine: they are taken as they lie, as every viewer does
        return image


def _sixteen_bits(image: Image.Image) -> bool:
    return any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _plain(image: Image.Image, color: Literal["rgb", "grey"]) -> Image.Image:
    """The image in mode RGB or L; a grey one stays in L, from which RGB is three equal channels."""
    mode = image.mode
    if mode == "F":
        raise ValueError("floating-point pixels have no stated white, so they cannot be brought to 8 bits")
    if mode == "I" or mode.startswith("I;"):
        return _from_sixteen_bits(image)
    if mode in _WITH_ALPHA or "transparency" in image.info or (image.palette and image.palette.mode == "RGBA"):
        over = image if mode == "RGBA" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, _WHITE), over).convert("RGB")
    elif mode == "1":
        return image.convert("L")
    elif mode not in ("RGB", "L"):
        image = image.convert("RGB")
    return image.convert("L") if color == "grey" else image


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    values_HW = np.asarray(image).astype(np.int64)
    low, high = int(values_HW.min()), int(values_HW.max())
    if low < 0 or high > 65_535:
        raise ValueError(f"grey of 32 bits must have values from 0 to 65535, got {low} to {high}")
    grey_HW = (values_HW + 128) // 257
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey_HW[values_HW == transparent] = 255
    return Image.fromarray(grey_HW.astype(np.uint8))


def _array(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        return np.broadcast_to(pixels, (channels, *pixels.shape))
    return pixels.transpose(2, 0, 1)


# --- size -------------------------------------------------------------------------------------------------------------


def _fitted(image: Image.Image, height: int, width: int, fit: Literal["crop", "stretch", "pad"]) -> Image.Image:
    own_width, own_height = image.size
    if (own_height, own_width) == (height, width):
        return image
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    if fit == "crop":
        # Resizing the centre is scaling everything and cutting, without the pixels that would be cut; the filter
        # reads beyond the box's edge where the image goes on.
        scale = max(height / own_height, width / own_width)
        box_height, box_width = min(own_height, height / scale), min(own_width, width / scale)
        left, top = (own_width - box_width) / 2, (own_height - box_height) / 2
        box = (left, top, left + box_width, top + box_height)
        return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    scale = min(height / own_height, width / own_width)
    inner_height, inner_width = (
        min(side, max(1, round(scale * own))) for side, own in ((height, own_height), (width, own_width))
    )
    inner = image.resize((inner_width, inner_height), Image.Resampling.BILINEAR)
    padded = Image.new(image.mode, (width, height))
    padded.paste(inner, ((width - inner_width) // 2, (height - inner_height) // 2))
    return padded


# --- Pillow's ways ----------------------------------------------------------------------------------------------------


@functools.cache
def _formats_here() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_png(content: bytes) -> None:
    """Every chunk must be whole and have its checksum; Pillow does not ask for those of the pixels, nor for the end."""
    at = len(_PNG_SIGNATURE)
    view = memoryview(content)
    kind = b""
    while kind != b"IEND":
        if at + 12 > len(content):
            raise DataError("image file is truncated (a PNG without its end)")
        (length,) = struct.unpack_from(">I", view, at)
        kind = bytes(view[at + 4 : at + 8])
        end = at + 12 + length
        if end > len(content):
            raise DataError(f"image file is truncated (in the PNG's chunk {kind!r})")
        (stated,) = struct.unpack_from(">I", view, end - 4)
        if zlib.crc32(view[at + 4 : end - 4]) != stated:
            raise DataError(f"the checksum of the PNG's chunk {kind!r} is wrong")
        at = end


class _Quiet:
    """Python's warning filters belong to the whole process, so threads that decode at once share one change of them."""

    lock = threading.Lock()
    inside = 0
    change: Any = None


@contextmanager
def _pillow_kept_quiet() -> Iterator[None]:
    """Pillow's warning of too many pixels is an error, its warnings of odd metadata are none."""
    with _Quiet.lock:
        _Quiet.inside += 1
        if _Quiet.inside == 1:
            _Quiet.change = warnings.catch_warnings()
            _Quiet.change.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.inside -= 1
            if _Quiet.inside == 0:
                _Quiet.change.__exit__(None, None, None)
