"""Training by hand: assay's layers, losses and optimizers in NumPy (`assay.scratch`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from assay.data.batches import Batch
from assay.errors import InvalidValueError
from assay.recipe.schema import Recipe
from assay.records import Array, EpochRecord, StepRecord
from assay.scratch.in_parallel import threads
from assay.scratch.losses import SoftmaxCrossEntropy
from assay.scratch.optimizers import build_optimizer
from assay.scratch.training import Update, global_norm, train
from assay.training.engines.translate import translate
from assay.training.packing import packed_attributes, restore_attributes
from assay.training.schedules import Schedule
from assay.training.state import State, joined, part
from assay.training.torch_state import fill


class NumpyEngine:
    """The network of a torch module, rebuilt of layers by hand. Batches and scores share memory with the tensors.

    Raises:
        InvalidValueError: the module cannot be translated, or has nothing to train.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule) -> None:
        self.network = translate(model)
        if not self.network.parameters:
            raise InvalidValueError(
                ("model", "name"), f"must have parameters to train; {type(model).__name__} has none."
            )
        self._recipe = recipe
        self._schedule = schedule
        self._update = Update(build_optimizer(recipe.optimizer), self.network.parameters)

    @property
    def parameters(self) -> int:
        return sum(parameter.value.size for parameter in self.network.parameters.values())

    @property
    def trainable_parameters(self) -> int:
        return self.parameters

    def steps(self, batches: Iterable[Batch], *, first_step: int = 0) -> Iterator[StepRecord]:
        loss = self._recipe.loss
        return train(
            self.network,
            ((x_B.numpy(), y_B.numpy()) for x_B, y_B in batches),
            self._update,
            self._schedule,
            SoftmaxCrossEntropy(label_smoothing=loss.label_smoothing),
            l1=loss.l1,
            l2=loss.l2,
            thread_count=self._recipe.train.threads,
            first_step=first_step,
        )

    def observe(self, record: EpochRecord) -> None:
        self._schedule.observe(record)

    def scores(self, x_B: Tensor) -> Tensor:
        with threads(self._recipe.train.threads), np.errstate(over="ignore", invalid="ignore"):
            return torch.from_numpy(self.network.evaluate(x_B.numpy()))

    def weight_norm(self) -> float:
        return global_norm(parameter.value for parameter in self.network.parameters.values())

    def weights(self) -> Mapping[str, Array]:
        values = {name: parameter.value.copy() for name, parameter in self.network.parameters.items()}
        return values | {name: array.copy() for name, array in self.network.statistics.items()}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        statistics = self.network.statistics
        for name, value in weights.items():
            kept = self.network.parameters[name].value if name in self.network.parameters else statistics[name]
            kept[...] = value

    def state(self) -> State:
        tensors = {
            f"parameters:{name}": torch.from_numpy(parameter.value)
            for name, parameter in self.network.parameters.items()
        }
        facts = {
            "stages": {
                name: packed_attributes(stage, f"stages:{name}", tensors) for name, stage in self.network.stages.items()
            },
            "optimizer": [
                packed_attributes(state, f"optimizer:{place}", tensors)
                for place, state in enumerate(self._update.states)
            ],
        }
        return joined({"own": State(tensors=tensors, facts=facts), "schedule": self._schedule.state()})

    def restore(self, state: State) -> None:
        own = part(state, "own")
        live = {
            f"parameters:{name}": torch.from_numpy(parameter.value)
            for name, parameter in self.network.parameters.items()
        }
        fill(live, {name: value for name, value in own.tensors.items() if name.startswith("parameters:")})
        for name, stage in self.network.stages.items():
            restore_attributes(stage, own.facts["stages"][name], own.tensors)
        for remembered, packed in zip(self._update.states, own.facts["optimizer"], strict=True):
            restore_attributes(remembered, packed, own.tensors)
        self._schedule.restore(part(state, "schedule"))
