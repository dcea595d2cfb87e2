"""What a model says of a whole split, in evaluation mode.

Shape key: N examples of the split, B examples in a batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

import torch
from torch import Tensor

from assay.data.batches import SplitData
from assay.training.loop import count_correct

Scores = Callable[[Tensor], Tensor]
"""From inputs to logits (B, K), as the model gives them in evaluation mode."""

EVALUATION_BATCH = 512
"""Examples at a time: enough to fill the arithmetic units, little enough to stay in the caches of a small network."""

_BATCH_VALUES = 128 * 3 * 32 * 32
"""Input values at a time, so that the maps of a convolutional network stay in the caches too: 128 images of CIFAR."""

_FEWEST_IMAGES = 16

_TIMED_PASSES = 5
_TIMED_BATCHES = 8
_TIMING_BUDGET_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The loss is the mean cross-entropy in nats, which may be NaN or infinite; an example with a probability that is
    not a number counts as wrong."""

    loss: float
    correct: int
    probabilities_NK: Tensor

    @property
    def accuracy(self) -> float:
        return self.correct / len(self.probabilities_NK)

    @property
    def finite_loss(self) -> float | None:
        """The loss as a record keeps it: None if it is not finite."""
        return self.loss if math.isfinite(self.loss) else None


def evaluate(scores: Scores, split: SplitData) -> Evaluation:
    """Classify every example, in batches.

    The probabilities are float32, and the accuracy is theirs, so that it can be recomputed from what is stored.
    """
    loss_sum, done = 0.0, 0
    with torch.inference_mode():
        # Made at once: kept batch by batch, they would lie between the batches in memory, which then cannot be reused.
        probabilities_NK = torch.empty(0)
        for x_B, y_B in split.in_order(evaluation_batch(split.input_shape)):
            log_p_BK = scores(x_B).log_softmax(dim=1)
            loss_sum -= float(log_p_BK.gather(1, y_B[:, None]).sum())
            if not done:
                probabilities_NK = log_p_BK.new_empty((len(split), log_p_BK.shape[1]), dtype=torch.float32)
            probabilities_NK[done : done + len(y_B)] = log_p_BK.exp()
            done += len(y_B)
        correct = count_correct(probabilities_NK, split.labels_N)
    return Evaluation(loss=loss_sum / len(split), correct=correct, probabilities_NK=probabilities_NK)


def seconds_per_example(scores: Scores, split: SplitData) -> float:
    """Wall time to classify one example, in batches of a whole evaluation: the fastest of up to five passes over at
    most a few thousand examples. Normalising is not part of it.

    The fastest, because whatever else the machine does can only add to it.
    """
    fastest, spent = math.inf, 0.0
    batches = [x_B for x_B, _ in islice(split.in_order(evaluation_batch(split.input_shape)), _TIMED_BATCHES)]
    with torch.inference_mode():
        for _ in range(_TIMED_PASSES):
            start = perf_counter()
            for x_B in batches:
                logits_BK = scores(x_B)
            float(logits_BK[-1, 0])  # waits for a device that computes on its own
            fastest = min(fastest, perf_counter() - start)
            spent += fastest
            if spent > _TIMING_BUDGET_SECONDS:
                break
    return fastest / sum(map(len, batches))


def evaluation_batch(input_shape: Sequence[int]) -> int:
    """How many examples of that shape are classified at a time."""
    return min(EVALUATION_BATCH, max(_FEWEST_IMAGES, _BATCH_VALUES // math.prod(input_shape)))
