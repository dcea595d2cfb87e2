"""A decision boundary in the plane of two features: shades of each class, the line between, the training points."""

from __future__ import annotations

from markupsafe import Markup

from assay.reports import words
from assay.reports.boundary import LEVELS, SIZE
from assay.reports.charts.scales import Scale
from assay.reports.charts.svg import element, figures, percent
from assay.reports.page import Boundary, BoundaryFrame
from assay.reports.palette import class_colour

_LABELS = 34
"""Pixels for the numbers along the vertical axis."""
_BELOW = 20


def boundary(panel: Boundary) -> Markup:
    """The chart after the panel's last epoch; the script puts other frames' paths in its place."""
    frame = panel.frames[-1]
    shades = [
        element("path", class_=f"shade {class_colour(label)}", d=shade)
        for label, of_class in enumerate(frame.shades)
        for shade in of_class
    ]
    drawing = element(
        "svg",
        element("rect", class_="ground", width=SIZE, height=SIZE),
        *shades,
        element("path", class_="decision halo", d=frame.line),
        element("path", class_="decision", d=frame.line),
        *_points(panel),
        class_="stretch",
        width="100%",
        height="100%",
        viewBox=f"0 0 {SIZE} {SIZE}",
        preserveAspectRatio="none",
    )
    x_low, x_high, y_low, y_high = panel.extent
    return element(
        "div",
        element("svg", *_y_axis(Scale(low=y_low, high=y_high)), class_="axis", width=_LABELS, aria_hidden="true"),
        element(
            "svg",
            drawing,
            class_="plane",
            role="img",
            aria_label=f"Decision boundary of {panel.arm} and its training points; accuracies stand below.",
        ),
        element("svg", *_x_axis(Scale(low=x_low, high=x_high)), class_="axis x", height=_BELOW, aria_hidden="true"),
        class_="plot",
    )


def frame_paths(frame: BoundaryFrame) -> list[str]:
    """The paths of a frame, in the order in which `boundary` draws them; its line is drawn twice."""
    return [shade for of_class in frame.shades for shade in of_class] + [frame.line, frame.line]


def class_key(label: int, *, decides: bool) -> Markup:
    """A legend's sign of a class: its shades, from even odds to certainty, and its points."""
    steps = 1 if decides else len(LEVELS)
    width = 11
    shades = [
        element("rect", class_=f"shade {class_colour(label)}", x=step * width, width=(steps - step) * width, height=14)
        for step in range(steps)
    ]
    centre = steps * width + 12
    marks = [element("path", class_=name, d=f"M{centre} 7h0") for name in _marks(label)]
    return element("svg", *shades, *marks, class_="class-key", width=centre + 7, height=14, aria_hidden="true")


def _marks(label: int) -> tuple[str, str]:
    """The outline and the body of a class's points: round and square take turns, so that hue is not all."""
    shape = "square" if label % 2 else "round"
    return f"dots-of-class rim {shape}", f"dots-of-class {shape} {class_colour(label)}"


def _points(panel: Boundary) -> list[Markup]:
    # Outlines of all points first, so that none covers another's body by its outline alone.
    found = [
        (_marks(label), "".join(f"M{x} {y}h0" for x, y in of_class))
        for label, of_class in enumerate(panel.points)
        if of_class
    ]
    return [element("path", class_=marks[layer], d=path) for layer in (0, 1) for marks, path in found]


def _x_axis(scale: Scale) -> list[Markup]:
    return [
        element("text", text, x=percent(share), y=14, text_anchor="middle", class_="tick")
        for share, text in _ticks(scale)
    ]


def _y_axis(scale: Scale) -> list[Markup]:
    return [
        element("text", text, x=_LABELS - 6, y=percent(1 - share), dy=figures(3.5), text_anchor="end", class_="tick")
        for share, text in _ticks(scale)
    ]


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    """Round numbers along an axis, but for those so near an end that their text would stick out."""
    found = [(scale.share(tick), tick) for tick in scale.ticks(6)]
    largest = max((abs(tick) for _, tick in found), default=0.0)
    short = largest == 0 or 1e-2 <= largest < 1e4
    return [
        (share, f"{tick:g}".replace("-", words.MINUS) if short else words.significant(tick, 2))
        for share, tick in found
        if 0.04 < share < 0.96
    ]
