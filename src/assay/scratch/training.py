"""Steps of training, in NumPy: forward, loss, backward, update.

Shape key: B examples in the batch, K classes; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from assay.records import StepRecord
from assay.scratch.in_parallel import threads
from assay.scratch.layer import Array
from assay.scratch.losses import SoftmaxCrossEntropy
from assay.scratch.network import Network, Parameter
from assay.scratch.optimizers import Optimizer, State

Batch = tuple[Array, Array]
"""Inputs, and labels: classes (B,), or probabilities (B, K)."""


class Update:
    """An optimizer with its state for every parameter. Weight decay is kept from what is not penalised.

    Attributes:
        states: what the optimizer keeps of each parameter, in their order.
    """

    def __init__(self, optimizer: Optimizer, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = [
            (parameter, optimizer if parameter.penalised else optimizer.without_decay())
            for parameter in parameters.values()
        ]
        self.states: list[State] = [own.start(parameter.value) for parameter, own in self._parameters]

    def step(self, lr: float) -> None:
        """Change every parameter in place, by its gradient."""
        for (parameter, optimizer), state in zip(self._parameters, self.states, strict=True):
            optimizer.step(parameter.value, parameter.gradient, state, lr)


def train(
    network: Network,
    batches: Iterable[Batch],
    update: Update,
    schedule: Callable[[int], float],
    loss: SoftmaxCrossEntropy,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    thread_count: int = 1,
    first_step: int = 0,
) -> Iterator[StepRecord]:
    """Take one optimizer step per batch and yield a record of it, as `assay.training.loop.train` does with torch.

    A loss that is not finite ends the steps: its record is yielded, with a gradient norm of NaN, and the weights stay
    as they were when they gave that loss.
    """
    # Threads are asked for step by step, not around the yield: the caller's own work is not ours to share out.
    for step, (x_B, y_B) in enumerate(batches, start=first_step):
        rate = schedule(step)
        with threads(thread_count), np.errstate(over="ignore", invalid="ignore"):  # a run's loss tells that it diverged
            logits_BK, caches = network.train(x_B)
            _, loss_cache = loss.forward(logits_BK, y_B)
            reported = float(loss_cache.plain)
            gradient_norm = math.nan
            if math.isfinite(reported):
                (dlogits_BK,) = loss.backward(1.0, loss_cache)
                network.backward(dlogits_BK, caches)
                add_penalties(network.parameters.values(), l1=l1, l2=l2)
                gradient_norm = global_norm([parameter.gradient for parameter in network.parameters.values()])
                update.step(rate)
        yield StepRecord(
            step=step,
            lr=rate,
            loss=reported,
            correct=count_correct(logits_BK, y_B),
            examples=len(y_B),
            gradient_norm=gradient_norm,
        )
        if not math.isfinite(reported):
            return


def add_penalties(parameters: Iterable[Parameter], *, l1: float, l2: float) -> None:
    """Add the gradients of l1·Σ|w| + l2/2·Σw² over the penalised parameters, with sign(0) = 0."""
    for parameter in parameters:
        if parameter.penalised and l2:
            parameter.gradient = parameter.gradient + l2 * parameter.value
        if parameter.penalised and l1:
            parameter.gradient = parameter.gradient + l1 * np.sign(parameter.value)


def count_correct(scores_BK: Array, y_B: Array) -> int:
    """How many examples score highest at their own class; an example with a score that is not finite is wrong.

    Where labels are probabilities (B, K), an example's own class is the most probable one.
    """
    own_B = y_B if y_B.ndim == 1 else y_B.argmax(axis=1)
    right_B = scores_BK.argmax(axis=1) == own_B
    return int(np.count_nonzero(right_B & np.isfinite(scores_BK).all(axis=1)))


def global_norm(arrays: Iterable[Array]) -> float:
    """The L2 norm of all values of all arrays together; 0 of none."""
    return math.sqrt(sum(float(np.vdot(array, array)) for array in arrays))
