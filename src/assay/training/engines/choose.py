"""From a recipe to the engine it asks for, with its initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from assay.data.batches import batch_bounds
from assay.errors import InvalidValueError
from assay.models.build import build_model
from assay.recipe.schema import Engine as EngineName
from assay.recipe.schema import Recipe
from assay.training.engines.engine import Engine
from assay.training.engines.one_hidden_layer import AutogradEngine, ModulesEngine
from assay.training.engines.with_numpy import NumpyEngine
from assay.training.engines.with_torch import TorchEngine
from assay.training.prepare import PreparedData
from assay.training.schedules import Schedule, build_schedule


def build_engine(recipe: Recipe, data: PreparedData, device: torch.device) -> Engine:
    """The engine of a recipe's network, whose initial weights are the same whichever engine it is.

    Raises:
        InputError: the model does not suit its data or its engine.
    """
    model = build_model(
        recipe.model, recipe.init, seed=recipe.seed, input_shape=data.input_shape, classes=len(data.classes)
    )
    _refuse_batches_of_one(recipe, model)
    model.to(device=device, dtype=getattr(torch, recipe.train.precision))
    schedule = build_schedule(
        recipe.schedule,
        lr=recipe.optimizer.lr,
        epochs=recipe.train.epochs,
        steps_per_epoch=len(batch_bounds(len(data.splits["train"]), recipe.train.batch_size)),
    )
    return _ENGINES[recipe.train.engine](model, recipe, schedule)


_ENGINES: Mapping[EngineName, Callable[[nn.Module, Recipe, Schedule], Engine]] = {
    "numpy": NumpyEngine,
    "autograd": AutogradEngine,
    "modules": ModulesEngine,
    "torch": TorchEngine,
}


def _refuse_batches_of_one(recipe: Recipe, model: nn.Module) -> None:
    if recipe.train.batch_size == 1 and any(
        isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules()
    ):
        raise InvalidValueError(
            ("train", "batch_size"),
            "must be at least 2 for a model with batch normalisation, got 1.",
            f"Raise train.batch_size, or choose another normalisation in model.name ({recipe.model.name}).",
        )
