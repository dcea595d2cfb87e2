"""What the checks of a recipe work on: its data, its network as it starts, and how much of both can be afforded.

Shape key: B examples in a batch, N examples of a split, K classes; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from assay.data.batches import Batch, SplitData
from assay.models.layers import Dropout
from assay.recipe.schema import Recipe
from assay.recipe.streams import stream
from assay.records import Split
from assay.training.arithmetic import Arithmetic
from assay.training.loop import set_to_training
from assay.training.network import build_network
from assay.training.prepare import PreparedData

_FLOPS_PER_SECOND = {"cpu": 1e11, "cuda": 5e12}
"""About what one core, or a GPU, does in float32: measured, LeNet-5 comes to half of it and ResNet-20 to twice."""
_PASSES = 3
"""Backward costs as much as two passes forward."""
_SAMPLED_VALUES = 2**24
"""Values of inputs that are looked at together: 64 MiB of float32, 5,461 images of CIFAR."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A recipe laid out to be examined.

    Attributes:
        recipe: trained by torch, in numbers of a settled precision, without averaging.
        data: prepared for it.
        device: where to compute.
        network: as it starts, in its arithmetic. It is never changed: whoever trains, or runs it in training mode,
            takes a `fresh` one.
        flops: additions and multiplications of one example, forward.
    """

    recipe: Recipe
    data: PreparedData
    device: torch.device
    network: nn.Module
    flops: float

    @property
    def classes(self) -> int:
        return len(self.data.classes)

    def arithmetic(self) -> Arithmetic:
        return Arithmetic(self.recipe.train, self.device)

    def fresh(self) -> nn.Module:
        """A copy of the network as it starts, without dropout, in the mode in which it is trained."""
        model = copy.deepcopy(self.network)
        _drop_nothing(model)
        model.eval()
        set_to_training(model)
        return model

    def affordable(self, seconds: float, *, trained: bool = True) -> int:
        """About how many examples the network takes, or trains on, in so many seconds."""
        speed = _FLOPS_PER_SECOND["cuda" if self.device.type == "cuda" else "cpu"]
        return int(seconds * speed / max(1.0, self.flops * (_PASSES if trained else 1)))

    def few(self, count: int) -> Batch:
        """So many training examples, of every class as nearly as many as of the others; no augmentation."""
        train = self.data.splits["train"]
        labels_N = train.labels_N.cpu().numpy()
        order_N = stream(self.recipe.seed, "order", "doctor").permutation(len(train))
        rank_N = np.empty(len(train), dtype=np.int64)
        for label in range(self.classes):
            own = np.flatnonzero(labels_N[order_N] == label)
            rank_N[own] = np.arange(len(own))
        chosen_B = order_N[np.argsort(rank_N, kind="stable")[:count]]
        return train.inputs(chosen_B), train.labels_of(chosen_B)

    def sample(self, split: Split, most: int) -> tuple[SplitData, NDArray[np.int64]]:
        """A split, and random places in it: at most so many, and no more values than are looked at together."""
        data = self.data.splits[split]
        return data, sampled(len(data), min(most, _most_inputs(data.input_shape)), self.recipe.seed, split)


def lay_out(recipe: Recipe, data: PreparedData, device: torch.device) -> Bench:
    """Build the network of a recipe, frozen as it says, even if that leaves nothing to train.

    Raises:
        InputError: the model does not suit its data, or its weights are missing.
    """
    idle = recipe.train.model_copy(update={"epochs": 0, "smaller_first": ()})
    network = build_network(recipe.model_copy(update={"train": idle}), data).model
    arithmetic = Arithmetic(recipe.train, device)
    arithmetic.prepared(network)
    network.eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        arithmetic.scores(network, data.splits["train"].inputs(np.zeros(1, dtype=np.int64)))
    return Bench(recipe=recipe, data=data, device=device, network=network, flops=float(counter.get_total_flops()))


def sampled(count: int, most: int, seed: int, name: str) -> NDArray[np.int64]:
    """At most so many random places among ``count``, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(stream(seed, "order", "doctor", name).permutation(count)[:most])


def entropy(labels_B: Tensor, classes: int) -> float:
    """Of the labels' shares, in nats: the least loss of whoever does not look at the inputs."""
    share_K = torch.bincount(labels_B, minlength=classes).double() / len(labels_B)
    return float(-(share_K[share_K > 0] * share_K[share_K > 0].log()).sum())


def _most_inputs(shape: tuple[int, ...]) -> int:
    return max(64, _SAMPLED_VALUES // math.prod(shape))


def _drop_nothing(model: nn.Module) -> None:
    """Switch dropout off for good, of which eval() would also switch batch normalisation."""
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif isinstance(module, (nn.modules.dropout._DropoutNd, Dropout)) or type(module).__name__ == "StochasticDepth":
            setattr(module, "p", 0.0)  # noqa: B010 - torch types attributes of modules as tensors
