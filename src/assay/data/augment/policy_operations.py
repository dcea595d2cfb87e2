"""The operations of RandAugment and TrivialAugment on uint8 images, each image with its own magnitude.

They give what torchvision's functions give image by image. A batch is split by kind of operation: those that move
pixels; those that map each level by itself, one table per image and channel; colour; sharpness.

Shape key: B images in a batch, G of them in a group, C channels, H height, W width, 256 levels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from assay.data.augment.colour import grey, per_image
from assay.data.augment.draws import Numbers, Places
from assay.data.augment.resampling import affine_grid, rotation_matrices

MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
LEVELS = ("brightness", "contrast", "posterize", "solarize", "autocontrast", "equalize")
OPERATIONS = ("identity", *MOVES, *LEVELS, "color", "sharpness")


def apply_operations(x_BCHW: Tensor, operation_B: Places, magnitude_B: Numbers) -> Tensor:
    """Apply an operation to each image, in place.

    Args:
        x_BCHW: uint8 images.
        operation_B: its place in `OPERATIONS`.
        magnitude_B: slopes of shears (the tangent), pixels of translations, counter-clockwise degrees of rotations, the
            bits that posterize keeps, the level from which solarize inverts; of the others the blending factor less 1.
    """
    if operation_B.any():
        for names, changed in (
            (MOVES, _moved),
            (LEVELS, _mapped),
            (("color",), _coloured),
            (("sharpness",), _sharpened),
        ):
            first = OPERATIONS.index(names[0])
            group = np.flatnonzero((operation_B >= first) & (operation_B < first + len(names)))
            if len(group):
                part = changed(_taken(x_BCHW, group), operation_B[group], magnitude_B[group])
                _put(x_BCHW, group, part)
    return x_BCHW


def _taken(x_BCHW: Tensor, places: Places) -> Tensor:
    if x_BCHW.device.type == "cpu":  # NumPy copies images as they lie; torch goes pixel by pixel
        return torch.from_numpy(x_BCHW.numpy()[places])
    return x_BCHW.index_select(0, torch.from_numpy(places).to(x_BCHW.device))


def _put(x_BCHW: Tensor, places: Places, part_GCHW: Tensor) -> None:
    if x_BCHW.device.type == "cpu":
        x_BCHW.numpy()[places] = part_GCHW.numpy()
    else:
        x_BCHW.index_copy_(0, torch.from_numpy(places).to(x_BCHW.device), part_GCHW)


# --- pixels that move ------------------------------------------------------------------------------------------------


def _moved(x_GCHW: Tensor, operation_G: Places, magnitude_G: Numbers) -> Tensor:
    """Nearest pixel; outside of the image is black."""
    height, width = x_GCHW.shape[2:]
    floats = x_GCHW.to(torch.float32)
    grid = affine_grid(floats, _matrices(operation_G, magnitude_G, height, width))
    moved = functional.grid_sample(floats, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved.to(torch.uint8)


def _matrices(operation_G: Places, magnitude_G: Numbers, height: int, width: int) -> Numbers:
    """(G, 2, 3): from pixels of the result to those of the image, the origin at the centre.

    Shears leave the upper edge (or the left one) where it is, rotations the centre. Sums are made as torchvision makes
    them, to the last bit.
    """
    at = {name: operation_G == OPERATIONS.index(name) for name in MOVES}
    matrix_G23 = rotation_matrices(np.where(at["rotate"], magnitude_G, 0.0))
    slope_x = np.array([math.tan(_angle(magnitude)) for magnitude in magnitude_G[at["shear_x"]]])
    slope_y = np.array([math.sin(_angle(m)) / math.cos(_angle(m)) for m in magnitude_G[at["shear_y"]]])
    matrix_G23[at["shear_x"], 0, 1] = slope_x
    matrix_G23[at["shear_x"], 0, 2] = slope_x * (height * 0.5)
    matrix_G23[at["shear_y"], 1, 0] = slope_y
    matrix_G23[at["shear_y"], 1, 2] = (slope_y * (width * 0.5) - height * 0.5) + height * 0.5
    matrix_G23[at["translate_x"], 0, 2] = -magnitude_G[at["translate_x"]]
    matrix_G23[at["translate_y"], 1, 2] = -magnitude_G[at["translate_y"]]
    return matrix_G23


def _angle(slope: float) -> float:
    """In radians, by way of degrees and of Python's own functions, as in torchvision. Where a shear leads half-way
    between two pixels the last bit decides between them, and NumPy's functions round that otherwise."""
    return math.radians(math.degrees(math.atan(slope)))


# --- levels that are mapped ------------------------------------------------------------------------------------------


def _mapped(x_GCHW: Tensor, operation_G: Places, magnitude_G: Numbers) -> Tensor:
    channels = x_GCHW.shape[1]
    table_GCL = torch.empty(len(x_GCHW), channels, 256, dtype=torch.uint8, device=x_GCHW.device)
    for number in np.unique(operation_G):
        places = np.flatnonzero(operation_G == number)
        tables = _tables(OPERATIONS[number], _taken(x_GCHW, places), magnitude_G[places])
        _put(table_GCL, places, tables.expand(-1, channels, -1))
    rows = table_GCL.flatten(0, 1).gather(1, x_GCHW.flatten(2).flatten(0, 1).long())
    return rows.view(x_GCHW.shape)


def _tables(operation: str, x_GCHW: Tensor, magnitude_G: Numbers) -> Tensor:
    """What becomes of each level, (G, C or 1, 256) uint8."""
    if operation == "autocontrast":
        return _autocontrast(x_GCHW)
    if operation == "equalize":
        return _equalize(x_GCHW)
    levels = torch.arange(256, dtype=torch.float32, device=x_GCHW.device)
    if operation in ("brightness", "contrast"):
        factor = per_image(1.0 + magnitude_G, x_GCHW)[:, 0]
        mapped = levels * factor
        if operation == "contrast":
            mapped = torch.addcmul(mapped, _mean_grey(x_GCHW), per_image(-magnitude_G, x_GCHW)[:, 0])
        return mapped.clamp_(0.0, 255.0).to(torch.uint8)
    magnitude = per_image(magnitude_G, x_GCHW)[:, 0]
    if operation == "solarize":
        return torch.where(levels >= magnitude, 255.0 - levels, levels).to(torch.uint8)
    kept_bits = torch.from_numpy(256 - 2 ** (8 - magnitude_G.astype(np.int64))).to(x_GCHW.device)
    return (levels.long() & kept_bits[:, None, None]).to(torch.uint8)


def _mean_grey(x_GCHW: Tensor) -> Tensor:
    """(G, 1, 1). Grey levels of colour images are cut to whole ones first."""
    levels = grey(x_GCHW).floor_() if x_GCHW.shape[1] == 3 else x_GCHW.to(torch.float32)
    return levels.mean(dim=(1, 2, 3))[:, None, None]


def _autocontrast(x_GCHW: Tensor) -> Tensor:
    """Each channel's least level becomes 0, its greatest 255; one of a single level stays."""
    least = x_GCHW.amin(dim=(2, 3))[..., None].to(torch.float32)
    span = x_GCHW.amax(dim=(2, 3))[..., None].to(torch.float32).sub_(least).mul_(1.0 / 255.0)
    flat = span == 0.0
    levels = torch.arange(256, dtype=torch.float32, device=x_GCHW.device)
    stretched = (levels - least.masked_fill_(flat, 0.0)).div_(span.masked_fill_(flat, 1.0))
    return stretched.clamp_(0.0, 255.0).to(torch.uint8)


def _equalize(x_GCHW: Tensor) -> Tensor:
    """Pillow's scheme: level k becomes (pixels below k + step/2) / step, where the step is the 255th part of all pixels
    but those of the greatest level, in whole numbers; a channel where that is 0 stays."""
    flat = x_GCHW.flatten(2).flatten(0, 1).long()
    counts = torch.zeros(len(flat), 256, dtype=torch.int64, device=x_GCHW.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    of_greatest = counts.gather(1, flat.amax(dim=1, keepdim=True))
    step = (flat.shape[1] - of_greatest).div_(255, rounding_mode="floor")
    below = counts.cumsum(1).sub_(counts)
    mapped = below.add_(step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(0, 255)
    unchanged = torch.arange(256, device=x_GCHW.device)
    return torch.where(step == 0, unchanged, mapped).to(torch.uint8).view(*x_GCHW.shape[:2], 256)


# --- blends pixel by pixel -------------------------------------------------------------------------------------------


def _coloured(x_GCHW: Tensor, operation_G: Places, magnitude_G: Numbers) -> Tensor:
    """Blend with the grey version, cut to whole levels."""
    if x_GCHW.shape[1] != 3:
        return x_GCHW
    blend = torch.addcmul(
        x_GCHW * per_image(1.0 + magnitude_G, x_GCHW), grey(x_GCHW).floor_(), per_image(-magnitude_G, x_GCHW)
    )
    return blend.clamp_(0.0, 255.0).to(torch.uint8)


def _sharpened(x_GCHW: Tensor, operation_G: Places, magnitude_G: Numbers) -> Tensor:
    """Blend with a smoothed version: a pixel five times and its eight neighbours, by 13; the image's edge stays."""
    if min(x_GCHW.shape[2:]) <= 2:
        return x_GCHW
    sharp = x_GCHW.to(torch.float32)
    inner = sharp[..., 1:-1, 1:-1]
    rows = sharp[..., :-2, :] + sharp[..., 1:-1, :] + sharp[..., 2:, :]
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).add_(inner, alpha=4.0).div_(13.0).round_()
    inner.addcmul_(smooth.sub_(inner), per_image(-magnitude_G, x_GCHW))
    return sharp.clamp_(0.0, 255.0).to(torch.uint8)
