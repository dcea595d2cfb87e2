"""Gradients by differences: right ones pass, wrong ones fail, and no wrong one hides at a kink."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import ShapeError
from assay.scratch.gradcheck import TOLERANCE, check_gradients, numeric_gradient, relative_error

SMOOTH = {
    "square": (np.square, lambda x: 2 * x),
    "fifth power": (lambda x: x**5, lambda x: 5 * x**4),
    "exp": (np.exp, np.exp),
    "sin": (np.sin, np.cos),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "steep tanh": (lambda x: np.tanh(1000 * x), lambda x: 1000 * (1 - np.tanh(1000 * x) ** 2)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
    "normalised": (lambda x: x / np.sqrt(x**2 + 1e-5), lambda x: 1e-5 / (x**2 + 1e-5) ** 1.5),
}


@dataclass(frozen=True)
class Elementwise:
    """A function of each value, and the derivative that its backward pass uses."""

    function: object
    derivative: object

    def forward(self, x):
        return self.function(x), x

    def backward(self, dy, cache):
        return (dy * self.derivative(cache),)


@dataclass(frozen=True)
class Normalise:
    """gain·(x − mean)/std, with gradients that a test may spoil."""

    spoil: object = lambda dx, dgain, parts: (dx, dgain)

    def forward(self, x_BD, gain_D):
        inv_std_B1 = 1 / np.sqrt(x_BD.var(axis=1, keepdims=True) + 1e-5)
        unit_BD = (x_BD - x_BD.mean(axis=1, keepdims=True)) * inv_std_B1
        return unit_BD * gain_D, (unit_BD, inv_std_B1, gain_D)

    def backward(self, dy_BD, cache):
        unit_BD, inv_std_B1, gain_D = cache
        du_BD = dy_BD * gain_D
        via_mean = inv_std_B1 * du_BD.mean(axis=1, keepdims=True)
        via_variance = inv_std_B1 * unit_BD * (du_BD * unit_BD).mean(axis=1, keepdims=True)
        dx_BD = inv_std_B1 * du_BD - via_mean - via_variance
        return self.spoil(dx_BD, (dy_BD * unit_BD).sum(axis=0), (via_mean, via_variance))


RELU = Elementwise(lambda x: np.maximum(x, 0), lambda x: x > 0)


def drawn(*shapes, seed=7):
    draws = np.random.default_rng(seed)
    return [draws.normal(size=shape) for shape in shapes]


def at_one_place(array, change):
    array = array.copy()
    array[2, 1] += change
    return array


def test_relative_error_is_of_norms_with_a_floor():
    assert relative_error(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(0.5 / math.hypot(3, 4.5))
    assert relative_error(1e-6, 0.0) == 1e-6 / 1e-2
    assert relative_error(1e-6, 0.0, floor=1.0) == 1e-6
    assert relative_error(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0
    assert relative_error(np.float32([1.0]), np.array([1.0])) == 0.0


@pytest.mark.parametrize(("left", "right"), [(np.nan, 1.0), (np.inf, 1.0), (np.inf, np.inf), (-np.inf, np.inf)])
def test_relative_error_of_what_is_not_finite_is_within_no_tolerance(left, right):
    assert math.isnan(relative_error(left, right))


def test_relative_error_wants_one_shape():
    with pytest.raises(ShapeError, match=re.escape("needs two arrays of one shape, got (3,) and (3, 1).")):
        relative_error(np.ones(3), np.ones((3, 1)))


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("size", [1e-3, 1.0, 10.0])
def test_smooth_functions_have_the_gradient_of_calculus(name, size):
    function, derivative = SMOOTH[name]
    x, dy = drawn((4, 25), (4, 25))
    x *= size
    assert relative_error(numeric_gradient(function, x, dy), dy * derivative(x)) < 2e-10  # measured: 4e-11 at worst


def test_a_step_leaves_the_domain_of_a_function_without_harm():
    x = np.array([1e-4, 1e-3, 1.0])
    assert relative_error(numeric_gradient(np.log, x, np.ones(3)), 1 / x) < 1e-9


def test_scalars_in_and_out():
    assert numeric_gradient(lambda x: float(x**3), np.array(2.0)) == pytest.approx(12.0, rel=1e-12)
    assert numeric_gradient(lambda x: float(np.sum(x)), np.zeros((0, 2))).shape == (0, 2)


def test_float32_is_differentiated_in_float64():
    x = np.float32([0.1, 0.7])
    gradient = numeric_gradient(np.sin, x, np.ones(2))
    assert gradient.dtype == np.float64
    assert relative_error(gradient, np.cos(x.astype(np.float64))) < 1e-12


def test_a_function_may_write_to_its_input_or_return_a_view_of_it():
    def doubled_in_place(x):
        x *= 2
        return x

    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(numeric_gradient(doubled_in_place, x, x), 2 * x, rtol=1e-10)
    np.testing.assert_allclose(numeric_gradient(lambda x: x.T[::-1], x, x.T[::-1]), x, rtol=1e-10)
    np.testing.assert_array_equal(x, np.arange(6.0).reshape(2, 3))


def test_right_gradients_pass():
    x_BD, gain_D, dy_BD = drawn((5, 4), 4, (5, 4))
    report = check_gradients(Normalise(), (x_BD, gain_D), (), dy_BD)
    assert report.problems == ()
    assert report.error < 1e-10
    assert (report.compared, report.left_out) == (24, 0)


WRONG = {
    "mean's way dropped": (0, lambda dx, dgain, parts: (dx + parts[0], dgain)),
    "variance's way dropped": (0, lambda dx, dgain, parts: (dx + parts[1], dgain)),
    "wrong sign": (0, lambda dx, dgain, parts: (-dx, dgain)),
    "a factor of 1.0001": (0, lambda dx, dgain, parts: (1.0001 * dx, dgain)),
    "a factor of 1.000001": (1, lambda dx, dgain, parts: (dx, 1.000001 * dgain)),
    "one place off": (0, lambda dx, dgain, parts: (at_one_place(dx, 1e-4), dgain)),
    "one place not a number": (0, lambda dx, dgain, parts: (at_one_place(dx, np.nan), dgain)),
    "one place infinite": (0, lambda dx, dgain, parts: (at_one_place(dx, np.inf), dgain)),
    "nothing": (1, lambda dx, dgain, parts: (dx, 0 * dgain)),
    "reversed": (1, lambda dx, dgain, parts: (dx, dgain[::-1])),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_named_with_its_argument(name):
    argument, spoil = WRONG[name]
    x_BD, gain_D, dy_BD = drawn((5, 4), 4, (5, 4))
    report = check_gradients(Normalise(spoil), (x_BD, gain_D), (), dy_BD)
    assert len(report.problems) == 1
    assert f"Normalise.backward: the gradient of argument {argument} is off by " in report.problems[0]
    assert not report.error <= TOLERANCE
    assert report.arguments[1 - argument].error < 1e-10


def test_the_worst_place_is_named():
    x_BD, gain_D, dy_BD = drawn((5, 4), 4, (5, 4))
    wrong = Normalise(lambda dx, dgain, parts: (at_one_place(dx, 0.5), dgain))
    check = check_gradients(wrong, (x_BD, gain_D), (), dy_BD).arguments[0]
    assert check.worst == (2, 1)
    assert check.gradient - check.slope == pytest.approx(0.5)


def test_ones_hide_what_a_drawn_dy_shows():
    x_BD, dy_BD = drawn((5, 4), (5, 4))
    wrong = Normalise(lambda dx, dgain, parts: (0 * dx, dgain))
    same = np.ones(4)
    assert check_gradients(wrong, (x_BD, same), (), np.ones((5, 4))).problems == ()
    assert len(check_gradients(wrong, (x_BD, same), (), dy_BD).problems) == 1


@pytest.mark.parametrize("examples", [1, 2, 3, 10])
@pytest.mark.parametrize("deviation", [1e-6, 1e-3, 1e-2, 1.0, 100.0])
def test_sharp_curvature_of_small_variances_is_followed(examples, deviation):
    (x_BD,) = drawn((3, examples))
    gain_D, dy_BD = drawn(examples, (3, examples), seed=8)
    report = check_gradients(Normalise(), (x_BD * deviation + 1.0, gain_D), (), dy_BD)
    assert report.problems == ()
    assert report.left_out == 0


def test_a_loss_may_give_a_python_float_and_take_a_fixed_argument():
    class Distance:
        def forward(self, x, target):
            return float(np.sum((x - target) ** 2)), x - target

        def backward(self, dy, cache):
            return (2 * dy * cache,)

    x, target = drawn((3, 2), (3, 2))
    report = check_gradients(Distance(), (x,), (target,), 0.3)
    assert report.problems == ()
    assert report.compared == 6


def test_kinks_are_left_out_and_counted():
    x, dy = drawn(200, 200)
    x[:10] = 0.0
    report = check_gradients(RELU, (x,), (), dy)
    assert report.problems == ()
    assert (report.compared, report.left_out) == (190, 10)
    assert report.arguments[0].outside == 0


def test_too_many_kinks_are_a_problem():
    x, dy = drawn(20, 20)
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


def test_a_kink_of_one_output_does_not_drown_in_the_curvature_of_others():
    class Both:
        def forward(self, x):
            return np.array([np.sum(1e4 * x**2), np.sum(1e-3 * np.abs(x))]), x

        def backward(self, dy, x):
            return (dy[0] * 2e4 * x + dy[1] * 1e-3 * np.sign(x),)

    report = check_gradients(Both(), (np.zeros(2),), (), np.ones(2), most_left_out=1.0)
    assert (report.problems, report.compared, report.left_out) == ((), 0, 2)


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
    beside = check_gradients(step, (np.array([0.5, -0.3, 1e-7]),), (), np.ones(3))
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


def test_a_forward_pass_that_computes_in_float32_is_not_judged_right():
    coarse = Elementwise(lambda x: np.tanh(x.astype(np.float32)), lambda x: 1 - np.tanh(x) ** 2)
    x, dy = drawn(30, 30)
    assert check_gradients(coarse, (x,), (), dy).problems != ()


def test_a_function_that_is_not_finite_is_not_judged_right():
    hopeless = Elementwise(lambda x: np.where(x < 1, np.nan, x), np.ones_like)
    report = check_gradients(hopeless, (np.array([0.0]),), (), np.ones(1), most_left_out=1.0)
    assert (report.compared, report.left_out, report.arguments[0].outside) == (0, 1, 1)
    assert len(report.problems) == 1


def test_the_median_of_equal_values_is_a_limit():
    np.testing.assert_array_equal(numeric_gradient(lambda x: float(np.median(x)), np.zeros(3)), 0.0)


def test_shapes_that_do_not_fit_are_refused():
    x, dy = drawn((2, 3), (2, 3))
    with pytest.raises(ShapeError, match=re.escape("needs dy in the shape of Elementwise's y, (2, 3), got (3,).")):
        check_gradients(RELU, (x,), (), dy[0])
    summed = Elementwise(RELU.function, lambda x: x.sum())
    wide = Elementwise(RELU.function, lambda x: (x > 0)[None])
    assert check_gradients(summed, (x,), (), dy).problems  # of the right shape, if wrong
    with pytest.raises(
        ShapeError, match=re.escape("Elementwise.backward must return gradients of shapes [(2, 3)], got [(1, 2, 3)].")
    ):
        check_gradients(wide, (x,), (), dy)
    with pytest.raises(ShapeError, match=re.escape("of shapes [(2, 3), (3,)], got [(2, 3)].")):
        check_gradients(Normalise(lambda dx, dgain, parts: (dx,)), (x, dy[0]), (), dy)
