"""Layers put together: a network is a list of stages, gone through forward in training and backward for gradients.

A layer is pure arithmetic (`assay.scratch.layer`). What it lacks as a part of a network, its stage has: parameters with
their gradients, running statistics, the stream its masks are drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from assay.recipe.streams import keep_mask
from assay.scratch.batch_norm import BatchNorm, SpatialBatchNorm, running
from assay.scratch.dropout import InvertedDropout, VanillaDropout
from assay.scratch.layer import Array, Cache, Layer


@dataclass(kw_only=True)
class Parameter:
    """Numbers that training changes, and the gradient of the last backward pass.

    ``penalised`` is false for biases and normalisation: L1, L2 and weight decay leave them alone.
    """

    value: Array
    penalised: bool = False
    gradient: Array = field(default_factory=lambda: np.zeros(()))


class Stage(Protocol):
    """A layer in its place."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """By their names within the stage, as torch calls them: ``weight``, ``bias``."""
        ...

    @property
    def statistics(self) -> Mapping[str, Array]:
        """What is kept beside parameters, by name."""
        ...

    def train(self, x: Array) -> tuple[Array, Cache]: ...

    def evaluate(self, x: Array) -> Array: ...

    def backward(self, dy: Array, cache: Cache, *, first: bool) -> Array | None:
        """Set the gradients of the parameters and return that of the input; None at the ``first``, where none is
        needed."""
        ...


@dataclass(kw_only=True)
class Fixed:
    """A layer without parameters that does the same in training and evaluation."""

    layer: Layer
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    statistics: Mapping[str, Array] = field(default_factory=dict)

    def train(self, x: Array) -> tuple[Array, Cache]:
        return self.layer.forward(x)

    def evaluate(self, x: Array) -> Array:
        return self.layer.forward(x)[0]

    def backward(self, dy: Array, cache: Cache, *, first: bool) -> Array | None:
        return None if first else self.layer.backward(dy, cache)[0]


@dataclass(kw_only=True)
class Weighted:
    """A layer of a weight and a bias: affine, convolution, layer norm. Without a bias, zeros stand in for it."""

    layer: Layer
    weight: Parameter
    bias: Parameter | None
    statistics: Mapping[str, Array] = field(default_factory=dict)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"weight": self.weight} if self.bias is None else {"weight": self.weight, "bias": self.bias}

    def train(self, x: Array) -> tuple[Array, Cache]:
        weight = self.weight.value
        bias = np.zeros(len(weight), dtype=weight.dtype) if self.bias is None else self.bias.value
        return self.layer.forward(x, weight, bias)

    def evaluate(self, x: Array) -> Array:
        return self.train(x)[0]

    def backward(self, dy: Array, cache: Cache, *, first: bool) -> Array | None:
        parameters_alone: Callable[..., tuple[Array, ...]] | None = getattr(self.layer, "parameter_gradients", None)
        dx: Array | None = None
        if first and parameters_alone is not None:
            gradients = parameters_alone(dy, cache)
        else:
            dx, *rest = self.layer.backward(dy, cache)
            gradients = tuple(rest)
        for parameter, gradient in zip(self.parameters.values(), gradients, strict=False):
            parameter.gradient = gradient
        return dx


@dataclass(kw_only=True)
class Normalised:
    """Batch norm, with the running statistics that stand in for the batch's own in evaluation."""

    layer: BatchNorm | SpatialBatchNorm
    weight: Parameter
    bias: Parameter
    mean: Array
    variance: Array
    momentum: float = 0.1
    """Share of the newest batch in the running statistics."""
    batches: int = 0

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"weight": self.weight, "bias": self.bias}

    @property
    def statistics(self) -> Mapping[str, Array]:
        return {
            "running_mean": self.mean,
            "running_var": self.variance,
            "num_batches_tracked": np.array(self.batches, dtype=np.int64),
        }

    def train(self, x: Array) -> tuple[Array, Cache]:
        y, cache = self.layer.forward(x, self.weight.value, self.bias.value)
        self.mean, self.variance = running(
            self.mean, self.variance, cache.mean_F, cache.variance_F, cache.count, self.momentum
        )
        self.batches += 1
        return y, cache

    def evaluate(self, x: Array) -> Array:
        return self.layer.evaluate(x, self.weight.value, self.bias.value, self.mean, self.variance)

    def backward(self, dy: Array, cache: Cache, *, first: bool) -> Array | None:
        dx, self.weight.gradient, self.bias.gradient = self.layer.backward(dy, cache)
        return dx


@dataclass(kw_only=True)
class Dropped:
    """Dropout, whose masks come from a stream of its own."""

    layer: InvertedDropout | VanillaDropout
    bits: np.random.BitGenerator
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    statistics: Mapping[str, Array] = field(default_factory=dict)

    def train(self, x: Array) -> tuple[Array, Cache]:
        return self.layer.forward(x, keep_mask(self.bits, x.shape, self.layer.p))

    def evaluate(self, x: Array) -> Array:
        return self.layer.evaluate(x)

    def backward(self, dy: Array, cache: Cache, *, first: bool) -> Array | None:
        return None if first else self.layer.backward(dy, cache)[0]


class Network:
    """Stages one after the other, each fed by the one before it.

    Attributes:
        stages: by name, first to last; a parameter is known as ``stage.parameter``.
        parameters: those of all stages, by ``stage.parameter``.
    """

    def __init__(self, stages: Mapping[str, Stage]) -> None:
        self.stages = dict(stages)
        self.parameters: dict[str, Parameter] = {
            f"{name}.{own}": parameter for name, stage in stages.items() for own, parameter in stage.parameters.items()
        }
        with_parameters = [place for place, stage in enumerate(stages.values()) if stage.parameters]
        self._first = with_parameters[0] if with_parameters else len(self.stages)

    @property
    def statistics(self) -> dict[str, Array]:
        """Running statistics, by ``stage.name``."""
        return {
            f"{name}.{own}": array for name, stage in self.stages.items() for own, array in stage.statistics.items()
        }

    def train(self, x: Array) -> tuple[Array, Sequence[Cache]]:
        """Go forward in training mode: (y, what `backward` needs)."""
        caches = []
        for stage in self.stages.values():
            x, cache = stage.train(x)
            caches.append(cache)
        return x, caches

    def evaluate(self, x: Array) -> Array:
        """Go forward in evaluation mode."""
        for stage in self.stages.values():
            x = stage.evaluate(x)
        return x

    def backward(self, dy: Array, caches: Sequence[Cache]) -> None:
        """Set the gradient of every parameter, last stage first; before the first parameter nothing needs any."""
        passed_on: Array | None = dy
        for place, stage in reversed(list(enumerate(self.stages.values()))):
            if place < self._first or passed_on is None:
                return
            passed_on = stage.backward(passed_on, caches[place], first=place == self._first)
