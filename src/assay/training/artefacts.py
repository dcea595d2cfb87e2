"""Pictures that a run keeps for people. They are drawn from the run's named streams and change none of its numbers.

Shape key: N training images, B images shown, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.data.augment.epoch import EpochAugmentation
from assay.data.batches import SplitData
from assay.data.normalize import Preprocessing
from assay.data.on_device import Normalizer
from assay.data.sheet import Row, contact_sheet
from assay.recipe.schema import Recipe
from assay.training.prepare import PreparedData

AUGMENTED = "augmented.png"

_DRAWS = 3
_CELL = 64
_ROWS, _ROWS_OF_LARGE = 6, 4
"""Images shown, fewer of those that fill their cells, so that a run's picture stays below 60 kB."""
_LARGE = 32
_COLOURS = 256


def artefacts(recipe: Recipe, data: PreparedData) -> Mapping[str, bytes]:
    """The pictures of a run: ``augmented.png`` if its images are augmented. Takes some milliseconds."""
    if not recipe.augment.active:
        return {}
    shape = data.preprocessing.facts["shape"]
    chosen_B = first_of_classes(data.splits["train"], _ROWS if max(shape[1:]) <= _LARGE else _ROWS_OF_LARGE)
    rows = augmented_rows(recipe, data, chosen_B, draws=_DRAWS)
    captions = ["original", *(f"epoch {epoch}" for epoch in range(1, _DRAWS + 1))]
    return {AUGMENTED: contact_sheet(rows, captions=captions, cell=_CELL, rows_in_a_column=_ROWS, colours=_COLOURS)}


def first_of_classes(split: SplitData, most: int) -> NDArray[np.int64]:
    """Places of the first example of each class, ascending; the first ``most`` of them, or the split's if it is few."""
    _, first_K = np.unique(split.labels_N.cpu().numpy(), return_index=True)
    places: NDArray[np.int64] = np.sort(first_K)[:most].astype(np.int64)
    return places


def augmented_rows(recipe: Recipe, data: PreparedData, chosen_B: NDArray[np.int64], *, draws: int) -> list[Row]:
    """Images as they are, and as training sees them in its first epochs, but not normalised.

    What is drawn for an image in an epoch is what training draws. Only mixing differs: its partner is the image after
    it here, and not in a batch of that epoch.

    Args:
        recipe: whose augmentation and seed.
        data: prepared for it.
        chosen_B: places of the images in the training split.
        draws: how many epochs.
    """
    split, classes = data.splits["train"], data.classes
    visible = _visible(data.preprocessing)
    normalizer = Normalizer(visible, dtype=torch.float32, device=split.labels_N.device)
    labels_B = split.labels_of(chosen_B)
    # What is drawn for an image does not depend on how many there are, so later ones need not be drawn for.
    examples = int(chosen_B.max()) + 1
    columns = [_pixels(split.raw(chosen_B))]
    for epoch in range(1, draws + 1):
        drawn = EpochAugmentation(
            recipe.augment, examples=examples, classes=len(classes), seed=recipe.seed, epoch=epoch
        )
        x_BCHW = drawn.images(split.raw(chosen_B), chosen_B)
        x_BCHW = drawn.normalised_images(normalizer(x_BCHW), chosen_B)
        x_BCHW, _ = drawn.mixed(x_BCHW, labels_B, chosen_B)
        columns.append(_pixels(_undone(visible, x_BCHW)))
    names = [classes[label] for label in labels_B.tolist()]
    return [Row(name=name, images=[column[at] for column in columns]) for at, name in enumerate(names)]


def _visible(preprocessing: Preprocessing) -> Preprocessing:
    """The same normalisation without whitening, after which a picture shows nothing."""
    if preprocessing.whitening is None:
        return preprocessing
    facts = {**preprocessing.facts, "normalize": "pixel", "output_shape": preprocessing.facts["shape"]}
    return replace(preprocessing, facts=facts)


def _undone(preprocessing: Preprocessing, x_BCHW: Tensor) -> Tensor:
    """Normalised images as they were before, 0 to 255."""
    scale, shift = (torch.from_numpy(part).to(x_BCHW) for part in preprocessing.affine())
    return (x_BCHW - shift) / scale


def _pixels(x_BCHW: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = x_BCHW.cpu().round().clamp(0, 255).to(torch.uint8).numpy()
    return pixels
