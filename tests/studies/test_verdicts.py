import json
import time
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_cases import EXAMPLES, WOBBLE, FakeRun, claim, judge_pair, runs_of

from assay.records import EpochRecord
from assay.studies.intervals import descriptive_interval, student_interval
from assay.studies.looks import level_of_look
from assay.studies.power import predicted_seeds, smallest_effect_at, upper_deviation
from assay.studies.verdicts import all_closed, judge


@pytest.mark.parametrize(
    ("metric", "shift", "verdict"),
    [
        ("val_accuracy", 0.2, "helps"),
        ("val_accuracy", -0.2, "hurts"),
        ("val_loss", 0.2, "hurts"),
        ("val_loss", -0.2, "helps"),
        ("seconds", -0.2, "helps"),
        ("accuracy_gap", -0.2, "helps"),
    ],
)
def test_a_verdict_respects_the_direction_of_the_metric(metric, shift, verdict):
    base = 0.5 + WOBBLE[:3]
    result = judge_pair(base + shift + WOBBLE[3:6], base, metric=metric)
    assert result.verdict == verdict
    assert result.supported == (verdict == "helps")
    assert result.effect == pytest.approx(shift, abs=0.01)
    assert result.decided_at == result.n == 3


@pytest.mark.parametrize(
    ("kind", "shift", "verdict", "supported"),
    [
        ("beats", 0.2, "helps", True),
        ("matches", 0.2, "helps", False),
        ("beats", -0.2, "hurts", False),
        ("beats", 0.0, "no difference that matters", False),
        ("matches", 0.0, "no difference that matters", True),
    ],
)
def test_which_verdict_supports_which_claim(kind, shift, verdict, supported):
    base = 0.5 + WOBBLE[:8]
    result = judge_pair(base + shift + WOBBLE[8:16], base, claim(kind, margin=0.05))
    assert (result.verdict, result.supported) == (verdict, supported)


def test_inside_the_margin_wins_over_excluding_zero():
    base = np.full(20, 0.5)
    result = judge_pair(base + 0.02 + WOBBLE[:20], base, claim(margin=0.05))
    assert result.verdict == "no difference that matters"
    tight = judge_pair(base + 0.02 + WOBBLE[:20], base, claim(margin=0.001))
    assert tight.verdict == "helps"


def test_numbers_of_an_undecided_claim_are_those_of_the_latest_look():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.9, 0.03, 7), rng.normal(0.9, 0.03, 7)
    result = judge_pair(a, b, claim(margin=0.05))
    effects = (a - b)[:5]
    looks = [student_interval((a - b)[:n], level_of_look(k, 1), 1 / EXAMPLES) for k, n in ((1, 3), (2, 5))]
    fixed = descriptive_interval(a - b, 1 / EXAMPLES)
    assert result.verdict == "undecided"
    assert not result.supported
    assert (result.n, result.dropped, result.decided_at) == (5, 0, None)
    assert result.effect == pytest.approx(effects.mean())
    assert result.deviation == pytest.approx(effects.std(ddof=1))
    assert result.low == pytest.approx(max(float(look.low) for look in looks))
    assert result.high == pytest.approx(min(float(look.high) for look in looks))
    assert result.level == level_of_look(2, 1)
    assert (result.low_fixed, result.high_fixed) == pytest.approx((float(fixed.low), float(fixed.high)))
    assert result.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert result.smallest_effect == pytest.approx(smallest_effect_at(3, 20, 1, effects.std(ddof=1)))
    bound = upper_deviation(effects.std(ddof=1), 5)
    assert result.more_seeds == predicted_seeds(bound, 0.05, at_least=3, claims=1, beyond=5) - 5


def test_before_the_first_look_there_is_an_effect_but_no_interval():
    result = judge_pair([0.9, 0.91], [0.5, 0.5])
    assert result.verdict == "undecided"
    assert result.effect == pytest.approx(0.405)
    assert result.n == 2
    assert (result.low, result.high, result.level, result.decided_at, result.more_seeds) == (None,) * 5
    assert result.low_fixed is not None


def test_a_study_of_two_seeds_never_looks():
    result = judge_pair([0.9] * 5, [0.5] * 5, at_least=1, at_most=2)
    assert (result.verdict, result.n, result.low, result.smallest_effect) == ("undecided", 2, None, None)


def test_no_runs_at_all_is_no_error():
    result = judge_pair([], [])
    assert (result.verdict, result.effect, result.n, result.low_fixed, result.correlation) == (
        "undecided", None, 0, None, None,
    )  # fmt: skip
    json.dumps(result.to_json(), allow_nan=False)


def test_a_look_waits_for_every_arm_of_the_study():
    runs = {"a": runs_of([0.9, 0.91, 0.92]), "b": runs_of([0.5, 0.5, 0.5]), "slow": runs_of([0.5, 0.5])}
    first_seeds = {"a": 0, "b": 0, "slow": 0}
    (waiting,) = judge([claim()], runs, {}, first_seeds=first_seeds, at_least=3, at_most=20)
    assert (waiting.verdict, waiting.low) == ("undecided", None)
    (looked,) = judge([claim()], runs, {"slow": [2]}, first_seeds=first_seeds, at_least=3, at_most=20)
    assert looked.verdict == "helps"


def test_later_runs_never_stand_in_for_a_missing_early_one():
    runs = {"a": runs_of([0.9] * 6), "b": runs_of([0.5] * 6)}
    del runs["a"][1]
    (result,) = judge([claim()], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert result.low is None


def test_arms_with_their_own_seeds_are_paired_by_index():
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.9, 0.01, 5), rng.normal(0.9, 0.01, 5)
    runs = {"a": runs_of(a), "b": runs_of(b, first=1000)}
    (result,) = judge([claim()], runs, {}, first_seeds={"a": 0, "b": 1000}, at_least=3, at_most=20)
    assert result.n == 5
    assert result.effect == pytest.approx((a - b).mean())
    assert result.correlation is None


def test_an_arm_that_does_not_vary_correlates_with_nothing():
    for right in range(300, 330):  # some of these differ from their own mean by rounding
        constant = np.full(12, right / EXAMPLES)
        assert judge_pair(constant, constant).correlation is None
        assert judge_pair(0.9 + WOBBLE[:12], constant).correlation is None


def test_contradicting_looks_are_reported_not_decided():
    a = np.concatenate([[0.4, 0.6, 0.5], 100.0 + WOBBLE, np.full(480, 100.0)])
    comparison = claim(metric="val_loss", margin=0.001)
    result = judge_pair(a, np.full(a.size, 0.5), comparison, metric="val_loss", at_most=500)
    assert (result.verdict, result.more_seeds) == ("undecided", None)
    assert result.low <= result.high
    assert result.notes[0].startswith("Stays undecided: the intervals of two looks have no value in common.")


def test_levels_are_shared_among_all_claims():
    runs = {"a": runs_of(0.9 + WOBBLE[:3]), "b": runs_of(0.9 + WOBBLE[3:6])}
    results = judge(
        [claim(), claim("matches"), claim()], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20
    )
    assert [result.level for result in results] == [level_of_look(1, 3)] * 3


def test_a_contrast_weighs_its_arms_and_its_floor():
    values = {"a": [0.9] * 3, "b": [0.8] * 3, "c": [0.6] * 3}
    runs = {arm: runs_of(v) for arm, v in values.items()}
    contrast = claim(a=1.0, b=1.0, c=-2.0)
    (result,) = judge([contrast], runs, {}, first_seeds=dict.fromkeys(values, 0), at_least=3, at_most=20)
    assert result.effect == pytest.approx(0.5)
    assert result.deviation == 2 / EXAMPLES
    assert result.correlation is None


@pytest.mark.parametrize(("metric", "floor"), [("val_accuracy", 1 / EXAMPLES), ("best_epoch", 1.0), ("val_loss", 0.0)])
def test_the_floor_is_one_unit_of_what_the_metric_counts(metric, floor):
    result = judge_pair([1.0] * 3, [0.5] * 3, metric=metric)
    assert result.deviation == floor


def test_identical_continuous_runs_match_without_more_ado():
    result = judge_pair([0.25, 0.5, 0.125], [0.25, 0.5, 0.125], claim("matches", "val_loss", 0.01), metric="val_loss")
    assert (result.verdict, result.low, result.high) == ("no difference that matters", 0.0, 0.0)


@pytest.mark.parametrize(
    ("spread", "margin", "expected"),
    [(0.02, None, None), (0.02, 0.00001, "> 1,000"), (0.02, 0.02, int)],
    ids=["no margin", "hopeless", "a number"],
)
def test_more_seeds(spread, margin, expected):
    a = 0.9 + spread * np.random.default_rng(1).normal(size=5)
    result = judge_pair(a, np.full(5, 0.9), claim(margin=margin))
    assert result.verdict == "undecided"
    if expected is int:
        assert isinstance(result.more_seeds, int)
        assert 1 <= result.more_seeds <= 1000
    else:
        assert result.more_seeds == expected


def test_more_seeds_counts_pairs_not_seeds():
    a = 0.9 + 0.02 * np.random.default_rng(1).normal(size=8)
    result = judge_pair(a, np.full(8, 0.9), claim(margin=0.02), failed={"b": [0, 5]})
    bound = upper_deviation(result.deviation, 6)
    assert result.n == 6
    assert result.more_seeds == predicted_seeds(bound, 0.02, at_least=3, claims=1, beyond=8) - 6


@pytest.mark.parametrize(
    ("metric", "differences"),
    [
        ("val_accuracy", "torch is '2.11' or '2.12'"),
        ("seconds", "python is '3.11' or '3.12'; torch is '2.11' or '2.12'"),
    ],
)
def test_mixed_environments_are_flagged(metric, differences):
    runs = {"a": runs_of([0.9] * 3, metric), "b": runs_of([0.5] * 3, metric)}
    runs["a"][1] = FakeRun({metric: 0.5}, environment={"torch": "2.11", "device": "cpu", "python": "3.11"})
    runs["b"][2] = FakeRun({metric: 0.5}, environment={"torch": "2.12", "device": "cpu", "python": "3.12"})
    (result,) = judge([claim(metric=metric)], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert result.notes == (f"Compares runs made in different environments: {differences}.",)


def epoch(number, accuracy):
    return EpochRecord(
        epoch=number, step=number, lr=0.1, running_train_loss=None, running_train_accuracy=None, train_loss=None,
        train_accuracy=None, val_loss=None, val_accuracy=accuracy, gradient_norm=None, weight_norm=None, seconds=1.0,
    )  # fmt: skip


def test_a_metric_at_an_epoch_comes_from_the_history_read_once():
    runs = {
        arm: {
            s: FakeRun({"val_accuracy": 0.1}, history=(epoch(1, 0.2), epoch(2, accuracy + s / 1000))) for s in range(3)
        }
        for arm, accuracy in (("a", 0.9), ("b", 0.5))
    }
    claims = [claim(metric="val_accuracy@2"), claim(metric="val_accuracy@1"), claim(metric="val_accuracy")]
    results = judge(claims, runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert [result.effect for result in results] == pytest.approx([0.4, 0.0, 0.0])
    assert results[0].verdict == "helps"
    assert all(run.read == ["history"] for arm in runs.values() for run in arm.values())


def test_ordinary_metrics_read_neither_history_nor_predictions():
    runs = {"a": runs_of([0.9] * 5), "b": runs_of([0.5] * 5)}
    judge([claim()], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert all(run.read == [] for arm in runs.values() for run in arm.values())


def test_a_study_is_closed_when_every_claim_is_decided_or_stuck():
    decided = judge_pair([0.9, 0.91, 0.92], [0.5] * 3)
    undecided = judge_pair([0.9, 0.5, 0.7], [0.5] * 3)
    assert all_closed([decided, replace(undecided, stuck=True)])
    assert not all_closed([decided, undecided])
    assert all_closed([])


def test_a_study_without_claims_has_no_verdicts():
    assert judge([], {}, {}, first_seeds={}, at_least=3, at_most=20) == ()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_verdicts_are_a_function_of_the_runs_and_never_flip(data):
    n = data.draw(st.integers(0, 20))
    value = st.none() | st.integers(0, EXAMPLES).map(lambda right: right / EXAMPLES) | st.just("failed")
    drawn = {arm: data.draw(st.lists(value, min_size=n, max_size=n)) for arm in ("a", "b")}
    stored = {
        arm: {s: FakeRun({"val_accuracy": v}) for s, v in enumerate(vs) if v != "failed"} for arm, vs in drawn.items()
    }
    failed = {arm: {s for s, v in enumerate(vs) if v == "failed"} for arm, vs in drawn.items()}
    margin = data.draw(st.none() | st.floats(1e-3, 1))

    def at(seeds):
        runs = {arm: MappingProxyType({s: r for s, r in by.items() if s < seeds}) for arm, by in stored.items()}
        missed = {arm: [s for s in by if s < seeds] for arm, by in failed.items()}
        return judge([claim(margin=margin)], runs, missed, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)[0]

    now, again, earlier = at(n), at(n), at(max(n - 3, 0))
    assert now == again
    if earlier.verdict != "undecided":
        assert (now.verdict, now.low, now.high, now.n) == (earlier.verdict, earlier.low, earlier.high, earlier.n)
    assert (now.low is None) == (now.high is None)
    if now.low is not None:
        assert now.low <= now.high
    json.dumps(now.to_json(), allow_nan=False)


def test_a_thousand_runs_are_judged_at_once():
    rng = np.random.default_rng(2)
    arms = [f"arm {i}" for i in range(11)]
    runs = {arm: runs_of(rng.normal(0.9, 0.01, 120)) for arm in arms}
    claims = [claim(margin=0.001, **{arm: 1.0, arms[0]: -1.0}) for arm in arms[1:]]
    start = time.perf_counter()
    results = judge(claims, runs, {}, first_seeds=dict.fromkeys(arms, 0), at_least=3, at_most=120)
    assert len(results) == 10
    assert time.perf_counter() - start < 2.0, "some 50 ms when the machine is idle"
