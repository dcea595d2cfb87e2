"""One epoch's augmentation: everything that is drawn for it, and the order in which it is applied.

What is drawn for an image depends on the seed, the augmentation, the epoch and the image's place in the training split
alone: not on the batch it is in, the device, or other augmentations. So two arms with one seed share whatever both
draw. The one thing that an image owes to its batch is the partner it is mixed with.

Shape key: N training images, B images in a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay.data.augment.colour import brightened, contrasted, saturated
from assay.data.augment.draws import Draws, Flags, Numbers, Places
from assay.data.augment.mixing import Mixtures, mix
from assay.data.augment.noise import add_noise
from assay.data.augment.policies import apply_step, magnitude_table, policy_steps
from assay.data.augment.rectangles import Rectangles, crops, erase, erasures
from assay.data.augment.resampling import resized_crop, rotated
from assay.data.augment.shifts_and_flips import flip, pad_and_crop
from assay.recipe.schema import Augment

_COLOURS = (("brightness", brightened), ("contrast", contrasted), ("saturation", saturated))


@dataclass(frozen=True, kw_only=True)
class _Sized:
    """What can be drawn once the size of the images is known."""

    magnitudes: Numbers
    crops: Rectangles | None
    erasures: Rectangles | None


class EpochAugmentation:
    """The changes of one epoch, for all training images; draws only what is switched on."""

    def __init__(
        self,
        augment: Augment,
        *,
        examples: int,
        classes: int,
        seed: int,
        epoch: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Draw for all images.

        Args:
            augment: what is switched on.
            examples: N.
            classes: K.
            seed: the recipe's.
            epoch: from 1 on.
            dtype: of images that are no longer uint8.
        """
        self._augment = augment
        self._classes = classes
        self._dtype = dtype
        self._draws = draws = Draws(seed=seed, epoch=epoch, examples=examples)
        self._offsets_N = _crop_offsets(augment, draws)
        self._mirrored_N = _mirrored(augment, draws)
        self._upside_down_N = draws.uniform("vertical_flip") < augment.vertical_flip if augment.vertical_flip else None
        self._steps = policy_steps(augment, draws)
        turn = augment.rotation
        self._degrees_N = draws.between((-turn, turn), "rotation") if turn else None
        self._factors_N = {
            name: draws.between((1.0 - strength, 1.0 + strength), name)
            for name, _ in _COLOURS
            if (strength := getattr(augment, name))
        }
        self._noise_keys_N = draws.keys("noise") if augment.noise else None
        self._mixtures = Mixtures.drawn(augment.mixup, augment.cutmix, draws)
        self._sized: _Sized | None = None

    def images(self, x_BCHW: Tensor, chosen_B: Places) -> Tensor:
        """Change raw images.

        Args:
            x_BCHW: uint8 images; may be changed in place.
            chosen_B: their places in the training split.

        Returns:
            uint8 images, or floating-point ones divided by 255; with noise they may leave 0 to 1.
        """
        sized = self._for_size_of(x_BCHW)
        x_BCHW = self._moved(x_BCHW, chosen_B)
        for step in self._steps:
            x_BCHW = apply_step(x_BCHW, step[chosen_B], sized.magnitudes)
        if sized.crops is None and self._degrees_N is None and not self._factors_N and self._noise_keys_N is None:
            return x_BCHW
        x_BCHW = x_BCHW.to(self._dtype).div_(255.0)
        if sized.crops is not None:
            x_BCHW = resized_crop(x_BCHW, sized.crops[chosen_B])
        if self._degrees_N is not None:
            x_BCHW = rotated(x_BCHW, self._degrees_N[chosen_B])
        for name, change in _COLOURS:
            if name in self._factors_N:
                x_BCHW = change(x_BCHW, self._factors_N[name][chosen_B])
        if self._noise_keys_N is not None:
            x_BCHW = add_noise(x_BCHW, self._noise_keys_N[chosen_B], self._augment.noise)
        return x_BCHW

    def normalised_images(self, x_BCHW: Tensor, chosen_B: Places) -> Tensor:
        """Change images that are normalised, in place. What whitening by PCA has made of them is no image."""
        if not self._augment.erasing:
            return x_BCHW
        sized = self._for_size_of(x_BCHW)
        return x_BCHW if sized.erasures is None else erase(x_BCHW, sized.erasures[chosen_B])

    def mixed(self, x_BCHW: Tensor, y_B: Tensor, chosen_B: Places) -> tuple[Tensor, Tensor]:
        """Mix each image of a batch with the one after it.

        Args:
            x_BCHW: normalised images; may be changed in place.
            y_B: their classes.
            chosen_B: their places in the training split.

        Returns:
            Images, and labels as probabilities (B, K) of the images' type; nothing being mixed, the classes (B,).
        """
        if self._mixtures is None:
            return x_BCHW, y_B
        return mix(x_BCHW, y_B, self._mixtures[chosen_B], self._classes)

    def _moved(self, x_BCHW: Tensor, chosen_B: Places) -> Tensor:
        if self._offsets_N is not None:
            tops_N, lefts_N = self._offsets_N
            padding, fill = self._augment.crop_padding, self._augment.crop_fill
            x_BCHW = pad_and_crop(x_BCHW, tops_N[chosen_B], lefts_N[chosen_B], padding, fill)
        if self._mirrored_N is not None:
            x_BCHW = flip(x_BCHW, self._mirrored_N[chosen_B], "horizontal")
        if self._upside_down_N is not None:
            x_BCHW = flip(x_BCHW, self._upside_down_N[chosen_B], "vertical")
        return x_BCHW

    def _for_size_of(self, x_BCHW: Tensor) -> _Sized:
        if self._sized is None:
            augment, draws, (height, width) = self._augment, self._draws, x_BCHW.shape[2:]
            area, ratio = augment.resized_crop_area, augment.resized_crop_ratio
            erased_area, erased_ratio = augment.erasing_area, augment.erasing_ratio
            self._sized = _Sized(
                magnitudes=magnitude_table(augment.policy, height, width),
                crops=None if area is None else crops(draws, height, width, area, ratio),
                erasures=erasures(draws, height, width, augment.erasing, erased_area, erased_ratio)
                if augment.erasing
                else None,
            )
        return self._sized


def _crop_offsets(augment: Augment, draws: Draws) -> tuple[Places, Places] | None:
    if not augment.crop_padding:
        return None
    choices = 2 * augment.crop_padding + 1
    return draws.below(choices, "crop_padding", "top"), draws.below(choices, "crop_padding", "left")


def _mirrored(augment: Augment, draws: Draws) -> Flags | None:
    if augment.alternating_flip:
        return draws.alternating("alternating_flip")
    return draws.uniform("horizontal_flip") < augment.horizontal_flip if augment.horizontal_flip else None
