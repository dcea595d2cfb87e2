"""Small images side by side in one PNG, without any writing: whoever shows them says beside each what it is.

Shape key: C channels, H height, W width.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assay.data.sheet import tile

COLUMNS = 6
MOST_BYTES = 60_000
"""Of a sheet: a run keeps several, and a report shows those of every arm."""

_COLOURS = 256
_SHRUNK = (1.0, 0.75, 0.55, 0.4)


@dataclass(frozen=True, kw_only=True, eq=False)
class Thumbnails:
    """A PNG whose tiles, each ``width`` by ``height`` pixels, lie from left to right and from top to bottom."""

    content: bytes
    columns: int
    width: int
    height: int


def thumbnails(images: Sequence[NDArray[np.uint8]], *, side: int, columns: int = COLUMNS) -> Thumbnails:
    """Put images into a sheet of at most 60 kB; where they would take more they are made smaller.

    Args:
        images: at least one, all of one shape (C, H, W); of other than three channels the first is shown.
        side: greatest side of a tile in pixels; smaller images are enlarged by whole factors up to there.
        columns: how many lie beside each other.

    Returns:
        The sheet. Equal arguments give equal bytes with one version of Pillow.
    """
    for shrunk in _SHRUNK:
        tiles = [tile(image_CHW, max(1, int(side * shrunk))) for image_CHW in images]
        sheet = png(_joined(tiles, columns))
        if len(sheet) <= MOST_BYTES:
            break
    return Thumbnails(content=sheet, columns=columns, width=tiles[0].width, height=tiles[0].height)


def png(image: Image.Image) -> bytes:
    """An image as a PNG of at most 256 colours, or of grey levels."""
    if image.mode != "L":
        image = image.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=6)
    return content.getvalue()


def _joined(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    width, height = tiles[0].size
    grey = all(one.mode == "L" for one in tiles)
    rows = -(-len(tiles) // columns)
    sheet = Image.new("L" if grey else "RGB", (columns * width, rows * height), 255 if grey else (255, 255, 255))
    for at, one in enumerate(tiles):
        row, column = divmod(at, columns)
        sheet.paste(one, (column * width, row * height))
    return sheet
