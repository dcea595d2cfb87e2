import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from assay.studies.intervals import Outcome, decide, descriptive_interval, student_interval
from assay.studies.looks import level_of_look, looks

EFFECTS = arrays(np.float64, st.integers(2, 40), elements=st.floats(-1, 1, width=32))


@given(EFFECTS, st.floats(1e-6, 0.5))
def test_student_interval_is_the_textbook_one(effects_P, level):
    effects_P = np.append(effects_P, [0.5, -0.25])  # never all equal
    estimate = student_interval(effects_P, level)
    low, high = scipy.stats.t.interval(1 - level, effects_P.size - 1, effects_P.mean(), scipy.stats.sem(effects_P))
    assert estimate.low == pytest.approx(low, rel=1e-7, abs=1e-9)
    assert estimate.high == pytest.approx(high, rel=1e-7, abs=1e-9)
    assert estimate.mean == pytest.approx(effects_P.mean(), abs=1e-12)
    assert estimate.deviation == pytest.approx(effects_P.std(ddof=1))
    assert estimate.count == effects_P.size


def test_the_deviation_is_floored():
    estimate = student_interval([0.0, 0.0, 0.0], 0.05, floor=1 / 360)
    assert estimate.deviation == 1 / 360
    assert estimate.high == pytest.approx(scipy.stats.t.ppf(0.975, 2) / 360 / np.sqrt(3))
    wide = student_interval([0.5, 0.0, -0.5], 0.05, floor=1 / 360)
    assert wide.deviation == pytest.approx(0.5)


def test_dropped_pairs_are_left_out():
    with_gaps = student_interval([np.nan, 0.1, 0.3, np.nan, 0.2], 0.01)
    without = student_interval([0.1, 0.3, 0.2], 0.01)
    assert with_gaps.count == 3
    assert (with_gaps.low, with_gaps.high) == pytest.approx((float(without.low), float(without.high)))


@pytest.mark.parametrize("effects_P", [[], [np.nan, np.nan], [0.2], [np.nan, 0.2]])
def test_fewer_than_two_pairs_tell_nothing(effects_P):
    estimate = student_interval(effects_P, 0.05)
    assert (estimate.low, estimate.high) == (-np.inf, np.inf)
    assert np.isnan(estimate.deviation)
    assert np.isnan(estimate.mean) == (estimate.count == 0)


def test_leading_axes_are_independent_rows():
    rng = np.random.default_rng(11)
    effects_KCP = rng.normal(0.5, 1, size=(4, 3, 20))
    effects_KCP[1, 2, 4] = np.nan
    margin_C = np.array([0.2, np.nan, 3.0])
    together = decide(effects_KCP, looks(3, 20), claims=3, floor=0.1, margin=margin_C)
    for k, c in np.ndindex(4, 3):
        alone = decide(effects_KCP[k, c], looks(3, 20), claims=3, floor=0.1, margin=margin_C[c])
        assert together.outcome[k, c] == alone.outcome
        assert together.seeds[k, c] == alone.seeds
        assert together.estimate.mean[k, c] == pytest.approx(float(alone.estimate.mean))
        assert (together.low[k, c], together.high[k, c]) == pytest.approx((float(alone.low), float(alone.high)))


def test_decision_interval_is_the_intersection_over_looks():
    effects_P = np.array([0.1, -0.1, 0.05, 9.0, -9.0, 0.2, -0.1, 0.4])  # later looks alone are far wider than the first
    decisions = decide(effects_P, (3, 5, 8), claims=2)
    alone = [student_interval(effects_P[:n], level_of_look(k, 2)) for k, n in enumerate((3, 5, 8), start=1)]
    assert decisions.low == max(e.low for e in alone) == alone[0].low
    assert decisions.high == min(e.high for e in alone) == alone[0].high
    assert decisions.estimate.low == alone[2].low
    assert (decisions.outcome, decisions.seeds) == (Outcome.OPEN, 8)
    assert decisions.level == level_of_look(3, 2)


def test_inside_the_margin_comes_before_better_than_zero():
    effects_P = [0.010, 0.011, 0.009]
    assert decide(effects_P, (3,), claims=1, margin=0.05).outcome == Outcome.INSIDE
    assert decide(effects_P, (3,), claims=1).outcome == Outcome.ABOVE
    assert decide(effects_P, (3,), claims=1, margin=0.0101).outcome == Outcome.ABOVE
    assert decide(np.negative(effects_P), (3,), claims=1, margin=0.0101).outcome == Outcome.BELOW


def test_a_decided_row_freezes():
    effects_P = np.array([1.0, 1.01, 0.99, -50.0, 70.0])
    decisions = decide(effects_P, (3, 5), claims=1)
    at_three = student_interval(effects_P[:3], level_of_look(1, 1))
    assert (decisions.outcome, decisions.seeds) == (Outcome.ABOVE, 3)
    assert (decisions.low, decisions.high, decisions.estimate.mean) == (at_three.low, at_three.high, at_three.mean)
    assert decisions.level == level_of_look(1, 1)


def test_looks_that_contradict_each_other_leave_the_row_open():
    effects_P = np.array([-1.0, 1.0, 0.0, 9999.0, 10001.0, 10000.0, 10000.0, 10000.0] + [10000.0] * 500)
    at_looks = looks(3, 500)
    decisions = decide(effects_P, at_looks, claims=1)
    last = student_interval(effects_P[:500], level_of_look(len(at_looks), 1))
    assert last.low > 0, "the last look alone would have called it"
    assert decisions.contradictory
    assert decisions.outcome == Outcome.OPEN
    assert (decisions.low, decisions.high) == (last.low, last.high)


def test_a_lost_pair_blocks_decisions_from_its_look_on_but_not_before():
    effects_P = np.array([1.0, 1.01, np.nan, 0.99, 1.0])
    lost_P = np.isnan(effects_P)
    assert decide(effects_P, (3, 5), claims=1).outcome == Outcome.ABOVE
    assert decide(effects_P, (3, 5), claims=1, lost_P=lost_P).outcome == Outcome.OPEN
    early_P = np.array([1.0, 1.01, 0.99, np.nan, 1.0])
    assert decide(early_P, (3, 5), claims=1, lost_P=np.isnan(early_P)).seeds == 3


def test_before_the_first_look_everything_is_open():
    decisions = decide(np.ones((2, 5)), (), claims=2)
    assert decisions.outcome.tolist() == [Outcome.OPEN] * 2
    assert decisions.seeds.tolist() == [0, 0]
    assert decisions.low.tolist() == [-np.inf] * 2


@given(arrays(np.float64, (3, 20), elements=st.floats(-1e6, 1e6) | st.just(np.nan)), st.floats(0, 1e6), st.booleans())
def test_intervals_never_cross_and_outcomes_follow_from_them(effects_CP, margin, floored):
    decisions = decide(effects_CP, looks(3, 20), claims=3, floor=0.5 if floored else 0.0, margin=margin)
    assert (decisions.low <= decisions.high).all()
    for c in range(3):
        low, high = decisions.low[c], decisions.high[c]
        expected = (
            Outcome.INSIDE if -margin <= low and high <= margin
            else Outcome.ABOVE if low > 0
            else Outcome.BELOW if high < 0
            else Outcome.OPEN
        )  # fmt: skip
        assert decisions.outcome[c] == (Outcome.OPEN if decisions.contradictory[c] else expected)


@given(arrays(np.float64, (4, 32), elements=st.floats(-3, 3)), st.sampled_from([3, 5, 8, 12, 20]))
def test_more_seeds_never_change_a_verdict_already_given(effects_CP, reached):
    early = decide(effects_CP, looks(3, reached), claims=4, margin=1.5)
    late = decide(effects_CP, looks(3, 32), claims=4, margin=1.5)
    settled = early.outcome != Outcome.OPEN
    assert (late.outcome[settled] == early.outcome[settled]).all()
    assert (late.seeds[settled] == early.seeds[settled]).all()


@given(EFFECTS)
def test_mirrored_effects_get_the_mirrored_verdict(effects_P):
    effects_P = np.resize(effects_P, 20)
    plain, mirrored = (decide(sign * effects_P, looks(3, 20), claims=2, margin=0.1, floor=0.01) for sign in (1, -1))
    swapped = {Outcome.ABOVE: Outcome.BELOW, Outcome.BELOW: Outcome.ABOVE}
    assert mirrored.outcome == swapped.get(Outcome(int(plain.outcome)), plain.outcome)
    assert (mirrored.low, mirrored.high) == (-plain.high, -plain.low)


def test_descriptive_interval_is_a_plain_95_percent_interval():
    effects_P = np.array([0.1, 0.3, 0.2, -0.1])
    low, high = scipy.stats.t.interval(0.95, 3, effects_P.mean(), scipy.stats.sem(effects_P))
    estimate = descriptive_interval(effects_P, unit=1 / 360)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert descriptive_interval(np.zeros(4), unit=1 / 360).deviation == 0.5 / 360
