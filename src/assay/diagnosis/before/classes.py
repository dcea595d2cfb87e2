"""Labels before training: classes that are missing or rare, and whether the images say anything of them.

Shape key: N examples, F features, K classes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from assay.data.batches import SplitData
from assay.data.source import Examples
from assay.diagnosis.before.bench import sampled
from assay.diagnosis.finding import Chart, Finding, Series
from assay.training.prepare import PreparedData

MOST_IMBALANCE = 10.0
"""Largest class over smallest (deepchecks and SageMaker Debugger warn at it, too)."""
PROBED = 4_000
"""Training examples that the probes learn from and are tried on: half a second's work."""
PROBE_SIDE = 8
"""Pixels to which their images are shrunk."""
NOTHING_LEARNED = 0.05
"""Of the way from chance to always being right: the probes must surely be below it for labels to count as random."""
DEVIATIONS = 3.1
"""One-sided: a chance of a thousandth, for each of two probes."""


def missing_classes(examples: Examples) -> list[Finding]:
    """Classes that official splits leave without a training example. Training refuses such data, so nothing else can be
    examined."""
    labels_N = np.asarray(examples.labels_N, dtype=np.int64)
    held_out = [at for at in (examples.test_indices, examples.val_indices) if at is not None]
    if not held_out:
        return []
    rest_N = np.setdiff1d(np.arange(len(labels_N)), np.concatenate(held_out))
    count_K = np.bincount(labels_N[rest_N], minlength=len(examples.classes))
    held_K = np.bincount(labels_N, minlength=len(examples.classes)) - count_K
    missing = np.flatnonzero((count_K == 0) & (held_K > 0))
    if not missing.size:
        return []
    named = ", ".join(f"{examples.classes[label]!r} (0 of {held_K[label]:,})" for label in missing[:5])
    return [
        Finding(
            rule="class_missing",
            severity="severe",
            title="A class is missing in training" if missing.size == 1 else "Classes are missing in training",
            seen=f"{missing.size} of {len(count_K)} classes have no training example, though validation or test have "
            f"some: {named}{', …' if missing.size > 5 else ''}.",
            why="What was never shown cannot be told from the rest: all its examples are classified wrongly, and "
            "assay run refuses the data.",
            cause="The official splits were made by class or by folder, or a filter took the class out of one of them.",
            cure="Split anew so that every class is in every part, or leave the class out of all of them.",
            chart=_counts_chart(count_K),
        )
    ]


def imbalance(data: PreparedData) -> list[Finding]:
    """Training classes of very different sizes."""
    count_K = np.array(data.facts["counts"]["train"])
    ratio = float(count_K.max() / count_K.min())
    if ratio < MOST_IMBALANCE:
        return []
    largest, smallest = int(count_K.argmax()), int(count_K.argmin())
    return [
        Finding(
            rule="class_imbalance",
            severity="warning",
            title="Some classes have few examples",
            seen=f"Training has {count_K[largest]:,} examples of {data.classes[largest]!r} and {count_K[smallest]:,} "
            f"of {data.classes[smallest]!r}, {ratio:.0f} times fewer. Always answering {data.classes[largest]!r} "
            f"would be right in {count_K.max() / count_K.sum():.1%} of cases.",
            why="Rare classes hardly weigh in the loss, and accuracy hides that they are missed.",
            cause="The examples were collected as they came.",
            cure="Judge by balanced accuracy instead of accuracy (metric: test_balanced_accuracy), and collect more "
            "examples of the rare classes.",
            chart=_counts_chart(count_K),
        )
    ]


def _counts_chart(count_K: NDArray[np.int64]) -> Chart:
    x = tuple(float(label) for label in range(len(count_K)))
    return Chart(x="class", y="training examples", series=(Series(name="train", x=x, y=tuple(map(float, count_K))),))


# --- do the images say anything of the labels? ------------------------------------------------------------------------


def labels_at_random(data: PreparedData, seed: int) -> list[Finding]:
    """Whether two simple classifiers, on shrunk training images, do no better than chance on those left out.

    The nearest neighbour finds what is alike, a ridge regression what is spread over the whole image; on CIFAR-10 they
    are right in 30 and 36 % of cases. Both must be within chance's own deviations, and there must be examples enough to
    be sure that they are not even a twentieth of the way from chance to certainty.
    """
    x_NF, labels_N = _features(data.splits["train"], seed)
    classes = len(data.classes)
    answers = {
        "the nearest neighbour": _nearest_other(x_NF, labels_N),
        "a linear model": _linear_by_halves(x_NF, labels_N, classes),
    }
    share_K = np.bincount(labels_N, minlength=classes) / len(labels_N)
    right = {name: float((found_N == labels_N).mean()) for name, found_N in answers.items()}
    for name, found_N in answers.items():
        chance = float((np.bincount(found_N, minlength=classes) / len(found_N)) @ share_K)
        error = DEVIATIONS * math.sqrt(chance * (1.0 - chance) / len(labels_N))
        if abs(right[name] - chance) > error or error > NOTHING_LEARNED * (1.0 - chance):
            return []
    said = " and ".join(f"{name} is right in {share:.1%}" for name, share in right.items())
    return [
        Finding(
            rule="labels_at_random",
            severity="severe",
            title="The labels seem to have nothing to do with the images",
            seen=f"Of {len(labels_N):,} training examples, as {x_NF.shape[1]} values each, {said}, judged by the "
            f"others; {float(share_K @ share_K):.1%} is chance.",
            why="If labels are random, a network can only learn them by heart, and validation stays at chance.",
            cause="Images and labels are out of step: one of them was shuffled, sorted or filtered without the other. "
            "Or what tells the classes apart is too small to survive shrinking, and all is well.",
            cure="Look at some images with their labels: assay data show.",
        )
    ]


def _features(train: SplitData, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Some examples in rows, images shrunk, each value of zero mean and unit deviation; and their labels."""
    chosen_N = sampled(len(train), PROBED, seed, "labels")
    rows = []
    for start in range(0, len(chosen_N), 256):
        raw_B = train.raw(chosen_N[start : start + 256]).float()
        if raw_B.ndim == 4:
            size = (min(PROBE_SIDE, raw_B.shape[2]), min(PROBE_SIDE, raw_B.shape[3]))
            raw_B = functional.adaptive_avg_pool2d(raw_B, size)
        rows.append(raw_B.flatten(1).cpu())
    x_NF = torch.cat(rows).double().numpy()
    deviation_F = x_NF.std(axis=0)
    standard_NF: NDArray[np.float64] = (x_NF - x_NF.mean(axis=0)) / np.where(deviation_F == 0.0, 1.0, deviation_F)
    return standard_NF, train.labels_of(chosen_N).cpu().numpy()


def _nearest_other(x_NF: NDArray[np.float64], labels_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """The label of the nearest other example."""
    single_NF = x_NF.astype(np.float32)  # its products take 64 MB
    distance_NN = np.square(single_NF).sum(axis=1) - 2.0 * single_NF @ single_NF.T
    np.fill_diagonal(distance_NN, np.inf)
    found_N: NDArray[np.int64] = labels_N[distance_NN.argmin(axis=1)]
    return found_N


def _linear_by_halves(x_NF: NDArray[np.float64], labels_N: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Answers of ridge regressions on one-hot labels, each fitted to the other half, with a tenth of its number as
    penalty."""
    target_NK = np.eye(classes)[labels_N]
    found_N = np.zeros_like(labels_N)
    halves = np.arange(len(labels_N)) % 2 == 0
    for own_N in (halves, ~halves):
        fit_NF, mean_K = x_NF[~own_N], target_NK[~own_N].mean(axis=0)
        gram_FF = fit_NF.T @ fit_NF + 0.1 * len(fit_NF) * np.eye(x_NF.shape[1])
        weights_FK = np.linalg.solve(gram_FF, fit_NF.T @ (target_NK[~own_N] - mean_K))
        found_N[own_N] = (x_NF[own_N] @ weights_FK + mean_K).argmax(axis=1)
    return found_N
