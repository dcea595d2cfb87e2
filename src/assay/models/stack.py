"""What networks without branches are put together from: layers in order, named by what they are and where.

A network with another normalisation, pooling or with dropout so has the same names, and so the same initial draws, for
what it shares.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from assay.errors import InvalidValueError
from assay.models.layers import Dropout, activation_layer, norm_layer
from assay.recipe.schema import ChannelCnnModel, LeNet5Model, OpenEndedCnnModel, SimpleNetModel, StepByStepCnnModel

Stacked = LeNet5Model | SimpleNetModel | OpenEndedCnnModel | StepByStepCnnModel | ChannelCnnModel
"""Sections of networks of this kind."""

Sides = tuple[int, int]
"""Of rows and of columns."""


class Stack:
    """Layers of a network as they come, for ``nn.Sequential``, and the shape that one example has after them.

    Convolutions are called ``conv1``, ``conv2``, …, poolings ``pool1``, …, hidden fully connected layers ``linear1``, …
    and the last one ``output``. What belongs to a layer is called after it: ``conv1_norm``, ``linear1_activation``,
    ``dropout1``.
    """

    def __init__(self, section: Stacked, *, input_shape: tuple[int, ...], seed: int) -> None:
        self.layers: OrderedDict[str, nn.Module] = OrderedDict()
        self.shape = input_shape
        self._section = section
        self._seed = seed
        self._weighted = ""
        self._made = {"conv": 0, "pool": 0, "linear": 0}

    def convolve(self, channels: int, kernel: int, *, stride: int = 1, padding: Sides = (0, 0)) -> None:
        """A convolution by a square kernel."""
        before, *sides = self.shape
        self._weighted = self._add("conv", nn.Conv2d(before, channels, kernel, stride=stride, padding=padding))
        after = [(side + 2 * margin - kernel) // stride + 1 for side, margin in zip(sides, padding, strict=True)]
        self.shape = (channels, *after)

    def normalise(self) -> None:
        """The section's normalisation, if it has one, of the last weighted layer."""
        norm = norm_layer(self._section.norm, self.shape[0], image=len(self.shape) == 3)
        if norm is not None:
            self.layers[f"{self._weighted}_norm"] = norm

    def activate(self) -> None:
        """The section's activation, of the last weighted layer."""
        self.layers[f"{self._weighted}_activation"] = activation_layer(self._section.activation)

    def pool(self, layer: nn.Module, window: int) -> None:
        """A pooling by square windows side by side; a last row or column that fills none is left out."""
        channels, *sides = self.shape
        self._add("pool", layer)
        self.shape = (channels, *(side // window for side in sides))

    def flatten(self) -> None:
        """From images to vectors."""
        self.layers["flatten"] = nn.Flatten()
        self.shape = (math.prod(self.shape),)

    def connect(self, units: int, *, normalised: bool = True) -> None:
        """A hidden fully connected layer: linear, the section's normalisation, activation and dropout."""
        self._weighted = self._add("linear", nn.Linear(self.shape[0], units))
        self.shape = (units,)
        if normalised:
            self.normalise()
        self.activate()
        if self._section.dropout > 0.0:
            name = f"dropout{self._made['linear']}"
            dropout = Dropout(self._section.dropout, seed=self._seed, layer=name, form=self._section.dropout_form)
            self.layers[name] = dropout

    def give_scores(self, classes: int) -> None:
        """The last layer, which is linear."""
        self.layers["output"] = nn.Linear(self.shape[0], classes)
        self.shape = (classes,)

    def _add(self, kind: str, layer: nn.Module) -> str:
        self._made[kind] += 1
        name = f"{kind}{self._made[kind]}"
        self.layers[name] = layer
        return name


def demand_images(model: str, input_shape: tuple[int, ...], *, smallest: int = 1, hint: str = "") -> None:
    """Refuse inputs that are no images, or too small ones.

    Args:
        model: its name in recipes.
        input_shape: of one example.
        smallest: pixels along the shorter side.
        hint: what else helps than another model or other data: ``fewer model.channels``.

    Raises:
        InvalidValueError: they are.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        also = f"{hint}, " if hint else ""
        raise InvalidValueError(
            ("model", "name"),
            f"{model} needs images of at least {smallest}×{smallest} pixels, got inputs of shape {input_shape}.",
            f"Choose {also}model.name: mlp, or another data.source.",
        )
