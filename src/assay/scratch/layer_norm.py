"""Layer normalisation (Ba et al. 2016, arXiv:1607.06450): each example by its own mean and variance.

Shape key: B examples in the batch, D features per example, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.errors import ShapeError
from assay.scratch.layer import Array, Cache


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """Over the features of (B, D), with a gain and a bias per feature.

    With unit = (x − mean)/std and du = dy·gain, the backward pass is
    dx = (du − mean(du) − unit·mean(du·unit))/std: as for batch normalisation, along the other axis.

    Args:
        eps: added to the variance, so that a constant example divides by √eps instead of 0.
    """

    eps: float = 1e-5

    def forward(self, x_BD: Array, gain_D: Array, bias_D: Array) -> tuple[Array, Cache]:
        """Return (y_BD, cache). Variance is the biased one: it divides by D.

        Raises:
            ShapeError: x is not (B, D), D at least 1, or gain and bias not (D,).
        """
        if x_BD.ndim != 2 or not x_BD.shape[1] or not x_BD.shape[1:] == gain_D.shape == bias_D.shape:
            raise ShapeError(
                f"LayerNorm needs input of shape (B, D), D at least 1, and gain and bias of shape (D,), got "
                f"{x_BD.shape}, {gain_D.shape} and {bias_D.shape}."
            )
        unit_BD = x_BD - x_BD.mean(axis=1, keepdims=True)
        variance_B = np.einsum("BD,BD->B", unit_BD, unit_BD) / gain_D.size
        inv_std_B1 = (1.0 / np.sqrt(variance_B + self.eps))[:, None]
        unit_BD *= inv_std_B1
        y_BD = unit_BD * gain_D
        y_BD += bias_D
        return y_BD, (unit_BD, inv_std_B1, gain_D)

    def backward(self, dy_BD: Array, cache: Cache) -> tuple[Array, Array, Array]:
        """Return (dx_BD, dgain_D, dbias_D)."""
        unit_BD, inv_std_B1, gain_D = cache
        dx_BD = dy_BD * gain_D  # du, until the means are taken off
        via_mean_B1 = dx_BD.mean(axis=1, keepdims=True)
        via_variance_B1 = (np.einsum("BD,BD->B", dx_BD, unit_BD) / gain_D.size)[:, None]
        dx_BD -= via_mean_B1
        dx_BD -= unit_BD * via_variance_B1
        dx_BD *= inv_std_B1
        return dx_BD, np.einsum("BD,BD->D", dy_BD, unit_BD), dy_BD.sum(axis=0)


@dataclass(frozen=True, kw_only=True)
class SpatialLayerNorm:
    """Over all values of one example of (B, C, H, W), with a gain and a bias per channel.

    This is group normalisation with one group (Wu and He 2018, arXiv:1803.08494), torch's ``GroupNorm(1, C)``. The
    backward pass is that of `LayerNorm`. As the gain is one number per channel, every sum it needs, over an example or
    over a channel, comes from the same two sums over the places of each example's channels.

    Args:
        eps: added to the variance, so that a constant example divides by √eps instead of 0.
    """

    eps: float = 1e-5

    def forward(self, x_BCHW: Array, gain_C: Array, bias_C: Array) -> tuple[Array, Cache]:
        """Return (y_BCHW, cache). Variance is the biased one: it divides by C·H·W.

        Raises:
            ShapeError: x is not (B, C, H, W), each at least 1, or gain and bias not (C,).
        """
        if x_BCHW.ndim != 4 or x_BCHW.size == 0 or not x_BCHW.shape[1:2] == gain_C.shape == bias_C.shape:
            raise ShapeError(
                f"SpatialLayerNorm needs input of shape (B, C, H, W), not empty, and gain and bias of shape (C,), got "
                f"{x_BCHW.shape}, {gain_C.shape} and {bias_C.shape}."
            )
        unit_BCHW = x_BCHW - x_BCHW.mean(axis=(1, 2, 3), keepdims=True)
        variance_B = np.einsum("BCHW,BCHW->B", unit_BCHW, unit_BCHW) / unit_BCHW[0].size
        inv_std_B111 = (1.0 / np.sqrt(variance_B + self.eps))[:, None, None, None]
        unit_BCHW *= inv_std_B111
        y_BCHW = unit_BCHW * gain_C[:, None, None]
        y_BCHW += bias_C[:, None, None]
        return y_BCHW, (unit_BCHW, inv_std_B111, gain_C)

    def backward(self, dy_BCHW: Array, cache: Cache) -> tuple[Array, Array, Array]:
        """Return (dx_BCHW, dgain_C, dbias_C)."""
        unit_BCHW, inv_std_B111, gain_C = cache
        dy_sum_BC = dy_BCHW.sum(axis=(2, 3))
        dy_unit_sum_BC = np.einsum("BCHW,BCHW->BC", dy_BCHW, unit_BCHW)
        values = unit_BCHW[0].size
        via_mean_B111 = (dy_sum_BC @ gain_C / values)[:, None, None, None]
        via_variance_B111 = (dy_unit_sum_BC @ gain_C / values)[:, None, None, None]
        dx_BCHW = dy_BCHW * gain_C[:, None, None]
        dx_BCHW -= via_mean_B111
        dx_BCHW -= unit_BCHW * via_variance_B111
        dx_BCHW *= inv_std_B111
        return dx_BCHW, dy_unit_sum_BC.sum(axis=0), dy_sum_BC.sum(axis=0)
