"""Line charts of a metric by epoch, with a band of one standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from markupsafe import Markup

from assay.reports import words
from assay.reports.charts.scales import Scale, scale_over, suits_log, tick_texts
from assay.reports.charts.svg import element, figures, percent
from assay.reports.page import Curve, CurvePanel
from assay.reports.palette import colour_class

HEIGHT = 190
BELOW = 22
GRID = 1000
"""Units of the stretched inner drawing, each way."""
_BAND_ROOM = 0.25
"""Share of the height of all means by which bands may enlarge the axis, each way."""
_Point = tuple[float, float]


def curve_chart(panel: CurvePanel) -> Markup:
    """The chart's plotting area with its labels; names and units stand in the page around it."""
    y_scale = curve_scale(panel)
    epochs = [epoch for curve in panel.curves for epoch in (curve.epochs[0], curve.epochs[-1])]
    first, last = min(epochs), max(epochs)
    x_scale = Scale(low=first, high=last) if last > first else Scale(low=first - 1, high=first + 1)
    bands = [_band(curve, x_scale, y_scale) for curve in panel.curves]
    lines = [_line(curve, x_scale, y_scale) for curve in panel.curves if not _is_lone(curve)]
    dots = [_line(curve, x_scale, y_scale) for curve in panel.curves if _is_lone(curve)]
    cursor = element("line", class_="cursor", x1="0", x2="0", y1="0", y2=HEIGHT)
    return element(
        "div",
        _y_axis(panel, y_scale),
        element(
            "svg",
            *_grid(y_scale),
            _stretched([*bands, *lines], "stretch"),
            _stretched(dots, "stretch whole") if dots else "",  # which at epoch 0 lie half outside
            cursor,
            *_x_axis(x_scale),
            class_="area",
            width="100%",
            height=HEIGHT + BELOW,
            role="img",
            tabindex="0",
            aria_label=_summary(panel),
            data_first=first,
            data_last=last,
        ),
        class_="plot",
    )


def _stretched(parts: Iterable[Markup], kind: str) -> Markup:
    return element(
        "svg",
        *parts,
        class_=kind,
        width="100%",
        height=HEIGHT,
        viewBox=f"0 0 {GRID} {GRID}",
        preserveAspectRatio="none",
    )


def curve_scale(panel: CurvePanel) -> Scale:
    """The vertical axis: it holds every mean, and the bands as far as they do not flatten the means."""
    means = [mean for curve in panel.curves for mean in curve.mean if mean is not None]
    low, high = min(means), max(means)
    if suits_log(panel.metric, means):
        reach = (high / low) ** _BAND_ROOM
        ends = [end for end in _band_ends(panel) if end > 0]
        inside = [min(max(end, low / reach), high * reach) for end in ends]
        return scale_over([*means, *inside], log=True)
    reach = (high - low) * _BAND_ROOM
    inside = [min(max(end, low - reach), high + reach) for end in _band_ends(panel)] if reach else _band_ends(panel)
    # A line along 100 % must not lie half outside; a gap between accuracies can be negative.
    bounds = (0.0 if low >= 0.0 else -1.0, 1.0 + 0.01 * (1.0 - low)) if panel.metric.unit == "fraction" else None
    return scale_over([*means, *inside], bounds=bounds)


def _band_ends(panel: CurvePanel) -> list[float]:
    return [
        end
        for curve in panel.curves
        for mean, deviation in zip(curve.mean, curve.deviation, strict=True)
        if mean is not None and deviation is not None
        for end in (mean - deviation, mean + deviation)
    ]


def _summary(panel: CurvePanel) -> str:
    metric = panel.metric
    ends = "; ".join(
        f"{curve.arm}: {words.value(metric, last)}"
        for curve in panel.curves[:12]
        if (last := curve.mean[-1]) is not None
    )
    return f"{metric.name} by epoch. After the last epoch, {ends}. Arrow keys read single epochs."


def _points(curve: Curve, values: tuple[float | None, ...], x: Scale, y: Scale) -> list[list[_Point]]:
    """Runs of consecutive points, broken where no seed has a value."""
    pieces: list[list[_Point]] = [[]]
    for epoch, value in zip(curve.epochs, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            # Beyond a few heights outside, where a line goes no longer matters, and huge coordinates break renderers.
            height = min(max(1.0 - y.share(value), -3.0), 4.0)
            pieces[-1].append((x.share(epoch) * GRID, height * GRID))
    return [piece for piece in pieces if piece]


def _path(points: list[_Point]) -> str:
    steps = [f"{figures(x, 1)} {figures(y, 1)}" for x, y in points]
    return "M" + "L".join(steps) if len(steps) > 1 else f"M{steps[0]}h.1"


def _line(curve: Curve, x: Scale, y: Scale) -> Markup:
    kind = "line lone" if _is_lone(curve) else "line"
    path = "".join(_path(piece) for piece in _points(curve, curve.mean, x, y))
    return element("path", class_=f"{kind} {colour_class(curve.position)}", d=path, data_arm=curve.position)


def _is_lone(curve: Curve) -> bool:
    """Whether it has no two epochs in a row, as that of a run that diverged in its first: a line would be next to
    invisible."""
    return not any(None not in pair for pair in pairwise(curve.mean))


def _band(curve: Curve, x: Scale, y: Scale) -> Markup:
    pairs = [
        (None, None) if mean is None or deviation is None else (mean - deviation, mean + deviation)
        for mean, deviation in zip(curve.mean, curve.deviation, strict=True)
    ]
    lows = _points(curve, tuple(low for low, _ in pairs), x, y)
    highs = _points(curve, tuple(high for _, high in pairs), x, y)
    path = "".join(_path(high + low[::-1]) + "Z" for low, high in zip(lows, highs, strict=True) if len(low) > 1)
    if not path:
        return Markup("")
    return element("path", class_=f"band {colour_class(curve.position)}", d=path, data_arm=curve.position)


def _grid(y: Scale) -> list[Markup]:
    places = [HEIGHT * (1 - y.share(tick)) for tick in y.ticks(5)]
    return [element("line", class_="grid", x1="0", x2="100%", y1=figures(p), y2=figures(p)) for p in places]


def _y_axis(panel: CurvePanel, y: Scale) -> Markup:
    ticks = y.ticks(5)
    labels = [
        element("text", text, x=44, y=figures(HEIGHT * (1 - y.share(tick)) + 4), text_anchor="end")
        for tick, text in zip(ticks, tick_texts(panel.metric, ticks), strict=True)
    ]
    return element("svg", *labels, class_="axis", width=50, height=HEIGHT + BELOW, aria_hidden="true")


def _x_axis(x: Scale) -> list[Markup]:
    ticks = [tick for tick in x.ticks(6) if float(tick).is_integer() and x.share(tick) > 0.2]
    start = f"epoch {words.number(x.low, 0)}" if float(x.low).is_integer() else "epoch"
    labels = [
        element("line", class_="base", x1="0", x2="100%", y1=HEIGHT, y2=HEIGHT),
        element("text", start, x="0", y=HEIGHT + 16, text_anchor="start", class_="tick"),
    ]
    for tick in ticks:
        share = x.share(tick)
        anchor = "end" if share > 0.98 else "middle"
        labels.append(
            element("text", words.number(tick, 0), x=percent(share), y=HEIGHT + 16, text_anchor=anchor, class_="tick")
        )
    return labels
