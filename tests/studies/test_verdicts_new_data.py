import json

import numpy as np
import pytest
from verdict_cases import EXAMPLES, FakeRun, claim, runs_of, with_predictions

from assay.studies.looks import level_of_look
from assay.studies.new_data import new_data_interval
from assay.studies.verdicts import judge


@pytest.mark.parametrize("metric", ["test_accuracy", "test_loss"])
def test_test_metrics_get_an_interval_for_new_data(metric):
    runs = {"a": with_predictions(0.85, seed=1), "b": with_predictions(0.84, seed=2)}
    (result,) = judge([claim(metric=metric)], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)

    def scores(arm):
        told = [run.predictions()["test"] for run in runs[arm].values()]
        if metric == "test_accuracy":
            return np.array([p.correct_N() for p in told], dtype=float)
        return -np.log(np.array([p.probabilities_NC[np.arange(EXAMPLES), p.labels_N] for p in told], dtype=float))

    floor = 1 / EXAMPLES if metric == "test_accuracy" else 0.0
    expected = new_data_interval(scores("a") - scores("b"), level_of_look(2, 1), floor)
    assert (result.low_new, result.high_new) == pytest.approx(expected, rel=1e-4)
    assert (result.low_new + result.high_new) / 2 == pytest.approx(result.effect, abs=1e-6)


def test_the_new_data_interval_of_a_contrast_weighs_its_arms():
    runs = {"a": with_predictions(0.9, seed=1), "b": with_predictions(0.8, seed=2), "c": with_predictions(0.6, seed=3)}
    contrast = claim(metric="test_accuracy", a=0.5, b=0.5, c=-1.0)
    (result,) = judge([contrast], runs, {}, first_seeds=dict.fromkeys(runs, 0), at_least=3, at_most=20)
    assert (result.low_new + result.high_new) / 2 == pytest.approx(result.effect)
    assert result.decided_at == 3
    assert all(run.read == (["predictions"] if s < 3 else []) for arm in runs.values() for s, run in arm.items())


@pytest.mark.parametrize(
    "case", ["validation metric", "different examples", "different data", "no predictions", "no look yet"]
)
def test_where_nothing_can_be_said_of_new_data(case):
    runs = {"a": with_predictions(0.9, seed=1), "b": with_predictions(0.8, seed=2)}
    metric = "test_accuracy"
    if case == "validation metric":
        metric, runs = "val_accuracy", {"a": runs_of([0.9] * 5), "b": runs_of([0.5] * 5)}
    elif case == "different examples":
        runs["b"] = with_predictions(0.8, indices=np.arange(EXAMPLES) + 1)
    elif case == "different data":
        runs["b"] = with_predictions(0.8, seed=2, data="other")
    elif case == "no predictions":
        runs["b"][1] = FakeRun({"test_accuracy": 0.8})
    else:
        runs = {arm: {s: run for s, run in by_seed.items() if s < 2} for arm, by_seed in runs.items()}
    (result,) = judge([claim(metric=metric)], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    assert (result.low_new, result.high_new) == (None, None)
    assert result.effect is not None
    said = any("different examples" in note for note in result.notes)
    assert said == (case == "different data")


def test_a_label_of_probability_zero_keeps_the_new_data_interval_finite():
    runs = {"a": with_predictions(0.9, seed=1), "b": with_predictions(0.8, seed=2)}
    for p in (run.predictions()["test"] for run in runs["a"].values()):
        p.probabilities_NC[0] = [0.0, 1.0, 0.0]
    (result,) = judge([claim(metric="test_loss")], runs, {}, first_seeds={"a": 0, "b": 0}, at_least=3, at_most=20)
    json.dumps(result.to_json(), allow_nan=False)
    assert result.low_new < result.high_new
