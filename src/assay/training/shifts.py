"""What a model makes of test images that are shifted a little, and so show the same.

A convolution's output moves with its input; what comes after it, strides and pooling above all, need not give what it
gave before. Zhang 2019, "Making convolutional networks shift-invariant again", arXiv:1904.11486, measures how often
a network gives the same class to an image under two shifts drawn at random, its consistency. Here one of the two is no
shift at all, and the other goes through all eight of a given distance, so that nothing is drawn.

Shape key: N examples of the split, B examples in a batch, K classes; an image is (C, H, W).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from assay.data.batches import SplitData
from assay.training.evaluate import Evaluation, Scores, evaluate

DIRECTIONS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0))
"""The eight neighbours of a pixel, by rows down and columns to the right."""


def shift_metrics(scores: Scores, split: SplitData, unshifted: Evaluation, shift: int) -> dict[str, float]:
    """The two metrics of ``evaluate.shift``, by name; none if that is 0.

    - ``shifted_test_accuracy``: the mean accuracy over the eight shifts.
    - ``shift_consistency``: the share of the 8·N pairs of example and shift whose class is that of the unshifted image.
      A model that always gives one class is consistent, too: read it beside the accuracy.

    An image to which the model gives a probability that is not a number is wrong, and consistent with nothing.

    Args:
        scores: of the trained model.
        split: the test split, of images.
        unshifted: what the model says of the split as it is.
        shift: pixels along each side a shift takes part in; less than any side has.
    """
    if not shift:
        return {}
    predicted_N = _predicted(unshifted)
    correct, consistent = 0, 0
    for down, right in DIRECTIONS:
        moved = split.with_changed(partial(shifted, down=down * shift, right=right * shift))
        evaluation = evaluate(scores, moved)
        correct += evaluation.correct
        consistent += int(((_predicted(evaluation) == predicted_N) & (predicted_N >= 0)).sum())
    pairs = len(DIRECTIONS) * len(split)
    return {"shifted_test_accuracy": correct / pairs, "shift_consistency": consistent / pairs}


def shifted(x_BCHW: Tensor, *, down: int, right: int) -> Tensor:
    """Images moved by whole pixels; negative numbers move up and left.

    What moves in at a border repeats the border's own pixels, as if the image went on: a black bar would tell how far
    an image was moved, and mirrored or wrapped pixels show what was not there.
    """
    return x_BCHW.index_select(2, _sources(x_BCHW, 2, down)).index_select(3, _sources(x_BCHW, 3, right))


def _sources(x_BCHW: Tensor, axis: int, distance: int) -> Tensor:
    """For each place along an axis, the place whose pixel moves there."""
    size = x_BCHW.shape[axis]
    return (torch.arange(size, device=x_BCHW.device) - distance).clamp_(0, size - 1)


def _predicted(evaluation: Evaluation) -> Tensor:
    """The most probable class of each example; -1 where a probability is not a number."""
    probabilities_NK = evaluation.probabilities_NK
    return torch.where(probabilities_NK.isfinite().all(dim=1), probabilities_NK.argmax(dim=1), -1)
