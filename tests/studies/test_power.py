import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.studies.looks import LOOKS, level_of_look, look_reached
from assay.studies.power import (
    chance_inside_margin,
    chance_to_exclude_zero,
    level_at,
    predicted_seeds,
    smallest_detectable_effect,
    smallest_effect_at,
    upper_deviation,
)

CASES = pytest.mark.parametrize("pairs", [3, 5, 20, 200])
LEVELS = pytest.mark.parametrize("level", [0.05, 0.0025, 2e-5])


def expectation_over_deviation(chance, pairs, end=math.inf):
    """∫ chance(s) over the density of s for σ = 1, up to ``end``; an independent road to the same numbers."""
    chi = scipy.stats.chi(pairs - 1, scale=1 / math.sqrt(pairs - 1))
    start, end = chi.ppf(1e-13), min(end, chi.isf(1e-13))
    if end <= start:
        return 0.0
    value, error = scipy.integrate.quad(lambda s: chi.pdf(s) * chance(s), start, end, limit=500)
    assert error < 1e-6
    return value


@CASES
@LEVELS
@pytest.mark.parametrize("ratio", [0.1, 0.7, 3.0, 50.0])
def test_chance_to_exclude_zero_is_the_power_of_the_t_test(pairs, level, ratio):
    reach, critical = math.sqrt(pairs) * ratio, scipy.stats.t.isf(level / 2, pairs - 1)
    reference = expectation_over_deviation(lambda s: scipy.stats.norm.cdf(reach - critical * s), pairs)
    assert chance_to_exclude_zero(2 * ratio, 2.0, pairs, level) == pytest.approx(reference, abs=1e-5)


@pytest.mark.parametrize("pairs", [3, 4, 5, 8, 12, 20, 33, 50, 80, 120, 200, 500, 2000, 8000])
@LEVELS
def test_chance_to_exclude_zero_rises_to_one_and_is_never_lost(pairs, level):
    chances = [chance_to_exclude_zero(effect, 1.0, pairs, level) for effect in np.geomspace(1e-3, 1e9, 400)]
    assert chances[-1] == 1.0
    assert (np.diff(chances) >= -1e-9).all()


@CASES
@LEVELS
@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0, 50.0])
def test_chance_inside_margin_is_the_integral_over_the_deviation(pairs, level, ratio):
    reach, critical = math.sqrt(pairs) * ratio, scipy.stats.t.isf(level / 2, pairs - 1)
    reference = expectation_over_deviation(
        lambda s: 2 * scipy.stats.norm.cdf(reach - critical * s) - 1, pairs, end=reach / critical
    )
    assert chance_inside_margin(3 * ratio, 3.0, pairs, level) == pytest.approx(reference, abs=2e-4)


@CASES
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_upper_deviation_is_above_the_truth_as_often_as_it_says(pairs, confidence):
    rng = np.random.default_rng(5)
    s = 2.0 * np.sqrt(rng.chisquare(pairs - 1, size=20_000) / (pairs - 1))
    factor = upper_deviation(1.0, pairs, confidence)
    assert np.mean(s * factor > 2.0) == pytest.approx(confidence, abs=0.015)
    assert upper_deviation(3.0, pairs, confidence) == pytest.approx(3 * factor)


@CASES
@LEVELS
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_smallest_detectable_effect_has_just_that_power(pairs, level, power):
    effect = smallest_detectable_effect(0.02, pairs, level, power)
    assert chance_to_exclude_zero(effect, 0.02, pairs, level) == pytest.approx(power, abs=1e-4)


def test_smallest_effect_at_uses_the_level_of_the_last_look():
    expected = smallest_detectable_effect(1.0, 20, level_of_look(5, 10))
    assert smallest_effect_at(3, 20, claims=10) == pytest.approx(expected)
    assert smallest_effect_at(3, 20, claims=10, deviation=0.01) == pytest.approx(0.01 * expected)
    assert smallest_effect_at(1, 2, claims=10) is None


@settings(deadline=None, max_examples=60)
@given(st.floats(0.15, 30.0), st.sampled_from([1, 3, 8, 20]), st.integers(1, 12), st.sampled_from([0, 3, 8, 20, 50]))
def test_predicted_seeds_are_enough_and_one_fewer_is_not(ratio, at_least, claims, beyond):
    seeds = predicted_seeds(1.0, ratio, at_least=at_least, claims=claims, beyond=beyond)

    def chances(pairs):
        level = level_of_look(look_reached(pairs, at_least), claims)
        return chance_to_exclude_zero(ratio, 1.0, pairs, level), chance_inside_margin(ratio, 1.0, pairs, level)

    assert seeds is not None
    assert seeds > beyond
    assert seeds >= max(at_least, 3)
    assert min(chances(seeds)) >= 0.8
    if seeds - 1 > beyond and seeds - 1 >= max(at_least, 3):
        assert min(chances(seeds - 1)) < 0.8


def test_predicted_seeds_scale_with_the_unit_and_give_up_beyond_the_last_look():
    assert predicted_seeds(0.004, 0.01, at_least=3, claims=2) == predicted_seeds(0.4, 1.0, at_least=3, claims=2)
    assert predicted_seeds(1.0, 0.01, at_least=3, claims=10) is None
    assert predicted_seeds(1e-17, 1.0, at_least=3, claims=10, beyond=5) == 6


def test_level_at_is_that_of_the_next_look():
    assert level_at(13, at_least=3, claims=2) == level_of_look(5, 2)
    assert level_at(LOOKS[-1] + 1, at_least=3, claims=2) is None
