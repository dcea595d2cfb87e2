"""From a recipe to the engine it asks for, with its initial weights."""

from __future__ import annotations

import torch
from torch import nn

from assay.data.batches import batch_bounds
from assay.data.smaller import scaled_size
from assay.errors import InvalidValueError, KeyPath
from assay.recipe.schema import Recipe
from assay.training.arithmetic import Arithmetic, number_type
from assay.training.engines.engine import Engine
from assay.training.engines.one_hidden_layer import AutogradEngine, ModulesEngine
from assay.training.engines.with_numpy import NumpyEngine
from assay.training.engines.with_torch import TorchEngine
from assay.training.network import Network, build_network
from assay.training.optimizers import scaled_rate
from assay.training.prepare import PreparedData
from assay.training.schedules import Schedule, build_schedule


def build_engine(
    recipe: Recipe,
    data: PreparedData,
    device: torch.device,
    network: Network | None = None,
    schedule: Schedule | None = None,
) -> Engine:
    """The engine of a recipe's network, whose initial weights are the same whichever engine it is.

    Args:
        recipe: the recipe.
        data: prepared for it.
        device: where to compute.
        network: the recipe's, which the engine takes over; None builds it.
        schedule: the learning rate over training, in place of the recipe's.

    Raises:
        InputError: the model does not suit its data or its engine.
    """
    model = (network or build_network(recipe, data)).model
    arithmetic = Arithmetic(recipe.train, device)
    check_can_train(recipe, model, arithmetic, input_shape=data.input_shape, classes=len(data.classes))
    schedule = schedule or build_schedule(
        recipe.schedule,
        lr=scaled_rate(recipe.optimizer, recipe.train.batch_size),
        epochs=recipe.train.epochs,
        steps_per_epoch=len(batch_bounds(len(data.splits["train"]), recipe.train.batch_size)),
    )
    match recipe.train.engine:
        case "numpy":
            return NumpyEngine(model, recipe, schedule)
        case "autograd":
            return AutogradEngine(model, recipe, schedule)
        case "modules":
            return ModulesEngine(model, recipe, schedule)
        case "torch":
            return TorchEngine(model, recipe, schedule, arithmetic)


def check_can_train(
    recipe: Recipe, model: nn.Module, arithmetic: Arithmetic, *, input_shape: tuple[int, ...], classes: int
) -> None:
    """Put a network into the arithmetic it is trained in, and hold it against how it is to be trained.

    Args:
        recipe: the recipe.
        model: its network, which is changed in place.
        arithmetic: the recipe's.
        input_shape: of one example, (C, H, W) or (D,).
        classes: how many scores it gives.

    Raises:
        InvalidValueError: it normalises batches and is to see one example at a time, or its images are made smaller
            than it takes, or there are none.
    """
    _refuse_batches_of_one(recipe, model)
    arithmetic.prepared(model)
    _refuse_points(recipe, input_shape)
    _refuse_images_too_small(recipe, model, arithmetic, input_shape, classes)


def _refuse_batches_of_one(recipe: Recipe, model: nn.Module) -> None:
    if recipe.train.batch_size == 1 and any(
        isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules()
    ):
        raise InvalidValueError(
            ("train", "batch_size"),
            "must be at least 2 for a model with batch normalisation, got 1.",
            f"Raise train.batch_size, or choose another normalisation in model.name ({recipe.model.name}).",
        )


def _refuse_points(recipe: Recipe, input_shape: tuple[int, ...]) -> None:
    """Of a source of the user's own, only its examples say whether they are images."""
    asked: list[tuple[tuple[str, str], bool]] = [
        (("train", "smaller_first"), bool(recipe.train.smaller_first)),
        (("evaluate", "views"), recipe.evaluate.views != "one"),
    ]
    for key, value in asked:
        if value and len(input_shape) != 3:
            raise InvalidValueError(
                key, f"needs images, and data.source {recipe.data.source} gives points.", "Leave it out."
            )


def _refuse_images_too_small(
    recipe: Recipe, model: nn.Module, arithmetic: Arithmetic, input_shape: tuple[int, ...], classes: int
) -> None:
    """Run zeros of each size through the network, rather than let it fail in some later epoch."""
    name = recipe.model.name
    for place, part in enumerate(recipe.train.smaller_first):
        channels, height, width = input_shape
        where = ("train", "smaller_first", place, "side")
        if part.side >= min(height, width):
            raise InvalidValueError(
                where,
                f"must be less than the images' shorter side, {min(height, width)} pixels, got {part.side}.",
                "Leave that part out.",
            )
        size = scaled_size(height, width, part.side)
        x_BCHW = torch.zeros((2, channels, *size), dtype=number_type(recipe.train.precision), device=arithmetic.device)
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                got = tuple(arithmetic.scores(model, x_BCHW).shape)
        except Exception as error:  # a network may raise whatever it likes
            raise _too_small(where, name, size) from error
        finally:
            model.train(was_training)
        if got != (2, classes):
            raise _too_small(where, name, size)


def _too_small(where: KeyPath, model: str, size: tuple[int, int]) -> InvalidValueError:
    return InvalidValueError(
        where,
        f"makes images of {size[0]}×{size[1]} pixels, and model.name {model} cannot take that size.",
        "Choose a larger side, or a model that pools over whatever is left of an image before its last layer.",
    )
