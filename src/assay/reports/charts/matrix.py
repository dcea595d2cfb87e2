"""Confusion matrices as heat maps: right predictions in one hue, wrong ones in another."""

from __future__ import annotations

import math

from markupsafe import Markup

from assay.reports import words
from assay.reports.charts.svg import element, figures
from assay.reports.confusions import NUMBERED_CLASSES
from assay.reports.page import Confusion

SHADES = 10
_LONGEST_NAME = 14


def matrix(confusion: Confusion) -> Markup:
    """Rows are actual classes, columns predicted ones; shades follow the square root of the row's share."""
    classes = len(confusion.classes)
    numbered = classes <= NUMBERED_CLASSES
    cell = 40 if classes <= 12 else 34 if numbered else max(4, min(20, 640 // classes))
    name_size = 11 if cell >= 13 else cell * 0.85
    named = cell >= 7
    margin = 8 + (min(_LONGEST_NAME, max(map(len, confusion.classes))) * name_size * 0.62 if named else 0)
    marks = _cells(confusion, cell, margin) if numbered else _shaded_paths(confusion, cell, margin)
    if named:
        marks += _names(confusion, cell, margin, name_size)
    size = margin + classes * cell + 1
    frame = element(
        "rect", class_="frame", x=figures(margin), y=figures(margin), width=classes * cell, height=classes * cell
    )
    return element(
        "svg",
        *marks,
        frame,
        class_=f"matrix{_density(classes)}",
        viewBox=f"0 0 {figures(size)} {figures(size)}",
        width=figures(size),
        height=figures(size),
        role="img",
        tabindex="0",
        aria_label=_summary(confusion),
        data_columns=classes,
    )


def _density(classes: int) -> str:
    """A class that keeps numbers readable on a phone, where the matrix then scrolls rather than shrinks."""
    if not 8 < classes <= NUMBERED_CLASSES:
        return ""
    return " denser" if classes > 12 else " dense"


def _summary(confusion: Confusion) -> str:
    total = sum(confusion.totals)
    share = confusion.correct / total if total else 0.0
    return (
        f"Confusion matrix of {confusion.arm}, {confusion.split} split: {confusion.correct:,} of {total:,} right, "
        f"{share:.1%}. The most frequent confusions are listed below."
    )


def _shade(count: int, total: int) -> int:
    """0 for none, else 1 to SHADES."""
    return math.ceil(SHADES * math.sqrt(count / total)) if count else 0


def _cells(confusion: Confusion, cell: int, margin: float) -> list[Markup]:
    marks = []
    for row, counts in enumerate(confusion.counts):
        for column, count in enumerate(counts):
            total = max(1, confusion.totals[row])
            shade = _shade(count, total)
            x, y = margin + column * cell, margin + row * cell
            title = (
                f"{_short(confusion.classes[row])} taken for {_short(confusion.classes[column])}: {count:,} of "
                f"{confusion.totals[row]:,} ({count / total:.1%})"
            )
            kind = "hit" if row == column else "miss"
            parts = [
                element("title", title),
                element("rect", class_=f"{kind} s{shade}", x=figures(x), y=figures(y), width=cell, height=cell),
            ]
            if count:
                parts += _cell_numbers(count, count / total, x, y, cell)
            marks.append(element("g", *parts, class_=f"mark{' full' if shade > 6 else ''}"))
    return marks


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _cell_numbers(count: int, rate: float, x: float, y: float, cell: int) -> list[Markup]:
    middle = figures(x + cell / 2)
    return [
        element(
            "text", words.number(count, 0), class_="count", x=middle, y=figures(y + cell * 0.47), text_anchor="middle"
        ),
        element(
            "text",
            f"{rate * 100:.{1 if rate < 0.9995 else 0}f} %",
            class_="rate",
            x=middle,
            y=figures(y + cell * 0.78),
            text_anchor="middle",
        ),
    ]


def _shaded_paths(confusion: Confusion, cell: int, margin: float) -> list[Markup]:
    """One path per shade instead of one element per cell: a matrix of 100 classes stays small."""
    squares: dict[str, list[str]] = {}
    for row, counts in enumerate(confusion.counts):
        for column, count in enumerate(counts):
            if count:
                kind = "hit" if row == column else "miss"
                shade = _shade(count, confusion.totals[row])
                corner = f"M{figures(margin + column * cell)} {figures(margin + row * cell)}"
                squares.setdefault(f"{kind} s{shade}", []).append(f"{corner}h{cell}v{cell}h-{cell}z")
    return [element("path", class_=name, d="".join(parts)) for name, parts in sorted(squares.items())]


def _names(confusion: Confusion, cell: int, margin: float, size: float) -> list[Markup]:
    marks = []
    for index, name in enumerate(confusion.classes):
        text = _short(name)
        centre = figures(margin + (index + 0.5) * cell + size * 0.35)
        end = figures(margin - 5)
        title = element("title", name)
        font = figures(size)
        marks.append(element("text", title, text, class_="tick", x=end, y=centre, text_anchor="end", font_size=font))
        marks.append(
            element(
                "text",
                title,
                text,
                class_="tick",
                x=centre,
                y=end,
                text_anchor="start" if len(text) > 3 else "middle",
                transform=f"rotate(-90 {centre} {end})" if len(text) > 3 else None,
                font_size=font,
            )
        )
    return marks
