"""What `assay inspect` shows on a terminal: a table of layers, and one of what separable convolutions would cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from assay.cli.words import visible

if TYPE_CHECKING:
    from rich.table import Table

    from assay.models.anatomy import Anatomy, LayerRow
    from assay.models.separable import SeparableCost

_MANY_ROWS = 60
_WIDEST = 500
_UNKNOWN = "?"


def print_layers(name: str, anatomy: Anatomy, rows: Sequence[LayerRow]) -> None:
    """The table, its totals, and what they mean."""
    from rich.markup import escape

    from assay.reports.words import memory

    frozen = anatomy.parameters - anatomy.trainable_parameters
    sees = any(row.receptive_field is not None for row in rows)
    table = _table("layer", "kind", "output")
    table.columns[0].footer = "total"
    for heading, total in (
        ("parameters", anatomy.parameters),
        *([("frozen", frozen)] if frozen else []),
        ("MACs", anatomy.macs),
    ):
        table.add_column(heading, justify="right", footer=f"{total:,}")
    if sees:
        table.add_column("sees", justify="right")
        table.add_column("stride", justify="right")
    table.add_column("memory", justify="right", footer=memory(anatomy.output_bytes))
    for row in rows:
        cells = [
            escape(visible(row.name)),
            escape(visible(row.label)),
            _by(row.output_shape or ()),
            f"{row.parameters:,}",
        ]
        if frozen:
            cells.append(f"{row.parameters - row.trainable_parameters:,}")
        cells.append(f"{row.macs:,}")
        if sees:
            cells += [_pair(row.receptive_field, _UNKNOWN), _pair(row.stride, "")]
        table.add_row(*cells, memory(row.output_bytes))
    click.echo(visible(name))
    _show(table)
    if len(rows) > _MANY_ROWS:
        click.echo(f"{len(rows)} rows; --depth 1 sums them up by the first part of their names.")
    _print_meaning(anatomy, frozen=frozen, sees=sees)


def _print_meaning(anatomy: Anatomy, *, frozen: int, sees: bool) -> None:
    from assay.reports.words import memory

    click.echo("MACs: multiply-accumulates of products and convolutions for one example. memory: outputs, in float32.")
    if sees:
        click.echo(
            "sees: rows (×columns) of the image that an output depends on, not cut off at its edges; ? is unknown."
        )
    trained = f", {anatomy.trainable_parameters:,} trained and {frozen:,} frozen" if frozen else ""
    kept = "" if anatomy.training_bytes is None else f"; training keeps {memory(anatomy.training_bytes)} an example"
    click.echo(f"total: {anatomy.parameters:,} parameters{trained}; {anatomy.macs:,} MACs{kept}")


def print_separable(anatomy: Anatomy, costs: Sequence[SeparableCost]) -> None:
    """What each plain convolution would cost as a depthwise-separable one, and the whole network with them all."""
    from rich.markup import escape

    if not costs:
        click.echo("No plain convolution larger than 1×1: there is nothing to separate.")
        return
    table = _table("convolution", "kernel", "channels")
    for heading in ("MACs", "separable", "fewer", "parameters", "separable", "fewer"):
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(
            escape(visible(cost.name)),
            _by(cost.kernel),
            f"{cost.in_channels} to {cost.out_channels}",
            *_cells(cost.plain_macs, cost.macs),
            *_cells(cost.plain_parameters, cost.parameters),
        )
    macs, parameters = (
        (total, total - sum(plain - separable for plain, separable in pairs))
        for total, pairs in (
            (anatomy.macs, [(cost.plain_macs, cost.macs) for cost in costs]),
            (anatomy.parameters, [(cost.plain_parameters, cost.parameters) for cost in costs]),
        )
    )
    table.columns[0].footer = "whole network"
    for column, text in zip(table.columns[3:], (*_cells(*macs), *_cells(*parameters)), strict=True):
        column.footer = text
    click.echo("\nAs depthwise-separable convolutions: 1/N + 1/k² of the MACs, for N output channels and k×k kernels")
    _show(table)


def _cells(plain: int, separable: int) -> tuple[str, str, str]:
    return f"{plain:,}", f"{separable:,}", f"{plain / separable:.2f}×"


def _pair(values: tuple[int | str | None, int | str | None] | None, without: str) -> str:
    """Rows and columns, as one if they are equal: ``5``, ``5×7``, ``whole``."""
    if values is None:
        return ""
    texts = [without if value is None else str(value) for value in values]
    return texts[0] if texts[0] == texts[1] else "×".join(text or _UNKNOWN for text in texts)


def _by(sides: Sequence[int]) -> str:
    return "×".join(map(str, sides))


def _table(*headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_footer=True, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def _show(table: Table) -> None:
    """In full width, however narrow the terminal: a line that is wrapped can be read, a number that is cut cannot."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False)
    widest = console.options.update(max_width=_WIDEST)
    console.width = max(console.width, Measurement.get(console, widest, table).maximum)
    console.print(table, crop=False)
