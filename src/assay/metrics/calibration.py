"""Whether a model's confidence is worth what it says.

Shape key: N examples, C classes, B bins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.metrics.evaluation import Estimated, Reliability
from assay.metrics.intervals import proportion
from assay.records import Array

BINS = 15
"""As in Guo et al. 2017."""


def reliability(confidence_N: Array, correct_N: NDArray[np.bool_], *, bins: int = BINS) -> Reliability:
    """The reliability diagram of a model (DeGroot and Fienberg 1983).

    Args:
        confidence_N: probability of the class that each example was taken for.
        correct_N: whether it was the right one.
        bins: how many.
    """
    bin_N = _bins_of(confidence_N, bins)
    counts_B = np.bincount(bin_N, minlength=bins)
    at_least_one_B = np.maximum(counts_B, 1)
    confidence_B = np.bincount(bin_N, weights=confidence_N, minlength=bins) / at_least_one_B
    accuracy_B = np.bincount(bin_N, weights=correct_N, minlength=bins) / at_least_one_B
    return Reliability(
        counts=tuple(counts_B.tolist()), confidence=tuple(confidence_B.tolist()), accuracy=tuple(accuracy_B.tolist())
    )


def calibration_error(confidence_N: Array, correct_N: NDArray[np.bool_], *, bins: int = BINS) -> Estimated:
    """Expected calibration error: how far confidence and accuracy of a bin lie apart, averaged over the examples
    (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599).

    It is biased upward, as every spread within a bin counts: a perfectly calibrated model has about
    ``sqrt(bins / N) / 3``. The interval says how it spreads over examples and does not take the bias off.
    """
    bin_N = _bins_of(confidence_N, bins)
    excess_N = confidence_N - correct_N
    sign_B = np.sign(np.bincount(bin_N, weights=excess_N, minlength=bins))
    counted_N = sign_B[bin_N] * excess_N
    value = min(max(float(counted_N.mean()), 0.0), 1.0)
    return proportion(value, counted_N - value)


def _bins_of(confidence_N: Array, bins: int) -> NDArray[np.int64]:
    """The bin of each example: the first one from 0 to and with 1/bins."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_N: NDArray[np.int64] = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, bins - 1)
    return bin_N
