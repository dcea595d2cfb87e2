"""Histograms small enough to stand in the cells of a table."""

from __future__ import annotations

from markupsafe import Markup

from assay.reports.charts.svg import element, figures
from assay.reports.palette import colour_class
from assay.reports.weights import WeightCell, WeightRow

WIDTH, HEIGHT = 150, 40


def histogram(row: WeightRow, cell: WeightCell, position: int) -> Markup:
    """The weights of one arm over the range of all arms' weights in the row; the highest bin is as high as the chart.

    It is hidden from screen readers, for its numbers stand beside it.

    Args:
        row: which gives the range.
        cell: what to draw.
        position: of the arm, for its colour.
    """
    marks = [element("path", class_="weights", d=_outline(row, cell))]
    marks.append(element("line", class_="base", x1=0, x2=WIDTH, y1=HEIGHT, y2=HEIGHT))
    if row.low <= 0.0 <= row.high:
        zero = figures(_share(row, 0.0) * WIDTH)
        marks.append(element("line", class_="zero", x1=zero, x2=zero, y1=HEIGHT, y2=HEIGHT + 4))
    return element(
        "svg",
        *marks,
        class_=f"histogram {colour_class(position)}",
        viewBox=f"0 0 {WIDTH} {HEIGHT + 4}",
        width=WIDTH,
        height=HEIGHT + 4,
        aria_hidden="true",
    )


def _share(row: WeightRow, value: float) -> float:
    """Where a value lies in the row's range, 0 to 1; in the middle where all weights are equal."""
    extent = row.high - row.low
    return min(max((value - row.low) / extent, 0.0), 1.0) if extent > 0 else 0.5


def _outline(row: WeightRow, cell: WeightCell) -> str:
    most, bins = max(cell.counts), len(cell.counts)
    left, right = _share(row, cell.low) * WIDTH, _share(row, cell.high) * WIDTH
    if right - left < 1.0:  # a spike that would be too thin to see
        left, right = max(0.0, left - 0.5), left + 0.5
    width = (right - left) / bins
    steps = [
        f"V{figures(HEIGHT - count / most * HEIGHT, 1)}H{figures(left + width * (at + 1), 1)}"
        for at, count in enumerate(cell.counts)
    ]
    return f"M{figures(left, 1)} {HEIGHT}{''.join(steps)}V{HEIGHT}Z"
