"""Optimizers: one step from a weight, its gradient and the learning rate, written as the papers do.

An optimizer is a frozen dataclass of its hyperparameters, and one serves any number of weights. What it remembers of a
weight is a state of that weight's own, which `start` makes and `step` moves on. Where papers and torch differ, torch's
form is taken, so that both engines take the same steps; each class says where.

Letters: w weight, g gradient of the loss at w, η learning rate, t steps taken, this one included. ← is assignment;
products, squares, roots and quotients of arrays are element by element.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

import numpy as np

from assay.errors import InputError, InvalidValueError, ShapeError
from assay.recipe.schema import AdamOptimizer, AdamWOptimizer, RmspropOptimizer, SgdOptimizer
from assay.recipe.schema import Optimizer as OptimizerSection
from assay.scratch.layer import Array

State = Any
"""What an optimizer keeps of one weight between its steps; only the optimizer that made it looks inside."""

_VALUES_AT_ONCE = 2**15
"""Values per block: three to five arrays of them stay in a core's own cache (Adam on 3072×4096 float32: 20 ms, 33 ms
whole; smaller blocks lose more to calls than they gain)."""


def _quiet() -> np.errstate:
    """A step that overflows gives infinities and NaN without a word, as torch does: the next loss tells."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


class Optimizer(Protocol):
    """``state = start(weight)`` once, then ``step(weight, gradient, state, lr)`` as often as there are gradients."""

    def start(self, weight: Array) -> State:
        """The state before the first step, for this weight alone: float32 or float64, at least one axis."""
        ...

    def step(self, weight: Array, gradient: Array, state: State, lr: float) -> None:
        """Change weight and state in place, in the weight's dtype; the gradient is only read.

        Raises:
            ShapeError: the gradient is not of the weight's shape.
        """
        ...

    def without_decay(self) -> Optimizer:
        """The same optimizer for parameters whose size is left alone: biases, and those of normalisation layers."""
        ...


# --- SGD -------------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class SgdState:
    """The velocity v; None without momentum."""

    velocity: Array | None


@final
@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent: w ← w − η·g.

    With momentum µ (Polyak 1964, "Some methods of speeding up the convergence of iteration methods"), v = 0 at first:

        v ← µ·v + g
        w ← w − η·v

    In Nesterov's form (Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning"):

        v ← µ·v + g
        w ← w − η·(g + µ·v)

    The papers multiply g by η before it enters v; here, as in torch, a new rate acts on the whole of v at once.

    Raises:
        InputError: the Nesterov form is asked for without momentum.
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0.0:
            raise InputError("Sgd: nesterov needs momentum above 0, got 0. Set momentum, or leave nesterov out.")

    def start(self, weight: Array) -> SgdState:
        return SgdState(velocity=np.zeros_like(weight) if self.momentum else None)

    @_quiet()
    def step(self, weight: Array, gradient: Array, state: SgdState, lr: float) -> None:
        _check_shapes(weight, gradient)
        if state.velocity is None:
            for (w, g), scratch in _blocks(weight, gradient):
                w -= np.multiply(g, lr, out=scratch)
            return
        for (w, g, v), scratch in _blocks(weight, gradient, state.velocity):
            v *= self.momentum
            v += g
            direction = v
            if self.nesterov:
                direction = np.multiply(v, self.momentum, out=scratch)
                direction += g
            w -= np.multiply(direction, lr, out=scratch)

    def without_decay(self) -> Sgd:
        return self


# --- RMSProp ---------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class RmspropState:
    """The mean square s, and the velocity v; None without momentum."""

    mean_square: Array
    velocity: Array | None


@final
@dataclass(frozen=True, kw_only=True)
class Rmsprop:
    """RMSProp (Tieleman and Hinton 2012, Coursera "Neural networks for machine learning", lecture 6.5).

    The gradient is divided by a running root mean square of itself; s = 0 and v = 0 at first:

        s ← α·s + (1 − α)·g²
        v ← µ·v + g / (√s + ε)
        w ← w − η·v

    ε stands outside the root, as in torch. Nothing makes up for s starting from 0, so the first steps are long ones;
    the very first is η·g/(√(1 − α)·|g| + ε), so 10 η where α is 0.99.
    """

    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0

    def start(self, weight: Array) -> RmspropState:
        velocity = np.zeros_like(weight) if self.momentum else None
        return RmspropState(mean_square=np.zeros_like(weight), velocity=velocity)

    @_quiet()
    def step(self, weight: Array, gradient: Array, state: RmspropState, lr: float) -> None:
        _check_shapes(weight, gradient)
        kept = (state.mean_square,) if state.velocity is None else (state.mean_square, state.velocity)
        for (w, g, s, *velocity), scratch in _blocks(weight, gradient, *kept):
            g_squared = np.multiply(g, g, out=scratch)
            _move_towards(s, g_squared, self.alpha, scratch)
            root = np.sqrt(s, out=scratch)
            root += self.epsilon
            direction = np.divide(g, root, out=scratch)
            for v in velocity:
                v *= self.momentum
                v += direction
                direction = v
            w -= np.multiply(direction, lr, out=scratch)

    def without_decay(self) -> Rmsprop:
        return self


# --- Adam and AdamW --------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class AdamState:
    """The moments m and v, and how many steps were taken."""

    first_moment: Array
    second_moment: Array
    steps: int = 0


@final
@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba 2014, arXiv:1412.6980, algorithm 1); m = 0, v = 0 and t = 0 at first:

        t ← t + 1
        m ← β₁·m + (1 − β₁)·g
        v ← β₂·v + (1 − β₂)·g²
        m̂ = m / (1 − β₁ᵗ)
        v̂ = v / (1 − β₂ᵗ)
        w ← w − η·m̂ / (√v̂ + ε)

    m and v start from 0 and so are too small at first; the two divisors take that out exactly where g is constant.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def start(self, weight: Array) -> AdamState:
        return AdamState(first_moment=np.zeros_like(weight), second_moment=np.zeros_like(weight))

    def step(self, weight: Array, gradient: Array, state: AdamState, lr: float) -> None:
        _adam_step(self, weight, gradient, state, lr, decay=0.0)

    def without_decay(self) -> Adam:
        return self


@final
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2): Adam whose weights shrink by λ beside it.

        w ← w − η·λ·w
        then a step of `Adam`

    The decay is decoupled: it enters neither m nor v, and so is not divided by √v̂ as the gradient of an L2 penalty
    would be. As in torch it is multiplied by the whole rate η, the paper's α times its schedule.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def start(self, weight: Array) -> AdamState:
        return AdamState(first_moment=np.zeros_like(weight), second_moment=np.zeros_like(weight))

    def step(self, weight: Array, gradient: Array, state: AdamState, lr: float) -> None:
        _adam_step(self, weight, gradient, state, lr, decay=self.weight_decay)

    def without_decay(self) -> AdamW:
        return replace(self, weight_decay=0.0)


@_quiet()
def _adam_step(
    hyper: Adam | AdamW, weight: Array, gradient: Array, state: AdamState, lr: float, *, decay: float
) -> None:
    _check_shapes(weight, gradient)
    state.steps += 1
    m_unbiasing = 1.0 - hyper.beta1**state.steps
    v_unbiasing = 1.0 - hyper.beta2**state.steps
    for (w, g, m, v), scratch in _blocks(weight, gradient, state.first_moment, state.second_moment):
        if decay:
            w *= 1.0 - lr * decay
        _move_towards(m, g, hyper.beta1, scratch)
        g_squared = np.multiply(g, g, out=scratch)
        _move_towards(v, g_squared, hyper.beta2, scratch)
        denominator = np.divide(v, v_unbiasing, out=scratch)
        np.sqrt(denominator, out=denominator)
        denominator += hyper.epsilon
        step = np.divide(m, denominator, out=scratch)
        step *= lr / m_unbiasing
        w -= step


# --- what they share -------------------------------------------------------------------------------------------------


def build_optimizer(section: OptimizerSection) -> Optimizer:
    """The optimizer a recipe asks for; its rate comes with each step."""
    match section:
        case SgdOptimizer():
            return Sgd(momentum=section.momentum, nesterov=section.nesterov)
        case RmspropOptimizer():
            return Rmsprop(alpha=section.alpha, epsilon=section.epsilon, momentum=section.momentum)
        case AdamOptimizer():
            return Adam(beta1=section.beta1, beta2=section.beta2, epsilon=section.epsilon)
        case AdamWOptimizer():
            return AdamW(
                beta1=section.beta1,
                beta2=section.beta2,
                epsilon=section.epsilon,
                weight_decay=section.weight_decay,
            )
        case _:
            raise InvalidValueError(
                ("optimizer", "name"),
                f"must be sgd, rmsprop, adam or adamw with train.engine numpy, got {section.name}.",
            )


def _move_towards(average: Array, value: Array, kept: float, scratch: Array) -> None:
    """average ← kept·average + (1 − kept)·value, in place; ``scratch`` may be ``value`` itself."""
    average *= kept
    average += np.multiply(value, 1.0 - kept, out=scratch)


def _check_shapes(weight: Array, gradient: Array) -> None:
    if gradient.shape != weight.shape or not weight.ndim:
        raise ShapeError(
            f"An optimizer needs a gradient of its weight's shape, with at least one axis, got {gradient.shape} for a "
            f"weight of shape {weight.shape}."
        )


def _blocks(weight: Array, gradient: Array, *kept: Array) -> Iterator[tuple[list[Array], Array]]:
    """The same rows of all arrays, some at a time, as views, each time with one scratch array of that size.

    A step takes a dozen passes over its arrays. Block by block they stay in the cache between the passes, and no
    temporary array is as large as the weight, unless it has a single row.
    """
    rows = max(1, _VALUES_AT_ONCE * len(weight) // max(1, weight.size))
    scratch = np.empty_like(weight[:rows])
    for start in range(0, len(weight), rows):
        parts = [array[start : start + rows] for array in (weight, gradient, *kept)]
        yield parts, scratch[: len(parts[0])]
