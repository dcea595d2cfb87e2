"""Which findings are right for a run of the bank: by the fault that was put in, or by facts measured apart from it.

A finding is right, wrong, or neither where the facts lie between; and a rule must be among the findings, may be, or
need not. Facts come from the test split, which rules that they judge do not read (but to stay silent).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from assay.studies.store.contract import StoredRun

EXPECTED: Mapping[str, tuple[frozenset[str], ...]] = {
    "rate too high": (frozenset({"rate_too_high", "diverged"}),),
    "rate too low": (frozenset({"rate_too_low"}),),
    "labels shuffled": (frozenset({"labels_at_random", "not_learning"}),),
    "label noise": (frozenset({"label_noise"}),),
    "test not normalised": (frozenset({"validation_flatters"}),),
    "validation in training": (frozenset({"validation_flatters"}),),
    "softmax twice": (frozenset({"softmax_twice"}),),
    "last relu": (frozenset({"last_relu"}),),
    "all zero": (frozenset({"equal_units"}),),
    "all frozen": (frozenset({"not_learning"}),),
    "units dead": (frozenset({"dead_units"}),),
    "scores too large": (frozenset({"initial_loss"}),),
    "units saturated": (frozenset({"saturated_units"}),),
    "gradients vanish": (frozenset({"vanishing_gradients"}),),
    "gradients explode": (frozenset({"exploding_gradients"}),),
    "tiny batches": (frozenset({"tiny_batches_with_batch_norm"}),),
    "too short": (frozenset({"underfitting", "rate_too_low", "not_learning"}),),
    "too few examples": (frozenset({"overfitting"}),),
    "too much dropout": (frozenset({"underfitting"}),),
    "diverges": (frozenset({"diverged", "rate_too_high"}),),
    "trained too long": (),
    "unsteady": (),
    "rate never falls": (),
}
"""For each fault the rules one of which must be among the findings."""

CONSEQUENCES: Mapping[str, frozenset[str]] = {
    "rate too high": frozenset({"exploding_gradients", "initial_loss", "vanishing_gradients"}),
    "labels shuffled": frozenset({"label_noise"}),
    "all zero": frozenset({"vanishing_gradients"}),
    "tiny batches": frozenset(
        {"vanishing_gradients", "exploding_gradients"}
    ),  # pairs become −1 and 1 whatever they are
    "diverges": frozenset({"exploding_gradients"}),
    "trained too long": frozenset({"label_noise"}),
    "unsteady": frozenset({"rate_too_high"}),
    "rate never falls": frozenset({"rate_too_high", "diverged", "exploding_gradients"}),
    "units dead": frozenset({"vanishing_gradients"}),
    "scores too large": frozenset({"exploding_gradients", "rate_too_high", "rate_too_low", "diverged"}),
    "units saturated": frozenset({"initial_loss", "vanishing_gradients"}),
    "gradients vanish": frozenset({"rate_too_low"}),
    "gradients explode": frozenset({"initial_loss", "rate_too_high", "diverged", "saturated_units"}),
    "softmax twice": frozenset({"vanishing_gradients"}),
}
"""What else a fault brings about, and is right to say."""

MEASURED = frozenset(
    {
        "overfitting", "underfitting", "best_epoch_early", "validation_better", "noisy_validation", "oscillation",
        "plateau", "dead_units", "saturated_units", "not_learning", "class_collapse",
    }
)  # fmt: skip
"""Rules whose findings are judged by facts, whatever the fault."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Whether a rule's finding would be right, and whether it must be there; None leaves that open."""

    right: bool | None
    must: bool = False


def facts_of(run: StoredRun, fault: str) -> dict[str, Fact]:
    """What is measured of a run apart from the rules."""
    metrics = run.record.metrics
    train, test = metrics.get("train_accuracy") or 0.0, metrics.get("test_accuracy") or 0.0
    val = np.array([epoch.val_accuracy or 0.0 for epoch in run.history()])
    loss = np.array([math.nan if one.running_train_loss is None else one.running_train_loss for one in run.history()])
    diverged = run.record.status == "diverged"
    labels_N = run.predictions()["test"].labels_N
    chance = float(np.bincount(labels_N).max() / len(labels_N))
    facts = {
        "noisy_validation": _noise(test, run.record.examples["val"]),
        "best_epoch_early": _fall(val, diverged=diverged),
        "oscillation": _jumps(val),
        "plateau": _stillness(loss, train),
        "not_learning": _nothing_learnt(train, test, chance, run.record.examples["test"], diverged=diverged),
        "class_collapse": _collapse(run),
    }
    if fault in ("test not normalised", "labels shuffled"):  # whose test split says nothing of the model
        said_by_test = ("overfitting", "underfitting", "validation_better", "noisy_validation", "class_collapse")
        return facts | dict.fromkeys(said_by_test, Fact(right=None))
    gap = train - test
    facts["overfitting"] = Fact(right=_between(gap, 0.03, 0.05), must=gap > 0.08 and not diverged)
    # A model underfits where most of its errors are made in training already.
    learnt, share = test > chance + 0.05, (1.0 - train) / max(gap, 1e-9) if gap > 0 else math.inf
    unfit = False if train > 0.97 else _between(share, 1.0, 2.0)
    facts["underfitting"] = Fact(right=unfit, must=learnt and train < 0.9 and share > 5.0 and not diverged)
    ahead = test - (metrics.get("running_train_accuracy") or 0.0)
    facts["validation_better"] = Fact(right=_between(ahead, 0.0, 0.01), must=ahead > 0.04)
    return facts


def _nothing_learnt(train: float, test: float, chance: float, examples: int, *, diverged: bool) -> Fact:
    above = (test - chance) / math.sqrt(chance * (1 - chance) / examples)
    return Fact(
        right=False if above > 5 or train > chance + 0.05 else True if above < 3 else None,
        must=above < 1.5 and train < chance + 0.01 and not diverged,
    )


def _collapse(run: StoredRun) -> Fact:
    """By the test split, which the rule does not read."""
    of_test = run.predictions()["test"]
    predicted_N = of_test.predicted_N()
    never = 1.0 - len(np.unique(predicted_N[predicted_N >= 0])) / len(run.record.classes)
    return Fact(right=_between(never, 0.3, 0.45), must=never > 0.7 and run.record.status != "diverged")


def _between(value: float, low: float, high: float) -> bool | None:
    return True if value >= high else False if value < low else None


def _noise(accuracy: float, examples: int) -> Fact:
    half = 1.96 * math.sqrt(max(accuracy * (1 - accuracy), 1e-4) / examples)
    return Fact(right=_between(half, 0.015, 0.02), must=half > 0.025)


def _fall(val: np.ndarray, *, diverged: bool) -> Fact:
    if len(val) < 5 or diverged:
        return Fact(right=None if diverged else False)
    smooth = np.convolve(val, np.ones(3) / 3, mode="valid")
    fell = float(smooth.max() - smooth[-1])
    return Fact(right=_between(fell, 0.003, 0.01), must=fell > 0.04 and int(smooth.argmax()) < 0.6 * len(smooth))


def _jumps(val: np.ndarray) -> Fact:
    if len(val) < 6:
        return Fact(right=False)
    size = float(np.median(np.abs(np.diff(val[len(val) // 2 :]))))
    return Fact(right=_between(size, 0.02, 0.03), must=size > 0.08)


def _stillness(loss: np.ndarray, train_accuracy: float) -> Fact:
    last = loss[-max(2, int(0.4 * len(loss))) :]
    if len(loss) < 8 or not np.isfinite(last).all():
        return Fact(right=None)
    share = float((last.max() - last.min()) / max(1e-9, last.mean()))
    still = share < 0.04 and train_accuracy < 0.95
    return Fact(right=still, must=share < 0.01 and train_accuracy < 0.7)
