"""Just enough SVG: elements whose attributes and text are escaped."""

from __future__ import annotations

from markupsafe import Markup, escape

Attribute = str | int | float | None


def element(name: str, /, *children: str | Markup, **attributes: Attribute) -> Markup:
    """An element. Attribute names: underscores become hyphens, a trailing one goes (``class_``). None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(child) for child in children)
    # The name is ours and everything else was escaped above.
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")


def figures(value: float, decimals: int = 2) -> str:
    """A coordinate without needless digits."""
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float) -> str:
    """A share of the width, 0 to 1, as SVG writes it: ``43.25%``."""
    return f"{figures(share * 100)}%"
