"""SimpleNet, a small network for scenes in grey: that of the lab on the 15-Scene data (Lazebnik et al. 2006,
doi:10.1109/CVPR.2006.68).

For one channel of 64×64 and fifteen classes it has 56,895 parameters: 260 and 5,020 of the convolutions, 50,100 and
1,515 of the fully connected layers.
"""

from __future__ import annotations

from torch import nn

from assay.models.stack import Stack, demand_images
from assay.recipe.schema import SimpleNetModel

_KERNEL = 5
_WINDOW = 3


class SimpleNet(nn.Sequential):
    """Images (B, C, H, W) to logits (B, K), for B examples and K classes.

    Convolutions 5×5 without padding, each with normalisation, max-pooling 3×3 and activation, in this order; then fully
    connected layers, each hidden one with normalisation, activation and dropout. With 64×64 pixels the maps become
    60×60, 20×20, 16×16 and 5×5.
    """

    def __init__(self, section: SimpleNetModel, *, input_shape: tuple[int, ...], classes: int, seed: int) -> None:
        demand_images(section.name, input_shape, smallest=_smallest(section), hint="fewer model.channels")
        stack = Stack(section, input_shape=input_shape, seed=seed)
        for channels in section.channels:
            stack.convolve(channels, _KERNEL)
            stack.normalise()
            stack.pool(nn.MaxPool2d(_WINDOW), _WINDOW)
            stack.activate()
        stack.flatten()
        for units in section.widths:
            stack.connect(units)
        stack.give_scores(classes)
        super().__init__(stack.layers)


def _smallest(section: SimpleNetModel) -> int:
    """The side that leaves one pixel: what each pooling makes of one, and what each convolution takes off."""
    side = 1
    for _ in section.channels:
        side = side * _WINDOW + _KERNEL - 1
    return side
