"""Shares over time, small enough to stand in the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from assay.reports.activations import ActivationCell
from assay.reports.charts.svg import element, figures
from assay.reports.palette import colour_class

WIDTH, HEIGHT = 150, 40


def sparkline(cell: ActivationCell, position: int) -> Markup:
    """The share of active outputs as an area, and that of dead units or saturated outputs as a line, from 0 at the
    foot to 1 at the head; the times at which they were looked at stand evenly from left to right.

    It is hidden from screen readers, for its last numbers stand beside it.

    Args:
        cell: what to draw.
        position: of the arm, for its colour.
    """
    marks = [element("path", class_="active", d=_area(piece)) for piece in _pieces(cell.active)]
    marks += [element("path", class_="spoilt", d=_line(piece)) for piece in _pieces(cell.spoilt)]
    marks.append(element("line", class_="base", x1=0, x2=WIDTH, y1=HEIGHT, y2=HEIGHT))
    return element(
        "svg",
        *marks,
        class_=f"sparkline {colour_class(position)}",
        viewBox=f"0 -1 {WIDTH} {HEIGHT + 2}",
        width=WIDTH,
        height=HEIGHT + 2,
        aria_hidden="true",
    )


def _pieces(shares: Sequence[float | None]) -> list[list[tuple[str, str]]]:
    """Points in a row without a gap; a lone one is drawn a little wide."""
    apart = WIDTH / max(1, len(shares) - 1)
    pieces: list[list[tuple[float, float]]] = [[]]
    for at, share in enumerate(shares):
        if share is None:
            pieces.append([])
        else:
            pieces[-1].append((at * apart, HEIGHT * (1.0 - share)))
    return [
        [
            (figures(x, 1), figures(y, 1))
            for x, y in (piece if len(piece) > 1 else [piece[0], (piece[0][0] + 3, piece[0][1])])
        ]
        for piece in pieces
        if piece
    ]


def _line(points: list[tuple[str, str]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def _area(points: list[tuple[str, str]]) -> str:
    return f"M{points[0][0]} {HEIGHT}L" + "L".join(f"{x} {y}" for x, y in points) + f"V{HEIGHT}Z"
