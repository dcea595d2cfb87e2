"""Contact sheets: rows of small images with names, as a PNG.

Small images are enlarged by whole factors, each pixel a square, so that nothing is blurred; large ones are shrunk.

Shape key: C channels, H height, W width.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL = 96
"""Pixels a side of an image on the sheet gets, at most."""
ROWS_IN_A_COLUMN = 10
"""Rows before the next ones stand beside them."""
NAME_WIDTH = 150
"""Pixels for names, at most."""

_GAP = 4
_MARGIN = 10
_TEXT = 13
_LINE = 18
_PAPER, _INK, _SOFT = (255, 255, 255), (25, 25, 25), (110, 110, 110)
_CHANNELS = {1: "L", 3: "RGB"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One row of a sheet.

    Attributes:
        name: what stands to its left; several lines are allowed.
        images: uint8, each (C, H, W); of other than three channels the first is shown.
    """

    name: str
    images: Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class _Measures:
    """Pixels of a sheet: of one column of rows, and of everything."""

    scale_cell: tuple[int, int]
    images: int
    rows: int
    columns: int
    name_width: int
    head: int
    foot: int

    @property
    def row_height(self) -> int:
        return self.scale_cell[1] + _GAP

    @property
    def column_width(self) -> int:
        return self.name_width + self.images * (self.scale_cell[0] + _GAP) + _MARGIN

    @property
    def size(self) -> tuple[int, int]:
        width = _MARGIN + self.columns * self.column_width
        return width, 2 * _MARGIN + self.head + self.rows * self.row_height + self.foot


def contact_sheet(
    rows: Sequence[Row],
    *,
    captions: Sequence[str] = (),
    note: str = "",
    cell: int = CELL,
    rows_in_a_column: int = ROWS_IN_A_COLUMN,
    name_width: int = NAME_WIDTH,
    colours: int | None = None,
) -> bytes:
    """Draw a sheet.

    Args:
        rows: at least one, with at least one image among them.
        captions: what stands above the images of each row.
        note: a line below everything.
        cell: greatest side of an image, in pixels.
        rows_in_a_column: rows before the next ones stand beside them.
        name_width: pixels for names, at most; longer ones are cut.
        colours: at most so many different ones, up to 256, which makes the file about a third as large.

    Returns:
        The bytes of a PNG file. Equal arguments give equal bytes with one version of Pillow.
    """
    tiles = [[tile(image_CHW, cell) for image_CHW in row.images] for row in rows]
    font = ImageFont.load_default(size=_TEXT)
    measures = _measured(rows, tiles, font, bool(captions), bool(note), rows_in_a_column, name_width)
    sheet = Image.new("RGB", measures.size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    cell_width, _ = measures.scale_cell
    for column in range(measures.columns):
        left = _MARGIN + column * measures.column_width + measures.name_width
        for at, caption in enumerate(captions):
            text = _cut(caption, font, cell_width)
            draw.text((left + at * (cell_width + _GAP), _MARGIN), text, fill=_SOFT, font=font)
    for position, (row, row_tiles) in enumerate(zip(rows, tiles, strict=True)):
        column, place = divmod(position, measures.rows)
        left = _MARGIN + column * measures.column_width
        top = _MARGIN + measures.head + place * measures.row_height
        for line, text in enumerate(row.name.splitlines()):
            draw.text((left, top + line * _LINE), _cut(text, font, measures.name_width - _GAP), fill=_INK, font=font)
        for at, one in enumerate(row_tiles):
            sheet.paste(one, (left + measures.name_width + at * (cell_width + _GAP), top))
    if note:
        draw.text(
            (_MARGIN, measures.size[1] - _MARGIN - _LINE),
            _cut(note, font, measures.size[0] - 2 * _MARGIN),
            fill=_SOFT,
            font=font,
        )
    if colours is not None:
        sheet = sheet.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    content = io.BytesIO()
    sheet.save(content, "PNG", compress_level=6)
    return content.getvalue()


def tile(image_CHW: NDArray[np.uint8], cell: int) -> Image.Image:
    """An image (C, H, W) whose longer side is at most ``cell`` pixels: shrunk, or enlarged by a whole factor."""
    if len(image_CHW) != 3:
        image_CHW = image_CHW[:1]
    pixels = image_CHW[0] if len(image_CHW) == 1 else image_CHW.transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    longest = max(image.size)
    if longest > cell:
        smaller = tuple(max(1, round(side * cell / longest)) for side in image.size)
        return image.resize((smaller[0], smaller[1]), Image.Resampling.BILINEAR, reducing_gap=3.0)
    factor = max(1, cell // longest)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _measured(
    rows: Sequence[Row],
    tiles: Sequence[Sequence[Image.Image]],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    captions: bool,
    note: bool,
    rows_in_a_column: int,
    widest_name: int,
) -> _Measures:
    every = [one for row_tiles in tiles for one in row_tiles]
    lines = [line for row in rows for line in row.name.splitlines()]
    most_lines = max((len(row.name.splitlines()) for row in rows), default=0)
    name_width = min(widest_name, max((int(font.getlength(_plain(line))) + 1 for line in lines), default=0))
    return _Measures(
        scale_cell=(max(one.width for one in every), max(most_lines * _LINE, *(one.height for one in every))),
        images=max(len(row_tiles) for row_tiles in tiles),
        rows=min(len(rows), rows_in_a_column),
        columns=-(-len(rows) // rows_in_a_column),
        name_width=name_width + 2 * _GAP if name_width else 0,
        head=_LINE if captions else 0,
        foot=_LINE + _GAP if note else 0,
    )


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, or as much of it as fits in so many pixels, with dots."""
    text = _plain(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
