"""Influence values: how much one example more moves a figure that is no plain mean.

Each function gives, for every example i, the derivative of the figure in the weight of i, scaled so that the values
have mean 0 and their standard deviation over √N is the figure's standard error (the infinitesimal jackknife; Efron
1982, chapter 6).

Shape key: N examples, C classes, P examples of the class in question, Q all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.records import Array

Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Area:
    """An area under a ROC curve, with its influence values."""

    value: float
    influence_N: Array


def of_balanced_accuracy(labels_N: Labels, correct_N: NDArray[np.bool_], classes: int) -> Array:
    """Of the mean recall of the classes that labels have."""
    support_C = np.bincount(labels_N, minlength=classes)
    recall_C = np.bincount(labels_N, weights=correct_N, minlength=classes) / np.maximum(support_C, 1)
    deviation_N: Array = (correct_N - recall_C[labels_N]) * len(labels_N) / support_C[labels_N]
    return deviation_N / np.count_nonzero(support_C)


def of_f1(labels_N: Labels, predicted_N: Labels, at: int) -> Array:
    """Of one class's F1 = 2 TP / (examples of it + examples taken for it)."""
    is_it_N, taken_N = labels_N == at, predicted_N == at
    either = int(is_it_N.sum()) + int(taken_N.sum())
    if not either:
        return np.zeros(len(labels_N))
    both_N = is_it_N & taken_N
    f1 = 2.0 * int(both_N.sum()) / either
    influence_N: Array = len(labels_N) / either * (2.0 * both_N - f1 * is_it_N - f1 * taken_N)
    return influence_N


def of_macro_f1(labels_N: Labels, predicted_N: Labels, classes: int) -> Array:
    """Of the mean F1 of the classes that occur."""
    own_C, taken_C, both_C = _counts(labels_N, predicted_N, classes)
    either_C = own_C + taken_C
    occurring = int(np.count_nonzero(either_C))
    return _of_weighted_f1s(labels_N, predicted_N, either_C, both_C, (either_C > 0) / occurring)


def of_weighted_f1(labels_N: Labels, predicted_N: Labels, classes: int) -> Array:
    """Of the mean F1 of all classes, each as heavy as its share of the examples, which varies too."""
    own_C, taken_C, both_C = _counts(labels_N, predicted_N, classes)
    either_C, share_C = own_C + taken_C, own_C / len(labels_N)
    f1_C = 2.0 * both_C / np.maximum(either_C, 1)
    by_score_N = _of_weighted_f1s(labels_N, predicted_N, either_C, both_C, share_C)
    by_weight_N: Array = f1_C[labels_N] - float(share_C @ f1_C)
    return by_score_N + by_weight_N


def of_roc_auc(scores_N: Array, is_it_N: NDArray[np.bool_]) -> Area:
    """Of the area under one class's ROC curve, and the area itself: the structural components of DeLong et al. (1988,
    Biometrics 44:837), a tie counting half. The class has examples, and so have the others."""
    score_P, score_Q = scores_N[is_it_N], scores_N[~is_it_N]
    above_P = _share_below(score_P, score_Q)
    below_Q = 1.0 - _share_below(score_Q, score_P)
    area = float(above_P.mean())
    influence_N = np.empty(len(scores_N))
    influence_N[is_it_N] = (above_P - area) * (len(scores_N) / len(score_P))
    influence_N[~is_it_N] = (below_Q - area) * (len(scores_N) / len(score_Q))
    return Area(value=area, influence_N=influence_N)


def _share_below(values: Array, others: Array) -> Array:
    """For each value the share of others below it, equal ones counting half."""
    ordered = np.sort(others)
    below, up_to = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    share: Array = (below + up_to) / (2.0 * len(others))
    return share


def _counts(labels_N: Labels, predicted_N: Labels, classes: int) -> tuple[Array, Array, Array]:
    """Examples of each class, examples taken for it, and those that are both; one taken for no class counts nowhere."""
    correct_N = labels_N == predicted_N
    return (
        np.bincount(labels_N, minlength=classes),
        np.bincount(predicted_N[predicted_N >= 0], minlength=classes),
        np.bincount(labels_N[correct_N], minlength=classes),
    )


def _of_weighted_f1s(labels_N: Labels, predicted_N: Labels, either_C: Array, both_C: Array, weight_C: Array) -> Array:
    """Of the sum of classes' F1, each times its weight: of every example only its own class and the one that it was
    taken for matter."""
    scale_C = weight_C * len(labels_N) / np.maximum(either_C, 1)
    f1_C = 2.0 * both_C / np.maximum(either_C, 1)
    taken_N = predicted_N >= 0
    influence_N: Array = -(scale_C * f1_C)[labels_N]
    influence_N -= np.where(taken_N, (scale_C * f1_C)[predicted_N], 0.0)
    influence_N += 2.0 * np.where(labels_N == predicted_N, scale_C[labels_N], 0.0)
    return influence_N
