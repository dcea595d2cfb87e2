"""Multilayer perceptron: fully connected layers of any widths."""

from __future__ import annotations

import math

from torch import nn

from assay.models.layers import Dropout, activation_layer, norm_layer
from assay.recipe.schema import MlpModel


class Mlp(nn.Sequential):
    """Inputs (B, C, H, W) or (B, D) to logits (B, K), for B examples and K classes.

    Hidden layers of linear, normalisation, activation, dropout; then a linear output layer.

    Layers are named by what they are and where (``linear1``, ``norm1``, …, ``output``), so that a network with another
    normalisation or with dropout has the same names, and so the same initial draws, for what it shares.
    """

    def __init__(self, section: MlpModel, *, input_shape: tuple[int, ...], classes: int, seed: int) -> None:
        super().__init__()
        self.add_module("flatten", nn.Flatten())
        features = math.prod(input_shape)
        for number, width in enumerate(section.widths, start=1):
            self.add_module(f"linear{number}", nn.Linear(features, width))
            norm = norm_layer(section.norm, width, image=False)
            if norm is not None:
                self.add_module(f"norm{number}", norm)
            self.add_module(f"activation{number}", activation_layer(section.activation))
            if section.dropout > 0.0:
                name = f"dropout{number}"
                self.add_module(name, Dropout(section.dropout, seed=seed, layer=name, form=section.dropout_form))
            features = width
        self.add_module("output", nn.Linear(features, classes))
