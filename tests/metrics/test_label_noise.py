"""The share of random labels: found where labels were drawn so, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.metrics.label_noise import known_of_labels, random_labels
from assay.records import Array


def calibrated(examples: int, classes: int, seed: int, *, certainty: float = 4.0) -> tuple[Array, Array]:
    """Probabilities of examples easy and hard, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    score_NC = rng.normal(size=(examples, classes)) * rng.uniform(1.0, 2 * certainty, size=(examples, 1))
    probability_NC = np.exp(score_NC - score_NC.max(axis=1, keepdims=True))
    probability_NC /= probability_NC.sum(axis=1, keepdims=True)
    below_NC = probability_NC.cumsum(axis=1)
    return probability_NC, (rng.random((examples, 1)) > below_NC[:, :-1]).sum(axis=1)


def sharpened(probability_NC: Array, exponent: float) -> Array:
    powers_NC = probability_NC**exponent
    return powers_NC / powers_NC.sum(axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(
    share=st.floats(0.1, 0.6),
    classes=st.integers(3, 40),
    exponent=st.floats(0.5, 3.0),
    seed=st.integers(0, 10_000),
)
def test_a_share_of_random_labels_is_estimated(share: float, classes: int, exponent: float, seed: int) -> None:
    probability_NC, labels_N = calibrated(2000, classes, seed)
    rng = np.random.default_rng(seed + 1)
    drawn_N = rng.random(len(labels_N)) < share
    labels_N = np.where(drawn_N, rng.integers(0, classes, size=len(labels_N)), labels_N)
    found = random_labels(sharpened(probability_NC, exponent), labels_N)
    assert found.share == pytest.approx(share, abs=0.08)
    assert found.sharpness == pytest.approx(1 / exponent, rel=0.5)
    assert found.gain > 8


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(2, 40), exponent=st.floats(0.3, 3.0), seed=st.integers(0, 10_000))
def test_neither_confusions_nor_over_confidence_are_noise(classes: int, exponent: float, seed: int) -> None:
    probability_NC, labels_N = calibrated(2000, classes, seed)
    found = random_labels(sharpened(probability_NC, exponent), labels_N)
    assert found.share < 0.08
    assert found.gain < 8


@settings(max_examples=40, deadline=None)
@given(
    examples=st.sampled_from([30, 300, 3000]),
    classes=st.integers(2, 30),
    rarity=st.floats(0.0, 3.0),
    seed=st.integers(0, 10_000),
)
def test_nothing_is_known_of_labels_that_were_shuffled(examples: int, classes: int, rarity: float, seed: int) -> None:
    probability_NC, labels_N = calibrated(examples, classes, seed)
    rng = np.random.default_rng(seed)
    weight_C = np.exp(-rarity * np.arange(classes) / classes)
    others_N = rng.choice(classes, size=examples, p=weight_C / weight_C.sum())
    assert known_of_labels(probability_NC, others_N) < 8
    if examples > 30:
        assert known_of_labels(probability_NC, labels_N) > 20


@settings(max_examples=50, deadline=None)
@given(examples=st.integers(1, 20), classes=st.integers(2, 5), seed=st.integers(0, 100), kind=st.sampled_from("0u1"))
def test_whatever_is_predicted_there_is_an_answer(examples: int, classes: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, classes, size=examples)
    if kind == "u":
        probability_NC = np.full((examples, classes), 1 / classes, dtype=np.float32)
    else:  # all certain of the label, or of another class
        probability_NC = np.eye(classes, dtype=np.float32)[(labels_N + int(kind)) % classes]
    found = random_labels(probability_NC, labels_N)
    assert 0.0 <= found.share <= 1.0
    assert np.isfinite([found.sharpness, found.gain]).all()
    assert np.isfinite(known_of_labels(probability_NC, labels_N))


def test_of_many_examples_some_are_looked_at() -> None:
    probability_NC, labels_N = calibrated(30_000, 10, 0)
    labels_N[::2] = np.random.default_rng(1).integers(0, 10, size=15_000)
    assert random_labels(probability_NC, labels_N).share == pytest.approx(0.5, abs=0.05)
