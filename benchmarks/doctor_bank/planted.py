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

    def __init__(self, input_shape: tuple[int, ...], classes: int, kind: str = "linear", width: int = 96) -> None:
        super().__init__()
        values = int(np.prod(input_shape))
        if kind == "linear":
            self.body = nn.Sequential(
                nn.Flatten(), nn.Linear(values, width), nn.ReLU(), nn.Linear(width, width // 2), nn.ReLU()
            )
            self.head = nn.Linear(width // 2, classes)
            return
        side = input_shape[1] // 4 * (input_shape[2] // 4)
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], width // 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width // 8, width // 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(width // 4 * side, width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width, classes)

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
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class AllFrozen(Net):
    """Only the last biases are trained; a run refuses to train nothing at all."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.requires_grad_(False)
        self.head.bias.requires_grad_(True)


class DeadUnits(Net):
    """All but a few units of the first layer are silent."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
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
        groups: classes that count as one; examples of others are left out, and all splits are drawn anew.
    """

    def __init__(
        self,
        data: dict[str, Any],
        fault: str = "none",
        examples: int = 3000,
        test: int = 2000,
        groups: list[list[int]] | None = None,
    ) -> None:
        self._data, self._fault, self._groups = data, fault, groups
        self._examples, self._test = examples, test

    def load(self) -> Examples:
        recipe = Recipe.model_validate({"data": self._data, "model": {"name": "mlp"}})
        found = load_source(recipe.data)
        rng = np.random.default_rng(7)
        train, val, test = round(0.75 * self._examples), round(0.25 * self._examples), self._test
        if self._fault == "few examples":
            train //= 10
        if self._groups is None:
            splits = make_splits(found, validation=0.25, fraction=1.0, seed=0)
            classes, labels_N = found.classes, found.labels_N
            parts = (splits.train_N, splits.val_N, splits.test_N)
            train_N, val_N, test_N = (
                rng.permutation(part_N)[:size] for part_N, size in zip(parts, (train, val, test), strict=True)
            )
        else:
            classes = tuple(f"group {number}" for number in range(1, len(self._groups) + 1))
            group_C = np.full(len(found.classes), -1)
            for number, members in enumerate(self._groups):
                group_C[members] = number
            labels_N = group_C[found.labels_N]
            drawn_N = rng.permutation(np.flatnonzero(labels_N >= 0))
            train_N, val_N, test_N = np.split(drawn_N, [train, train + val])
            test_N = test_N[:test]
        chosen_N = np.concatenate([train_N, val_N, test_N])
        inputs, labels_N = np.array(found.inputs[chosen_N]), labels_N[chosen_N].astype(np.int64)
        place_N = np.arange(len(chosen_N))
        train_N, val_N, test_N = np.split(place_N, [len(train_N), len(train_N) + len(val_N)])
        if self._fault == "labels shuffled":
            labels_N = rng.permutation(labels_N)
        elif self._fault == "label noise":
            drawn = rng.random(len(labels_N)) < 0.3
            labels_N = np.where(drawn, rng.integers(0, len(classes), size=len(labels_N)), labels_N)
        elif self._fault == "test not normalised":
            inputs[test_N] = inputs[test_N] // 6
        elif self._fault == "validation in training":
            inputs[train_N[: len(val_N)]] = inputs[val_N]
            labels_N[train_N[: len(val_N)]] = labels_N[val_N]
        return Examples(inputs=inputs, labels_N=labels_N, classes=classes, val_indices=val_N, test_indices=test_N)

    def fingerprint(self) -> str:
        return f"{sorted(self._data.items())}/{self._fault}/{self._examples}/{self._test}/{self._groups}"
