"""Training by torch: any module, its autograd, its optimizers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from assay.data.batches import Batch
from assay.recipe.schema import Recipe
from assay.records import Array, StepRecord
from assay.training.evaluate import Scores
from assay.training.loop import global_norm, train
from assay.training.losses import cross_entropy
from assay.training.optimizers import build_optimizer
from assay.training.penalties import Penalty
from assay.training.schedules import Schedule


class TorchEngine:
    """A torch module with its optimizer; see `assay.training.loop` for what a step is."""

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule) -> None:
        self.model = model
        self._recipe = recipe
        self._schedule = schedule
        self._optimizer = build_optimizer(recipe.optimizer, model)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def trainable_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def steps(self, batches: Iterable[Batch]) -> Iterator[StepRecord]:
        loss = self._recipe.loss
        return train(
            self.model,
            batches,
            self._optimizer,
            self._schedule,
            cross_entropy(loss),
            Penalty(self.model, l1=loss.l1, l2=loss.l2),
        )

    def scores(self, x_B: Tensor) -> Tensor:
        return scores_of(self.model)(x_B)

    def weight_norm(self) -> float:
        return global_norm([parameter.detach() for parameter in self.model.parameters()])

    def weights(self) -> Mapping[str, Array]:
        return {name: array_of(tensor) for name, tensor in self.model.state_dict().items()}


def scores_of(model: nn.Module) -> Scores:
    """What a module gives in evaluation mode, in which it is left."""

    def scores(x_B: Tensor) -> Tensor:
        if model.training:
            model.eval()
        with torch.inference_mode():
            logits_BK: Tensor = model(x_B)
        return logits_BK

    return scores


def array_of(tensor: Tensor) -> Array:
    """A copy as NumPy array of the same type, but for bfloat16, which NumPy lacks: float32 holds its every value."""
    host = tensor.detach().cpu()
    return (host.float() if host.dtype == torch.bfloat16 else host).numpy().copy()
