"""Gradients by differences, to check those that a layer works out: what to do first with a backward pass of your own.

The slope of a function along one coordinate is near (f(x + h) − f(x − h))/2h, with an error that falls as h² where f is
smooth, and rounding that grows as 1/h. Here three steps, each a quarter of the last, are extrapolated to h = 0
(Richardson 1911; Ridders 1982, "Accurate computation of F'(x) and F'(x)F''(x)"), which leaves an error of order h⁶, so
that the steps may be long and rounding stays small. Where they do not agree, shorter ones are tried. All is done in
float64 and one coordinate at a time, so it takes at least six forward passes for each: use small arrays.

At a kink (ReLU at 0, ties in max-pooling) there are two slopes, one to each side, and differences give their mean,
whatever a layer rightly chooses. The gap between the two shrinks with h where f is smooth and does not at a kink, which
tells them apart without knowing the layer; see also Stanford's CS231n, notes on gradient checks. Such coordinates are
left out and counted; all that is asked of their gradients is that they lie between the two slopes.

What differences cannot see: which slope at a kink is right (compare with torch), features of f narrower than about
1e-8, and kinks that no axis crosses, such as that of the median of three equal values, which is flat along each. At a
jump, where there is no slope, no gradient is taken for right.

Arrays are of any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import ShapeError
from assay.scratch.layer import Array, Layer

Floats = NDArray[np.float64]

STEP = 1e-2
"""The longest step tried, relative to a coordinate's size, or to 1 if that is smaller."""

SHRINKING = 4.0
"""How much shorter each step is than the one before."""

STEPS = 12
"""How many there are at most: the shortest is 2.4e-9."""

TOLERANCE = 1e-7
"""Of `relative_error`: what a right gradient stays within."""

FLOOR = 1e-2
"""Gradients smaller than this count as this large: many that should be 0 are made of rounding."""


def relative_error(left: Array | float, right: Array | float, floor: float = FLOOR) -> float:
    """‖left − right‖ / max(‖left‖, ‖right‖, floor), Euclidean norms over all values.

    One number for a whole array, unlike a ratio for each value, does not trip over values near 0. Not-a-number where
    either holds anything that is not finite, which no tolerance admits: ask ``not error <= tolerance``.
    """
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if left.shape != right.shape:
        raise ShapeError(f"relative_error needs two arrays of one shape, got {left.shape} and {right.shape}.")
    with np.errstate(all="ignore"):  # infinities come out as not-a-number
        return _norm(left - right) / max(_norm(left), _norm(right), floor)


def numeric_gradient(
    function: Callable[[Floats], Array | float], x: Array, dy: Array | float = 1.0, *, step: float = STEP
) -> Floats:
    """The gradient of Σ dy·function(x) with respect to x, by differences; at a kink, the mean of both slopes.

    Args:
        function: of an array in x's shape, in float64; it may write to that array.
        x: where.
        dy: weights of what the function returns, in its shape; 1 for a scalar.
        step: the longest one tried.
    """
    return _differences(function, x, dy, step).slope


@dataclass(frozen=True, kw_only=True)
class ArgumentCheck:
    """One argument's gradient against differences.

    Attributes:
        error: `relative_error` over the coordinates compared.
        compared: how many.
        left_out: coordinates at a kink, or where rounding drowns the slope.
        outside: those of them whose gradient lies outside the slopes to both sides.
        worst: index of the coordinate that is furthest off, None where nothing was compared.
        gradient: there, by ``backward``.
        slope: there, by differences.
    """

    error: float
    compared: int
    left_out: int
    outside: int
    worst: tuple[int, ...] | None
    gradient: float
    slope: float


@dataclass(frozen=True, kw_only=True)
class GradientReport:
    """What `check_gradients` found, one `ArgumentCheck` for each argument."""

    layer: str
    arguments: tuple[ArgumentCheck, ...]
    tolerance: float
    most_left_out: float

    @property
    def error(self) -> float:
        """The largest of any argument; not-a-number if one is."""
        return float(np.max([check.error for check in self.arguments], initial=0.0))

    @property
    def compared(self) -> int:
        return sum(check.compared for check in self.arguments)

    @property
    def left_out(self) -> int:
        return sum(check.left_out for check in self.arguments)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, a sentence each; empty if the gradients are right as far as differences can tell."""
        found = []
        for number, check in enumerate(self.arguments):
            name = f"{self.layer}.backward: the gradient of argument {number}"
            if not check.error <= self.tolerance:  # so that not-a-number is one too
                found.append(
                    f"{name} is off by {check.error:.1e}, allowed is {self.tolerance:.0e}; at {check.worst} it is "
                    f"{check.gradient:.9g} where differences give {check.slope:.9g}."
                )
            if check.outside:
                found.append(
                    f"{name} lies outside the slopes to both sides at {check.outside} of {check.left_out} coordinates "
                    "at kinks."
                )
            if check.left_out > self.most_left_out * (check.compared + check.left_out):
                found.append(
                    f"{name} was compared at {check.compared} coordinates only, {check.left_out} lie at kinks or drown "
                    f"in rounding, of which {self.most_left_out:.0%} are allowed; take arguments away from kinks."
                )
        return tuple(found)


def check_gradients(
    layer: Layer,
    arguments: Sequence[Array],
    fixed: Sequence[Any],
    dy: Array | float,
    *,
    tolerance: float = TOLERANCE,
    floor: float = FLOOR,
    most_left_out: float = 0.1,
) -> GradientReport:
    """Compare what a layer's ``backward`` returns with differences of its ``forward``, in float64.

    Args:
        layer: see `assay.scratch.layer.Layer`.
        arguments: those of ``forward`` that have gradients.
        fixed: those after them, which have none: masks, labels.
        dy: in y's shape. Draw it at random: ones hide terms that sum to 0.
        tolerance: of `relative_error`, for each argument.
        floor: of `relative_error`.
        most_left_out: the share of an argument's coordinates that may lie at kinks.

    Raises:
        ShapeError: dy has not y's shape, ``forward`` does not return two things, or ``backward`` does not return one
            gradient per argument, in its shape.
    """
    name = type(layer).__name__
    arguments = [np.array(argument, dtype=np.float64) for argument in arguments]
    returned: Any = layer.forward(*(argument.copy() for argument in arguments), *fixed)
    if not isinstance(returned, tuple) or len(returned) != 2:  # two rows of an array could be taken for y and cache
        got = f"{len(returned)} things" if isinstance(returned, tuple) else f"one {type(returned).__name__}"
        raise ShapeError(f"{name}.forward must return (y, cache), got {got}.")
    y, cache = returned
    dy = np.array(dy, dtype=np.float64)
    if dy.shape != np.shape(y):
        raise ShapeError(f"check_gradients needs dy in the shape of {name}'s y, {np.shape(y)}, got {dy.shape}.")
    gradients: Any = layer.backward(dy.copy(), cache)
    if not isinstance(gradients, tuple | list):  # the rows of an array could be taken for gradients
        raise ShapeError(
            f"{name}.backward must return a tuple with a gradient for each argument, such as (dx,), got one "
            f"{type(gradients).__name__}."
        )
    shapes, wanted = [np.shape(gradient) for gradient in gradients], [argument.shape for argument in arguments]
    if shapes != wanted:
        raise ShapeError(f"{name}.backward must return gradients of shapes {wanted}, got {shapes}.")
    checks = []
    for number, gradient in enumerate(gradients):

        def function(x: Floats, number: int = number) -> Array:
            around = [argument.copy() for argument in arguments]
            around[number] = x
            return layer.forward(*around, *fixed)[0]

        found = _differences(function, arguments[number], dy, STEP)
        checks.append(_compare(np.asarray(gradient, dtype=np.float64), found, tolerance, floor))
    return GradientReport(layer=name, arguments=tuple(checks), tolerance=tolerance, most_left_out=most_left_out)


@dataclass(frozen=True, kw_only=True)
class _Differences:
    """What differences tell about each coordinate of x, arrays in its shape, but for a last axis in ``sides``.

    Attributes:
        slope: the derivative of Σ dy·f.
        error: how far it may be off: by how much steps disagree, half of what is left of the gap, and rounding.
        size: Σ |dy·slope of f|, what the slope was added up from.
        sides: lowest and highest that Σ dy·(slope of f) comes to if each value of f takes the slope to either side, and
            rounding goes either way.
    """

    slope: Floats
    error: Floats
    size: Floats
    sides: Floats


def _compare(gradient: Floats, found: _Differences, tolerance: float, floor: float) -> ArgumentCheck:
    usual = _norm(found.slope[np.isfinite(found.slope)]) / max(1.0, np.sqrt(found.slope.size))
    size = np.maximum(found.size, max(usual, floor))
    told = found.error <= 0.1 * tolerance * size  # not-a-number is not told
    low, high = found.sides[..., 0], found.sides[..., 1]
    inside = (low - 1e-3 * size <= gradient) & (gradient <= high + 1e-3 * size)
    with np.errstate(invalid="ignore"):
        distance = np.where(told, np.abs(gradient - found.slope), -1.0)
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(distance)), distance.shape)) if told.any() else None
    return ArgumentCheck(
        error=relative_error(gradient[told], found.slope[told], floor),
        compared=int(told.sum()),
        left_out=int((~told).sum()),
        outside=int((~told & ~inside).sum()),
        worst=worst,
        gradient=float("nan") if worst is None else float(gradient[worst]),
        slope=float("nan") if worst is None else float(found.slope[worst]),
    )


def _differences(function: Callable[[Floats], Array | float], x: Array, dy: Array | float, step: float) -> _Differences:
    x = np.array(x, dtype=np.float64)

    def at(index: tuple[int, ...], value: float) -> Floats:
        moved = x.copy()
        moved[index] = value
        return np.array(function(moved), dtype=np.float64)  # a copy: y may be a view of what the next call overwrites

    with np.errstate(all="ignore"):  # long steps may leave the domain of f; what is not finite is never chosen
        y = np.array(function(x.copy()), dtype=np.float64)
        weights = np.broadcast_to(np.asarray(dy, dtype=np.float64), y.shape)
        found = np.empty((*x.shape, 5))
        for index in np.ndindex(x.shape):
            coordinate = _Coordinate(at=partial(at, index), x=float(x[index]), y=y, dy=weights)
            found[index] = coordinate.differentiate(step)
    return _Differences(slope=found[..., 0], error=found[..., 1], size=found[..., 2], sides=found[..., 3:])


@dataclass(frozen=True, kw_only=True)
class _Coordinate:
    """A function along one coordinate, and what is known at its place."""

    at: Callable[[float], Floats]
    x: float
    y: Floats
    dy: Floats

    def differentiate(self, step: float) -> tuple[float, float, float, float, float]:
        """Slope, error, size, and the lowest and highest of both sides; see `_Differences`."""
        longest = step * max(1.0, abs(self.x))
        slopes: list[Floats] = []
        gaps: list[Floats] = []
        touched = np.zeros(self.y.shape, dtype=bool)
        best = (np.nan, np.inf, 0.0)
        for number in range(STEPS):
            length = longest / SHRINKING**number
            slope, gap = self._difference(length)
            # what a longer step has moved is rounded even where a shorter one no longer moves it
            touched |= (slope != 0.0) | (gap != 0.0)
            rounding = np.finfo(np.float64).eps * self._total(self.y * touched) / length
            slopes.append(slope)
            gaps.append(gap)
            if number < 2:
                continue
            # slopes are f' + O(h²) + O(h⁴) + …, gaps h·f'' + O(h³) + …, if there is no kink
            extrapolated, before = _to_zero(slopes[-3:], (2, 4))
            disagreement = self._total(extrapolated - before)
            lasting_gap = self._total(_to_zero(gaps[-3:], (1, 3))[0])
            error = disagreement + 0.5 * lasting_gap + rounding
            size = self._total(extrapolated)
            if error < best[1]:
                best = (float(np.sum(self.dy * extrapolated)), error, size)
            if error <= 0.01 * TOLERANCE * max(size, FLOOR) or error <= 2.0 * rounding:
                break
        sides = self.dy * (slopes[-1] - 0.5 * gaps[-1]), self.dy * (slopes[-1] + 0.5 * gaps[-1])
        low, high = float(np.sum(np.minimum(*sides))), float(np.sum(np.maximum(*sides)))
        return *best, low - 4.0 * rounding, high + 4.0 * rounding

    def _difference(self, length: float) -> tuple[Floats, Floats]:
        """The slope over both sides, and the slope to the right less that to the left."""
        right, left = self.x + length, self.x - length
        y_right, y_left = self.at(right), self.at(left)
        gap = (y_right - self.y) / (right - self.x) - (self.y - y_left) / (self.x - left)
        return (y_right - y_left) / (right - left), gap

    def _total(self, values: Floats) -> float:
        return float(np.sum(np.abs(self.dy * values)))


def _to_zero(at_steps: Sequence[Floats], powers: tuple[int, int]) -> tuple[Floats, Floats]:
    """What a sequence over three steps tends to, and what the last two steps alone say of it.

    Its errors go with these powers of the step; each extrapolation takes one of them off.
    """
    first, second = (SHRINKING**power for power in powers)
    longer, shorter = ((first * at_steps[i + 1] - at_steps[i]) / (first - 1.0) for i in range(2))
    return (second * shorter - longer) / (second - 1.0), shorter


def _norm(values: Floats) -> float:
    return float(np.linalg.norm(values.ravel()))
