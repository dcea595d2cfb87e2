"""The layers of a run's network, kept for the report: ``layers.json``.

It is the same whatever the seed, so a process works it out once for all runs of one network. The file is one object:

    version               1
    input_shape           of one example
    parameters            of the network
    trainable_parameters  how many of them are not frozen
    macs                  multiply-accumulates for one example
    output_bytes          memory of all layers' outputs for one example, in float32
    training_bytes        what training keeps for one more example in the batch, in float32; null if unknown
    largest_window        [rows, columns] of the largest receptive field short of the whole image; null if none is known
    layers                how many layers the network has
    depth                 null, or the layers are too many to be kept one by one: blocks are summed up, by so many parts
                          of their names
    rows                  [name, kind, output shape or null, parameters, trainable parameters, macs, output bytes,
                          receptive field, stride]; the last two are null or [along rows, along columns], each a number,
                          null where unknown, or, of a field, "whole" for the whole image

See `assay.models.anatomy` for what these are.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import nn

from assay.models.anatomy import Anatomy, LayerRow, dissect, folded
from assay.recipe.schema import Recipe, UserModel

LAYERS = "layers.json"
MOST_ROWS = 100
MOST_LETTERS = 200
"""Of a name."""

_VERSION = 1
_MOST_KEPT = 64
_kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()


def layer_table(recipe: Recipe, model: nn.Module, input_shape: tuple[int, ...]) -> Mapping[str, bytes]:
    """The file, or none for a model that cannot be looked into: that must not end the run.

    Takes some milliseconds for a small network, some tenths of a second for a large one, once for each network.

    Args:
        recipe: of the run.
        model: its network, on any device; left as it was.
        input_shape: of one example.
    """
    key = (recipe.model.model_dump_json(), _shapes(model), input_shape)
    if key not in _kept:
        try:
            content = _written(dissect(model, input_shape))
        except Exception:  # noqa: BLE001 - a user's module may raise anything for an example that is none of its data's
            return {}
        if isinstance(recipe.model, UserModel):
            return {LAYERS: content}  # its code may have changed by the next run
        _kept[key] = content
        if len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return {LAYERS: _kept[key]}


def _shapes(model: nn.Module) -> tuple[Any, ...]:
    return tuple((name, tuple(p.shape), p.requires_grad, p.dtype) for name, p in model.named_parameters())


def _written(anatomy: Anatomy) -> bytes:
    rows, depth = _few(anatomy)
    facts = {
        "version": _VERSION,
        "input_shape": anatomy.input_shape,
        "parameters": anatomy.parameters,
        "trainable_parameters": anatomy.trainable_parameters,
        "macs": anatomy.macs,
        "output_bytes": anatomy.output_bytes,
        "training_bytes": anatomy.training_bytes,
        "largest_window": anatomy.largest_window,
        "layers": len(anatomy.rows),
        "depth": depth,
        "rows": [
            [
                row.name[:MOST_LETTERS],
                row.label[:MOST_LETTERS],
                row.output_shape,
                row.parameters,
                row.trainable_parameters,
                row.macs,
                row.output_bytes,
                row.receptive_field,
                row.stride,
            ]
            for row in rows
        ],
    }
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()


def _few(anatomy: Anatomy) -> tuple[tuple[LayerRow, ...], int | None]:
    """The rows, summed up where they are too many, as little as will do."""
    if len(anatomy.rows) <= MOST_ROWS:
        return anatomy.rows, None
    deepest = max(row.name.count(".") for row in anatomy.rows)
    for depth in range(deepest, 0, -1):
        rows = folded(anatomy, depth)
        if len(rows) <= MOST_ROWS:
            return rows, depth
    return folded(anatomy, 1)[:MOST_ROWS], 1
