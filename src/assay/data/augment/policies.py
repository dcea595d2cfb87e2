"""RandAugment (Cubuk et al. 2019, arXiv:1909.13719) and TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158).

Both draw operations from one list, with torchvision's ranges of magnitudes in 31 bins: RandAugment as many in a row as
it is told, all of one bin; TrivialAugment one, of a random bin, and of wider ranges.

Shape key: N training images, B images in a batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from assay.data.augment.draws import Draws, Flags, Numbers, Places
from assay.data.augment.policy_operations import OPERATIONS, apply_operations
from assay.recipe.schema import Augment

BINS = 31
UNSIGNED = ("identity", "posterize", "solarize", "autocontrast", "equalize")
"""Operations that have no opposite; the magnitude of the others is negative for a random half of the images."""

_SIGNED = np.array([operation not in UNSIGNED for operation in OPERATIONS])


@dataclass(frozen=True, kw_only=True)
class PolicyStep:
    """One operation for each image: its place in `OPERATIONS`, its magnitude's bin, and whether that is negative."""

    operation_B: Places
    bin_B: Places
    negative_B: Flags

    def __getitem__(self, chosen_B: Places) -> Self:
        """That of the images at these places."""
        return type(self)(
            operation_B=self.operation_B[chosen_B], bin_B=self.bin_B[chosen_B], negative_B=self.negative_B[chosen_B]
        )


def policy_steps(augment: Augment, draws: Draws) -> list[PolicyStep]:
    """What a policy draws for every image: the operations it applies, first to last."""
    name = augment.policy
    if name == "none":
        return []
    count = augment.rand_augment_operations if name == "rand_augment" else 1
    steps = []
    for step in range(count):
        bin_N = np.full(draws.examples, augment.rand_augment_magnitude)
        if name == "trivial_augment":
            bin_N = draws.below(BINS, name, "bin", step)
        steps.append(
            PolicyStep(
                operation_B=draws.below(len(OPERATIONS), name, "operation", step),
                bin_B=bin_N,
                negative_B=draws.uniform(name, "sign", step) < 0.5,
            )
        )
    return steps


def magnitude_table(policy: str, height: int, width: int) -> Numbers:
    """The magnitude of each operation (row) at each bin (column), without its sign.

    Torchvision makes bins in float32, where TrivialAugment's shift of 16 pixels is 15.999999 and so cut to 15; these
    are its numbers, not the round ones.
    """
    wide = policy == "trivial_augment"
    blend = _bins(0.99 if wide else 0.9)
    shear = _bins(0.99 if wide else 0.3)
    fewer_bits = np.rint(np.arange(BINS) / ((BINS - 1) / (6 if wide else 4)))
    ranges = {
        "shear_x": shear,
        "shear_y": shear,
        "translate_x": np.trunc(_bins(32.0 if wide else 150.0 / 331.0 * width)),
        "translate_y": np.trunc(_bins(32.0 if wide else 150.0 / 331.0 * height)),
        "rotate": _bins(135.0 if wide else 30.0),
        "brightness": blend,
        "color": blend,
        "contrast": blend,
        "sharpness": blend,
        "posterize": 8.0 - fewer_bits,
        "solarize": _bins(0.0, first=255.0),
    }
    return np.stack([ranges.get(operation, np.zeros(BINS)) for operation in OPERATIONS])


def apply_step(x_BCHW: Tensor, step: PolicyStep, magnitudes: Numbers) -> Tensor:
    """Apply each image's operation to it, in place.

    Args:
        x_BCHW: uint8 images.
        step: the operations of these images.
        magnitudes: `magnitude_table` of their size.
    """
    magnitude_B = magnitudes[step.operation_B, step.bin_B]
    magnitude_B = np.where(_SIGNED[step.operation_B] & step.negative_B, -magnitude_B, magnitude_B)
    return apply_operations(x_BCHW, step.operation_B, magnitude_B)


def _bins(last: float, first: float = 0.0) -> Numbers:
    return torch.linspace(first, last, BINS, dtype=torch.float32).double().numpy()
