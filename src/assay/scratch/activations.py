"""Activations: functions of each value by itself, so arrays of any shape will do.

Each derivative is written with what the forward pass has computed anyway. Results keep their input's memory order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from assay.errors import InvalidValueError
from assay.scratch.layer import Array, Cache


@dataclass(frozen=True, kw_only=True)
class Relu:
    """max(x, 0), with slope 0 at 0.

    Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return (y, cache)."""
        return np.maximum(x, 0), x > 0

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,)."""
        positive = cache
        return (dy * positive,)  # np.where says the same and takes twenty times as long where signs are mixed


@dataclass(frozen=True, kw_only=True)
class LeakyRelu:
    """x where positive, slope·x elsewhere.

    Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models".

    Args:
        slope: from 0 (ReLU) to 1 (the identity).
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.slope <= 1.0:
            raise InvalidValueError(("LeakyRelu", "slope"), f"must lie in 0 to 1, got {self.slope}.")

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return (y, cache). For slopes up to 1 the larger of x and slope·x is the one meant."""
        return np.maximum(x, x * self.slope), x > 0

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,)."""
        positive = cache
        derivative = np.maximum(positive, self.slope, dtype=dy.dtype)
        return (dy * derivative,)


@dataclass(frozen=True, kw_only=True)
class Tanh:
    """tanh x, whose derivative is 1 − tanh² x."""

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return (y, cache)."""
        y = np.tanh(x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,)."""
        y = cache
        return (dy * (1.0 - y * y),)


@dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """σ(x) = 1/(1 + exp(−x)), whose derivative is σ(x)·(1 − σ(x))."""

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return (y, cache)."""
        y = sigmoid(x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,)."""
        y = cache
        return (dy * (y * (1.0 - y)),)


@dataclass(frozen=True, kw_only=True)
class Swish:
    """x·σ(x) (Ramachandran et al. 2017, arXiv:1710.05941), whose derivative is σ(x)·(1 + x·(1 − σ(x)))."""

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return (y, cache)."""
        gate = sigmoid(x)
        return x * gate, (x, gate)

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,)."""
        x, gate = cache
        return (dy * (gate * (1.0 + x * (1.0 - gate))),)


@dataclass(frozen=True, kw_only=True)
class Gelu:
    """x·Φ(x), Φ the normal distribution function, exact (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    The derivative is Φ(x) + x·φ(x), with the density φ(x) = exp(−x²/2)/√(2π).
    """

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """Return (y, cache)."""
        probability = 0.5 * (1.0 + erf(x * math.sqrt(0.5)))
        return x * probability, (x, probability)

    def backward(self, dy: Array, cache: Cache) -> tuple[Array]:
        """Return (dx,)."""
        x, probability = cache
        density = np.exp(-0.5 * (x * x)) * (1.0 / math.sqrt(2.0 * math.pi))
        return (dy * (probability + x * density),)


def sigmoid(x: Array) -> Array:
    """σ(x) for any x: where exp(−x) overflows to infinity, its reciprocal 0 is σ(x) as near as can be written."""
    with np.errstate(over="ignore"):
        y: Array = 1.0 / (1.0 + np.exp(-x))
    return y
