"""Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167), with its backward pass derived in two ways.

Shape key: B examples in the batch, D features per example, C channels, H height, W width; F the features that are
normalised one by one, D or C; N all values of the batch, laid out (B, D) or (B, C, H, W). Inside, arrays over F have
axes of size 1 wherever N has others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from assay.errors import ShapeError
from assay.scratch.layer import Array


@dataclass(frozen=True, kw_only=True)
class BatchNormCache:
    """What the forward pass keeps.

    Attributes:
        mean_F: of the batch, one per feature.
        variance_F: the biased one; see `running` for what evaluation uses.
        count: values per feature, B or B·H·W.
    """

    mean_F: Array
    variance_F: Array
    count: int
    centred_N: Array
    inv_std_F: Array
    gain_F: Array


@dataclass(frozen=True, kw_only=True)
class _BatchNorm(ABC):
    """The arithmetic, for whatever layout. Features are on axis 1; all other axes are averaged over.

    Args:
        eps: added to the variance, so that a constant feature divides by √eps instead of 0.
    """

    eps: float = 1e-5

    @property
    @abstractmethod
    def _layout(self) -> str:
        """The axes by their letters, such as BCHW."""

    def forward(self, x_N: Array, gain_F: Array, bias_F: Array) -> tuple[Array, BatchNormCache]:
        """Return (y_N, cache): gain·(x − mean)/√(variance + eps) + bias, statistics those of the batch.

        The variance is the biased one: it divides by the count. A batch of one value per feature gives the bias.

        Raises:
            ShapeError: x is not of this layout, holds nothing, or has not one feature for each gain and bias.
        """
        self._demand(x_N, gain_F, bias_F)
        axes, count = self._averaged, x_N.size // x_N.shape[1]
        mean_F = x_N.mean(axis=axes, keepdims=True)
        centred_N = x_N - mean_F
        variance_F = self._sum_of_products(centred_N, centred_N) / count
        inv_std_F = 1.0 / np.sqrt(variance_F + self.eps)
        gain_F = self._broadcastable(gain_F)
        y_N = centred_N * (gain_F * inv_std_F)
        y_N += self._broadcastable(bias_F)
        cache = BatchNormCache(
            mean_F=mean_F.ravel(),
            variance_F=variance_F.ravel(),
            count=count,
            centred_N=centred_N,
            inv_std_F=inv_std_F,
            gain_F=gain_F,
        )
        return y_N, cache

    def backward(self, dy_N: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
        """Return (dx_N, dgain_F, dbias_F) by the simplified formula.

        With unit = (x − mean)/std, everything that `backward_by_graph` sends through mean and variance comes to

            dx = gain/std · (dy − mean(dy) − unit·mean(dy·unit)),

        and the two means are dbias and dgain over the count, which are wanted anyway.
        """
        inv_std_F, gain_F = cache.inv_std_F, cache.gain_F
        dbias_F = dy_N.sum(axis=self._averaged, keepdims=True)
        dgain_F = self._sum_of_products(dy_N, cache.centred_N) * inv_std_F
        dx_N = cache.centred_N * (dgain_F * inv_std_F / -cache.count)
        dx_N += dy_N
        dx_N -= dbias_F / cache.count
        dx_N *= gain_F * inv_std_F
        return dx_N, dgain_F.ravel(), dbias_F.ravel()

    def backward_by_graph(self, dy_N: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
        """Return (dx_N, dgain_F, dbias_F) by the chain rule, one node of the computation graph after the other.

        The graph, each line a node that the lines after it use; the backward pass below goes through it from the end:

            mean     = Σ x / count
            centred  = x − mean
            square   = centred²
            variance = Σ square / count
            std      = √(variance + eps)
            inv_std  = 1 / std
            unit     = centred·inv_std
            scaled   = gain·unit
            y        = scaled + bias
        """
        axes, centred_N, inv_std_F = self._averaged, cache.centred_N, cache.inv_std_F
        dscaled_N = dy_N
        dbias_F = dy_N.sum(axis=axes, keepdims=True)
        unit_N = centred_N * inv_std_F
        dgain_F = self._sum_of_products(dscaled_N, unit_N)
        dunit_N = dscaled_N * cache.gain_F
        dinv_std_F = self._sum_of_products(dunit_N, centred_N)
        dcentred_N = dunit_N * inv_std_F  # on the way through unit; the way through the variance is added below
        dstd_F = -dinv_std_F * inv_std_F**2
        dvariance_F = 0.5 * dstd_F * inv_std_F
        dsquare_F = dvariance_F / cache.count  # the same for all values of a feature
        dcentred_N += 2.0 * dsquare_F * centred_N
        dmean_F = -dcentred_N.sum(axis=axes, keepdims=True)
        dx_N = dcentred_N
        dx_N += dmean_F / cache.count
        return dx_N, dgain_F.ravel(), dbias_F.ravel()

    def evaluate(self, x_N: Array, gain_F: Array, bias_F: Array, mean_F: Array, variance_F: Array) -> Array:
        """Return y_N, normalised with the given statistics, the `running` ones of training.

        Raises:
            ShapeError: x is not of this layout, holds nothing, or has not one feature for each of the others.
        """
        self._demand(x_N, gain_F, bias_F, mean_F, variance_F)
        scale_F = gain_F / np.sqrt(variance_F + self.eps)
        y_N: Array = x_N - self._broadcastable(mean_F)
        y_N *= self._broadcastable(scale_F)
        y_N += self._broadcastable(bias_F)
        return y_N

    @property
    def _averaged(self) -> tuple[int, ...]:
        return (0, *range(2, len(self._layout)))

    def _broadcastable(self, values_F: Array) -> Array:
        return values_F.reshape(-1, *(1 for _ in self._layout[2:]))

    def _sum_of_products(self, left_N: Array, right_N: Array) -> Array:
        """Σ left·right over each feature, without an array of the products."""
        layout = self._layout
        return self._broadcastable(np.einsum(f"{layout},{layout}->{layout[1]}", left_N, right_N))

    def _demand(self, x_N: Array, *per_feature: Array) -> None:
        layout, features = self._layout, per_feature[0].shape
        fits = x_N.ndim == len(layout) and x_N.size > 0 and x_N.shape[1:2] == features
        if not fits or any(values_F.shape != features for values_F in per_feature):
            raise ShapeError(
                f"{type(self).__name__} needs input of shape ({', '.join(layout)}), not empty, and parameters and "
                f"statistics of shape ({layout[1]},), got {x_N.shape} and "
                f"{', '.join(str(values_F.shape) for values_F in per_feature)}."
            )


@dataclass(frozen=True, kw_only=True)
class BatchNorm(_BatchNorm):
    """Batch normalisation of (B, D): each feature over the examples."""

    @property
    def _layout(self) -> str:
        return "BD"


@dataclass(frozen=True, kw_only=True)
class SpatialBatchNorm(_BatchNorm):
    """Batch normalisation of (B, C, H, W): each channel over examples and places."""

    @property
    def _layout(self) -> str:
        return "BCHW"


def running(
    mean_F: Array, variance_F: Array, batch_mean_F: Array, batch_variance_F: Array, count: int, momentum: float = 0.1
) -> tuple[Array, Array]:
    """The running statistics after one more batch, as torch keeps them; evaluation normalises with them.

    Each moves by the fraction ``momentum`` towards that of the batch. The variance it moves towards is the unbiased
    one, unlike the one that the batch was normalised with.

    Args:
        mean_F: so far; 0 at the start.
        variance_F: so far; 1 at the start.
        batch_mean_F: `BatchNormCache.mean_F`.
        batch_variance_F: `BatchNormCache.variance_F`, the biased one.
        count: `BatchNormCache.count`, values per feature.
        momentum: the new batch's share.

    Raises:
        ShapeError: the batch had one value per feature, which has no unbiased variance.
    """
    if count < 2:
        raise ShapeError(
            f"Batch normalisation needs more than one value per feature in training, got {count}. Change the batch "
            "size, so that no batch holds a single example."
        )
    unbiased_F = batch_variance_F * (count / (count - 1))
    return (1.0 - momentum) * mean_F + momentum * batch_mean_F, (1.0 - momentum) * variance_F + momentum * unbiased_F
