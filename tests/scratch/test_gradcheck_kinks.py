"""Gradients by differences at kinks: left out, counted, and no place for a wrong gradient to hide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_layers import RELU, Elementwise

from assay.scratch.gradcheck import check_gradients, numeric_gradient


def test_kinks_are_left_out_and_counted():
    x, dy = np.random.default_rng(7).normal(size=(2, 200))
    x[:10] = 0.0
    report = check_gradients(RELU, (x,), (), dy)
    assert report.problems == ()
    assert (report.compared, report.left_out) == (190, 10)
    assert report.arguments[0].outside == 0


def test_too_many_kinks_are_a_problem():
    x, dy = np.random.default_rng(7).normal(size=(2, 20))
    x[:3] = 0.0
    report = check_gradients(RELU, (x,), (), dy)
    assert report.problems == (
        "Elementwise.backward: the gradient of argument 0 was compared at 17 coordinates only, 3 lie at kinks or drown "
        "in rounding, of which 10% are allowed; take arguments away from kinks.",
    )
    assert check_gradients(RELU, (x,), (), dy, most_left_out=0.15).problems == ()


@pytest.mark.parametrize("at_zero", [0.0, 0.3, 1.0])
def test_any_slope_between_both_sides_passes_at_a_kink(at_zero):
    relu = Elementwise(RELU.function, lambda x: np.where(x == 0, at_zero, x > 0))
    x, dy = np.array([0.0, 0.0, 1.0]), np.array([1.0, -2.0, 1.0])
    assert check_gradients(relu, (x,), (), dy, most_left_out=1.0).problems == ()


@pytest.mark.parametrize("at_zero", [-0.01, 1.01, 2.0, np.nan, np.inf])
def test_a_slope_of_neither_side_does_not_hide_at_a_kink(at_zero):
    relu = Elementwise(RELU.function, lambda x: np.where(x == 0, at_zero, x > 0))
    x, dy = np.array([0.0, 0.0, 1.0]), np.array([1.0, -2.0, 1.0])
    problems = check_gradients(relu, (x,), (), dy, most_left_out=1.0).problems
    assert problems == (
        "Elementwise.backward: the gradient of argument 0 lies outside the slopes to both sides at 2 of 2 coordinates "
        "at kinks.",
    )


@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
@pytest.mark.parametrize("side", [-1, 1])
def test_values_near_a_kink_are_compared_with_the_slope_on_their_side(distance, side):
    x, dy = np.array([side * distance]), np.array([1.7])
    report = check_gradients(RELU, (x,), (), dy)
    assert report.problems == ()
    assert report.compared == 1
    other_side = Elementwise(RELU.function, lambda x: x < 0)
    assert len(check_gradients(other_side, (x,), (), dy).problems) == 1


@settings(deadline=None)
@given(
    exponent=st.floats(-12, 1),
    side=st.sampled_from([-1, 1]),
    jump=st.floats(1e-3, 1e3),
    bend=st.floats(-10, 10),
    dy=st.floats(0.1, 10),
)
def test_at_any_distance_from_a_kink_right_passes_and_wrong_fails_or_is_left_out(exponent, side, jump, bend, dy):
    kink = side * 10.0**exponent

    def derivative(x):
        return jump * (x > kink) + bend * np.cos(bend * x)

    right = Elementwise(lambda x: jump * np.maximum(x - kink, 0) + np.sin(bend * x), derivative)
    wrong = Elementwise(right.function, lambda x: derivative(x) + 1e-5 * max(jump, abs(bend), 1))
    x = np.array([0.0])
    assert check_gradients(right, (x,), (), np.array([dy]), most_left_out=1.0).problems == ()
    report = check_gradients(wrong, (x,), (), np.array([dy]), most_left_out=0.0)
    assert report.problems
    assert report.compared == 1 or exponent < -6


def test_a_kink_on_top_of_a_large_value_raises_no_false_alarm():
    draws = np.random.default_rng(0)
    compared = 0
    for _ in range(500):
        base, distance, slope = 10.0 ** draws.uniform([0, -12, -4], [9, 0, 1])

        def derivative(x, distance=distance, slope=slope):
            return (x > distance) + slope * np.cos(slope * x)

        def function(x, base=base, distance=distance, slope=slope):
            return base + np.maximum(x - distance, 0) + np.sin(slope * x)

        report = check_gradients(Elementwise(function, derivative), (np.zeros(1),), (), np.ones(1), most_left_out=1.0)
        assert report.problems == (), (base, distance, slope)
        compared += report.compared
    assert 30 < compared < 250  # most drown in rounding, and not all


def test_a_kink_of_one_output_does_not_drown_in_the_curvature_of_others():
    class Both:
        def forward(self, x):
            return np.array([np.sum(1e4 * x**2), np.sum(1e-3 * np.abs(x))]), x

        def backward(self, dy, x):
            return (dy[0] * 2e4 * x + dy[1] * 1e-3 * np.sign(x),)

    report = check_gradients(Both(), (np.zeros(2),), (), np.ones(2), most_left_out=1.0)
    assert (report.problems, report.compared, report.left_out) == ((), 0, 2)


def test_kinks_that_cancel_in_the_sum_of_outputs_are_kinks():
    class BothHalves:
        def forward(self, x):
            return np.array([np.maximum(x, 0), np.minimum(x, 0)]), x

        def backward(self, dy, x):
            return (dy[0] * (x > 0) + dy[1] * (x < 0),)

    report = check_gradients(BothHalves(), (np.zeros(1),), (), np.ones((2, 1)), most_left_out=1.0)
    assert (report.problems, report.left_out) == ((), 1)


@pytest.mark.parametrize("jump", [3e-8, 4e-7, 1e-3])
def test_a_slight_kink_is_one(jump):
    bent = Elementwise(lambda x: x + jump * np.maximum(x, 0), lambda x: 1 + jump * (x >= 0))
    assert check_gradients(bent, (np.zeros(1),), (), np.ones(1), most_left_out=1.0).problems == ()


def test_at_the_edge_of_a_domain_only_what_lies_there_is_left_out():
    root = Elementwise(np.sqrt, lambda x: 0.5 / np.sqrt(np.maximum(x, 1e-300)))
    report = check_gradients(root, (np.array([0.0, 1.0, 2.0]),), (), np.ones(3), most_left_out=1.0)
    assert (report.compared, report.left_out, report.arguments[0].outside) == (2, 1, 1)


def test_a_kink_within_curvature_is_one():
    bowl = Elementwise(lambda x: 1e3 * np.sin(x) + 0.1 * np.abs(x), lambda x: 1e3 * np.cos(x) + 0.1 * np.sign(x))
    assert check_gradients(bowl, (np.array([0.0, 0.5]),), (), np.ones(2), most_left_out=1.0).left_out == 1


def test_a_dead_region_wants_a_gradient_of_zero():
    x = -1.0 - np.arange(5.0)
    assert check_gradients(RELU, (x,), (), np.ones(5)).compared == 5
    leaking = Elementwise(RELU.function, lambda x: np.where(x > 0, 1, 1e-8))
    assert len(check_gradients(leaking, (x,), (), np.ones(5)).problems) == 1


def test_plateaus_are_compared_and_no_gradient_is_right_at_the_jump_between_them():
    step = Elementwise(np.sign, np.zeros_like)
    beside = check_gradients(step, (np.array([0.5, -0.3, 1e-3]),), (), np.ones(3))
    assert (beside.problems, beside.compared) == ((), 3)
    at_the_jump = check_gradients(step, (np.array([0.0]),), (), np.ones(1), most_left_out=1.0)
    assert (at_the_jump.left_out, at_the_jump.arguments[0].outside) == (1, 1)


def test_ties_of_a_maximum_are_left_out():
    class Maximum:
        def forward(self, x_BD):
            return x_BD.max(axis=1), x_BD

        def backward(self, dy_B, x_BD):
            dx_BD = np.zeros_like(x_BD)
            np.put_along_axis(dx_BD, x_BD.argmax(axis=1)[:, None], dy_B[:, None], axis=1)
            return (dx_BD,)

    x_BD = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [3.0, 3.0, 3.0]])
    report = check_gradients(Maximum(), (x_BD,), (), np.array([1.0, -2.0, 0.5]), most_left_out=1.0)
    assert (report.problems, report.compared, report.left_out) == ((), 4, 5)


def test_the_median_of_equal_values_is_a_limit():
    np.testing.assert_array_equal(numeric_gradient(lambda x: float(np.median(x)), np.zeros(3)), 0.0)
