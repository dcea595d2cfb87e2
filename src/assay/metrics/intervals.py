"""Intervals over examples: what another test set of the same size would move.

A run's figure is a mean over the examples it was measured on, or a smooth function of such means. Its spread over
examples is that of its influence values: how much one example more or less moves it (Hampel 1974, "The influence curve
and its role in robust estimation", JASA 69:383). For a mean they are the deviations from it, and the interval is the
usual one. Examples are taken for independent draws; the model is held fixed.

Shape key: N examples.
"""

from __future__ import annotations

import math

from scipy.special import ndtri

from assay.metrics.evaluation import Estimated
from assay.records import Array

LEVEL = 0.05
"""Probability that an interval misses."""


def standard_error(influence_N: Array) -> float:
    """Standard deviation of a figure over samples of N examples, from its influence values; infinite of one."""
    examples = len(influence_N)
    if examples < 2:
        return math.inf
    return math.sqrt(float(influence_N @ influence_N) / (examples * (examples - 1)))


def proportion(value: float, influence_N: Array, *, trials: float | None = None) -> Estimated:
    """A figure between 0 and 1, with the interval of Wilson (1927, JASA 22:209) for as many trials as would give a
    proportion of that value its standard error. For a plain share of the examples that is Wilson's own interval.

    Args:
        value: the figure.
        influence_N: its influence values.
        trials: how many trials stand behind it where nothing varies, as when all is right; the examples by default.
    """
    error, certain = standard_error(influence_N), float(len(influence_N)) if trials is None else trials
    spread = value * (1.0 - value)
    if spread > 0.0 and error > 0.0:
        # N/(N − 1) apart, the number of examples where the figure is a share of them.
        effective = spread / (error * error) * len(influence_N) / max(len(influence_N) - 1, 1)
    else:
        effective = certain
    return wilson(value, effective)


def wilson(value: float, trials: float) -> Estimated:
    """Wilson's score interval of a proportion, also of a number of trials that is not whole."""
    if not trials > 0.0:
        return Estimated(value=value, low=0.0, high=1.0)
    z = -float(ndtri(LEVEL / 2))
    shrink = 1.0 + z * z / trials
    centre = (value + z * z / (2.0 * trials)) / shrink
    half = z * math.sqrt(value * (1.0 - value) / trials + z * z / (4.0 * trials * trials)) / shrink
    # At 0 and at 1 the end is the value itself, which rounding may miss.
    return Estimated(value=value, low=min(max(centre - half, 0.0), value), high=max(min(centre + half, 1.0), value))


def mean_of(values_N: Array) -> Estimated:
    """The mean of a figure that each example has for itself, with the normal interval; it cannot fall below 0 where no
    value does."""
    value = float(values_N.mean())
    half = -float(ndtri(LEVEL / 2)) * standard_error(values_N - value)
    low = value - half
    return Estimated(value=value, low=max(low, 0.0) if float(values_N.min()) >= 0.0 else low, high=value + half)
