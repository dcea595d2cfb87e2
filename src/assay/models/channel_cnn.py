"""A network of one number of channels: how many does it need, and what do they cost?

In the manner of the first networks of rectified units (Krizhevsky et al. 2012, "ImageNet classification with deep
convolutional neural networks"): a large kernel that strides, small ones, and a wide fully connected layer. With 128
channels, three channels of 32×32 in, and 100 classes it has 17,791,076 parameters, of which 16,781,312 are the wide
layer's.
"""

from __future__ import annotations

from torch import nn

from assay.models.pooling import pooling_layer
from assay.models.stack import Stack, demand_images
from assay.recipe.schema import ChannelCnnModel

SMALLEST_SIDE = 19
"""Leaves 8, 6, 4 and 2 pixels after the convolutions, and one after pooling."""


class ChannelCnn(nn.Sequential):
    """Images (B, C, H, W) to logits (B, K), for B examples and K classes.

    A convolution 5×5 of stride 2 and three 3×3, none padded, the last to twice the channels, each with normalisation
    and activation; max-pooling 2×2; fully connected layers, each hidden one with normalisation, activation and dropout.
    With 32×32 pixels the maps become 14×14, 12×12, 10×10, 8×8 and, pooled, 4×4.
    """

    def __init__(self, section: ChannelCnnModel, *, input_shape: tuple[int, ...], classes: int, seed: int) -> None:
        demand_images(section.name, input_shape, smallest=SMALLEST_SIDE)
        stack = Stack(section, input_shape=input_shape, seed=seed)
        channels = section.channels
        for maps, kernel, stride in ((channels, 5, 2), (channels, 3, 1), (channels, 3, 1), (2 * channels, 3, 1)):
            stack.convolve(maps, kernel, stride=stride)
            stack.normalise()
            stack.activate()
        stack.pool(pooling_layer("max"), 2)
        stack.flatten()
        for units in section.widths:
            stack.connect(units)
        stack.give_scores(classes)
        super().__init__(stack.layers)
