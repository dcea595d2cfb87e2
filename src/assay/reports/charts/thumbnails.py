"""Tiles of a sheet of pictures: the sheet stands in the page once, and each drawing shows a part of it."""

from __future__ import annotations

from markupsafe import Markup

from assay.reports.charts.svg import element, figures
from assay.reports.looking import Sheet

_SIDE = 90
"""Pixels of the longer side on the page, about: small tiles are enlarged by whole factors."""
_SMOOTH = 48
"""Tiles from this many pixels on are scaled by any factor, and not pixel by pixel."""


def sheet(drawn: Sheet, name: str) -> Markup:
    """The sheet itself, which takes no room and is shown by `thumbnail` under its name."""
    picture = drawn.picture
    image = element("image", id=name, href=picture.uri, width=picture.width, height=picture.height)
    return element("svg", image, class_="sheet", width=0, height=0, aria_hidden="true")


def thumbnail(drawn: Sheet, name: str, place: int, label: str) -> Markup:
    """One tile of the sheet of that name, counted from left to right and from top to bottom."""
    tiles = drawn.tiles
    row, column = divmod(place, tiles.columns)
    longest = max(tiles.width, tiles.height)
    smooth = longest >= _SMOOTH
    factor = _SIDE / longest if smooth else round(_SIDE / longest)
    return element(
        "svg",
        element("use", href=f"#{name}"),
        class_="thumb" if smooth else "thumb pixels",
        viewBox=f"{column * tiles.width} {row * tiles.height} {tiles.width} {tiles.height}",
        width=figures(tiles.width * factor),
        height=figures(tiles.height * factor),
        role="img",
        aria_label=label,
    )
