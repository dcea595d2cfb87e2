"""From the data section of a recipe to its splits, ready to be read in batches on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assay.data.batches import SplitData
from assay.data.demands import check_augment, check_shift
from assay.data.load import load_source
from assay.data.normalize import Preprocessing, fit
from assay.data.on_device import Normalizer, RawExamples
from assay.data.splits import make_splits
from assay.recipe.schema import Recipe
from assay.records import Array, Split
from assay.training.arithmetic import number_type


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """The three splits, with the preprocessing fitted on the first. ``facts`` are those of `RunRecord.data`."""

    splits: Mapping[Split, SplitData]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    facts: Mapping[str, Any]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input as the network gets it: (C, H, W) or (D,)."""
        return self.preprocessing.output_shape


def prepare_data(recipe: Recipe, device: torch.device) -> PreparedData:
    """Load, split, and fit the normalisation.

    Raises:
        InputError: the data section names no usable data source; see `assay.data.load.load_source`. Or images are
            to be augmented or shifted, and the source gives points.
        DataError: the data cannot be split as asked.
    """
    data = recipe.data
    examples = load_source(data)
    check_augment(recipe, examples)
    check_shift(recipe, examples)
    splits = make_splits(examples, validation=data.validation, fraction=data.fraction, seed=recipe.seed)
    preprocessing = fit(examples.inputs, splits.train_N, data.normalize, data.whitening_epsilon)
    normalizer = Normalizer(preprocessing, dtype=number_type(recipe.train.precision), device=device)
    raw = RawExamples(examples.inputs, device)
    by_name: dict[Split, Array] = {"train": splits.train_N, "val": splits.val_N, "test": splits.test_N}
    classes = tuple(examples.classes)
    return PreparedData(
        splits={
            name: SplitData(raw, normalizer, indices_N, torch.from_numpy(examples.labels_N[indices_N]).to(device))
            for name, indices_N in by_name.items()
        },
        classes=classes,
        preprocessing=preprocessing,
        facts={
            "source": data.source,
            "identity": examples.identity,
            "shape": list(examples.input_shape),
            "counts": {
                name: np.bincount(examples.labels_N[indices_N], minlength=len(classes)).tolist()
                for name, indices_N in by_name.items()
            },
            "skipped": list(examples.skipped),
            "remarks": list(examples.remarks),
        },
    )
