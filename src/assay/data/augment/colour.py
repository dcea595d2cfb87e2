"""Brightness, contrast and saturation of floating-point images from 0 to 1, as torchvision defines them.

Every function changes the batch in place and returns it.

Shape key: B images in a batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assay.data.augment.draws import Numbers

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R 601-2, to torchvision's four digits."""


def brightened(x_BCHW: Tensor, factor_B: Numbers) -> Tensor:
    """Multiply each image by its factor: 0 is black, 1 the image."""
    return x_BCHW.mul_(per_image(factor_B, x_BCHW)).clamp_(0.0, 1.0)


def contrasted(x_BCHW: Tensor, factor_B: Numbers) -> Tensor:
    """Blend each image with its mean grey: 0 is that grey, 1 the image. Without three colour channels the grey is the
    mean of all values."""
    mean_BC = x_BCHW.mean(dim=(2, 3))
    grey_B = mean_BC @ mean_BC.new_tensor(LUMA) if x_BCHW.shape[1] == 3 else mean_BC.mean(dim=1)
    rest = grey_B[:, None, None, None] * per_image(1.0 - factor_B, x_BCHW)
    return x_BCHW.mul_(per_image(factor_B, x_BCHW)).add_(rest).clamp_(0.0, 1.0)


def saturated(x_BCHW: Tensor, factor_B: Numbers) -> Tensor:
    """Blend each image with its grey version: 0 is grey, 1 the image. Leaves images alone that do not have three
    colour channels."""
    if x_BCHW.shape[1] != 3:
        return x_BCHW
    rest = grey(x_BCHW).mul_(per_image(1.0 - factor_B, x_BCHW))
    return x_BCHW.mul_(per_image(factor_B, x_BCHW)).add_(rest).clamp_(0.0, 1.0)


def grey(x_BCHW: Tensor) -> Tensor:
    """The grey version of images with three channels, (B, 1, H, W), float where they are uint8."""
    red, green, blue = (x_BCHW[:, channel : channel + 1] for channel in range(3))
    return red.mul(LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def per_image(numbers_B: Numbers, like_BCHW: Tensor) -> Tensor:
    """A number per image, to be broadcast against images: (B, 1, 1, 1), of their type if that is a floating one."""
    dtype = like_BCHW.dtype if like_BCHW.is_floating_point() else torch.float32
    return torch.from_numpy(numbers_B).to(like_BCHW.device, dtype)[:, None, None, None]
