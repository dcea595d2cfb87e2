"""Normalisation fitted on training examples only, kept with the run so that prediction can repeat it.

Shape key: N examples, C channels (or features), H height, W width; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from assay.errors import ShapeError
from assay.recipe.schema import Normalize
from assay.records import Array

_CHUNK_VALUES = 2**22
"""Values turned into float64 at a time, to bound memory: 32 MiB."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What turns a raw input into the network's: ``raw / divide_by``, then ``(… − mean) / deviation``.

    Attributes:
        facts: plain JSON: ``normalize``, ``input`` (``image`` or ``points``), ``shape`` of a raw input, ``divide_by``,
            ``mean`` and ``deviation`` per channel or feature, ``constant`` (channels or features with one value).
        arrays: what is too large for that, by the same names.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one input as the network gets it."""
        return tuple(self.facts["shape"])

    def affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and shift with ``raw · scale + shift`` the normalised input; they broadcast against it."""
        broadcast = (-1,) + (1,) * (len(self.facts["shape"]) - 1)
        mean = np.asarray(self.facts["mean"], dtype=np.float64).reshape(broadcast)
        deviation = np.asarray(self.facts["deviation"], dtype=np.float64).reshape(broadcast)
        return 1.0 / (self.facts["divide_by"] * deviation), -mean / deviation


def fit(inputs: Array, train_N: NDArray[np.int64], kind: Normalize, epsilon: float) -> Preprocessing:
    """Measure the training examples alone, in float64.

    Images are divided by 255 first, points by 1. A channel with one value throughout has no deviation: it is divided
    by 1, and so becomes 0.

    Args:
        inputs: all examples of the source: uint8 (N, C, H, W) or float32 (N, D); may be memory-mapped.
        train_N: positions of the training examples.
        kind: the recipe's ``data.normalize``.
        epsilon: the recipe's ``data.whitening_epsilon``.
    """
    image = inputs.dtype == np.uint8
    divide_by = 255.0 if image else 1.0
    channels = inputs.shape[1]
    mean_C, deviation_C = np.zeros(channels), np.ones(channels)
    constant_C = np.zeros(channels, dtype=bool)
    if kind != "none":
        mean_C, deviation_C, constant_C = _moments(inputs, train_N)
        mean_C, deviation_C = mean_C / divide_by, np.where(constant_C, 1.0, deviation_C / divide_by)
    return Preprocessing(
        facts={
            "normalize": kind,
            "input": "image" if image else "points",
            "shape": [int(size) for size in inputs.shape[1:]],
            "divide_by": divide_by,
            "mean": mean_C.tolist(),
            "deviation": deviation_C.tolist(),
            "constant": np.flatnonzero(constant_C).tolist(),
        }
    )


def apply(preprocessing: Preprocessing, raw: Array, dtype: DTypeLike = np.float32) -> Array:
    """Normalise raw inputs, computing in ``dtype``: ``raw · scale + shift``, as `assay.data.on_device` does.

    Raises:
        ShapeError: the inputs are not of the shape the preprocessing was fitted to.
    """
    shape = tuple(preprocessing.facts["shape"])
    if raw.shape[1:] != shape:
        raise ShapeError(f"Inputs must have shape (N, {', '.join(map(str, shape))}), got {raw.shape}.")
    scale, shift = preprocessing.affine()
    normalised: Array = raw.astype(dtype)
    normalised *= scale.astype(dtype)
    normalised += shift.astype(dtype)
    return normalised


def _moments(
    inputs: Array, train_N: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Mean, biased deviation and whether there is one value only, per channel; in two passes, as one pass cancels."""
    axes = (0, *range(2, inputs.ndim))
    per_channel = len(train_N) * inputs[0, 0].size
    mean_C = sum(part.sum(axis=axes, dtype=np.float64) for part in _parts(inputs, train_N)) / per_channel
    broadcast = (-1,) + (1,) * (inputs.ndim - 2)
    squares_C = sum(np.square(part - mean_C.reshape(broadcast)).sum(axis=axes) for part in _parts(inputs, train_N))
    lows = np.min([part.min(axis=axes) for part in _parts(inputs, train_N)], axis=0)
    highs = np.max([part.max(axis=axes) for part in _parts(inputs, train_N)], axis=0)
    return mean_C, np.sqrt(squares_C / per_channel), lows == highs


def _parts(inputs: Array, train_N: NDArray[np.int64]) -> Iterator[Array]:
    rows = max(1, _CHUNK_VALUES // max(1, inputs[0].size))
    for start in range(0, len(train_N), rows):
        yield inputs[train_N[start : start + rows]]
