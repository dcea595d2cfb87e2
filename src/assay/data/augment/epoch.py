"""One epoch's augmentation: everything that is drawn for it, and the order in which it is applied.

What is drawn for an image depends on the seed, the augmentation, the epoch and the image's place in the training split
alone: not on the batch it is in, the device, or other augmentations. So two arms with one seed share whatever both
draw.

Shape key: N training images, B images in a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from assay.data.augment.shifts_and_flips import flip, pad_and_crop
from assay.recipe.schema import Augment
from assay.recipe.streams import stream

Places = NDArray[np.int64]


class EpochAugmentation:
    """The changes of one epoch, for all training images."""

    def __init__(self, augment: Augment, *, examples: int, classes: int, seed: int, epoch: int) -> None:
        self._augment = augment
        self._examples = examples
        self._classes = classes
        self._seed = seed
        self._epoch = epoch
        self._tops_N, self._lefts_N = self._crop_offsets()
        self._mirrored_N = self._horizontal_flips()
        self._upside_down_N = self._uniform("vertical_flip") < augment.vertical_flip

    def images(self, x_BCHW: Tensor, chosen_B: Places) -> Tensor:
        """Change raw images.

        Args:
            x_BCHW: uint8 images; may be changed in place.
            chosen_B: their places in the training split.

        Returns:
            uint8 images, or floating-point ones divided by 255.
        """
        augment = self._augment
        if augment.crop_padding:
            tops_B, lefts_B = self._tops_N[chosen_B], self._lefts_N[chosen_B]
            x_BCHW = pad_and_crop(x_BCHW, tops_B, lefts_B, augment.crop_padding, augment.crop_fill)
        if augment.horizontal_flip or augment.alternating_flip:
            x_BCHW = flip(x_BCHW, self._mirrored_N[chosen_B], "horizontal")
        if augment.vertical_flip:
            x_BCHW = flip(x_BCHW, self._upside_down_N[chosen_B], "vertical")
        return x_BCHW

    def normalised_images(self, x_BCHW: Tensor, chosen_B: Places) -> Tensor:
        """Change images that are normalised; may change them in place."""
        return x_BCHW

    def mixed(self, x_BCHW: Tensor, y_B: Tensor, chosen_B: Places) -> tuple[Tensor, Tensor]:
        """Mix images of a batch in pairs: inputs, and labels as probabilities (B, K); unmixed, the classes (B,)."""
        return x_BCHW, y_B

    def _uniform(self, name: str, *parts: str | int) -> NDArray[np.float64]:
        """A number in [0, 1) for each training image, from the augmentation's own stream."""
        return stream(self._seed, "augment", name, *parts, self._epoch).random(self._examples)

    def _crop_offsets(self) -> tuple[Places, Places]:
        choices = 2 * self._augment.crop_padding + 1
        tops_N, lefts_N = ((self._uniform("crop_padding", side) * choices).astype(np.int64) for side in ("top", "left"))
        return tops_N, lefts_N

    def _horizontal_flips(self) -> NDArray[np.bool_]:
        if not self._augment.alternating_flip:
            return self._uniform("horizontal_flip") < self._augment.horizontal_flip
        first_N = stream(self._seed, "augment", "alternating_flip").random(self._examples) < 0.5
        return first_N if self._epoch % 2 else ~first_N
