"""The networks of a study's arms, layer by layer, from what their runs kept.

What a run kept is described in `assay.training.layer_table`, which writes it; it does not depend on the seed, so an
arm's first run is read. Arms of one network share its table. A file is read with distrust, as stores are copied and
merged: one that breaks a rule is not shown, and said so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.recipe.schema import FittedAtOnce
from assay.reports.evidence import Evidence

LAYERS = "layers.json"
"""The artefact a run keeps."""

MOST_NETWORKS = 12
MOST_COMPARED = 60
MOST_NAMES = 20
_MOST_BYTES = 100_000
_MOST_ROWS, _MOST_DIMENSIONS, _MOST_LETTERS = 100, 10, 200
_LARGEST = 10**18

Field = int | str | None


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, or a block of them. ``field`` and ``stride`` are along rows and columns; see `Network`."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    frozen: int
    macs: int
    output_bytes: int
    field: tuple[Field, Field] | None
    stride: tuple[Field, Field] | None


@dataclass(frozen=True, kw_only=True)
class NetworkTable:
    """A network as a run kept it. A field is a number of rows or columns of the image, ``whole``, or None if
    unknown."""

    input_shape: tuple[int, ...]
    parameters: int
    trainable_parameters: int
    macs: int
    output_bytes: int
    training_bytes: int | None
    largest_window: tuple[int, int] | None
    layers: int
    depth: int | None
    rows: tuple[Layer, ...]

    @property
    def sees(self) -> bool:
        """Whether its inputs are images, so that there are receptive fields."""
        return any(row.field is not None for row in self.rows)

    @property
    def frozen(self) -> int:
        return self.parameters - self.trainable_parameters


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and the arms that have it, each with its position."""

    arms: tuple[tuple[str, int], ...]
    table: NetworkTable


@dataclass(frozen=True, kw_only=True)
class Networks:
    """``compared`` are all networks side by side, ``shown`` those with a table of their layers."""

    compared: tuple[Network, ...]
    shown: tuple[Network, ...]
    remarks: tuple[str, ...]


def networks(evidence: Evidence) -> Networks:
    """The networks of a study in the order of their first arms; none for models that are fitted at once.

    Raises:
        StoreError: a stored file cannot be read.
    """
    found: dict[NetworkTable, list[tuple[str, int]]] = {}
    damaged, without = [], []
    for position, arm in enumerate(evidence.arms):
        if not arm.runs:
            continue
        content = evidence.results.runs[arm.name][arm.runs[0].seed].artefact(LAYERS)
        table = None if content is None else _read(content)
        if table is not None:
            found.setdefault(table, []).append((arm.name, position))
        elif content is not None:
            damaged.append(arm.name)
        elif not isinstance(evidence.results.study.arms[position].recipe.model, FittedAtOnce):
            without.append(arm.name)
    if not found and not damaged:
        return Networks(compared=(), shown=(), remarks=())
    every = [Network(arms=tuple(arms), table=table) for table, arms in found.items()]
    remarks = [
        *_named("Runs kept no table of layers of:", without),
        *_named("What was kept is damaged, and not shown, of:", damaged),
    ]
    if len(every) > MOST_COMPARED:
        remarks.append(f"The first {MOST_COMPARED} of {len(every)} networks are compared.")
    if len(every) > MOST_NETWORKS:
        remarks.append(f"Layers are shown of the first {MOST_NETWORKS} networks; each run keeps its own in {LAYERS}.")
    return Networks(compared=tuple(every[:MOST_COMPARED]), shown=tuple(every[:MOST_NETWORKS]), remarks=tuple(remarks))


def field_text(values: tuple[Field, Field] | None, without: str) -> str:
    """Along rows and columns, as one if they are equal: ``5``, ``5×7``, ``whole``."""
    if values is None:
        return without
    rows, columns = (
        without if value is None else f"{value:,}" if isinstance(value, int) else value for value in values
    )
    return rows if rows == columns else f"{rows}×{columns}"


def shape_text(shape: tuple[int, ...] | None) -> str:
    """``64×8×8``; nothing for a layer that was not called."""
    return "" if shape is None else "×".join(map(str, shape))


def _named(beginning: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return [f"{beginning} {', '.join(names[:MOST_NAMES])}{more}."]


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(content: bytes) -> NetworkTable | None:
    """What a run kept; None if it breaks a rule."""
    if len(content) > _MOST_BYTES:
        return None
    try:
        return _checked(json.loads(content))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _checked(facts: Any) -> NetworkTable:
    """The facts in their types.

    Raises:
        ValueError, TypeError, KeyError: a rule is broken.
    """
    if facts["version"] != 1:
        raise ValueError("of another version")
    largest, depth, training = facts["largest_window"], facts["depth"], facts["training_bytes"]
    table = NetworkTable(
        input_shape=_whole_numbers(facts["input_shape"], _MOST_DIMENSIONS),
        parameters=_whole(facts["parameters"]),
        trainable_parameters=_whole(facts["trainable_parameters"]),
        macs=_whole(facts["macs"]),
        output_bytes=_whole(facts["output_bytes"]),
        training_bytes=None if training is None else _whole(training),
        largest_window=None if largest is None else (_whole(_two(largest)[0]), _whole(_two(largest)[1])),
        layers=_whole(facts["layers"]),
        depth=None if depth is None else _whole(depth),
        rows=tuple(_layer(row) for row in _list(facts["rows"], _MOST_ROWS)),
    )
    if table.trainable_parameters > table.parameters:
        raise ValueError("more trained than there are")
    return table


def _layer(row: Any) -> Layer:
    name, kind, shape, parameters, trainable, macs, output_bytes, field, stride = row
    if _whole(trainable) > _whole(parameters):
        raise ValueError("more trained than there are")
    return Layer(
        name=_text(name),
        kind=_text(kind),
        shape=None if shape is None else _whole_numbers(shape, _MOST_DIMENSIONS),
        parameters=parameters,
        frozen=parameters - trainable,
        macs=_whole(macs),
        output_bytes=_whole(output_bytes),
        field=None if field is None else (_field(_two(field)[0]), _field(_two(field)[1])),
        stride=None if stride is None else (_stride(_two(stride)[0]), _stride(_two(stride)[1])),
    )


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError("not such a whole number")
    return value


def _whole_numbers(values: Any, most: int) -> tuple[int, ...]:
    return tuple(_whole(value) for value in _list(values, most))


def _field(value: Any) -> Field:
    return value if value in (None, "whole") else _whole(value)


def _stride(value: Any) -> Field:
    return None if value is None else _whole(value)


def _two(values: Any) -> list[Any]:
    if len(_list(values, 2)) != 2:
        raise ValueError("not a pair")
    found: list[Any] = values
    return found


def _list(values: Any, most: int) -> list[Any]:
    if not isinstance(values, list) or len(values) > most:
        raise TypeError("not a list of that length")
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MOST_LETTERS:
        raise TypeError("not a short text")
    return value
