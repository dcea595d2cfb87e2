"""What the first convolution of a network looks for, kept for the report: ``filters.png``.

Shape key: O filters, C input channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from assay.data.thumbnails import png
from assay.models.layers import NORM_LAYERS
from assay.records import Array

FILTERS = "filters.png"

MOST_TILES = 64
_COLUMNS = 8
"""Of filters; and channels that are shown of each filter of a layer that sees neither grey nor colour images."""
_SIDE, _GAP = 48, 2
"""Pixels of a tile, at most where the filter itself is no larger, and between tiles."""
_ZERO = 127.5


def filters_file(model: nn.Module, weights: Mapping[str, Array]) -> Mapping[str, bytes]:
    """The picture; nothing for a network whose first layer with weights is no convolution of images.

    Args:
        model: which says what its layers are.
        weights: by the names of its parameters, as they are to be shown.
    """
    name = first_layer(model)
    filters_OCHW = None if name is None else weights.get(f"{name}.weight")
    if filters_OCHW is None or filters_OCHW.ndim != 4 or not filters_OCHW.size:
        return {}
    return {FILTERS: filters_picture(filters_OCHW)}


def first_layer(model: nn.Module) -> str | None:
    """The name of the first layer with weights, in the order in which layers were made, if it is a `Conv2d`."""
    for name, layer in model.named_modules():
        own = dict(layer.named_parameters(recurse=False)).get("weight")
        if own is not None and own.ndim >= 2 and not isinstance(layer, NORM_LAYERS):
            return name if isinstance(layer, nn.Conv2d) else None
    return None


def filters_picture(filters_OCHW: Array) -> bytes:
    """A PNG of at most 64 tiles, enlarged so that each weight is a square.

    Filters of one channel are grey, those of three are in colour. Of others each channel is a grey tile: a row for each
    of the first filters, with at most eight channels. Zero is the grey in the middle; the largest weight of a filter is
    black or white, so that filters can be compared in what they look for, not in how strongly. A weight that is not a
    number counts as zero.
    """
    filters_OCHW = np.nan_to_num(filters_OCHW.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    channels, columns = filters_OCHW.shape[1], _COLUMNS
    scaled_OCHW = _scaled(filters_OCHW)
    if channels not in (1, 3):
        columns = min(channels, _COLUMNS)
        scaled_OCHW = scaled_OCHW[:, :columns].reshape(-1, 1, *filters_OCHW.shape[2:])
    tiles_THWC = scaled_OCHW[:MOST_TILES].transpose(0, 2, 3, 1)
    return png(_laid_out(tiles_THWC, min(columns, len(tiles_THWC))))


def _scaled(filters_OCHW: NDArray[np.float64]) -> NDArray[np.uint8]:
    largest_O111 = np.abs(filters_OCHW).max(axis=(1, 2, 3), keepdims=True)
    unit_OCHW = filters_OCHW / np.where(largest_O111 > 0, largest_O111, 1.0)
    return np.rint(_ZERO + _ZERO * unit_OCHW).astype(np.uint8)


def _laid_out(tiles_THWC: NDArray[np.uint8], columns: int) -> Image.Image:
    count, height, width, channels = tiles_THWC.shape
    factor = max(1, _SIDE // max(height, width))
    enlarged_THWC = tiles_THWC.repeat(factor, axis=1).repeat(factor, axis=2)
    across, down = width * factor + _GAP, height * factor + _GAP
    rows = math.ceil(count / columns)
    sheet_HWC = np.full((rows * down - _GAP, columns * across - _GAP, channels), 255, dtype=np.uint8)
    for at, one_HWC in enumerate(enlarged_THWC):
        top, left = at // columns * down, at % columns * across
        sheet_HWC[top : top + height * factor, left : left + width * factor] = one_HWC
    return Image.fromarray(sheet_HWC[:, :, 0] if channels == 1 else sheet_HWC)
