"""Watches a network while it trains: what diagnosis needs to tell why a training went as it did.

It changes no number of the run, and costs little: the steps' losses and gradient norms are at hand anyway; weights,
gradients and updates are looked at in one step of 32 at most, and in about sixty over a whole run; nonlinearities
on a small share of the training examples, before the first step, after epochs 1, 4, 16, …, and after the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from assay.data.batches import SplitData
from assay.metrics.vitals import VITALS, ActivitySample, Stretch, Vitals, WeightSample, vitals_written
from assay.records import StepRecord
from assay.training.activations import activity_of
from assay.training.engines.engine import Engine
from assay.training.engines.with_torch import TorchEngine
from assay.training.isolation import generators_untouched
from assay.training.penalties import penalised_weights
from assay.training.state import State

_MOST_STRETCHES = 200
_SAMPLES = 60
_LEAST_APART = 32
"""Steps between two looks at the weights, which cost about a third of a step of a network of large linear layers."""
_EXAMPLES = (16, 256)
_SHARE_OF_EXAMPLES = 0.01
_MOST_LAYERS = 200
"""Weight tensors, or nonlinearities, that are followed."""


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What a checkpoint holds of it."""

    stretches: list[Stretch]
    samples: list[WeightSample]
    activity: list[ActivitySample]


_KEPT: TypeAdapter[_Kept] = TypeAdapter(_Kept)


class Watch:
    """Follows one training.

    Args:
        engine: that trains; of any but torch only the steps are followed.
        examples: of the training split.
        steps_per_epoch: of the run.
        epochs: of the run.
    """

    def __init__(self, engine: Engine, examples: SplitData, *, steps_per_epoch: int, epochs: int) -> None:
        self._engine = engine
        self._examples = examples
        self._steps_per_epoch, self._epochs = steps_per_epoch, epochs
        steps = steps_per_epoch * epochs
        self._stretch = max(1, math.ceil(steps / _MOST_STRETCHES))
        self._apart = max(_LEAST_APART, math.ceil(steps / _SAMPLES))
        self._weights = _weights_of(engine.model) if isinstance(engine, TorchEngine) else {}
        self._before: dict[str, Tensor] = {}
        self._under_way: list[tuple[float, float]] = []
        self._stretches: list[Stretch] = []
        self._samples: list[WeightSample] = []
        self._activity: list[ActivitySample] = []

    def before_step(self, step: int) -> None:
        """Step ``step``, counted from 0, is about to be taken."""
        if step % self._apart == 0:
            self._before = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def after_step(self, record: StepRecord) -> None:
        """It was taken."""
        self._under_way.append((record.loss, record.gradient_norm))
        if len(self._under_way) == self._stretch:
            self._end_stretch(record.step + 1)
        if self._before:
            if math.isfinite(record.loss):
                self._samples.append(self._sample(record.step))
            self._before = {}

    def after_epoch(self, epoch: int, *, last: bool) -> None:
        """The model has been measured after an epoch; 0 is before the first."""
        if isinstance(self._engine, TorchEngine) and (last or _looked_at(epoch)):
            self._activity.append(self._observed(self._engine, epoch, last=last))

    def artefacts(self) -> Mapping[str, bytes]:
        """The file, of a training that took a step."""
        if not self._stretches and not self._under_way:
            return {}
        stretches = list(self._stretches)
        if self._under_way:
            first = sum(stretch.steps for stretch in stretches)
            stretches.append(_stretch_of(first, self._under_way))
        vitals = Vitals(
            steps_per_epoch=self._steps_per_epoch,
            stretches=tuple(stretches),
            weights=tuple(self._weights),
            samples=tuple(self._samples),
            activity=tuple(self._activity),
        )
        return {VITALS: vitals_written(vitals)}

    def state(self) -> State:
        kept = _Kept(stretches=self._stretches, samples=self._samples, activity=self._activity)
        return State(facts={"kept": _KEPT.dump_python(kept, mode="json"), "under_way": self._under_way})

    def restore(self, state: State) -> None:
        kept = _KEPT.validate_python(state.facts["kept"])
        self._stretches, self._samples, self._activity = kept.stretches, kept.samples, kept.activity
        self._under_way = [(loss, norm) for loss, norm in state.facts["under_way"]]

    def _end_stretch(self, end: int) -> None:
        self._stretches.append(_stretch_of(end - len(self._under_way), self._under_way))
        self._under_way = []

    def _sample(self, step: int) -> WeightSample:
        gradient_L, weight_L, update_L = [], [], []
        with torch.no_grad():
            for name, weight in self._weights.items():
                before = self._before[name]
                gradient_L.append(_size(weight.grad) if weight.grad is not None else 0.0)
                weight_L.append(_size(before))
                update_L.append(_size(before.sub_(weight.detach())))
        return WeightSample(step=step, gradient_L=tuple(gradient_L), weight_L=tuple(weight_L), update_L=tuple(update_L))

    def _observed(self, engine: TorchEngine, epoch: int, *, last: bool) -> ActivitySample:
        least, most = _EXAMPLES
        count = len(self._examples)
        wanted = min(count, most if last else max(least, min(most, round(_SHARE_OF_EXAMPLES * count))))
        # Spread over the split, whose examples may be in the order of their classes.
        x_B = self._examples.inputs(np.linspace(0, count - 1, wanted).astype(np.int64))
        with generators_untouched(x_B.device):
            layers = activity_of(engine.kept, lambda: engine.scores(x_B))
        return ActivitySample(epoch=epoch, examples=wanted, layers=layers[:_MOST_LAYERS])


def _looked_at(epoch: int) -> bool:
    """Whether it is 0 or a power of 4."""
    return epoch == 0 or (epoch & (epoch - 1) == 0 and epoch.bit_length() % 2 == 1)


def _weights_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained weights, biases and normalisation apart, by name."""
    wanted = {id(weight) for weight in penalised_weights(model)}
    named = [(name, weight) for name, weight in model.named_parameters() if id(weight) in wanted]
    return dict(named[:_MOST_LAYERS])


def _stretch_of(first: int, steps: Sequence[tuple[float, float]]) -> Stretch:
    losses, norms = zip(*steps, strict=True)
    return Stretch(
        step=first,
        steps=len(steps),
        loss=_finite(sum(losses) / len(losses)),
        highest_loss=_finite(max(losses)),
        gradient_norm=_finite(sum(norms) / len(norms)),
        highest_gradient_norm=_finite(max(norms)),
    )


def _size(tensor: Tensor) -> float | None:
    """Root mean square."""
    return _finite(float(torch.linalg.vector_norm(tensor.float())) / math.sqrt(max(1, tensor.numel())))


def _finite(value: float) -> float | None:
    """To six digits, which is more than a diagnosis needs and less than half of what JSON would write."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
