"""Bars beside the numbers of a table."""

from __future__ import annotations

from markupsafe import Markup

from assay.reports.charts.svg import element, percent


def bar(amount: int, largest: int) -> Markup:
    """A bar as long as the amount's share of the largest; hidden from screen readers, for the number is beside it."""
    width = percent(amount / largest if largest else 0.0)
    return element(
        "svg", element("rect", width=width, height=10, class_="amount"), width="100%", height=10, aria_hidden="true"
    )
