"""Dropout (Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting"), in two forms.

Either sets each value to 0 with probability p in training, and has in evaluation the expectation of training. The mask
is drawn by whoever calls, as with `assay.recipe.streams.keep_mask`, and True where a value is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.errors import InvalidValueError, ShapeError
from assay.scratch.layer import Array, Cache, Mask, demand_floats


@dataclass(frozen=True, kw_only=True)
class InvertedDropout:
    """Training divides what it keeps by 1 − p, so that evaluation has nothing to do.

    Args:
        p: probability of being dropped, at least 0 and below 1.
    """

    p: float

    def __post_init__(self) -> None:
        _demand_probability("InvertedDropout", self.p)

    def forward(self, x: Array, kept: Mask) -> tuple[Array, Cache]:
        """Return (y, cache): x/(1 − p) where kept, else 0.

        Raises:
            ShapeError: the mask is not of x's shape.
        """
        _demand_mask("InvertedDropout", x, kept)
        demand_floats("InvertedDropout", x)
        factor = np.multiply(kept, 1.0 / (1.0 - self.p), dtype=x.dtype)
        return x * factor, factor

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,)."""
        factor = cache
        return (dy * factor,)

    def evaluate(self, x: Array) -> Array:
        """Return x itself."""
        return x


@dataclass(frozen=True, kw_only=True)
class VanillaDropout:
    """Training only drops; evaluation multiplies by 1 − p, as the paper has it.

    Args:
        p: probability of being dropped, at least 0 and below 1.
    """

    p: float

    def __post_init__(self) -> None:
        _demand_probability("VanillaDropout", self.p)

    def forward(self, x: Array, kept: Mask) -> tuple[Array, Cache]:
        """Return (y, cache): x where kept, else 0.

        Raises:
            ShapeError: the mask is not of x's shape.
        """
        _demand_mask("VanillaDropout", x, kept)
        return x * kept, kept

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,)."""
        kept = cache
        return (dy * kept,)

    def evaluate(self, x: Array) -> Array:
        """Return x·(1 − p)."""
        return x * (1.0 - self.p)


def _demand_probability(layer: str, p: float) -> None:
    if not 0.0 <= p < 1.0:
        raise InvalidValueError((layer, "p"), f"must be at least 0 and below 1, got {p}.")


def _demand_mask(layer: str, x: Array, kept: Mask) -> None:
    if kept.shape != x.shape or kept.dtype != np.bool_:
        raise ShapeError(
            f"{layer} needs a mask of booleans of its input's shape {x.shape}, got {kept.dtype} of shape {kept.shape}."
        )
