"""Every figure against scikit-learn's (or, for calibration, a plain loop), on random and degenerate inputs; every
interval against what resampling gives."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from assay.metrics.classification import classification_report
from assay.metrics.evaluation import ClassificationReport
from assay.records import Predictions


def predictions_of(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> Predictions:
    labels_N = np.asarray(labels_N, dtype=np.int64)
    return Predictions(
        probabilities_NC=np.asarray(probabilities_NC, dtype=np.float32),
        labels_N=labels_N,
        indices_N=np.arange(len(labels_N)),
    )


@st.composite
def any_predictions(draw: st.DrawFn) -> Predictions:
    """Few examples of few classes, so that classes are missing or never predicted, and probabilities coarse, so that
    they tie."""
    classes = draw(st.integers(2, 8))
    examples = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    weights_NC = rng.integers(0, levels, size=(examples, classes)) + 1.0
    if draw(st.booleans()):  # a class that is never the most probable
        weights_NC[:, draw(st.integers(0, classes - 1))] = 1e-3
    most = draw(st.integers(1, classes))  # labels of the first classes only
    return predictions_of(weights_NC / weights_NC.sum(axis=1, keepdims=True), rng.integers(0, most, size=examples))


def sklearn_figures(predictions: Predictions) -> dict[str, float]:
    labels_N, predicted_N = predictions.labels_N, predictions.predicted_N()
    probabilities_NC = predictions.probabilities_NC.astype(np.float64)
    probabilities_NC /= probabilities_NC.sum(axis=1, keepdims=True)
    every = np.arange(probabilities_NC.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate inputs, which are the point
        figures = {
            "accuracy": sklearn_metrics.accuracy_score(labels_N, predicted_N),
            "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels_N, predicted_N),
            "macro_f1": sklearn_metrics.f1_score(labels_N, predicted_N, average="macro", zero_division=0),
            "weighted_f1": sklearn_metrics.f1_score(labels_N, predicted_N, average="weighted", zero_division=0),
            "log_loss": sklearn_metrics.log_loss(labels_N, probabilities_NC, labels=every),
            "brier": sklearn_metrics.brier_score_loss(labels_N, probabilities_NC, labels=every, scale_by_half=False),
        }
        for k in (3, 5):
            if k < len(every):
                figures[f"top{k}_accuracy"] = sklearn_metrics.top_k_accuracy_score(
                    labels_N, probabilities_NC, k=k, labels=every
                )
        areas = [
            sklearn_metrics.roc_auc_score(labels_N == at, predictions.probabilities_NC[:, at])
            for at in every
            if 0 < (labels_N == at).sum() < len(labels_N)
        ]
    return figures | ({"roc_auc": float(np.mean(areas))} if areas else {})


def calibration_error_by_hand(predictions: Predictions) -> float:
    confidence_N = predictions.probabilities_NC.max(axis=1).astype(np.float64)
    total = 0.0
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        inside_N = (confidence_N > low) & (confidence_N <= high)
        if inside_N.any():
            gap = predictions.correct_N()[inside_N].mean() - confidence_N[inside_N].mean()
            total += abs(gap) * inside_N.mean()
    return total


@settings(max_examples=150, deadline=None)
@given(any_predictions())
def test_figures_equal_scikit_learns(predictions: Predictions) -> None:
    report = classification_report(predictions)
    expected = sklearn_figures(predictions) | {"calibration_error": calibration_error_by_hand(predictions)}
    assert {name: one.value for name, one in report.figures.items()} == pytest.approx(expected, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(any_predictions())
def test_every_interval_holds_its_figure(predictions: Predictions) -> None:
    report = classification_report(predictions)
    for name, one in report.figures.items():
        highest = np.inf if name == "log_loss" else 2.0 if name == "brier" else 1.0
        assert 0.0 <= one.low <= one.value <= one.high, name
        assert one.value <= highest, name
    for scores in report.classes:
        for one in (scores.precision, scores.recall, scores.f1):
            assert 0.0 <= one.low <= one.value <= one.high <= 1.0


@settings(max_examples=100, deadline=None)
@given(any_predictions())
def test_classes_equal_scikit_learns(predictions: Predictions) -> None:
    report = classification_report(predictions)
    labels_N, predicted_N = predictions.labels_N, predictions.predicted_N()
    expected = sklearn_metrics.precision_recall_fscore_support(
        labels_N, predicted_N, labels=np.arange(len(report.classes)), zero_division=0
    )
    for found, scores in zip(np.transpose(expected), report.classes, strict=True):
        values = (scores.precision.value, scores.recall.value, scores.f1.value, scores.support)
        assert values == pytest.approx(tuple(found))
        assert (scores.roc_auc is None) == (scores.support in (0, len(labels_N)))


def test_one_class_has_no_ranking() -> None:
    report = classification_report(predictions_of([[0.9, 0.1], [0.2, 0.8]], [0, 0]))
    assert "roc_auc" not in report.figures
    assert [scores.roc_auc for scores in report.classes] == [None, None]
    assert report.figures["balanced_accuracy"].value == 0.5


def test_a_probability_that_is_no_number_is_wrong_and_of_no_class() -> None:
    report = classification_report(predictions_of([[np.nan, np.nan], [0.9, 0.1], [0.2, 0.8]], [0, 0, 1]))
    assert report.figures["accuracy"].value == pytest.approx(2 / 3)
    assert [scores.predicted for scores in report.classes] == [1, 1]
    assert report.reliability is None
    assert set(report.figures) == {"accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"}


def test_a_decision_has_no_figures_of_probabilities() -> None:
    report = classification_report(predictions_of([[1.0, 0.0], [0.0, 1.0]], [0, 1]), probabilistic=False)
    assert set(report.figures) == {"accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"}


def test_a_class_nobody_has_and_nobody_predicts_weighs_nothing() -> None:
    two = classification_report(predictions_of([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]))
    three = classification_report(predictions_of([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]], [0, 1, 1]))
    for name in ("balanced_accuracy", "macro_f1", "weighted_f1"):
        assert three.figures[name].value == two.figures[name].value
    nothing = three.classes[2].recall
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 1.0)


def test_reliability_counts_every_example_once() -> None:
    report = classification_report(predictions_of([[0.9, 0.1], [0.59, 0.41], [0.55, 0.45], [1.0, 0.0]], [0, 0, 1, 0]))
    diagram = report.reliability
    assert diagram is not None
    assert {at: count for at, count in enumerate(diagram.counts) if count} == {8: 2, 13: 1, 14: 1}
    assert diagram.accuracy[8] == 0.5
    assert diagram.confidence[8] == pytest.approx(0.57)


def drawn(rng: np.random.Generator, examples: int) -> Predictions:
    """Examples of four unequal classes, classified about three times in four, too confidently."""
    labels_N = rng.choice(4, size=examples, p=[0.5, 0.3, 0.15, 0.05])
    scores_NC = rng.normal(size=(examples, 4))
    scores_NC[np.arange(examples), labels_N] += 1.8
    weights_NC = np.exp(1.5 * scores_NC)
    return predictions_of(weights_NC / weights_NC.sum(axis=1, keepdims=True), labels_N)


def test_intervals_cover_what_they_promise() -> None:
    """Of 400 test sets from one population 95 % of the intervals, give or take, hold the population's figure."""
    rng = np.random.default_rng(5)
    truth = {name: one.value for name, one in classification_report(drawn(rng, 400_000)).figures.items()}
    reports: list[ClassificationReport] = [classification_report(drawn(rng, 1500)) for _ in range(400)]
    for name, value in truth.items():
        # Its bias is of the order of its spread on few examples; see `calibration_error`.
        if name == "calibration_error":
            continue
        covered = np.mean([r.figures[name].low <= value <= r.figures[name].high for r in reports])
        assert 0.92 <= covered <= 0.98, (name, covered)


def test_the_interval_of_the_calibration_error_is_no_narrower_than_its_spread() -> None:
    """It takes the sign of each bin's gap for given; where a gap is small its sign may turn, and the spread is less."""
    rng = np.random.default_rng(6)
    found = [classification_report(drawn(rng, 3000)).figures["calibration_error"] for _ in range(200)]
    half_width = np.mean([(one.high - one.low) / 2 for one in found])
    assert 0.9 <= half_width / (1.96 * np.std([one.value for one in found])) <= 1.4
