"""Whether the sections of one recipe fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.recipe.data_section import CirclesData
from assay.recipe.loss_section import CrossEntropyLoss
from assay.recipe.model_section import (
    ChannelCnnModel,
    CifarResNetModel,
    FastCifarModel,
    FittedAtOnce,
    LeNet5Model,
    MlpModel,
    OpenEndedCnnModel,
    SimpleNetModel,
    StepByStepCnnModel,
    TorchvisionModel,
)
from assay.recipe.optimizer_section import SgdOptimizer
from assay.recipe.problems import invalid_value
from assay.recipe.schedule_section import OneCycleSchedule

if TYPE_CHECKING:
    from assay.recipe.schema import Recipe

_OF_IMAGES = (
    LeNet5Model
    | SimpleNetModel
    | OpenEndedCnnModel
    | StepByStepCnnModel
    | ChannelCnnModel
    | CifarResNetModel
    | FastCifarModel
    | TorchvisionModel
)
_NOT_BY_HAND = CifarResNetModel | FastCifarModel | TorchvisionModel
_WITH_A_NORM = MlpModel | LeNet5Model | SimpleNetModel | OpenEndedCnnModel | StepByStepCnnModel | ChannelCnnModel

_Asked = tuple[tuple[str, ...], object, object, str]
"""A key, its value, the value it must have, and that value in words."""


def check_parts_fit(recipe: Recipe) -> None:
    """Hold the sections of a recipe against each other.

    Raises:
        InvalidValueError: two of them cannot go together; the message names one of them and what to change.
    """
    _check_inputs(recipe)
    if isinstance(recipe.model, FittedAtOnce):
        _check_fitted_at_once(recipe, recipe.model)
    else:
        _check_training(recipe)
        _check_engine(recipe)


def _check_inputs(recipe: Recipe) -> None:
    model, data = recipe.model, recipe.data
    if isinstance(model, _OF_IMAGES) and isinstance(data, CirclesData):
        raise invalid_value(
            ("model", "name"), f"{model.name} needs images, and data.source circles gives points.", "Use mlp."
        )
    if isinstance(model, _OF_IMAGES) and data.normalize == "pca":
        raise invalid_value(
            ("data", "normalize"),
            f"pca makes features of images, and model.name {model.name} needs images.",
            "Choose data.normalize zca, or model.name mlp.",
        )
    if recipe.augment.active and isinstance(data, CirclesData):
        raise invalid_value(
            ("augment",), "needs images, and data.source circles gives points.", "Leave the section out."
        )
    asked: list[tuple[tuple[str, str], object]] = [
        (("evaluate", "shift"), recipe.evaluate.shift),
        (("evaluate", "views"), recipe.evaluate.views != "one"),
        (("train", "smaller_first"), recipe.train.smaller_first),
        (("train", "channels_last"), recipe.train.channels_last),
    ]
    for key, value in asked:
        if value and isinstance(data, CirclesData):
            raise invalid_value(key, "needs images, and data.source circles gives points.", "Leave it out.")
        if value and data.normalize == "pca" and key != ("evaluate", "shift"):
            raise invalid_value(
                key,
                "needs images, and data.normalize pca makes features of them.",
                "Choose data.normalize zca, or leave it out.",
            )
    after_normalising = [name for name in ("erasing", "mixup", "cutmix") if getattr(recipe.augment, name)]
    if data.normalize == "pca" and after_normalising:
        raise invalid_value(
            ("augment", after_normalising[0]),
            "changes normalised images, and data.normalize pca makes features of them.",
            "Choose data.normalize zca, or leave it out.",
        )


def _check_training(recipe: Recipe) -> None:
    model, train = recipe.model, recipe.train
    norm = model.norm if isinstance(model, _WITH_A_NORM) else "none"
    if norm == "batch" and train.batch_size == 1:
        raise invalid_value(("train", "batch_size"), "must be at least 2 with model.norm batch, got 1.")
    warmup = 0.0 if isinstance(recipe.schedule, OneCycleSchedule) else recipe.schedule.warmup_epochs
    if warmup >= train.epochs and warmup > 0:
        raise invalid_value(
            ("schedule", "warmup_epochs"), f"must be less than train.epochs ({train.epochs}), got {warmup:g}."
        )
    pretrained = recipe.pretrained
    if pretrained.weights == "torchvision" and not isinstance(model, TorchvisionModel):
        raise invalid_value(
            ("pretrained", "weights"),
            f"torchvision publishes weights of its own models, got model.name {model.name}.",
            "Choose a model named torchvision:…, or give the path of a file.",
        )
    if pretrained.partial and pretrained.weights is None:
        raise invalid_value(("pretrained", "partial"), "needs pretrained.weights, got none.")


def _check_fitted_at_once(recipe: Recipe, model: FittedAtOnce) -> None:
    name = getattr(model, "name")  # noqa: B009 - every variant has one
    if recipe.augment.active:
        raise invalid_value(
            ("augment",),
            f"needs a model trained in batches, and model.name {name} is fitted at once.",
            "Leave the section out for this model: augment: {}.",
        )
    if recipe.train.engine != "torch":
        raise invalid_value(
            ("train", "engine"),
            f"{recipe.train.engine} trains networks, and model.name {name} is fitted by scikit-learn.",
            "Leave train.engine out for this model.",
        )
    asked: list[tuple[tuple[str, ...], object]] = [
        (("pretrained", "weights"), recipe.pretrained.weights),
        (("freeze",), recipe.freeze.active),
        (("evaluate", "views"), recipe.evaluate.views != "one"),
        (("averaging", "name"), recipe.averaging.name != "none"),
        (("train", "precision"), recipe.train.precision not in ("float32", "float64")),
    ]
    for key, value in asked:
        if value:
            raise invalid_value(
                key,
                f"needs a network, and model.name {name} is fitted by scikit-learn.",
                "Leave it out for this model.",
            )


def _check_engine(recipe: Recipe) -> None:
    engine = recipe.train.engine
    if engine == "torch":
        return
    for key, value, has, needed in _of_torch_alone(recipe):
        if value != has:
            raise invalid_value(
                key,
                f"must be {needed} with train.engine {engine}, got {value}.",
                "Choose train.engine torch, which knows it.",
            )
    if engine == "numpy" and isinstance(recipe.model, _NOT_BY_HAND):
        raise invalid_value(
            ("train", "engine"),
            "numpy trains networks that are sequences of layers written by hand, and model.name "
            f"{recipe.model.name} is none.",
            "Choose train.engine torch, or another model.",
        )
    if engine in ("autograd", "modules") and (missing := _beyond_one_tanh_layer(recipe)):
        key, value, needed = missing
        raise invalid_value(
            key,
            f"must be {needed} with train.engine {engine}, which trains one hidden tanh layer by plain SGD, got "
            f"{value}.",
            "Choose train.engine torch, which trains every network, or numpy.",
        )


def _of_torch_alone(recipe: Recipe) -> list[_Asked]:
    """What the engines other than torch's do not have."""
    train = recipe.train
    sixteen_bits = train.precision not in ("float32", "float64")
    return [
        (("train", "precision"), train.precision if sixteen_bits else "", "", "float32 or float64"),
        (("train", "channels_last"), "true" if train.channels_last else "", "", "false"),
        (("train", "clip_norm"), train.clip_norm, None, "left out"),
        (("averaging", "name"), recipe.averaging.name, "none", "none"),
        (("optimizer", "name"), recipe.optimizer.name if recipe.optimizer.name == "muon" else "", "", "another"),
        (("optimizer", "lr_factors"), dict(recipe.optimizer.lr_factors), {}, "left out"),
        (("loss", "name"), recipe.loss.name, "cross_entropy", "cross_entropy"),
        (("pretrained", "weights"), recipe.pretrained.weights, None, "left out"),
        (("freeze", "layers"), list(recipe.freeze.layers), [], "left out"),
        (("freeze", "all_but"), list(recipe.freeze.all_but), [], "left out"),
        (("freeze", "depth"), recipe.freeze.depth, 0, "0"),
    ]


def _beyond_one_tanh_layer(recipe: Recipe) -> tuple[tuple[str, str], object, str] | None:
    """What this recipe asks for that the two smallest engines do not have: key, value, and what they have."""
    model, optimizer, loss = recipe.model, recipe.optimizer, recipe.loss
    if not isinstance(model, MlpModel):
        return ("model", "name"), model.name, "mlp"
    if not isinstance(optimizer, SgdOptimizer):
        return ("optimizer", "name"), optimizer.name, "sgd"
    if not isinstance(loss, CrossEntropyLoss):
        return ("loss", "name"), loss.name, "cross_entropy"
    asked: list[tuple[tuple[str, str], object, object, str]] = [
        (("model", "widths"), len(model.widths), 1, "a list of one width"),
        (("model", "activation"), model.activation, "tanh", "tanh"),
        (("model", "norm"), model.norm, "none", "none"),
        (("model", "dropout"), model.dropout, 0.0, "0"),
        (("optimizer", "momentum"), optimizer.momentum, 0.0, "0"),
        (("loss", "label_smoothing"), loss.label_smoothing, 0.0, "0"),
        (("loss", "l1"), loss.l1, 0.0, "0"),
        (("loss", "l2"), loss.l2, 0.0, "0"),
    ]
    for key, value, has, needed in asked:
        if value != has:
            return key, f"{value} widths" if key[1] == "widths" else value, needed
    return None
