"""Normalisation fitted on training examples only, kept as plain JSON so that prediction can repeat it.

Shape key: N examples, C channels (or features), H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from assay.errors import ShapeError
from assay.records import Array

_CHUNK_VALUES = 2**22
"""Values turned into float64 at a time, to bound memory: 32 MiB."""


def fit(train_inputs: Array, kind: Literal["standard", "unit"]) -> dict[str, Any]:
    """What turns raw inputs into the network's: ``(raw / divide_by − mean) / deviation``, per channel or feature.

    Images are divided by 255 first, points by 1. ``standard`` then subtracts the mean and divides by the standard
    deviation (the biased one: it divides by N) over the examples given, in float64; ``unit`` does neither.
    A channel with one value throughout has no deviation: it is divided by 1, and so becomes 0.

    Args:
        train_inputs: uint8 (N, C, H, W) or float32 (N, C), of the training split alone.
        kind: the recipe's ``data.normalize``.
    """
    image = train_inputs.dtype == np.uint8
    divide_by = 255.0 if image else 1.0
    channels = train_inputs.shape[1]
    mean_C, deviation_C = np.zeros(channels), np.ones(channels)
    constant_C = np.zeros(channels, dtype=bool)
    if kind == "standard":
        mean_C, deviation_C, constant_C = _moments(train_inputs)
        mean_C, deviation_C = mean_C / divide_by, np.where(constant_C, 1.0, deviation_C / divide_by)
    return {
        "input": "image" if image else "points",
        "shape": [int(size) for size in train_inputs.shape[1:]],
        "divide_by": divide_by,
        "mean": mean_C.tolist(),
        "deviation": deviation_C.tolist(),
        "constant": np.flatnonzero(constant_C).tolist(),
    }


def apply(preprocessing: Mapping[str, Any], inputs: Array, dtype: DTypeLike = np.float32) -> Array:
    """Normalise raw inputs, computing in float64 and rounding once to ``dtype``.

    Raises:
        ShapeError: the inputs are not of the shape the preprocessing was fitted to.
    """
    shape = tuple(preprocessing["shape"])
    if inputs.shape[1:] != shape:
        raise ShapeError(f"Inputs must have shape (N, {', '.join(map(str, shape))}), got {inputs.shape}.")
    broadcast = (-1,) + (1,) * (len(shape) - 1)
    mean_C11 = np.asarray(preprocessing["mean"], dtype=np.float64).reshape(broadcast)
    deviation_C11 = np.asarray(preprocessing["deviation"], dtype=np.float64).reshape(broadcast)
    normalised = np.empty(inputs.shape, dtype=dtype)
    for part in _chunks(inputs):
        normalised[part] = (inputs[part].astype(np.float64) / preprocessing["divide_by"] - mean_C11) / deviation_C11
    return normalised


def _moments(inputs: Array) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Mean, biased deviation and whether there is one value only, per channel; in two passes, as one pass cancels."""
    axes = (0, *range(2, inputs.ndim))
    per_channel = inputs.size // inputs.shape[1]
    mean_C = sum(inputs[part].sum(axis=axes, dtype=np.float64) for part in _chunks(inputs)) / per_channel
    broadcast = (-1,) + (1,) * (inputs.ndim - 2)
    squares_C = sum(np.square(inputs[part] - mean_C.reshape(broadcast)).sum(axis=axes) for part in _chunks(inputs))
    constant_C = inputs.min(axis=axes) == inputs.max(axis=axes)
    return mean_C, np.sqrt(squares_C / per_channel), constant_C


def _chunks(inputs: Array) -> list[slice]:
    rows = max(1, _CHUNK_VALUES // max(1, inputs[0].size))
    return [slice(start, start + rows) for start in range(0, len(inputs), rows)]
