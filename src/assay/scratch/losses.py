"""Losses: layers whose y is a scalar, the mean over the batch.

Scores that are not finite give a loss that is not, silently: a run that diverges is known by its loss.

Shape key: B examples in the batch, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import InvalidValueError, ShapeError
from assay.scratch.layer import Array, demand_floats

Labels = NDArray[Any]
"""Classes (B,), integers from 0 to K − 1; or targets (B, K), such as probabilities."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropyCache:
    """What `SoftmaxCrossEntropy` keeps: ``plain`` is the mean of −log p_y, whatever the smoothing; runs report it."""

    log_p_BK: Array
    y: Labels
    plain: Array


@dataclass(frozen=True, kw_only=True)
class SoftmaxCrossEntropy:
    """Cross-entropy of softmax probabilities p, in nats, with label smoothing (Szegedy et al. 2016, arXiv:1512.00567).

    The loss is the mean over the batch of −Σ_k t_k·log p_k, where t = (1 − ε)·y + ε/K, and y is the class as a
    one-hot vector, or a vector of probabilities. Its gradient with respect to the logits of one example is
    (p·Σ_k t_k − t)/B; probabilities sum to 1, but as in torch nothing demands it.

    Args:
        label_smoothing: ε, from 0 to 1.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise InvalidValueError(
                ("SoftmaxCrossEntropy", "label_smoothing"), f"must lie in 0 to 1, got {self.label_smoothing}."
            )

    def forward(self, logits_BK: Array, y: Labels) -> tuple[Array, CrossEntropyCache]:
        """Return (loss, cache); the loss is an array without axes, in the logits' type.

        Raises:
            ShapeError: labels are neither classes (B,) from 0 to K − 1, nor probabilities (B, K).
        """
        _demand_labels("SoftmaxCrossEntropy", logits_BK, y)
        log_p_BK = log_softmax(logits_BK)
        plain = loss = cross_entropy_of(log_p_BK, y)
        if self.label_smoothing:
            with np.errstate(over="ignore", invalid="ignore"):
                towards_all = -np.mean(log_p_BK)
                loss = np.asarray((1.0 - self.label_smoothing) * plain + self.label_smoothing * towards_all)
        return loss, CrossEntropyCache(log_p_BK=log_p_BK, y=y, plain=plain)

    def backward(self, dloss: Array | float, cache: CrossEntropyCache) -> tuple[Array]:
        """Return (dlogits_BK,)."""
        examples, classes = cache.log_p_BK.shape
        target_BK = targets_of(cache.y, classes, cache.log_p_BK.dtype)
        if self.label_smoothing:
            target_BK = (1.0 - self.label_smoothing) * target_BK + self.label_smoothing / classes
        dlogits_BK = np.exp(cache.log_p_BK)
        dlogits_BK *= target_BK.sum(axis=1, keepdims=True)
        dlogits_BK -= target_BK
        dlogits_BK *= dloss / examples
        return (dlogits_BK,)


@dataclass(frozen=True, kw_only=True)
class SquaredErrorCache:
    """What `SquaredError` keeps: ``plain`` is the loss, under the name that runs report it by."""

    residual_BK: Array
    plain: Array


@dataclass(frozen=True, kw_only=True)
class SquaredError:
    """The squared distance of scores to targets, the one-hot vectors of classes unless given, over B·K.

    It is the mean over all values, as torch's ``mse_loss(scores, one_hot)``: 1/K of the mean squared distance of an
    example to its target.
    """

    def forward(self, scores_BK: Array, y: Labels) -> tuple[Array, SquaredErrorCache]:
        """Return (loss, cache); the loss is an array without axes, in the scores' type.

        Raises:
            ShapeError: labels are neither classes (B,) from 0 to K − 1, nor targets (B, K).
        """
        _demand_labels("SquaredError", scores_BK, y)
        with np.errstate(over="ignore", invalid="ignore"):
            residual_BK = scores_BK - targets_of(y, scores_BK.shape[1], scores_BK.dtype)
            loss = np.asarray(np.mean(residual_BK * residual_BK))
        return loss, SquaredErrorCache(residual_BK=residual_BK, plain=loss)

    def backward(self, dloss: Array | float, cache: SquaredErrorCache) -> tuple[Array]:
        """Return (dscores_BK,)."""
        dscores_BK = 2.0 * cache.residual_BK
        dscores_BK *= dloss / dscores_BK.size
        return (dscores_BK,)


def log_softmax(logits_BK: Array) -> Array:
    """log p, where p_k = exp(logit_k)/Σ_j exp(logit_j).

    The largest logit is subtracted first, which changes no p: no exponential then exceeds 1, and their sum is at least
    1, so that neither can overflow nor the logarithm meet 0. A row that holds +∞ or not-a-number is not-a-number.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        log_p_BK: Array = logits_BK - logits_BK.max(axis=1, keepdims=True)
        log_p_BK -= np.log(np.exp(log_p_BK).sum(axis=1, keepdims=True))
    return log_p_BK


def cross_entropy_of(log_p_BK: Array, y: Labels) -> Array:
    """The mean over the batch of −log p_y, or of −Σ_k y_k·log p_k where labels are probabilities."""
    with np.errstate(over="ignore", invalid="ignore"):
        if y.ndim == 1:
            return np.asarray(-np.mean(log_p_BK[np.arange(len(y)), y]))
        return np.asarray(-np.mean((log_p_BK * y.astype(log_p_BK.dtype, copy=False)).sum(axis=1)))


def targets_of(y: Labels, classes: int, dtype: np.dtype[Any]) -> Array:
    """Labels as (B, K): classes as one-hot vectors, targets as they are."""
    if y.ndim == 2:
        return y.astype(dtype, copy=False)
    one_hot_BK = np.zeros((len(y), classes), dtype)
    one_hot_BK[np.arange(len(y)), y] = 1.0
    return one_hot_BK


def _demand_labels(layer: str, scores_BK: Array, y: Labels) -> None:
    if scores_BK.ndim != 2 or scores_BK.size == 0:
        raise ShapeError(f"{layer} needs scores of shape (B, K), B and K at least 1, got {scores_BK.shape}.")
    demand_floats(layer, scores_BK)
    examples, classes = scores_BK.shape
    if y.shape == (examples, classes):
        return
    if y.shape != (examples,) or y.dtype.kind not in "iu":
        raise ShapeError(
            f"{layer} needs labels of shape ({examples},), integers, or ({examples}, {classes}), got {y.dtype} of "
            f"shape {y.shape}."
        )
    if y.min() < 0 or y.max() >= classes:
        raise ShapeError(f"{layer} needs classes from 0 to {classes - 1}, got {y.min()} to {y.max()}.")
