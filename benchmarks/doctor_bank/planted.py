"""Networks and data sources with one planted fault each; the bank names them by dotted path.

Shape key: B examples in a batch, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from assay.data.load import load_source
from assay.data.source import Examples
from assay.data.splits import make_splits
from assay.recipe.schema import Recipe


class Net(nn.Module):
    """A sound network: linear layers, or two convolutions and two linear layers."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, kind: str = "linear") -> None:
        super().__init__()
        values = int(np.prod(input_shape))
        if kind == "linear":
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(values, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU())
            self.head = nn.Linear(48, classes)
            return
        side = input_shape[1] // 4 * (input_shape[2] // 4)
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(24 * side, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, classes)

    def forward(self, x_B: Tensor) -> Tensor:
        scores_BK: Tensor = self.head(self.body(x_B))
        return scores_BK


class SoftmaxTwice(Net):
    def forward(self, x_B: Tensor) -> Tensor:
        return super().forward(x_B).softmax(dim=1)


class LastRelu(Net):
    def forward(self, x_B: Tensor) -> Tensor:
        return torch.relu(super().forward(x_B))


class AllZero(Net):
    def __init__(self, input_shape: tuple[int, ...], classes: int, kind: str = "linear") -> None:
        super().__init__(input_shape, classes, kind)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class AllFrozen(Net):
    """Only the last biases are trained; a run refuses to train nothing at all."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, kind: str = "linear") -> None:
        super().__init__(input_shape, classes, kind)
        self.requires_grad_(False)
        self.head.bias.requires_grad_(True)


class DeadUnits(Net):
    """All but a few units of the first layer are silent."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, kind: str = "linear") -> None:
        super().__init__(input_shape, classes, kind)
        first = next(layer for layer in self.body if isinstance(layer, nn.Linear | nn.Conv2d))
        with torch.no_grad():
            first.bias[: int(0.8 * len(first.bias))] = -50.0


class Spoilt:
    """A data source with one fault; its official splits are drawn once.

    Args:
        data: a recipe's data section.
        fault: which.
        examples: how many, test examples apart.
        test: how many of the test examples are left.
    """

    def __init__(self, data: dict[str, Any], fault: str = "none", examples: int = 3000, test: int = 2000) -> None:
        self._data, self._fault, self._examples, self._test = data, fault, examples, test

    def load(self) -> Examples:
        recipe = Recipe.model_validate({"data": self._data, "model": {"name": "mlp"}})
        found = load_source(recipe.data)
        splits = make_splits(found, validation=0.25, fraction=1.0, seed=0)
        rng = np.random.default_rng(7)
        train_N = rng.permutation(splits.train_N)[: int(0.75 * self._examples)]
        val_N = rng.permutation(splits.val_N)[: int(0.25 * self._examples)]
        test_N = rng.permutation(splits.test_N)[: self._test]
        inputs, labels_N = (
            np.array(found.inputs[[*train_N, *val_N, *test_N]]),
            found.labels_N[[*train_N, *val_N, *test_N]],
        )
        train, val = slice(0, len(train_N)), slice(len(train_N), len(train_N) + len(val_N))
        test = slice(len(train_N) + len(val_N), None)
        if self._fault == "labels shuffled":
            labels_N = rng.permutation(labels_N)
        elif self._fault == "label noise":
            drawn = rng.random(len(labels_N)) < 0.3
            labels_N = np.where(drawn, rng.integers(0, len(found.classes), size=len(labels_N)), labels_N)
        elif self._fault == "test not normalised":
            inputs[test] = inputs[test] // 6
        elif self._fault == "validation in training":
            inputs[train][: len(val_N)] = inputs[val]
            labels_N[train][: len(val_N)] = labels_N[val]
        return Examples(
            inputs=inputs,
            labels_N=labels_N.astype(np.int64),
            classes=found.classes,
            val_indices=np.arange(len(labels_N))[val],
            test_indices=np.arange(len(labels_N))[test],
        )

    def fingerprint(self) -> str:
        return f"{sorted(self._data.items())}/{self._fault}/{self._examples}/{self._test}"
