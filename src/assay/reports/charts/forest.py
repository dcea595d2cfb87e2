"""Forest plots: an effect with its intervals, the margin, and zero."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from assay.reports import words
from assay.reports.charts.scales import Scale, scale_over, tick_texts
from assay.reports.charts.svg import element, figures, percent
from assay.reports.page import ClaimEntry

HEIGHT = 62
AXIS = 20
SHARED_UP_TO = 8.0
"""Claims share an axis while the widest of them needs at most so many times the room of the narrowest."""


def forest(claim: ClaimEntry, all_claims: Sequence[ClaimEntry]) -> Markup:
    """One claim's plot. Claims on one metric share an axis unless that would make some unreadable."""
    if claim.effect is None:
        return Markup("")
    scale = scale_over(_axis_values(claim, all_claims), pad=0.06)
    rows = [
        *_margin(claim, scale),
        element("line", class_="zero", x1=percent(scale.share(0)), x2=percent(scale.share(0)), y1=0, y2=HEIGHT),
    ]
    centre = 22
    rows += _interval(
        "fixed", "fixed-n 95 % interval, for description", claim, claim.low_fixed, claim.high_fixed, scale, 40
    )
    rows += _interval("new", "interval on new examples", claim, claim.low_new, claim.high_new, scale, 52)
    rows += _interval("decision", "decision interval", claim, claim.low, claim.high, scale, centre)
    rows.append(
        element(
            "circle",
            element("title", f"effect {words.effect(claim.metric, claim.effect)}, n = {claim.n}"),
            class_="effect mark",
            cx=percent(scale.share(claim.effect)),
            cy=centre,
            r=5,
        )
    )
    return element(
        "svg",
        *rows,
        *_axis(claim, scale),
        class_=f"forest {claim.verdict.split()[0]}",
        width="100%",
        height=HEIGHT + AXIS,
        role="img",
        tabindex="0",
        aria_label=f"Forest plot. {claim.sentence}",
    )


def _axis_values(claim: ClaimEntry, all_claims: Sequence[ClaimEntry]) -> list[float]:
    own = _extent(claim)
    family = [_extent(other) for other in all_claims if other.metric.name == claim.metric.name]
    widths = [max(values) - min(values) for values in family]
    positive = [width for width in widths if width > 0]
    if positive and max(positive) <= SHARED_UP_TO * min(positive):
        return [value for values in family for value in values]
    return own


def _extent(claim: ClaimEntry) -> list[float]:
    margin = claim.margin or 0.0
    ends = (claim.effect, claim.low, claim.high, claim.low_fixed, claim.high_fixed, claim.low_new, claim.high_new)
    return [0.0, -margin, margin, *(end for end in ends if end is not None)]


def _margin(claim: ClaimEntry, scale: Scale) -> list[Markup]:
    if claim.margin is None:
        return []
    left, right = scale.share(-claim.margin), scale.share(claim.margin)
    title = element("title", f"margin {words.margin(claim.metric, claim.margin)}: effects in here do not matter")
    return [element("rect", title, class_="margin", x=percent(left), y=0, width=percent(right - left), height=HEIGHT)]


def _interval(
    kind: str, name: str, claim: ClaimEntry, low: float | None, high: float | None, scale: Scale, y: int
) -> list[Markup]:
    if low is None or high is None:
        return []
    left, right = percent(scale.share(low)), percent(scale.share(high))
    title = element("title", f"{name} {words.bounds(claim.metric, low, high)}")
    line = element("line", title, class_=f"interval {kind} mark", x1=left, x2=right, y1=y, y2=y)
    half = 6 if kind == "decision" else 3
    caps = [element("line", class_=f"interval {kind}", x1=x, x2=x, y1=y - half, y2=y + half) for x in (left, right)]
    return [line, *caps]


def _axis(claim: ClaimEntry, scale: Scale) -> list[Markup]:
    ticks = scale.ticks(5)
    texts = tick_texts(claim.metric, ticks, signed=True)
    marks = [element("line", class_="base", x1="0", x2="100%", y1=HEIGHT, y2=HEIGHT)]
    for tick, text in zip(ticks, texts, strict=True):
        share = scale.share(tick)
        anchor = "start" if share < 0.04 else "end" if share > 0.96 else "middle"
        marks.append(element("line", class_="base", x1=percent(share), x2=percent(share), y1=HEIGHT, y2=HEIGHT + 4))
        marks.append(element("text", text, class_="tick", x=percent(share), y=figures(HEIGHT + 16), text_anchor=anchor))
    return marks
