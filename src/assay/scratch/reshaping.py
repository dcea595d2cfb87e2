"""Layers that compute nothing of their own: what is joined or laid out anew between others."""

from __future__ import annotations

import math
from dataclasses import dataclass

from assay.errors import ShapeError
from assay.scratch.layer import Array, Cache


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """All values of one example in one row, the last axis fastest: (B, C, H, W) to (B, C·H·W)."""

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return (y, cache); y is a view of x where x is in row-major order.

        Raises:
            ShapeError: x has fewer than two axes.
        """
        if x.ndim < 2:
            raise ShapeError(f"Flatten needs input of shape (B, …), at least two axes, got {x.shape}.")
        return x.reshape(len(x), math.prod(x.shape[1:])), x.shape

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,), a view of dy where it is in row-major order."""
        return (dy.reshape(cache),)


@dataclass(frozen=True, kw_only=True)
class Add:
    """Residual addition, x + shortcut (He et al. 2016, arXiv:1512.03385): each branch gets the whole gradient."""

    def forward(self, x: Array, shortcut: Array) -> tuple[Array, Cache]:
        """Return (y, cache).

        Raises:
            ShapeError: the two differ in shape.
        """
        if x.shape != shortcut.shape:
            raise ShapeError(f"Add needs two inputs of one shape, got {x.shape} and {shortcut.shape}.")
        return x + shortcut, None

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Array]:
        """Return (dx, dshortcut), both dy itself."""
        return dy, dy
