"""Losses: parity with torch, stability, what is reported, and labels that do not fit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from assay.errors import InputError, InvalidValueError, ShapeError
from assay.scratch.losses import SoftmaxCrossEntropy, SquaredError, cross_entropy_of, log_softmax
from assay.testing.layers import LayerCase, LayerContract

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 6)


def scores_and_labels(seed: int, examples: int, classes: int, soft: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores_BK = rng.normal(scale=3.0, size=(examples, classes))
    labels = rng.dirichlet(np.ones(classes), examples) if soft else rng.integers(0, classes, examples)
    return scores_BK, labels


def cross_entropy_case(seed: int, examples: int, classes: int, soft: bool, smoothing: float) -> LayerCase:
    logits_BK, labels = scores_and_labels(seed, examples, classes, soft)
    return LayerCase(
        layer=SoftmaxCrossEntropy(label_smoothing=smoothing),
        arguments=(logits_BK,),
        fixed=(labels,),
        reference=lambda logits_BK, y: functional.cross_entropy(logits_BK, y, label_smoothing=smoothing),
    )


def squared_error_case(seed: int, examples: int, classes: int, soft: bool) -> LayerCase:
    scores_BK, labels = scores_and_labels(seed, examples, classes, soft)

    def reference(scores_BK: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(scores_BK, y if soft else functional.one_hot(y, classes).to(scores_BK.dtype))

    return LayerCase(layer=SquaredError(), arguments=(scores_BK,), fixed=(labels,), reference=reference)


class TestSoftmaxCrossEntropy(LayerContract):
    def cases(self):
        return st.builds(cross_entropy_case, seeds, sizes, sizes, st.booleans(), st.floats(0.0, 1.0))


class TestSquaredError(LayerContract):
    def cases(self):
        return st.builds(squared_error_case, seeds, sizes, sizes, st.booleans())


@given(seeds, sizes, sizes, st.booleans(), st.floats(0.0, 1.0))
def test_what_is_reported_is_the_loss_without_smoothing(seed, examples, classes, soft, smoothing):
    logits_BK, y = scores_and_labels(seed, examples, classes, soft)
    _, cache = SoftmaxCrossEntropy(label_smoothing=smoothing).forward(logits_BK, y)
    plain = functional.cross_entropy(torch.tensor(logits_BK), torch.tensor(y)).item()
    assert float(cache.plain) == pytest.approx(plain, rel=1e-12, abs=1e-12)
    assert float(cross_entropy_of(log_softmax(logits_BK), y)) == float(cache.plain)


def test_what_is_reported_of_a_squared_error_is_the_loss():
    loss, cache = SquaredError().forward(np.array([[1.0, 3.0]]), np.array([0]))
    assert float(loss) == float(cache.plain) == 4.5  # (0² + 3²)/2: the mean over classes too


def test_equal_logits_cost_log_k_whatever_the_smoothing():
    for smoothing in (0.0, 0.1, 1.0):
        loss, _ = SoftmaxCrossEntropy(label_smoothing=smoothing).forward(np.full((3, 7), 5.0), np.array([0, 3, 6]))
        assert float(loss) == pytest.approx(np.log(7.0), rel=1e-14)


@given(seeds, st.sampled_from([-1e4, 1e4]))
def test_a_number_added_to_all_logits_changes_nothing(seed, shift):
    logits_BK, y = scores_and_labels(seed, 4, 5, soft=False)
    loss, cache = SoftmaxCrossEntropy().forward(logits_BK, y)
    shifted_loss, shifted_cache = SoftmaxCrossEntropy().forward(logits_BK + shift, y)
    assert float(shifted_loss) == pytest.approx(float(loss), rel=1e-9, abs=1e-9)
    gradients = [SoftmaxCrossEntropy().backward(1.0, kept)[0] for kept in (cache, shifted_cache)]
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_neither_overflow_nor_lose_the_loss(dtype):
    logits_BK = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]], dtype)
    loss, cache = SoftmaxCrossEntropy().forward(logits_BK, np.array([0, 0]))
    assert loss.dtype == dtype
    assert float(loss) == 1000.0
    (dlogits_BK,) = SoftmaxCrossEntropy().backward(1.0, cache)
    assert dlogits_BK.dtype == dtype
    assert dlogits_BK.tolist() == [[0.0, 0.0], [-0.5, 0.5]]


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_not_finite_give_a_loss_that_is_not_a_number(broken, smoothing, soft):
    logits_BK, y = scores_and_labels(0, 3, 4, soft)
    logits_BK[1, 2] = broken
    loss, cache = SoftmaxCrossEntropy(label_smoothing=smoothing).forward(logits_BK, y)
    assert np.isnan(loss)
    assert np.isnan(cache.plain)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_give_a_squared_error_that_is_not(broken):
    scores_BK, y = scores_and_labels(0, 3, 4, soft=False)
    scores_BK[1, 2] = broken
    assert not np.isfinite(SquaredError().forward(scores_BK, y)[0])


def test_a_class_ruled_out_costs_nothing_unless_it_is_the_right_one():
    logits_BK = np.array([[0.0, -np.inf, 0.0]])
    assert float(SoftmaxCrossEntropy().forward(logits_BK, np.array([0]))[0]) == pytest.approx(np.log(2.0))
    assert float(SoftmaxCrossEntropy().forward(logits_BK, np.array([1]))[0]) == np.inf


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("y", [np.array([1]), np.array([[0.5, 0.0, 0.5]])], ids=["class", "probabilities"])
def test_a_class_ruled_out_that_counts_gives_a_loss_that_is_not_finite_without_a_warning(y, smoothing):
    loss, cache = SoftmaxCrossEntropy(label_smoothing=smoothing).forward(np.array([[0.0, -np.inf, 0.0]]), y)
    assert not np.isfinite(loss)
    assert not np.isfinite(cache.plain)


def test_squares_beyond_the_type_give_infinity_without_a_warning():
    assert float(SquaredError().forward(np.array([[1e30, 0.0]], np.float32), np.array([1]))[0]) == np.inf


@pytest.mark.parametrize("layer", [SoftmaxCrossEntropy(), SoftmaxCrossEntropy(label_smoothing=0.1), SquaredError()])
@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
def test_the_type_of_the_scores_decides(layer, soft):
    scores_BK, y = scores_and_labels(0, 3, 4, soft)  # probabilities in float64
    loss, cache = layer.forward(scores_BK.astype(np.float32), y)
    assert loss.dtype == cache.plain.dtype == np.float32
    for dloss in (1.0, np.float64(1.0), np.array(1.0)):
        assert layer.backward(dloss, cache)[0].dtype == np.float32


@pytest.mark.parametrize("layer", [SoftmaxCrossEntropy(label_smoothing=0.1), SquaredError()])
def test_classes_and_their_one_hot_vectors_mean_the_same(layer):
    scores_BK, y_B = scores_and_labels(0, 5, 4, soft=False)
    loss, cache = layer.forward(scores_BK, y_B.astype(np.uint8))
    one_hot_loss, one_hot_cache = layer.forward(scores_BK, np.eye(4)[y_B])
    assert float(loss) == pytest.approx(float(one_hot_loss), rel=1e-14)
    np.testing.assert_allclose(
        layer.backward(1.0, cache)[0], layer.backward(1.0, one_hot_cache)[0], rtol=1e-14, atol=1e-17
    )


def test_targets_need_not_be_probabilities():
    scores_BK = np.random.default_rng(0).normal(size=(3, 4))
    y_BK = np.random.default_rng(1).normal(size=(3, 4))
    for layer, reference in [
        (SoftmaxCrossEntropy(label_smoothing=0.2), lambda s, y: functional.cross_entropy(s, y, label_smoothing=0.2)),
        (SquaredError(), functional.mse_loss),
    ]:
        loss, cache = layer.forward(scores_BK, y_BK)
        scores = torch.tensor(scores_BK, requires_grad=True)
        expected = reference(scores, torch.tensor(y_BK))
        expected.backward()
        assert float(loss) == pytest.approx(expected.item(), rel=1e-13)
        np.testing.assert_allclose(layer.backward(1.0, cache)[0], scores.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("scores", "y", "problem"),
    [
        ((4, 3), np.zeros(5, int), "labels of shape (4,), integers, or (4, 3), got int64 of shape (5,)."),
        ((4, 3), np.zeros((4, 1), int), "labels of shape (4,), integers, or (4, 3), got int64 of shape (4, 1)."),
        ((4, 3), np.zeros((1, 3)), "labels of shape (4,), integers, or (4, 3), got float64 of shape (1, 3)."),
        ((4, 3), np.zeros(4), "labels of shape (4,), integers, or (4, 3), got float64 of shape (4,)."),
        ((2, 3), np.array([0, 3]), "classes from 0 to 2, got 0 to 3."),
        ((2, 3), np.array([-1, 2]), "classes from 0 to 2, got -1 to 2."),
        ((3,), np.zeros(3, int), "scores of shape (B, K), B and K at least 1, got (3,)."),
        ((0, 3), np.zeros(0, int), "scores of shape (B, K), B and K at least 1, got (0, 3)."),
    ],
)
@pytest.mark.parametrize("layer", [SoftmaxCrossEntropy(), SquaredError()], ids=["SoftmaxCrossEntropy", "SquaredError"])
def test_labels_that_do_not_fit_are_refused(layer, scores, y, problem):
    with pytest.raises(ShapeError) as caught:
        layer.forward(np.zeros(scores), y)
    assert str(caught.value) == f"{type(layer).__name__} needs {problem}"


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, np.nan])
def test_smoothing_outside_0_to_1_is_refused(smoothing):
    with pytest.raises(InvalidValueError) as caught:
        SoftmaxCrossEntropy(label_smoothing=smoothing)
    assert str(caught.value) == f"SoftmaxCrossEntropy.label_smoothing must lie in 0 to 1, got {smoothing}."


@pytest.mark.parametrize("layer", [SoftmaxCrossEntropy(), SquaredError()], ids=["SoftmaxCrossEntropy", "SquaredError"])
def test_scores_that_are_whole_numbers_are_refused(layer):
    with pytest.raises(InputError, match=f"^{type(layer).__name__} needs floats, got int64"):
        layer.forward(np.ones((2, 3), np.int64), np.array([0, 2]))
