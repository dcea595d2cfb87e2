"""Colours of the page, by name, for light and for dark; arms take theirs by position.

The arm colours start from the set of Okabe and Ito (2008, "Color Universal Design"), which stays apart under the common
colour-vision deficiencies, darkened on light and lightened on dark until each contrasts at least 3:1 with the
paper, and text at least 4.5:1 (WCAG 2.2, 1.4.3 and 1.4.11).
"""

from __future__ import annotations

LIGHT = {
    "paper": "#fdfcf9",
    "raised": "#f5f3ec",
    "ink": "#1d1d1b",
    "soft": "#5c5a54",
    "rule": "#d9d5ca",
    "grid": "#e8e5dc",
    "link": "#0b5c94",
    "focus": "#0b5c94",
    "helps": "#00694e",
    "hurts": "#a83a00",
    "no": "#0b5c94",
    "undecided": "#6b5a10",
    "hit": "#075a94",
    "miss": "#a33c00",
    "margin": "#dbe8f1",
    "arm0": "#3d3d3a",
    "arm1": "#0072b2",
    "arm2": "#c84e00",
    "arm3": "#00805e",
    "arm4": "#a8478a",
    "arm5": "#8a6700",
    "arm6": "#7a1f3d",
    "arm7": "#4b7f9e",
}
DARK = {
    "paper": "#16171a",
    "raised": "#202226",
    "ink": "#ecebe6",
    "soft": "#aaa9a2",
    "rule": "#3a3d43",
    "grid": "#2a2d32",
    "link": "#7cc0f0",
    "focus": "#7cc0f0",
    "helps": "#4fd3a8",
    "hurts": "#ff9a62",
    "no": "#7cc0f0",
    "undecided": "#e0c25a",
    "hit": "#5aaee8",
    "miss": "#f08540",
    "margin": "#22364a",
    "arm0": "#d6d5cf",
    "arm1": "#56b4e9",
    "arm2": "#f08a4b",
    "arm3": "#35c79a",
    "arm4": "#dd8fc4",
    "arm5": "#e0b23c",
    "arm6": "#e2708f",
    "arm7": "#9cc3d8",
}
PRINT = {**LIGHT, "paper": "#ffffff"}
ARM_COLOURS = 8
DASHES = 3


def colour_class(position: int) -> str:
    """The style classes of the arm at a position: its colour, and beyond the last colour also another dash."""
    turn = position // ARM_COLOURS % DASHES
    return f"a{position % ARM_COLOURS}" + (f" dash{turn}" if turn else "")


def class_colour(label: int) -> str:
    """The style class of a data class's colour: those of arms, beginning with blue and orange."""
    return f"a{(label + 1) % ARM_COLOURS}"


def variables(colours: dict[str, str]) -> str:
    """The colours as declarations of CSS variables."""
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
