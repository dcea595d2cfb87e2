"""How the weights of a model are distributed, tensor by tensor, and the file in which a run keeps it: ``weights.json``.

Shape key: N weights of a tensor, B of them at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, TypeAdapter

from assay.metrics.kept_json import Count, read_json
from assay.records import Array

WEIGHTS = "weights.json"
"""The artefact that a run keeps."""

NEAR_ZERO = 1e-3
BINS = 41
"""An odd number, so that in a range about zero one of them is about zero."""
MOST_TENSORS = 400

_MOST_BYTES = 400_000
_AT_ONCE = 2**16
"""Weights whose float64 copies stay in the caches."""


@dataclass(frozen=True, kw_only=True)
class WeightStatistics:
    """One tensor.

    ``counts`` are of its finite weights in bins of equal width from ``low`` to ``high``, the least and the greatest of
    them, the upper edge belonging to the last bin; where all are equal they are in the middle. ``deviation`` is their
    standard deviation, which divides by their number. All four are empty or None without a finite weight, or where
    float64 cannot hold them.
    """

    name: Annotated[str, Field(max_length=200)]
    shape: Annotated[tuple[Count, ...], Field(max_length=10)]
    near_zero: Count
    """Weights less than 0.001 from zero."""
    not_finite: Count
    low: FiniteFloat | None
    high: FiniteFloat | None
    deviation: FiniteFloat | None
    counts: Annotated[tuple[Count, ...], Field(max_length=BINS)]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def weight_statistics(tensors: Mapping[str, Array]) -> tuple[WeightStatistics, ...]:
    """Of each tensor of floating-point numbers. Takes some 10 ns for each weight."""
    with np.errstate(over="ignore"):
        return tuple(
            _statistics(name, weights) for name, weights in tensors.items() if np.issubdtype(weights.dtype, np.floating)
        )


def near_zero_share(tensors: Sequence[WeightStatistics]) -> float | None:
    """The share of all weights that are less than 0.001 from zero; None without any."""
    weights = sum(tensor.size for tensor in tensors)
    return sum(tensor.near_zero for tensor in tensors) / weights if weights else None


def _statistics(name: str, weights: NDArray[Any]) -> WeightStatistics:
    near_zero, finite, total, low, high = 0, 0, 0.0, math.inf, -math.inf
    for w_B in _blocks(weights):
        near_zero += int(np.count_nonzero(np.abs(w_B) < NEAR_ZERO))
        w_B = _finite(w_B)
        if w_B.size:
            finite, total = finite + w_B.size, total + float(w_B.sum())
            low, high = min(low, float(w_B.min())), max(high, float(w_B.max()))
    deviation, counts = _spread(weights, finite, total, low, high)
    known = deviation is not None
    return WeightStatistics(
        name=name[:200],
        shape=weights.shape,
        near_zero=near_zero,
        not_finite=weights.size - finite,
        low=low if known else None,
        high=high if known else None,
        deviation=deviation,
        counts=counts,
    )


def _spread(
    weights: NDArray[Any], finite: int, total: float, low: float, high: float
) -> tuple[float | None, tuple[int, ...]]:
    """Their deviation from the mean, and how many fall into each bin."""
    if not finite or not math.isfinite(total) or not math.isfinite(high - low):
        return None, ()
    mean, squares, counts = total / finite, 0.0, np.zeros(BINS, dtype=np.int64)
    for w_B in map(_finite, _blocks(weights)):
        squares += float(np.square(w_B - mean).sum())
        # Divided before it is multiplied: the range may be too small for its inverse.
        place_B = (w_B - low) / (high - low) * BINS if high > low else np.full(w_B.shape, BINS / 2)
        counts += np.bincount(np.minimum(place_B.astype(np.int64), BINS - 1), minlength=BINS)
    if not math.isfinite(squares):
        return None, ()
    return math.sqrt(squares / finite), tuple(counts.tolist())


def _blocks(weights: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    flat_N = weights.reshape(-1)
    for start in range(0, flat_N.size, _AT_ONCE):
        yield flat_N[start : start + _AT_ONCE].astype(np.float64)


def _finite(w_B: NDArray[np.float64]) -> NDArray[np.float64]:
    finite_B = np.isfinite(w_B)
    return w_B if finite_B.all() else w_B[finite_B]


_TENSORS: TypeAdapter[tuple[WeightStatistics, ...]] = TypeAdapter(
    Annotated[tuple[WeightStatistics, ...], Field(max_length=MOST_TENSORS)]
)


def weights_written(tensors: Sequence[WeightStatistics]) -> bytes:
    """The file: of the first 400 tensors."""
    return _TENSORS.dump_json(tuple(tensors[:MOST_TENSORS]))


def weights_read(content: bytes) -> tuple[WeightStatistics, ...]:
    """What `weights_written` gave.

    Raises:
        StoreError: the file is damaged; the message begins with a verb, for the caller to name the file.
    """
    return read_json(_TENSORS, content, most_bytes=_MOST_BYTES)
