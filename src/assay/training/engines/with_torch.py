"""Training by torch: any module, its autograd, its optimizers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from assay.data.batches import Batch
from assay.recipe.schema import Recipe
from assay.records import Array, EpochRecord, StepRecord
from assay.training.arithmetic import Arithmetic
from assay.training.averaging import build_average
from assay.training.evaluate import Scores
from assay.training.frozen_features import Cut, Tail
from assay.training.loop import global_norm, train
from assay.training.losses import build_loss
from assay.training.optimizers import build_optimizer
from assay.training.penalties import Penalty
from assay.training.schedules import Schedule
from assay.training.state import State, joined, part
from assay.training.torch_state import (
    attributes_state,
    module_state,
    optimizer_state,
    restore_module,
    restore_module_attributes,
    restore_optimizer,
)


class TorchEngine:
    """A torch module with its optimizer; see `assay.training.loop` for what a step is."""

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule, arithmetic: Arithmetic) -> None:
        self.model = model
        self.arithmetic = arithmetic
        self._trained: nn.Module = model
        """What batches are given to in training: the model, or its tail."""
        self._recipe = recipe
        self._schedule = schedule
        self._optimizer = build_optimizer(recipe.optimizer, model, trains=recipe.train.epochs > 0)
        self._average = build_average(recipe.averaging, model)

    @property
    def kept(self) -> nn.Module:
        """The module that `scores` asks and whose weights are kept: an average of the trained one, if there is any."""
        return self._average.model

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def trainable_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def steps(self, batches: Iterable[Batch], *, first_step: int = 0) -> Iterator[StepRecord]:
        loss, train_section = self._recipe.loss, self._recipe.train
        for record in train(
            self._trained,
            batches,
            self._optimizer,
            self._schedule,
            build_loss(loss),
            Penalty(self.model, l1=loss.l1, l2=loss.l2),
            self.arithmetic,
            clip_norm=train_section.clip_norm,
            first_step=first_step,
        ):
            if math.isfinite(record.loss):
                self._average.after_step()
            yield record

    def observe(self, record: EpochRecord) -> None:
        self._schedule.observe(record)

    def start_at(self, cut: Cut) -> Scores:
        """Take steps on what the frozen layers before a cut give, in place of images; gives the scores of such
        features. `scores` stay those of images."""
        self._trained = Tail(self.model, cut)
        averaged = self._average.model
        tail = self._trained if averaged is self.model else Tail(averaged, cut)

        def scores_of_features(x_B: Tensor) -> Tensor:
            if self._average.model is not averaged:  # asking also brings its running statistics up to date
                raise RuntimeError("An average must stay one model.")
            return scores_of(tail, self.arithmetic, x_B)

        return scores_of_features

    def scores(self, x_B: Tensor) -> Tensor:
        if self._trained is not self.model:
            self._trained.eval()  # a part of the model, which does not know that it was put into training mode
        return scores_of(self._average.model, self.arithmetic, x_B)

    def weight_norm(self) -> float:
        return global_norm([parameter.detach() for parameter in self._average.model.parameters()])

    def weights(self) -> Mapping[str, Array]:
        return {name: array_of(tensor) for name, tensor in self._average.model.state_dict().items()}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        self._average.model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})

    def state(self) -> State:
        parts = {
            "model": module_state(self.model),
            "optimizer": optimizer_state(self._optimizer),
            "schedule": self._schedule.state(),
            "arithmetic": self.arithmetic.state(),
            "average": self._average.state(),
        }
        if self._average.model is not self.model:
            parts["averaged"] = attributes_state(self._average.model)
        if self._trained is not self.model:  # whose own mode says whether its layers are in another one
            parts["trained"] = attributes_state(self._trained)
        return joined(parts)

    def restore(self, state: State) -> None:
        restore_module(self.model, part(state, "model"))
        restore_optimizer(self._optimizer, part(state, "optimizer"))
        self._schedule.restore(part(state, "schedule"))
        self.arithmetic.restore(part(state, "arithmetic"))
        self._average.restore(part(state, "average"))
        if self._average.model is not self.model:
            restore_module_attributes(self._average.model, part(state, "averaged"))
        if self._trained is not self.model:
            restore_module_attributes(self._trained, part(state, "trained"))


def scores_of(model: nn.Module, arithmetic: Arithmetic, x_B: Tensor) -> Tensor:
    """What a module gives in evaluation mode, in which it is left."""
    if model.training:
        model.eval()
    with torch.inference_mode():
        return arithmetic.scores(model, x_B)


def array_of(tensor: Tensor) -> Array:
    """A copy as NumPy array of the same type, but for bfloat16, which NumPy lacks: float32 holds its every value."""
    host = tensor.detach().cpu()
    return (host.float() if host.dtype == torch.bfloat16 else host).numpy().copy()
