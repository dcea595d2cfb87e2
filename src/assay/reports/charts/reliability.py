"""Reliability diagrams: how often a model is right at each confidence."""

from __future__ import annotations

from markupsafe import Markup

from assay.reports import words
from assay.reports.charts.svg import element, figures
from assay.reports.classification import Bin, Classified

_SIDE = 220
"""Of the square, in pixels."""
_LEFT, _TOP, _BELOW, _GAP = 44, 6, 18, 10
_HISTOGRAM = 34
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def reliability(arm: Classified) -> Markup:
    """Bars of accuracy by confidence, with the diagonal on which a calibrated model's would end; below them how many
    examples have each confidence."""
    width, height = _LEFT + _SIDE + 12, _TOP + _SIDE + _GAP + _HISTOGRAM + _BELOW
    return element(
        "svg",
        *_axes(),
        *(_accuracy(one) for one in arm.bins),
        element("line", class_="ideal", x1=_x(0.0), y1=_y(0.0), x2=_x(1.0), y2=_y(1.0)),
        *_examples(arm.bins),
        class_="reliability",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        tabindex="0",
        aria_label=_summary(arm),
    )


def _x(confidence: float) -> str:
    return figures(_LEFT + confidence * _SIDE)


def _y(accuracy: float) -> str:
    return figures(_TOP + (1.0 - accuracy) * _SIDE)


def _axes() -> list[Markup]:
    marks = []
    bottom = _TOP + _SIDE + _GAP + _HISTOGRAM
    for tick in _TICKS:
        text = words.number(tick * 100, 0)
        marks += [
            element("line", class_="grid", x1=_x(tick), x2=_x(tick), y1=_TOP, y2=bottom),
            element("line", class_="grid", x1=_x(0.0), x2=_x(1.0), y1=_y(tick), y2=_y(tick)),
            element("text", text, class_="tick", x=_x(tick), y=bottom + 14, text_anchor="middle"),
            element("text", f"{text} %", class_="tick", x=_LEFT - 6, y=figures(float(_y(tick)) + 4), text_anchor="end"),
        ]
    return marks


def _accuracy(one: Bin) -> Markup:
    """A bin's bar, and a line from its end to the confidence: the gap that the calibration error averages."""
    title = (
        f"{one.low * 100:.0f} to {one.high * 100:.0f} % confident: {one.share * 100:.1f} % of the examples; "
        f"{one.confidence * 100:.1f} % on average, {one.accuracy * 100:.1f} % right"
    )
    middle = _x((one.low + one.high) / 2)
    bar = element(
        "rect",
        class_="hit s5",
        x=_x(one.low),
        y=_y(one.accuracy),
        width=figures((one.high - one.low) * _SIDE),
        height=figures(one.accuracy * _SIDE),
    )
    gap = element("line", class_="gap", x1=middle, x2=middle, y1=_y(one.accuracy), y2=_y(one.confidence))
    return element("g", element("title", title), bar, gap, class_="mark")


def _examples(bins: tuple[Bin, ...]) -> list[Markup]:
    most, bottom = max((one.share for one in bins), default=1.0), _TOP + _SIDE + _GAP + _HISTOGRAM
    return [
        element(
            "rect",
            class_="amount",
            x=_x(one.low),
            y=figures(bottom - one.share / most * _HISTOGRAM),
            width=figures((one.high - one.low) * _SIDE - 1),
            height=figures(one.share / most * _HISTOGRAM),
        )
        for one in bins
    ]


def _summary(arm: Classified) -> str:
    worst = max(arm.bins, key=lambda one: one.share * abs(one.accuracy - one.confidence))
    return (
        f"Reliability diagram of {arm.arm}, test split. The bin that counts most: {worst.confidence:.0%} confident on "
        f"average, {worst.accuracy:.0%} right, {worst.share:.0%} of the examples."
    )
