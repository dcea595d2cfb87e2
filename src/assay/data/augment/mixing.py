"""Images of a batch mixed in pairs, each with the one that follows it; labels become probabilities.

Shape key: N training images, B images in a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from assay.data.augment.colour import per_image
from assay.data.augment.draws import Draws, Numbers, Places
from assay.data.augment.rectangles import patches


@dataclass(frozen=True, kw_only=True)
class Mixtures:
    """How each image is mixed.

    Attributes:
        blended_B: weight of the partner in mixup (Zhang et al. 2017, arXiv:1710.09412); 0 for images not meant for it.
        pasted_B: share of the image that CutMix (Yun et al. 2019, arXiv:1905.04899) takes from the partner, before the
            rectangle is cut at the edges; 0 for images not meant for it.
        down_B, right_B: the middle of that rectangle, from 0 to 1.
    """

    blended_B: Numbers
    pasted_B: Numbers
    down_B: Numbers
    right_B: Numbers

    @classmethod
    def drawn(cls, mixup: float, cutmix: float, draws: Draws) -> Self | None:
        """Draw for all training images.

        Args:
            mixup: α of its Beta(α, α); 0 for none.
            cutmix: likewise. With both, each image gets one of the two, at even odds.
            draws: the epoch's.
        """
        if not (mixup or cutmix):
            return None
        zero_N = np.zeros(draws.examples)
        blended_N = 1.0 - draws.beta(mixup, "mixup") if mixup else zero_N
        pasted_N = 1.0 - draws.beta(cutmix, "cutmix") if cutmix else zero_N
        if mixup and cutmix:
            chosen_N = draws.uniform("mixup_or_cutmix") < 0.5
            blended_N, pasted_N = np.where(chosen_N, blended_N, 0.0), np.where(chosen_N, 0.0, pasted_N)
        down_N, right_N = (draws.uniform("cutmix", axis) if cutmix else zero_N for axis in ("down", "right"))
        return cls(blended_B=blended_N, pasted_B=pasted_N, down_B=down_N, right_B=right_N)

    def __getitem__(self, chosen_B: Places) -> Self:
        """Those of the images at these places."""
        return type(self)(
            blended_B=self.blended_B[chosen_B],
            pasted_B=self.pasted_B[chosen_B],
            down_B=self.down_B[chosen_B],
            right_B=self.right_B[chosen_B],
        )


def mix(x_BCHW: Tensor, y_B: Tensor, mixtures: Mixtures, classes: int) -> tuple[Tensor, Tensor]:
    """Mix each image with the one after it, the last with the first, in place.

    Args:
        x_BCHW: images of a floating type.
        y_B: their classes.
        mixtures: those of these images.
        classes: K.

    Returns:
        The images, and labels as probabilities (B, K): what a partner contributes to the pixels counts for its class.
    """
    height, width = x_BCHW.shape[2:]
    partner_BCHW = x_BCHW.roll(-1, dims=0)
    weight_B = mixtures.blended_B
    if weight_B.any():
        x_BCHW.lerp_(partner_BCHW, per_image(weight_B, x_BCHW))
    if mixtures.pasted_B.any():
        rectangles = patches(mixtures.pasted_B, mixtures.down_B, mixtures.right_B, height, width)
        x_BCHW.lerp_(partner_BCHW, rectangles.inside(x_BCHW))  # by 0 or 1, which is exact
        weight_B = weight_B + rectangles.height_B * rectangles.width_B / (height * width)
    return x_BCHW, mixed_labels(y_B, weight_B, classes, x_BCHW.dtype)


def mixed_labels(y_B: Tensor, weight_B: Numbers, classes: int, dtype: torch.dtype) -> Tensor:
    """Probabilities (B, K): the weight at the class of the image that follows, the rest at the image's own."""
    weight_B1 = torch.from_numpy(weight_B).to(y_B.device, dtype)[:, None]
    probabilities_BK = torch.zeros(len(y_B), classes, dtype=dtype, device=y_B.device)
    probabilities_BK.scatter_add_(1, y_B[:, None], 1.0 - weight_B1)
    return probabilities_BK.scatter_add_(1, y_B.roll(-1)[:, None], weight_B1)
