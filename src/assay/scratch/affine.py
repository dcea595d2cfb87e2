"""The affine layer, also called linear or fully connected: y = x·Wᵀ + b.

Shape key: B examples in the batch, D features in, F features out.
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.errors import ShapeError
from assay.scratch.layer import Array, Cache


@dataclass(frozen=True, kw_only=True)
class Affine:
    """Weights are (F, D), as torch keeps them: one row per feature out.

    A scalar loss L depends on x, W and b only through y = x·Wᵀ + b. With dy = ∂L/∂y, the chain rule gives
    ∂L/∂x = dy·W, ∂L/∂W = dyᵀ·x, and ∂L/∂b = Σ_b dy_b (Rumelhart et al. 1986, "Learning representations by
    back-propagating errors").
    """

    def forward(self, x_BD: Array, weight_FD: Array, bias_F: Array) -> tuple[Array, Cache]:
        """Return (y_BF, cache).

        Raises:
            ShapeError: x is not (B, D), or the bias not (F,), for weights (F, D).
        """
        if x_BD.ndim != 2 or weight_FD.ndim != 2 or x_BD.shape[1] != weight_FD.shape[1]:
            raise ShapeError(f"Affine needs input (B, D) and weights (F, D), got {x_BD.shape} and {weight_FD.shape}.")
        if bias_F.shape != weight_FD.shape[:1]:
            raise ShapeError(f"Affine needs a bias of shape {weight_FD.shape[:1]}, got {bias_F.shape}.")
        y_BF = x_BD @ weight_FD.T
        y_BF += bias_F
        return y_BF, (x_BD, weight_FD)

    def backward(self, dy_BF: Array, cache: Cache) -> tuple[Array, Array, Array]:
        """Return (dx_BD, dweight_FD, dbias_F)."""
        return self.input_gradient(dy_BF, cache), *self.parameter_gradients(dy_BF, cache)

    def input_gradient(self, dy_BF: Array, cache: Cache) -> Array:
        """Return dx_BD alone. The first layer of a network has no use for it."""
        _, weight_FD = cache
        dx_BD: Array = dy_BF @ weight_FD
        return dx_BD

    def parameter_gradients(self, dy_BF: Array, cache: Cache) -> tuple[Array, Array]:
        """Return (dweight_FD, dbias_F)."""
        x_BD, _ = cache
        return dy_BF.T @ x_BD, dy_BF.sum(axis=0)
