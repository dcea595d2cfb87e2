import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.studies.looks import ALPHA, LOOKS, is_look, level_of_look, look_reached, looks, nearest_look


def test_looks_follow_the_published_grid():
    assert looks(3, 50) == (3, 5, 8, 12, 20, 32, 50)
    assert looks(8, 8) == (8,)
    assert looks(1, 2) == ()
    assert LOOKS[-1] <= 10_000 < LOOKS[-1] * 2


@given(st.integers(1, 20_000))
def test_nearest_look_is_a_look_and_none_is_nearer(seeds):
    nearest = nearest_look(seeds)
    assert is_look(nearest)
    assert all(abs(nearest - seeds) <= abs(look - seeds) for look in LOOKS)
    assert is_look(seeds) == (nearest == seeds)


@given(st.integers(1, 1000))
def test_spending_never_exceeds_alpha_however_far_a_study_is_extended(claims):
    spent = [claims * level_of_look(number, claims) for number in range(1, 2001)]
    assert math.fsum(spent) < ALPHA
    assert math.fsum(spent) == pytest.approx(ALPHA * (1 - 1 / 2001))  # the sum telescopes
    assert spent == sorted(spent, reverse=True)


@pytest.mark.parametrize(
    ("seeds", "at_least", "number"),
    [(3, 3, 1), (1, 3, 1), (4, 3, 2), (20, 3, 5), (21, 3, 6), (12, 8, 2), (2, 1, 1), (8000, 3, len(LOOKS)), (3, 8, 1)],
)
def test_look_reached_counts_from_the_studys_own_first_look(seeds, at_least, number):
    assert look_reached(seeds, at_least) == number


def test_beyond_the_last_look_there_is_none():
    assert look_reached(LOOKS[-1] + 1, at_least=3) is None


@given(st.sampled_from(LOOKS), st.sampled_from(LOOKS))
def test_look_reached_agrees_with_looks(first, last):
    if first <= last:
        assert look_reached(last, first) == len(looks(first, last))
