"""Mini-batches of data that stay resident as tensors, in the order of the seed's order stream.

Shape key: N training examples, B examples in a batch; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.recipe.streams import stream

Batch = tuple[Tensor, Tensor]


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


def batches(inputs: Tensor, labels_N: Tensor, *, batch_size: int, epochs: int, seed: int) -> Iterator[Batch]:
    """Every batch of every epoch. Epoch e, from 1 on, is ordered by ``stream(seed, "order", e)``.

    Args:
        inputs: normalised training inputs, (N, C, H, W) or (N, D), on the device.
        labels_N: their classes, int64, on the same device.
        batch_size: examples per batch; see `batch_bounds` for the last one.
        epochs: how often to go through the data.
        seed: the recipe's seed.
    """
    bounds = batch_bounds(len(labels_N), batch_size)
    for epoch in range(1, epochs + 1):
        order = stream(seed, "order", epoch).permutation(len(labels_N))
        order_N = torch.from_numpy(order).to(labels_N.device)
        for start, stop in bounds:
            chosen_B = order_N[start:stop]
            yield inputs.index_select(0, chosen_B), labels_N.index_select(0, chosen_B)
