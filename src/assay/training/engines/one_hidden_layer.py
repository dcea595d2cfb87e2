"""One hidden tanh layer trained by plain gradient descent, on two rungs of a ladder of four.

The same few lines, each time with less to write: gradients by hand (`with_numpy`), gradients by autograd, layers as
modules, and the step as an optimizer object (`with_torch`). All four take the same steps.

Shape key: B examples in the batch, D inputs, H hidden units, K classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from assay.data.batches import Batch
from assay.recipe.schema import Recipe
from assay.records import Array, EpochRecord, StepRecord
from assay.training.engines.with_torch import array_of
from assay.training.loop import count_correct, global_norm
from assay.training.schedules import Schedule
from assay.training.state import State, joined, part
from assay.training.torch_state import fill


class _OneHiddenLayer(ABC):
    """What both rungs share: everything but the forward pass and the step."""

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule) -> None:
        self._schedule = schedule

    @abstractmethod
    def logits(self, x_B: Tensor) -> Tensor:
        """Logits (B, K)."""

    @abstractmethod
    def named_parameters(self) -> Mapping[str, Tensor]:
        """Weights and biases by torch's names."""

    @abstractmethod
    def update(self, loss: Tensor, lr: float) -> float:
        """Take one step down the loss and return the norm of its gradient."""

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.named_parameters().values())

    @property
    def trainable_parameters(self) -> int:
        return self.parameters

    def steps(self, batches: Iterable[Batch], *, first_step: int = 0) -> Iterator[StepRecord]:
        for step, (x_B, y_B) in enumerate(batches, start=first_step):
            rate = self._schedule(step)
            logits_BK = self.logits(x_B)
            loss = functional.cross_entropy(logits_BK, y_B)
            reported = float(loss.detach())
            gradient_norm = self.update(loss, rate) if math.isfinite(reported) else math.nan
            yield StepRecord(
                step=step,
                lr=rate,
                loss=reported,
                correct=count_correct(logits_BK.detach(), y_B),
                examples=len(y_B),
                gradient_norm=gradient_norm,
            )
            if not math.isfinite(reported):
                return

    def observe(self, record: EpochRecord) -> None:
        self._schedule.observe(record)

    def scores(self, x_B: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.logits(x_B)

    def weight_norm(self) -> float:
        return global_norm([parameter.detach() for parameter in self.named_parameters().values()])

    def weights(self) -> Mapping[str, Array]:
        return {name: array_of(parameter) for name, parameter in self.named_parameters().items()}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        with torch.no_grad():
            for name, parameter in self.named_parameters().items():
                parameter.copy_(torch.from_numpy(weights[name]))

    def state(self) -> State:
        return joined({"weights": State(tensors=self.named_parameters()), "schedule": self._schedule.state()})

    def restore(self, state: State) -> None:
        fill(self.named_parameters(), part(state, "weights").tensors)
        self._schedule.restore(part(state, "schedule"))


class AutogradEngine(_OneHiddenLayer):
    """Tensors that remember how they came about; the forward pass written out, the backward pass found by torch."""

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule) -> None:
        super().__init__(model, recipe, schedule)
        self._tensors = {
            name: parameter.detach().clone().requires_grad_() for name, parameter in model.named_parameters()
        }
        self._W1_HD, self._b1_H, self._W2_KH, self._b2_K = self._tensors.values()

    def logits(self, x_B: Tensor) -> Tensor:
        x_BD = x_B.flatten(1)
        hidden_BH = torch.tanh(x_BD @ self._W1_HD.T + self._b1_H)
        return hidden_BH @ self._W2_KH.T + self._b2_K

    def named_parameters(self) -> Mapping[str, Tensor]:
        return self._tensors

    def update(self, loss: Tensor, lr: float) -> float:
        tensors = list(self._tensors.values())
        gradients = torch.autograd.grad(loss, tensors)
        with torch.no_grad():
            for tensor, gradient in zip(tensors, gradients, strict=True):
                tensor.sub_(lr * gradient)
        return global_norm(list(gradients))


class ModulesEngine(_OneHiddenLayer):
    """Layers that hold their own parameters; the step is still written out."""

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule) -> None:
        super().__init__(model, recipe, schedule)
        self._model = model

    def logits(self, x_B: Tensor) -> Tensor:
        logits_BK: Tensor = self._model(x_B)
        return logits_BK

    def named_parameters(self) -> Mapping[str, Tensor]:
        return dict(self._model.named_parameters())

    def update(self, loss: Tensor, lr: float) -> float:
        self._model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        gradients = []
        with torch.no_grad():
            for parameter in self._model.parameters():
                if parameter.grad is not None:
                    gradients.append(parameter.grad)
                    parameter.sub_(lr * parameter.grad)
        return global_norm(gradients)
