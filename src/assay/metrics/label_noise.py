"""How many labels look as if they had been drawn at random, judged by a model's predictions of held-out examples.

A label is taken to come from the model's probabilities, made sharper or flatter by one exponent (temperature scaling,
Guo et al. 2017, arXiv:1706.04599), or, in a share of cases, from all classes alike. Exponent and share are those of
greatest likelihood. Confusions of alike classes are explained by the probabilities, over-confidence by the exponent;
what neither explains are labels to which the model gives next to nothing, more often than it errs so.

Shape key: N examples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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

    Of more than 5,000 examples, so many are looked at.

    Args:
        probabilities_NC: finite, of examples that the model was not trained on; at least one, of two classes or more.
        labels_N: theirs.
    """
    log_NC, labels_N = _logarithms(probabilities_NC, labels_N)
    uniform_N = np.full(len(labels_N), 1.0 / log_NC.shape[1])
    found = _likeliest(log_NC, labels_N, uniform_N)
    return RandomLabels(
        share=found.share, sharpness=found.exponent, gain=max(0.0, found.likelihood - found.without_share)
    )


def known_of_labels(probabilities_NC: Array, labels_N: Array) -> float:
    """By how many nats all labels together are likelier by a model's probabilities than by the classes' frequencies.

    The probabilities are sharpened or flattened, and mixed with the frequencies, as fits best; so it is 0 or more.
    Where labels have nothing to do with what was predicted it is seldom above 4, however many there are: it tells a
    model that knows a little from one that knows nothing long before accuracy does.

    Args:
        probabilities_NC: as in `random_labels`.
        labels_N: theirs.
    """
    log_NC, labels_N = _logarithms(probabilities_NC, labels_N)
    frequency_C = np.bincount(labels_N, minlength=log_NC.shape[1]) / len(labels_N)
    frequency_N = frequency_C[labels_N]
    return max(0.0, _likeliest(log_NC, labels_N, frequency_N).likelihood - float(np.log(frequency_N).sum()))


@dataclass(frozen=True, kw_only=True)
class _Mixture:
    exponent: float
    share: float
    likelihood: float
    """Logarithms, like the next."""
    without_share: float
    """The greatest of a mixture that consists of the probabilities alone."""


def _logarithms(probabilities_NC: Array, labels_N: Array) -> tuple[Array, Array]:
    if len(labels_N) > _MOST_EXAMPLES:
        # At random, as evenly spread ones may be in step with how the examples are ordered.
        chosen = np.random.default_rng(0).choice(len(labels_N), _MOST_EXAMPLES, replace=False)
        probabilities_NC, labels_N = probabilities_NC[chosen], labels_N[chosen]
    return np.log(np.maximum(probabilities_NC.astype(np.float64), _LEAST)), labels_N


def _likeliest(log_NC: Array, labels_N: Array, other_N: Array) -> _Mixture:
    """Of the labels, by the sharpened probabilities and, in a share of cases, by ``other_N``."""
    coarse = [_fitted(log_NC, labels_N, other_N, float(exponent)) for exponent in np.geomspace(0.05, 20.0, 25)]
    best = max(coarse, key=lambda found: found.likelihood)
    step = coarse[1].exponent / coarse[0].exponent
    exponents = np.geomspace(best.exponent / step, best.exponent * step, 9)
    finer = [_fitted(log_NC, labels_N, other_N, float(exponent)) for exponent in exponents]
    best = max(finer, key=lambda found: found.likelihood)
    return replace(best, without_share=max(found.without_share for found in (*coarse, *finer)))


def _fitted(log_NC: Array, labels_N: Array, other_N: Array, exponent: float) -> _Mixture:
    """With the share of greatest likelihood for that exponent."""
    log_own_N = _own(log_NC, labels_N, exponent)
    own_N = np.exp(log_own_N)
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):  # the likelihood is concave in the share
        share = (low + high) / 2
        slope = float(((other_N - own_N) / (share * other_N + (1.0 - share) * own_N)).sum())
        low, high = (share, high) if slope > 0 else (low, share)
    share = (low + high) / 2
    likelihood = float(np.log(share * other_N + (1.0 - share) * own_N).sum())
    return _Mixture(exponent=exponent, share=share, likelihood=likelihood, without_share=float(log_own_N.sum()))


def _own(log_NC: Array, labels_N: Array, exponent: float) -> Array:
    """Logarithms of the labels' probabilities after sharpening."""
    scaled_NC = exponent * log_NC
    top_N = scaled_NC.max(axis=1)
    norm_N = top_N + np.log(np.exp(scaled_NC - top_N[:, None]).sum(axis=1))
    own_N: Array = scaled_NC[np.arange(len(labels_N)), labels_N] - norm_N
    return own_N
