"""The test images that a run's model gets most wrong, kept for the report: ``mistakes.png`` and ``mistakes.json``.

Shape key: B images shown, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from assay.data.batches import SplitData
from assay.data.thumbnails import thumbnails
from assay.metrics.mistakes import MISTAKES, choose_mistakes, mistakes_of, mistakes_written
from assay.metrics.shown_examples import Tiles
from assay.records import Predictions

MISTAKES_SHEET = "mistakes.png"

_SIDE = 40
"""Pixels; some 38 images of this size fill the 60 kB of a sheet. Smaller ones are kept as they are."""


def mistakes_files(predictions: Predictions, split: SplitData, *, probabilistic: bool) -> Mapping[str, bytes]:
    """The sheet and what it shows; nothing for points, and where nothing is wrong. Takes some hundredths of a second.

    Args:
        predictions: of the test split.
        split: the test split.
        probabilistic: whether the predictions are probabilities, and not only decisions.
    """
    chosen = choose_mistakes(predictions, probabilistic=probabilistic)
    images = raw_images(split, chosen.places)
    if not images:
        return {}
    sheet = thumbnails(images, side=min(_SIDE, max(images[0].shape[1:])))
    tiles = Tiles(columns=sheet.columns, width=sheet.width, height=sheet.height)
    found = mistakes_of(predictions, chosen, tiles, probabilistic=probabilistic)
    return {MISTAKES_SHEET: sheet.content, MISTAKES: mistakes_written(found)}


def raw_images(split: SplitData, places: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Images (C, H, W) at these places of a split, as its source gives them; none of points."""
    if not places:
        return []
    raw_B = split.raw(np.array(places, dtype=np.int64)).cpu().numpy()
    return list(raw_B) if raw_B.ndim == 4 else []
