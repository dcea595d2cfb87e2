"""What is drawn for the training images of one epoch: one number per image and name, whatever else is drawn.

Shape key: N training images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.recipe.streams import stream

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Draws of N numbers, image by image in the order of the training split, each from the stream of its name.

    Attributes:
        seed: the recipe's.
        epoch: from 1 on.
        examples: N.
    """

    seed: int
    epoch: int
    examples: int

    def uniform(self, name: str, *parts: str | int) -> Numbers:
        """Numbers in [0, 1)."""
        return self._stream(name, *parts).random(self.examples)

    def between(self, bounds: tuple[float, float], name: str, *parts: str | int) -> Numbers:
        """Numbers from the lower bound to the upper one."""
        low, high = bounds
        return low + (high - low) * self.uniform(name, *parts)

    def log_between(self, bounds: tuple[float, float], name: str, *parts: str | int) -> Numbers:
        """Numbers whose logarithm is uniform between those of the bounds."""
        return np.exp(self.between((math.log(bounds[0]), math.log(bounds[1])), name, *parts))

    def below(self, choices: int, name: str, *parts: str | int) -> Places:
        """Whole numbers from 0 to choices − 1."""
        return (self.uniform(name, *parts) * choices).astype(np.int64)

    def beta(self, alpha: float, name: str) -> Numbers:
        """Numbers of the distribution Beta(α, α)."""
        return self._stream(name).beta(alpha, alpha, self.examples)

    def keys(self, name: str) -> Places:
        """64 random bits each."""
        bounds = np.iinfo(np.int64)
        return self._stream(name).integers(bounds.min, bounds.max, self.examples, endpoint=True)

    def alternating(self, name: str) -> Flags:
        """True for a random half of the images in odd epochs, and for the others in even ones."""
        first_N = stream(self.seed, "augment", name).random(self.examples) < 0.5
        return first_N if self.epoch % 2 else ~first_N

    def _stream(self, name: str, *parts: str | int) -> np.random.Generator:
        return stream(self.seed, "augment", name, *parts, self.epoch)
