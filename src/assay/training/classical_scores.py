"""Scores of models that were fitted at once, from the weights that their runs keep; `fit_at_once` says what these are.

Shape key: B examples, D values of an input, J classes that occur in training, K classes, R weight vectors, S support
vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor

from assay.recipe.schema import FittedAtOnce, LogisticRegressionModel, SvmModel
from assay.records import Array
from assay.training.evaluate import Scores


def scores_of_stored(model: FittedAtOnce, weights: Mapping[str, Array], classes: int) -> Scores:
    """Log-probabilities up to a constant: those of logistic regression; 0 for the class that a machine decides on, and
    −∞ for every other one, as for a class that does not occur in training.

    Raises:
        KeyError: an array is missing.
        ValueError: arrays do not fit together.
    """
    present_J = weights["classes"]

    def scores(x_B: Tensor) -> Tensor:
        x_BD = x_B.flatten(1).to(torch.float64).numpy()
        scores_BK = np.full((len(x_BD), classes), -np.inf)
        if isinstance(model, LogisticRegressionModel):
            scores_BK[:, present_J] = _linear(x_BD, weights)
        else:
            votes_BJ = _votes(x_BD, weights) if _is_rbf(model) else _linear(x_BD, weights)
            scores_BK[np.arange(len(x_BD)), present_J[votes_BJ.argmax(axis=1)]] = 0.0
        return torch.from_numpy(scores_BK)

    scores(torch.zeros(1, _inputs_of(model, weights)))  # finds now what does not fit
    return scores


def _inputs_of(model: FittedAtOnce, weights: Mapping[str, Array]) -> int:
    """How many values an input has."""
    return int(weights["support_vectors" if _is_rbf(model) else "coefficients"].shape[1])


def _is_rbf(model: FittedAtOnce) -> bool:
    return isinstance(model, SvmModel) and model.kernel == "rbf"


def _linear(x_BD: Array, weights: Mapping[str, Array]) -> Array:
    """x·w + b for each class; of two, the second one's over the first one's."""
    scores_BR: Array = x_BD @ weights["coefficients"].T + weights["intercepts"]
    return np.hstack([np.zeros_like(scores_BR), scores_BR]) if scores_BR.shape[1] == 1 else scores_BR


def _votes(x_BD: Array, weights: Mapping[str, Array]) -> NDArray[np.int64]:
    """How many pairs each class wins: LIBSVM's one against one, where the first of equals is decided on."""
    kernel_BS = np.exp(-weights["gamma"] * cdist(x_BD, weights["support_vectors"], "sqeuclidean"))
    counts_J, dual = weights["support_counts"], weights["dual_coefficients"]
    ends = np.cumsum(counts_J)
    of_class = [slice(end - count, end) for end, count in zip(ends, counts_J, strict=True)]
    votes_BJ = np.zeros((len(x_BD), len(counts_J)), dtype=np.int64)
    for (first, second), intercept in zip(combinations(range(len(counts_J)), 2), weights["intercepts"], strict=True):
        of_first, of_second = of_class[first], of_class[second]
        score_B = kernel_BS[:, of_first] @ dual[second - 1, of_first]
        score_B += kernel_BS[:, of_second] @ dual[first, of_second] + intercept
        won_B = score_B > 0 if len(counts_J) > 2 else score_B <= 0
        votes_BJ[np.arange(len(x_BD)), np.where(won_B, first, second)] += 1
    return votes_BJ
