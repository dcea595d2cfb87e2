"""From a recipe to the network that is trained: built, started from published weights, and frozen in part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from assay.data.weight_files import weight_file
from assay.models.build import build_model
from assay.models.fast_cifar import WHITENED_IMAGES, FastCifar
from assay.models.freeze import freeze
from assay.models.stored_tensors import read_tensors
from assay.models.weights import load_weights
from assay.recipe.schema import FastCifarModel, Pretrained, Recipe
from assay.training.prepare import PreparedData


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network on the CPU, with the weights it starts from; those that are to stay take no gradient."""

    model: nn.Module
    pretrained: Mapping[str, Any] = field(default_factory=dict)
    """What became of published weights, as a record keeps it; empty without any."""
    notes: tuple[str, ...] = ()


def build_network(recipe: Recipe, data: PreparedData) -> Network:
    """The network of a recipe for its data.

    Raises:
        InputError: the model does not suit its data, the weights are missing or do not fit it, or nothing of that name
            can be frozen.
    """
    model = build_model(
        recipe.model, recipe.init, seed=recipe.seed, input_shape=data.input_shape, classes=len(data.classes)
    )
    if isinstance(model, FastCifar) and isinstance(recipe.model, FastCifarModel) and recipe.model.whitening:
        train_data = data.splits["train"]
        model.whiten_patches_of(train_data.inputs(np.arange(min(len(train_data), WHITENED_IMAGES))).cpu())
    return started(model, recipe)


def started(model: nn.Module, recipe: Recipe) -> Network:
    """A built network, with published weights if the recipe asks for them, and then frozen as it says.

    Raises:
        InputError: the weights are missing or do not fit it, or nothing of that name can be frozen.
    """
    facts: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    place = recipe.pretrained.weights
    if place is not None:
        file = weight_file(place, recipe.model.name)
        loaded = load_weights(model, read_tensors(file.path), file=file.path.name, partial=recipe.pretrained.partial)
        expect_inputs_of(model, recipe.pretrained)
        facts = {"file": file.path.name, "sha256": file.sha256, **loaded.facts()}
        notes = (f"Started from {file.path.name} (SHA-256 {file.sha256[:12]}…): {loaded.sentence()}.",)
    freeze(model, recipe.freeze, trains=recipe.train.epochs > 0)
    return Network(model=model, pretrained=facts, notes=notes)


def expect_inputs_of(model: nn.Module, pretrained: Pretrained) -> None:
    """Let GoogLeNet and Inception v3, if they have torchvision's published weights, change images of three channels as
    those were trained on: from ImageNet's mean and deviation to −1 … 1. Other networks were trained on the former."""
    if pretrained.weights != "torchvision":
        return
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    if isinstance(getattr(model, "transform_input", None), bool) and first is not None and first.in_channels == 3:
        setattr(model, "transform_input", True)  # noqa: B010 - torch types attributes of modules as tensors
