"""Splits as training reads them: raw examples, normalised and augmented batch by batch, in the order of the seed.

Shape key: N examples of a split, B examples in a batch, K classes; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.data.augment.epoch import EpochAugmentation
from assay.data.on_device import ChangedExamples, Normalizer, RawExamples
from assay.data.smaller import scaled_down, side_at
from assay.recipe.schema import Augment, SmallerImages
from assay.recipe.streams import stream

Batch = tuple[Tensor, Tensor]
"""Inputs, and labels: classes (B,) int64, or after mixing probabilities (B, K)."""

_KEPT_NORMALISED = 2**26
"""Bytes of normalised inputs that a split keeps; larger ones are normalised anew each time, which costs as little."""


_VALUES_AT_ONCE = 2**21
"""Values of images augmented at a time on a CPU: 224×224 in colour takes half as long by 16 as by 128."""

_FEWEST_AT_ONCE = 16


class SplitData:
    """One split of a data source.

    Attributes:
        indices_N: the examples' positions in the data source, int64, in main memory.
        labels_N: their classes, int64, on the device.
        input_shape: of one normalised input, (C, H, W) or (D,).
    """

    def __init__(
        self,
        raw: RawExamples | ChangedExamples,
        normalizer: Normalizer,
        indices_N: NDArray[np.int64],
        labels_N: Tensor,
    ) -> None:
        self.indices_N = indices_N
        self.labels_N = labels_N
        self._raw = raw
        self._normalizer = normalizer
        self._normalised: Tensor | None = None
        first = self.inputs(np.zeros(1, dtype=np.int64))
        self.input_shape = tuple(first.shape[1:])
        if first.nbytes * len(indices_N) <= _KEPT_NORMALISED:
            self._normalised = self.inputs(np.arange(len(indices_N)))

    def __len__(self) -> int:
        return len(self.indices_N)

    @property
    def dtype(self) -> torch.dtype:
        """Of normalised inputs."""
        return self._normalizer.dtype

    def with_changed(self, change: Callable[[Tensor], Tensor]) -> SplitData:
        """The same split, with a change of raw inputs that keeps their shape, made before they are normalised."""
        return SplitData(ChangedExamples(self._raw, change), self._normalizer, self.indices_N, self.labels_N)

    def with_inputs(self, inputs_N: Tensor) -> SplitData:
        """The same split, with what was made of its normalised inputs in their place, (N, …) on the device."""
        made = copy.copy(self)
        made._normalised = inputs_N
        made.input_shape = tuple(inputs_N.shape[1:])
        return made

    def raw(self, chosen_B: NDArray[np.int64]) -> Tensor:
        """Inputs of the examples at these places of the split, as the source gives them."""
        return self._raw.take(self.indices_N[chosen_B])

    def inputs(self, chosen_B: NDArray[np.int64]) -> Tensor:
        """Normalised inputs of the examples at these places of the split."""
        if self._normalised is not None:
            return self._normalised.index_select(0, torch.from_numpy(chosen_B).to(self._normalised.device))
        return self._normalizer(self.raw(chosen_B))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every example once, in the order of the split. Inputs are copies: a model may write to what it is given."""
        for start in range(0, len(self), batch_size):
            stop = min(start + batch_size, len(self))
            if self._normalised is not None:
                yield self._normalised[start:stop].clone(), self.labels_N[start:stop]
            else:
                yield self.inputs(np.arange(start, stop)), self.labels_N[start:stop]

    def augmented(self, chosen_B: NDArray[np.int64], augmentation: EpochAugmentation) -> Batch:
        """Augmented, normalised inputs of the examples at these places of the split, and their labels."""
        parts = [self._augmented_images(part, augmentation) for part in self._blocks(chosen_B)]
        x_BCHW = parts[0] if len(parts) == 1 else torch.cat(parts)
        return augmentation.mixed(x_BCHW, self.labels_of(chosen_B), chosen_B)

    def _augmented_images(self, chosen_B: NDArray[np.int64], augmentation: EpochAugmentation) -> Tensor:
        x_BCHW = augmentation.images(self.raw(chosen_B), chosen_B)
        return augmentation.normalised_images(self._normalizer(x_BCHW), chosen_B)

    def _blocks(self, chosen_B: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """A batch in parts that fit the caches of a CPU; what becomes of an image does not depend on them."""
        if self.labels_N.device.type != "cpu":
            return [chosen_B]
        images = max(_FEWEST_AT_ONCE, _VALUES_AT_ONCE // math.prod(self.input_shape))
        return [chosen_B[start : start + images] for start in range(0, len(chosen_B), images)]

    def labels_of(self, chosen_B: NDArray[np.int64]) -> Tensor:
        return self.labels_N.index_select(0, torch.from_numpy(chosen_B).to(self.labels_N.device))


def batch_bounds(examples: int, batch_size: int) -> list[tuple[int, int]]:
    """Where each batch of an epoch starts and stops.

    The last batch holds what is left. If that is a single example it joins the batch before it, because batch
    normalisation cannot train on one; this is done whatever the model, so that arms with and without batch
    normalisation take the same steps.
    """
    starts = list(range(0, examples, batch_size))
    if batch_size > 1 and len(starts) > 1 and examples - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], examples], strict=True))


def training_batches(
    split: SplitData,
    augment: Augment,
    *,
    classes: int,
    batch_size: int,
    epochs: int,
    seed: int,
    smaller_first: Sequence[SmallerImages] = (),
    skip: int = 0,
) -> Iterator[Batch]:
    """Every batch of every epoch. Epoch e, from 1 on, is ordered by ``stream(seed, "order", e)``.

    Args:
        split: the training split.
        augment: how its images are changed; what is drawn for an image depends on the seed, the epoch and its place
            in the split alone.
        classes: how many there are.
        batch_size: examples per batch; see `batch_bounds` for the last one.
        epochs: how often to go through the data.
        seed: the recipe's seed.
        smaller_first: the recipe's parts of training with smaller images.
        skip: how many batches to leave out at the start: those a training under way has taken already.
    """
    bounds = batch_bounds(len(split), batch_size)
    first_epoch, first_batch = divmod(skip, len(bounds))
    for epoch in range(1 + first_epoch, epochs + 1):
        order_N = stream(seed, "order", epoch).permutation(len(split))
        augmentation = None
        if augment.active:
            augmentation = EpochAugmentation(
                augment, examples=len(split), classes=classes, seed=seed, epoch=epoch, dtype=split.dtype
            )
        side = side_at(smaller_first, epoch)
        for start, stop in bounds[first_batch:]:
            chosen_B = order_N[start:stop]
            if augmentation is None:
                x_B, y_B = split.inputs(chosen_B), split.labels_of(chosen_B)
            else:
                x_B, y_B = split.augmented(chosen_B, augmentation)
            yield (x_B if side is None else scaled_down(x_B, side)), y_B
        first_batch = 0
