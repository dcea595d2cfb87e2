"""The pieces of a step by hand, on numbers small enough to follow; whole steps are held against torch's elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.scratch.network import Parameter
from assay.scratch.training import add_penalties, count_correct, global_norm


def test_penalties_add_sign_and_weight_to_penalised_gradients_and_nothing_where_a_weight_is_0():
    weight = Parameter(value=np.array([2.0, 0.0, -3.0]), penalised=True, gradient=np.array([1.0, 1.0, 1.0]))
    bias = Parameter(value=np.array([2.0, -3.0]), gradient=np.array([1.0, 1.0]))
    add_penalties([weight, bias], l1=0.5, l2=0.1)
    np.testing.assert_allclose(weight.gradient, [1.7, 1.0, 0.2], rtol=1e-15)  # 1 + 0.1·2 + 0.5, 1, 1 − 0.1·3 − 0.5
    assert bias.gradient.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("scores", "labels", "right"),
    [
        ([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]], [1, 1, 1], 2),
        ([[math.nan, 2.0], [2.0, 1.0]], [0, 0], 1),
        ([[math.inf, 2.0], [2.0, -math.inf]], [0, 0], 0),
        ([[1.0, 2.0], [2.0, 1.0]], [[0.4, 0.6], [0.4, 0.6]], 1),
    ],
    ids=["classes", "not a number", "infinite", "probabilities"],
)
def test_correct_are_finite_scores_that_are_highest_at_the_own_class(scores, labels, right):
    assert count_correct(np.array(scores), np.array(labels)) == right


def test_the_norm_is_that_of_all_arrays_together():
    assert global_norm([np.array([[3.0, 0.0]]), np.array([-4.0])]) == 5.0
    assert global_norm([]) == 0.0
