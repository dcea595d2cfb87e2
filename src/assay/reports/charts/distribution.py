"""Dot plots: every seed of every arm, with the mean and its interval."""

from __future__ import annotations

from markupsafe import Markup

from assay.reports import words
from assay.reports.charts.scales import Scale, scale_over, suits_log, tick_texts
from assay.reports.charts.svg import element, percent
from assay.reports.page import Distribution, DistributionRow, Dot
from assay.reports.palette import colour_class

HEIGHT = 34
_BEYOND = 1.5
"""How far a logarithmic axis reaches beyond the lowest and highest dot for the ends of intervals, which may be
negative."""
_RADIUS = 3.5
_NOMINAL_WIDTH = 640
"""Width, in pixels, for which dots are kept from covering each other."""


def distribution_scale(distribution: Distribution) -> Scale:
    """The axis shared by all rows, logarithmic where one arm (a diverged one, say) would flatten all the others."""
    values = [dot.value for row in distribution.rows for dot in row.dots]
    ends = []
    for row in distribution.rows:
        mean, half = row.estimate.mean, row.estimate.half_width
        # An interval from two seeds can be so wide that it would flatten everything else; it is cut at the frame then.
        if mean is not None and half is not None and row.estimate.n >= 3:
            ends += [mean - half, mean + half]
    if suits_log(distribution.metric, values):
        low, high = min(values) / _BEYOND, max(values) * _BEYOND
        return scale_over([*values, *(min(max(end, low), high) for end in ends)], pad=0.03, log=True)
    values += ends
    bounds = (0.0, 1.0) if distribution.metric.unit == "fraction" and min(values, default=0) >= 0 else None
    return scale_over(values, pad=0.03, bounds=bounds)


def distribution_row(distribution: Distribution, row: DistributionRow, scale: Scale) -> Markup:
    """One arm's dots."""
    marks = [
        element("line", class_="grid", x1=percent(scale.share(t)), x2=percent(scale.share(t)), y1=0, y2=HEIGHT)
        for t in scale.ticks(6)
    ]
    marks += _mean(distribution, row, scale)
    marks += [
        _dot(distribution, dot, scale, lift)
        for dot, lift in zip(row.dots, _lifts([scale.share(dot.value) for dot in row.dots]), strict=True)
    ]
    return element(
        "svg",
        *marks,
        class_=f"dots {colour_class(row.position)}",
        width="100%",
        height=HEIGHT,
        role="img",
        tabindex="0",
        aria_label=_summary(distribution, row),
    )


def distribution_axis(distribution: Distribution, scale: Scale) -> Markup:
    """The axis below all rows."""
    ticks = scale.ticks(6)
    marks = [element("line", class_="base", x1="0", x2="100%", y1=1, y2=1)]
    for tick, text in zip(ticks, tick_texts(distribution.metric, ticks), strict=True):
        share = scale.share(tick)
        anchor = "start" if share < 0.03 else "end" if share > 0.97 else "middle"
        marks.append(element("text", text, class_="tick", x=percent(share), y=16, text_anchor=anchor))
    return element("svg", *marks, class_="axis", width="100%", height=20, aria_hidden="true")


def _summary(distribution: Distribution, row: DistributionRow) -> str:
    estimate = row.estimate
    spread = words.plus_minus(distribution.metric, estimate.mean, estimate.half_width)
    seeds = words.count(estimate.n, "seed")
    return f"{row.arm}: {distribution.metric.name} {spread}, {seeds}. Arrow keys read single seeds."


def _mean(distribution: Distribution, row: DistributionRow, scale: Scale) -> list[Markup]:
    mean, half = row.estimate.mean, row.estimate.half_width
    if mean is None:
        return []
    marks = []
    if half is not None:
        left, right = (min(max(scale.share(end), 0.0), 1.0) for end in (mean - half, mean + half))
        title = element("title", f"{row.arm}: mean {words.plus_minus(distribution.metric, mean, half)} (95 %)")
        marks.append(
            element(
                "rect", title, class_="spread", x=percent(left), width=percent(right - left), y=3, height=HEIGHT - 6
            )
        )
    place = percent(scale.share(mean))
    return [*marks, element("line", class_="mean", x1=place, x2=place, y1=3, y2=HEIGHT - 3)]


def _dot(distribution: Distribution, dot: Dot, scale: Scale, lift: float) -> Markup:
    value = words.value(distribution.metric, dot.value, abs(dot.value) / 100)
    text = f"seed {dot.seed}: {value}{', diverged' if dot.diverged else ''} (run {dot.fingerprint[:12]})"
    return element(
        "circle",
        element("title", text),
        class_="dot mark lost" if dot.diverged else "dot mark",
        cx=percent(scale.share(dot.value)),
        cy=f"{HEIGHT / 2 + lift:.1f}",
        r=_RADIUS,
    )


def _lifts(shares: list[float]) -> list[float]:
    """How far each dot is moved up or down so that equal values do not hide each other."""
    lanes = [0.0, -5.0, 5.0, -10.0, 10.0]
    taken: list[list[float]] = [[] for _ in lanes]
    lifts = [0.0] * len(shares)
    for index in sorted(range(len(shares)), key=shares.__getitem__):
        x = shares[index] * _NOMINAL_WIDTH
        free = next((i for i, lane in enumerate(taken) if not lane or x - lane[-1] >= 2 * _RADIUS), None)
        lane = min(range(len(lanes)), key=lambda i: taken[i][-1]) if free is None else free
        taken[lane].append(x)
        lifts[index] = lanes[lane]
    return lifts
