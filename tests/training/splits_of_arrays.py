"""Splits made of arrays at hand, and scores of modules, as the loop and the evaluation read them."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from assay.data.batches import SplitData
from assay.data.normalize import fit
from assay.data.on_device import Normalizer, RawExamples
from assay.recipe.schema import Train
from assay.training.arithmetic import Arithmetic
from assay.training.engines import with_torch
from assay.training.evaluate import Scores


def split_of(inputs: Tensor, labels_N: Tensor, *, dtype: torch.dtype = torch.float32) -> SplitData:
    """All of the examples, unnormalised: images uint8 (N, C, H, W) / 255, or points float32 (N, D) as they are."""
    everything_N = np.arange(len(labels_N))
    cpu = torch.device("cpu")
    preprocessing = fit(inputs.numpy(), everything_N, "none", 1e-3)
    normalizer = Normalizer(preprocessing, dtype=dtype, device=cpu)
    return SplitData(RawExamples(inputs.numpy(), cpu), normalizer, everything_N, labels_N)


def scores_of(model: nn.Module) -> Scores:
    """What the module gives on the CPU, in its own precision."""
    return partial(with_torch.scores_of, model, Arithmetic(Train(), torch.device("cpu")))
