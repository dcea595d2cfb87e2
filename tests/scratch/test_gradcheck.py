"""Gradients by differences: right ones pass, wrong ones fail. Kinks have a file of their own."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
from made_up_layers import RELU, Elementwise

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
class Forward:
    """A layer whose forward pass returns what it is told to."""

    returned: object

    def forward(self, x):
        return self.returned

    def backward(self, dy, cache):
        return (dy,)


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


@pytest.mark.parametrize("shift", [0.0, 1e6], ids=["", "with much rounding"])
def test_six_passes_and_one_in_the_middle_are_enough_for_a_smooth_coordinate(shift):
    places = []

    def function(x):
        places.append(x[0])
        return float(np.sin(x[0]) + shift)

    numeric_gradient(function, np.array([0.4]))
    assert len(places) == 7
    assert min(places) == pytest.approx(0.39)


def test_steps_grow_with_the_size_of_values():
    x = np.array([1e6, -3e8])
    report = check_gradients(Elementwise(np.square, lambda x: 2 * x), (x,), (), np.ones(2))
    assert (report.problems, report.left_out) == ((), 0)


def test_a_small_slope_beside_a_large_one_is_not_left_out_for_its_rounding():
    class Sum:
        def forward(self, x):
            return float(1e6 * x[0] + x[1]), None

        def backward(self, dy, cache):
            return (dy * np.array([1e6, 1.0]),)

    report = check_gradients(Sum(), (np.ones(2),), (), 1.0)
    assert (report.problems, report.compared) == ((), 2)


def test_a_slope_that_drowns_in_rounding_is_left_out():
    far = Elementwise(lambda x: 1e12 + x, np.ones_like)
    report = check_gradients(far, (np.array([0.3]),), (), np.ones(1), most_left_out=1.0)
    assert (report.problems, report.left_out) == ((), 1)


def test_outputs_that_a_coordinate_does_not_reach_add_no_rounding_to_it():
    base = np.array([0.0, 1e12])
    report = check_gradients(Elementwise(lambda x: base + np.sin(x), np.cos), (np.ones(2),), (), np.ones(2))
    assert (report.compared, report.left_out) == (1, 1)


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


def test_a_forward_pass_that_computes_in_float32_is_not_judged_right():
    coarse = Elementwise(lambda x: np.tanh(x.astype(np.float32)), lambda x: 1 - np.tanh(x) ** 2)
    x, dy = drawn(30, 30)
    assert check_gradients(coarse, (x,), (), dy).problems != ()


def test_a_function_that_is_not_finite_is_not_judged_right():
    hopeless = Elementwise(lambda x: np.where(x < 1, np.nan, x), np.ones_like)
    report = check_gradients(hopeless, (np.array([0.0]),), (), np.ones(1), most_left_out=1.0)
    assert (report.compared, report.left_out, report.arguments[0].outside) == (0, 1, 1)
    assert len(report.problems) == 1


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
    for returned in (x, None):
        with pytest.raises(ShapeError, match=r"must return a tuple .*, such as \(dx,\), got one (ndarray|None)"):
            check_gradients(Normalise(lambda dx, dgain, parts, returned=returned: returned), (x, dy[0]), (), dy)
    for returned, got in ((x, "one ndarray"), ((x,), "1 things"), ((x, x, x), "3 things")):
        with pytest.raises(ShapeError, match=re.escape(f"Forward.forward must return (y, cache), got {got}.")):
            check_gradients(Forward(returned), (x,), (), dy)
    with pytest.raises(ShapeError, match=re.escape("of shapes [(2, 3), (3,)], got [(2, 3)].")):
        check_gradients(Normalise(lambda dx, dgain, parts: (dx,)), (x, dy[0]), (), dy)
