"""Sets a `Page` as one HTML file that needs nothing else and can load nothing else.

The file's content security policy forbids everything but its own style sheet and script, each admitted by its SHA-256,
and, where there are pictures, those written into the page itself (``img-src data:``), which can neither load nor run
anything. So there are no ``style`` attributes, no handlers in attributes, and nothing a name could smuggle in would
run. Every string of the page is escaped: by Jinja in text and attributes, by `embedded_json` in data for the script.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from assay.metrics.catalogue import CATALOGUE, metric_named
from assay.reports import charts, words
from assay.reports.charts.boundary import frame_paths
from assay.reports.charts.curves import curve_scale
from assay.reports.charts.distribution import distribution_scale
from assay.reports.confusions import NUMBERED_CLASSES
from assay.reports.networks import Network, field_text, shape_text
from assay.reports.page import Boundaries, Boundary, BoundaryFrame, Confusion, CurvePanel, Page
from assay.reports.palette import ARM_COLOURS, DARK, LIGHT, PRINT, colour_class, variables

_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def render(page: Page) -> str:
    """The page as HTML text, without any reference to another file."""
    style, script = _style(), _asset("page.js")
    pictured = bool(page.data.sheets) or page.looking.pictured
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            style=Markup(style),
            script=Markup(script),
            policy=(
                f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
                f"{'img-src data:; ' if pictured else ''}base-uri 'none'; form-action 'none'"
            ),
        )
    )


def embedded_json(value: Any) -> Markup:
    """JSON that can stand inside a script element whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPES))


def curve_data(panel: CurvePanel) -> dict[str, Any]:
    """What the script needs to read values off a curve chart: texts are made there from few digits."""
    percent = panel.metric.unit == "fraction"
    return {
        "percent": percent,
        "curves": [
            {
                "arm": curve.arm,
                "key": curve.position,
                "colour": colour_class(curve.position),
                "epochs": curve.epochs,
                "mean": [_short(value, percent) for value in curve.mean],
                "deviation": [_short(value, percent) for value in curve.deviation],
                "n": curve.n,
            }
            for curve in panel.curves
        ],
    }


def boundary_data(panel: Boundary) -> dict[str, Any]:
    """The frames of a decision boundary: the script puts these texts in the place of the last ones, and computes
    nothing."""
    return {
        "epochs": [frame.epoch for frame in panel.frames],
        "texts": [boundary_text(panel, frame) for frame in panel.frames],
        "paths": [frame_paths(frame) for frame in panel.frames],
    }


def boundary_text(panel: Boundary, frame: BoundaryFrame) -> str:
    """What stands below a decision boundary: ``epoch 12: training 96.0 %, validation 94.0 %``."""
    accuracies = ", ".join(
        f"{split}\N{NO-BREAK SPACE}{words.value(CATALOGUE[name], accuracy, 0.02)}".replace(" %", "\N{NO-BREAK SPACE}%")
        for split, name, accuracy in (
            ("training", "train_accuracy", frame.train_accuracy),
            ("validation", "val_accuracy", frame.val_accuracy),
        )
    )
    if panel.at_once:
        return f"fitted at once: {accuracies}"
    diverged = ", where it diverged" if panel.diverged and frame is panel.frames[-1] else ""
    return f"epoch {words.number(frame.epoch, 0)}{diverged}: {accuracies}"


def boundary_legends(found: Boundaries) -> list[tuple[tuple[str, ...], list[str]]]:
    """The classes of the drawn boundaries; with the arms that have them only where not all have the same."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for panel in found.panels:
        groups.setdefault(panel.classes, []).append(panel.arm)
    return [(classes, arms if len(groups) > 1 else []) for classes, arms in groups.items()]


def matrix_data(confusion: Confusion) -> dict[str, Any] | None:
    """Counts for reading single cells of a matrix too large to hold numbers; None for a smaller one."""
    if len(confusion.classes) <= NUMBERED_CLASSES:
        return None
    return {"classes": confusion.classes, "counts": confusion.counts, "totals": confusion.totals}


def network_name(network: Network) -> str:
    """A network by the arms that have it: ``plain · wide and 3 more``."""
    names = [name for name, _ in network.arms]
    return " · ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _short(value: float | None, percent: bool) -> float | None:
    if value is None:
        return None
    return round(value * 100, 2) if percent else float(f"{value:.4g}")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return files("assay.reports").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _style() -> str:
    light, dark, print_ = variables(LIGHT), variables(DARK), variables(PRINT)
    arms = "".join(f".a{i}{{--arm:var(--arm{i})}}" for i in range(ARM_COLOURS))
    return (
        f":root{{color-scheme:light;{light}}}"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}"
        f"@media print{{:root,:root[data-theme],:root:not([data-theme=light]){{color-scheme:light;{print_}}}}}"
        f"{arms}\n{_asset('page.css')}"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("assay.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(json=embedded_json, date=words.date)
    environment.globals.update(
        boundary_data=boundary_data,
        boundary_legends=boundary_legends,
        boundary_text=boundary_text,
        charts=charts,
        colour_class=colour_class,
        curve_data=curve_data,
        distribution_scale=distribution_scale,
        curve_scale=curve_scale,
        field_text=field_text,
        matrix_data=matrix_data,
        metric_named=metric_named,
        network_name=network_name,
        shape_text=shape_text,
        words=words,
    )
    return environment
