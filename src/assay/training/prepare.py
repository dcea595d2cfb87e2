"""From the data section of a recipe to normalised tensors on a device.

Shape key: N examples of a split; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.data.load import load_source
from assay.data.normalize import apply, fit
from assay.data.splits import make_splits
from assay.recipe.schema import Recipe
from assay.records import Array, Split


@dataclass(frozen=True, kw_only=True)
class SplitData:
    """One split, resident. ``indices_N`` are the examples' positions in the data source."""

    inputs: Tensor
    labels_N: Tensor
    indices_N: Array


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """The three splits, with the preprocessing fitted on the first."""

    splits: Mapping[Split, SplitData]
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    preprocessing: Mapping[str, Any]


def prepare_data(recipe: Recipe, device: torch.device) -> PreparedData:
    """Load, split and normalise.

    Raises:
        InputError: the data section names no usable data source; see `assay.data.load.load_source`.
        DataError: the data cannot be split as asked.
    """
    examples = load_source(recipe.data)
    splits = make_splits(examples, validation=recipe.data.validation, seed=recipe.seed)
    preprocessing = fit(examples.inputs[splits.train_N], recipe.data.normalize)
    dtype = np.dtype(recipe.train.precision)
    by_name: dict[Split, Array] = {"train": splits.train_N, "val": splits.val_N, "test": splits.test_N}
    return PreparedData(
        splits={
            name: SplitData(
                inputs=torch.from_numpy(apply(preprocessing, examples.inputs[indices_N], dtype)).to(device),
                labels_N=torch.from_numpy(examples.labels_N[indices_N]).to(device),
                indices_N=indices_N,
            )
            for name, indices_N in by_name.items()
        },
        classes=tuple(examples.classes),
        input_shape=examples.input_shape,
        preprocessing=preprocessing,
    )
