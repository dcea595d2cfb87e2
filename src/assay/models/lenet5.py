"""LeNet-5 (LeCun et al. 1998, doi:10.1109/5.726791), fitted to images of any size.

As it is mostly built today: max-pooling (or another that has no parameters) instead of trained subsampling, every map
of the second convolution connected to every map of the first, a linear output layer instead of radial basis functions,
and any activation. With one channel of 32×32, or 28×28, and ten classes it has 61,706 parameters.
"""

from __future__ import annotations

from torch import nn

from assay.errors import InvalidValueError
from assay.models.layers import Dropout, activation_layer, norm_layer
from assay.models.pooling import pooling_layer
from assay.recipe.schema import LeNet5Model

SMALLEST_SIDE = 4
"""Two poolings by 2 must leave at least one pixel."""

_KERNEL = 5
_CONVOLUTIONS = ((6, 32), (16, 14))
"""Channels of each convolution, and the side its input has in the paper."""


class LeNet5(nn.Sequential):
    """Images (B, C, H, W) to logits (B, K), for B examples and K classes.

    Two convolutions 5×5, each followed by pooling 2×2, then layers of 120 and 84 units and the output.

    A convolution whose input is smaller than in the paper (32 for the first, 14 for the second; height and width each
    by itself) is padded with 2 zeros on either side, so that it keeps the size; otherwise it is not padded. 28×28 so
    becomes the well-known padded LeNet-5 of MNIST, and 8×8 shrinks to 4×4 and 2×2.
    """

    def __init__(self, section: LeNet5Model, *, input_shape: tuple[int, ...], classes: int, seed: int) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST_SIDE:
            raise InvalidValueError(
                ("model", "name"),
                f"lenet5 needs images of at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels, got inputs of shape "
                f"{input_shape}.",
                "Choose model.name: mlp, or another data.source.",
            )
        channels, height, width = input_shape
        for number, (maps, paper_side) in enumerate(_CONVOLUTIONS, start=1):
            padding = (_padding(height, paper_side), _padding(width, paper_side))
            self.add_module(f"conv{number}", nn.Conv2d(channels, maps, _KERNEL, padding=padding))
            self._add_norm_and_activation(section, f"conv{number}", maps, image=True)
            self.add_module(f"pool{number}", pooling_layer(section.pooling))
            height, width = (
                (side + 2 * p - _KERNEL + 1) // 2 for side, p in zip((height, width), padding, strict=True)
            )
            channels = maps
        self.add_module("flatten", nn.Flatten())
        features = channels * height * width
        for number, units in enumerate((120, 84), start=1):
            self.add_module(f"linear{number}", nn.Linear(features, units))
            self._add_norm_and_activation(section, f"linear{number}", units, image=False)
            if section.dropout > 0.0:
                name = f"dropout{number}"
                self.add_module(name, Dropout(section.dropout, seed=seed, layer=name, form=section.dropout_form))
            features = units
        self.add_module("output", nn.Linear(features, classes))

    def _add_norm_and_activation(self, section: LeNet5Model, layer: str, features: int, *, image: bool) -> None:
        norm = norm_layer(section.norm, features, image=image)
        if norm is not None:
            self.add_module(f"{layer}_norm", norm)
        self.add_module(f"{layer}_activation", activation_layer(section.activation))


def _padding(side: int, paper_side: int) -> int:
    return _KERNEL // 2 if side < paper_side else 0
