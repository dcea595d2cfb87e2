"""Images that no run of the tuning part has seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.data.load import load_source
from assay.data.source import Examples
from assay.data.splits import make_splits
from assay.recipe.schema import Recipe


class Unused:
    """Those of the official test images that `planted.Spoilt` leaves out, without splits.

    Args:
        data: a recipe's data section, of data with an official test split.
        used: how many test images `planted.Spoilt` was asked for.
    """

    def __init__(self, data: dict[str, Any], used: int) -> None:
        self._data, self._used = data, used

    def load(self) -> Examples:
        found = load_source(Recipe.model_validate({"data": self._data, "model": {"name": "mlp"}}).data)
        splits = make_splits(found, validation=0.25, fraction=1.0, seed=0)
        rng = np.random.default_rng(7)
        for earlier_N in (splits.train_N, splits.val_N):
            rng.permutation(earlier_N)  # so that the next is drawn as `planted.Spoilt` draws it
        left_N = rng.permutation(splits.test_N)[self._used :]
        return Examples(inputs=found.inputs[left_N], labels_N=found.labels_N[left_N], classes=found.classes)

    def fingerprint(self) -> str:
        return f"{sorted(self._data.items())}/{self._used}"
