"""How many labels look as if they had been drawn at random, judged by a model's predictions of held-out examples.

A label is taken to come from the model's probabilities, made sharper or flatter by one exponent (temperature scaling,
Guo et al. 2017, arXiv:1706.04599), or, in a share of cases, from all classes alike. Exponent and share are those of
greatest likelihood. Confusions of alike classes are explained by the probabilities, over-confidence by the exponent;
what neither explains are labels to which the model gives next to nothing, more often than it errs so.

Shape key: N examples, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from assay.records import Array

_MOST_EXAMPLES = 5_000
_LEAST = 1e-30
"""Probabilities below it count as so large; others would be told apart by rounding."""
_BISECTIONS = 40


@dataclass(frozen=True, kw_only=True)
class RandomLabels:
    """The estimate."""

    share: float
    """Of the labels, 0 to 1."""
    sharpness: float
    """The exponent of the probabilities; below 1 the model was too sure of itself."""
    gain: float
    """By how many nats the labels are likelier with this share than with none, all examples together."""


def random_labels(probabilities_NC: Array, labels_N: Array) -> RandomLabels:
    """Estimate the share of random labels.

    Of more than 5,000 examples, as many are looked at.

    Args:
        probabilities_NC: finite, of examples that the model was not trained on; at least one, of two classes or more.
        labels_N: theirs.
    """
    if len(labels_N) > _MOST_EXAMPLES:
        # At random, as evenly spread ones may be in step with how the examples are ordered.
        chosen = np.random.default_rng(0).choice(len(labels_N), _MOST_EXAMPLES, replace=False)
        probabilities_NC, labels_N = probabilities_NC[chosen], labels_N[chosen]
    log_NC = np.log(np.maximum(probabilities_NC.astype(np.float64), _LEAST))
    coarse = np.geomspace(0.05, 20.0, 25)
    best = max((_fitted(log_NC, labels_N, exponent) for exponent in coarse), key=lambda found: found[2])
    step = coarse[1] / coarse[0]
    finer = np.geomspace(best[0] / step, best[0] * step, 9)
    sharpness, share, likelihood = max(
        (_fitted(log_NC, labels_N, exponent) for exponent in finer), key=lambda found: found[2]
    )
    without = max(float(_own(log_NC, labels_N, exponent).sum()) for exponent in np.concatenate([coarse, finer]))
    return RandomLabels(share=share, sharpness=float(sharpness), gain=max(0.0, likelihood - without))


def _own(log_NC: Array, labels_N: Array, exponent: float) -> Array:
    """Logarithms of the labels' probabilities after sharpening."""
    scaled_NC = exponent * log_NC
    top_N = scaled_NC.max(axis=1)
    norm_N = top_N + np.log(np.exp(scaled_NC - top_N[:, None]).sum(axis=1))
    own_N: Array = scaled_NC[np.arange(len(labels_N)), labels_N] - norm_N
    return own_N


def _fitted(log_NC: Array, labels_N: Array, exponent: float) -> tuple[float, float, float]:
    """The exponent, the share of greatest likelihood for it, and the logarithm of that likelihood."""
    own_N = np.exp(_own(log_NC, labels_N, exponent))
    uniform = 1.0 / log_NC.shape[1]
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):  # the likelihood is concave in the share
        share = (low + high) / 2
        slope = float(((uniform - own_N) / (share * uniform + (1.0 - share) * own_N)).sum())
        low, high = (share, high) if slope > 0 else (low, share)
    share = (low + high) / 2
    likelihood = float(np.log(np.maximum(share * uniform + (1.0 - share) * own_N, _LEAST)).sum())
    return exponent, share, likelihood if math.isfinite(likelihood) else -math.inf
