"""A network to be improved step by step: plain convolutions, until normalisation, dropout and more are added.

In the manner of Krizhevsky's networks for CIFAR-10 (cuda-convnet, 2011), whose convolutions are 5×5 and keep the size.
With three channels of 32×32 and ten classes it has 1,191,170 parameters: 2,432, 51,264 and 102,464 of the convolutions,
1,025,000 and 10,010 of the fully connected layers. A pixel of the last convolution sees 32×32 of the image's.
"""

from __future__ import annotations

from torch import nn

from assay.models.pooling import pooling_layer
from assay.models.stack import Stack, demand_images
from assay.recipe.schema import StepByStepCnnModel

_KERNEL = 5
_WINDOW = 2


class StepByStepCnn(nn.Sequential):
    """Images (B, C, H, W) to logits (B, K), for B examples and K classes.

    Convolutions 5×5 padded by 2, so that they keep the size, each with normalisation, activation and pooling 2×2; then
    fully connected layers, each hidden one with normalisation, activation and dropout.
    """

    def __init__(self, section: StepByStepCnnModel, *, input_shape: tuple[int, ...], classes: int, seed: int) -> None:
        smallest = _WINDOW ** len(section.channels)
        demand_images(section.name, input_shape, smallest=smallest, hint="fewer model.channels")
        stack = Stack(section, input_shape=input_shape, seed=seed)
        for channels in section.channels:
            stack.convolve(channels, _KERNEL, padding=(_KERNEL // 2, _KERNEL // 2))
            stack.normalise()
            stack.activate()
            stack.pool(pooling_layer(section.pooling), _WINDOW)
        stack.flatten()
        for units in section.widths:
            stack.connect(units)
        stack.give_scores(classes)
        super().__init__(stack.layers)
