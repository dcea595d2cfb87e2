import numpy as np
import pytest
from verdict_cases import WOBBLE, FakeRun, claim, judge_pair, runs_of

from assay.studies.verdicts import judge


def test_a_failed_run_drops_its_pair_and_is_named():
    a, b = 0.9 + WOBBLE[:5], 0.5 + WOBBLE[5:10]
    result = judge_pair(a, b, failed={"b": [1]}, at_least=5)
    kept = np.delete(a - b, 1)
    assert (result.verdict, result.n, result.dropped, result.decided_at) == ("helps", 4, 1, 5)
    assert result.effect == pytest.approx(kept.mean())
    assert result.notes == ("Pairs dropped because a run failed: b at seed 1.",)


def test_a_look_with_one_pair_left_has_no_interval():
    result = judge_pair([0.9] * 3, [0.5] * 3, failed={"b": [0, 1]})
    assert (result.verdict, result.low, result.n, result.dropped) == ("undecided", None, 1, 2)


def test_a_failed_seed_that_was_retried_counts_as_stored():
    runs = {"a": runs_of([0.9, 0.91, 0.92]), "b": runs_of([0.5] * 3)}
    (result,) = judge([claim()], runs, {"b": [1]}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=3)
    assert (result.n, result.dropped, result.notes) == (3, 0, ())


def test_many_failures_are_counted_not_listed():
    result = judge_pair([0.9] * 8, [0.5] * 8, failed={"b": list(range(6))}, at_least=8)
    assert result.notes == (
        "Pairs dropped because a run failed: b at seed 0, b at seed 1, b at seed 2, b at seed 3 and 2 more.",
    )


def diverged(accuracy):
    return FakeRun({"val_accuracy": accuracy, "val_loss": None}, status="diverged")


def test_a_diverged_run_leaves_claims_on_its_loss_undecided():
    runs = {"a": runs_of([0.1, 0.11, 0.1, 0.1, 0.1], "val_loss"), "b": runs_of([0.9] * 5, "val_loss")}
    runs["b"][1] = diverged(0.1)
    comparison = claim(metric="val_loss", margin=0.01)
    (result,) = judge([comparison], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert (result.verdict, result.n, result.dropped, result.more_seeds) == ("undecided", 4, 1, None)
    assert result.stuck
    assert result.high < 0, "the runs that are left would have decided it"
    assert result.notes == (
        "Stays undecided: val_loss is missing where a run diverged (b at seed 1), "
        "and to leave such runs out would favour their arm.",
    )


def test_a_diverged_run_still_keeps_the_loss_undecided_when_its_partner_failed():
    runs = {"a": runs_of([0.1, 0.11, 0.1, 0.1, 0.1], "val_loss"), "b": runs_of([0.9] * 5, "val_loss")}
    runs["b"][1] = diverged(0.1)
    del runs["a"][1]
    comparison = claim(metric="val_loss")
    (result,) = judge([comparison], runs, {"a": [1]}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert result.verdict == "undecided"
    assert len(result.notes) == 2


def test_a_diverged_runs_accuracy_counts():
    runs = {"a": runs_of([0.9, 0.91, 0.92, 0.9, 0.9]), "b": runs_of([0.8, 0.81, 0.8, 0.8, 0.8])}
    runs["b"][4] = diverged(0.1)
    (result,) = judge([claim()], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=5, at_most=20)
    assert (result.n, result.dropped, result.notes) == (5, 0, ())
    assert result.effect == pytest.approx((0.1 + 0.1 + 0.12 + 0.1 + 0.8) / 5)


def test_a_run_that_diverges_after_the_decision_changes_nothing():
    runs = {"a": runs_of([0.1, 0.11, 0.1, 0.1, 0.1], "val_loss"), "b": runs_of([0.9] * 5, "val_loss")}
    runs["b"][4] = diverged(0.1)
    (result,) = judge([claim(metric="val_loss")], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert (result.verdict, result.decided_at, result.notes) == ("helps", 3, ())


def test_a_metric_that_a_finished_run_lacks_is_not_guessed():
    runs = {"a": runs_of([0.1, 0.11, 0.1]), "b": runs_of([0.9] * 3)}
    runs["a"][2] = FakeRun({})
    (result,) = judge([claim()], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert result.verdict == "undecided"
    assert result.notes == ("Stays undecided: val_accuracy is missing from a at seed 2.",)
