"""Findings on the terminal: what is wrong, worst first, with a small drawing of the evidence."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from assay.cli.words import visible

if TYPE_CHECKING:
    from assay.diagnosis.finding import Chart, Finding, Series

_WIDTH = 60
_TEXT = 100
_BLOCKS = "▁▂▃▄▅▆▇█"
_MARKS = {"severe": "✗", "warning": "!", "note": "·"}
_COLOURS = {"severe": "red", "warning": "yellow", "note": "blue"}


def print_finding(finding: Finding, words: Sequence[str]) -> None:
    """One finding: its title, then the evidence, why it matters, the likely cause and the cure.

    Args:
        finding: the finding.
        words: for the command line, which carry out the cure; may be none.
    """
    mark = click.style(f"{_MARKS[finding.severity]} {finding.severity}", fg=_COLOURS[finding.severity], bold=True)
    click.echo(f"\n{mark}  {visible(finding.title)}  ({finding.rule})")
    parts = [("seen", finding.seen), ("why", finding.why), ("cause", finding.cause), ("cure", finding.cure)]
    for name, text in parts:
        click.echo(_paragraph(name, visible(text)))
    if words:
        click.echo(f"  {'':6} {' '.join(words)}")
    if finding.chart is not None:
        for line in drawn(finding.chart):
            click.echo(f"  {'':6} {line}")


def _paragraph(name: str, text: str) -> str:
    return textwrap.fill(text, _TEXT, initial_indent=f"  {name:6} ", subsequent_indent=" " * 9)


def drawn(chart: Chart) -> list[str]:
    """A row of blocks for each series of a chart, all on one scale, with its lowest and highest value."""
    levels = [_level(value, chart.log) for series in chart.series for value in series.y]
    known = [level for level in levels if math.isfinite(level)]
    if not known:
        return []
    low, high = min(known), max(known)
    widest = max(len(series.name) for series in chart.series)
    lines = [f"{series.name:{widest}} {_row(series, low, high, chart)}" for series in chart.series]
    values = [value for series in chart.series for value in series.y if math.isfinite(_level(value, chart.log))]
    scale = ", log scale" if chart.log else ""
    return [*lines, f"{'':{widest}} {chart.y} over {chart.x}: {min(values):.3g} to {max(values):.3g}{scale}"]


def _row(series: Series, low: float, high: float, chart: Chart) -> str:
    columns = min(_WIDTH, len(series.y))
    row = ""
    for column in range(columns):
        start, stop = column * len(series.y) // columns, (column + 1) * len(series.y) // columns
        levels = [_level(value, chart.log) for value in series.y[start:stop]]
        known = [level for level in levels if math.isfinite(level)]
        if not known:
            row += " "
            continue
        share = (sum(known) / len(known) - low) / (high - low) if high > low else 0.0
        row += _BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))]
    return row


def _level(value: float, log: bool) -> float:
    if not log:
        return value
    return math.log10(value) if value > 0.0 else math.nan


def finding_to_json(finding: Finding, words: Sequence[str]) -> dict[str, Any]:
    """A finding as plain data; values that are not finite are None."""
    found: dict[str, Any] = _finite({**finding.to_json(), "set": list(words)})
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
