"""How many seeds an answer needs, and how small an effect a number of seeds can show.

All functions speak of one claim's interval at one look, at the error level that look spends. Intersecting with earlier
looks only narrows it, so the chances given here are slightly on the low side. They assume Gaussian effects.
Planning seeds by power rather than by habit follows Bouthillier et al. 2021, arXiv:2103.03098.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import chdtri, gammainc, gammaincinv, nctdtr, nctdtrinc, ndtr, stdtrit

from assay.studies.looks import LOOKS, level_of_look, look_reached, looks

POWER = 0.8
"""Chance of an answer that a number of seeds is asked to give."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


def chance_to_exclude_zero(effect: float, deviation: float, pairs: int, level: float) -> float:
    """Chance that the interval of ``pairs`` pairs lies wholly on the right side of zero at a true ``effect`` above 0.

    T = √n · mean/s has a noncentral t distribution with n − 1 degrees of freedom and noncentrality √n · effect/σ.

    Args:
        effect: true mean of the paired effects, in any unit.
        deviation: true standard deviation σ of single effects, above 0, in the same unit.
        pairs: n, at least 3.
        level: error probability of the two-sided interval.
    """
    degrees = pairs - 1
    noncentrality = math.sqrt(pairs) * effect / deviation
    miss = float(nctdtr(degrees, noncentrality, -stdtrit(degrees, level / 2)))
    # SciPy gives NaN at some large noncentralities, all of them (measured) where a miss has no chance to the last bit.
    return 1.0 if math.isnan(miss) else 1.0 - miss


def chance_inside_margin(margin: float, deviation: float, pairs: int, level: float) -> float:
    """Chance that the interval of ``pairs`` pairs fits inside [−margin, margin] when the true effect is 0.

    Given s, the mean has to stay within margin − t·s/√n of zero, so the chance is the expectation over s of
    (2Φ(√n·margin/σ − t·s/σ) − 1)⁺. Gaussian effects have s independent of the mean with (n−1)s²/σ² ~ χ²(n−1); the
    expectation is a smooth integral over the quantiles of s up to the point where the interval is too long to fit
    (Owen 1965, Biometrika 52:437, treats the same integral), taken by 48-point Gauss–Legendre quadrature.

    Args:
        margin: largest effect that does not matter, above 0.
        deviation: true standard deviation σ, above 0.
        pairs: n, at least 2.
        level: error probability of the two-sided interval.
    """
    half_degrees = (pairs - 1) / 2
    critical = -float(stdtrit(pairs - 1, level / 2))
    reach = math.sqrt(pairs) * margin / deviation
    fits = float(gammainc(half_degrees, half_degrees * (reach / critical) ** 2))
    quantiles = fits * (_NODES + 1) / 2
    s_over_sigma = np.sqrt(gammaincinv(half_degrees, quantiles) / half_degrees)
    inside = 2 * ndtr(np.maximum(reach - critical * s_over_sigma, 0.0)) - 1
    return float(fits * (_WEIGHTS * inside).sum() / 2)


def upper_deviation(deviation: float, pairs: int, confidence: float = 0.8) -> float:
    """Upper confidence bound of a standard deviation: s · √((n−1)/χ²), χ² at its lower 1 − ``confidence`` quantile.

    A deviation from few pairs is too small about as often as too large; planning with the bound keeps the promised
    power in at least 80 % of studies. Assumes Gaussian effects.

    Args:
        deviation: s, with divisor n − 1.
        pairs: n, at least 2.
        confidence: chance that the bound is above the truth.
    """
    degrees = pairs - 1
    return deviation * math.sqrt(degrees / float(chdtri(degrees, confidence)))


def level_at(seeds: int, *, at_least: int, claims: int) -> float | None:
    """Error level of one claim at the first look with at least ``seeds`` seeds; None beyond the last look there is."""
    number = look_reached(seeds, at_least)
    return None if number is None else level_of_look(number, claims)


def predicted_seeds(
    deviation: float, margin: float, *, at_least: int, claims: int, beyond: int = 0, power: float = POWER
) -> int | None:
    """Smallest number of seeds that will probably settle a claim, whichever way it goes.

    Asks for `chance_to_exclude_zero` at a true effect of one margin and `chance_inside_margin` at a true effect of 0
    both to be at least ``power``, at the error level of the look that many seeds reach.

    Args:
        deviation: standard deviation of single paired effects, above 0.
        margin: largest effect that does not matter, above 0, in the same unit.
        at_least: seeds before the study's first look; the answer is no smaller.
        claims: how many claims share the error allowance.
        beyond: seeds that are there already; the answer is larger.
        power: the chance asked for.

    Returns:
        None when even the last of `LOOKS` would not do.
    """

    def enough(pairs: int, level: float) -> bool:
        return (
            chance_to_exclude_zero(margin, deviation, pairs, level) >= power
            and chance_inside_margin(margin, deviation, pairs, level) >= power
        )

    low = max(beyond, at_least - 1, LOOKS[0] - 1)
    for high in LOOKS:
        level = level_at(high, at_least=at_least, claims=claims)
        if high <= low or level is None:
            continue
        if enough(high, level):
            while high - low > 1:  # between two looks the level is fixed and both chances rise with the seeds
                middle = (low + high) // 2
                low, high = (low, middle) if enough(middle, level) else (middle, high)
            return high
        low = high
    return None


def smallest_detectable_effect(deviation: float, seeds: int, level: float, power: float = POWER) -> float:
    """The true effect at which an interval of ``seeds`` pairs excludes zero with probability ``power``.

    Solves `chance_to_exclude_zero` for the effect.

    Args:
        deviation: standard deviation σ of single paired effects; 1 gives the answer in units of σ.
        seeds: pairs, at least 3.
        level: error probability of the two-sided interval.
        power: the chance asked for, between 0 and 1.
    """
    degrees = seeds - 1
    noncentrality = nctdtrinc(degrees, 1.0 - power, -stdtrit(degrees, level / 2))
    return deviation * float(noncentrality) / math.sqrt(seeds)


def smallest_effect_at(at_least: int, at_most: int, claims: int, deviation: float = 1.0) -> float | None:
    """Smallest effect a study can show with 80 % power by its last look; None for a study without a look.

    Before a study starts nobody knows the deviation: left at 1, the answer is in units of the standard deviation of
    the paired effects.

    >>> round(smallest_effect_at(3, 20, claims=2), 2)
    1.0
    """
    times = looks(at_least, at_most)
    if not times:
        return None
    return smallest_detectable_effect(deviation, times[-1], level_of_look(len(times), claims))
