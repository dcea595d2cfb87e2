"""A convolutional network whose kernels, channels and widths are yours to vary.

Batch normalisation after each convolution as Ioffe and Szegedy 2015, arXiv:1502.03167; convolutions that keep the size,
with pooling in between, as Simonyan and Zisserman 2014, arXiv:1409.1556. With the section's defaults, three channels of
32×32 and ten classes it has 582,250 parameters: 4,864 and 18,464 of the convolutions, 192 of their normalisation, and
524,544, 32,896 and 1,290 of the fully connected layers.
"""

from __future__ import annotations

from torch import nn

from assay.models.pooling import pooling_layer
from assay.models.stack import Stack, demand_images
from assay.recipe.schema import OpenEndedCnnModel

_WINDOW = 2


class OpenEndedCnn(nn.Sequential):
    """Images (B, C, H, W) to logits (B, K), for B examples and K classes.

    Convolutions k×k padded by ⌊k/2⌋, so that they keep the size, each with normalisation, activation and max-pooling
    2×2; then fully connected layers, each hidden one with activation and dropout. Those have no normalisation: it
    belongs to the convolutions here, as dropout does to them.
    """

    def __init__(self, section: OpenEndedCnnModel, *, input_shape: tuple[int, ...], classes: int, seed: int) -> None:
        smallest = _WINDOW ** len(section.channels)
        demand_images(section.name, input_shape, smallest=smallest, hint="fewer model.channels")
        stack = Stack(section, input_shape=input_shape, seed=seed)
        for channels, kernel in zip(section.channels, section.kernels, strict=True):
            stack.convolve(channels, kernel, padding=(kernel // 2, kernel // 2))
            stack.normalise()
            stack.activate()
            stack.pool(pooling_layer("max"), _WINDOW)
        stack.flatten()
        for units in section.widths:
            stack.connect(units, normalised=False)
        stack.give_scores(classes)
        super().__init__(stack.layers)
