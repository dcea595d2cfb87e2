"""What the untrained network says: its loss, the range of its scores, and what they depend on.

Shape key: B examples in a batch, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from assay.diagnosis.before.bench import Bench
from assay.diagnosis.finding import Finding, Severity
from assay.recipe.schema import DefaultInit, SquaredErrorLoss
from assay.training.losses import build_loss
from assay.training.penalties import penalised_weights

EXAMPLES = 256
HIGH, VERY_HIGH = 1.5, 4.0
"""Times ln C, of the untrained cross-entropy. Scores of deviation s about 0 give ln C + s²/2: of ten classes, s is 1.5
at the first and 3.7 at the second; what torch draws gives 0.1 to 0.6, and Kaiming's draws up to 1.4."""
LOW = 0.7
"""Times ln C, below which an untrained network knows too much."""
FAR_SCORES, VERY_FAR_SCORES = 10.0, 100.0
"""Times the squared error of answering 0 to everything."""
ZEROS = 0.2
"""Share of scores that are exactly 0, where none is less, for a last ReLU."""
_SUMS_TO_ONE = 1e-2
_EQUAL = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Untrained:
    """Scores of some training examples, in training mode without dropout, and what the loss makes of them."""

    scores_BK: Tensor
    minimised: float
    reported: float
    last: str
    """The operation that gave the scores, as autograd names it; empty where it kept none."""


def untrained(bench: Bench) -> Untrained:
    x_B, y_B = bench.few(examples_to_measure(bench))
    scores_BK = bench.arithmetic().scores(bench.fresh(), x_B)
    minimised, reported = build_loss(bench.recipe.loss)(scores_BK, y_B)
    return Untrained(
        scores_BK=scores_BK.detach(),
        minimised=float(minimised),
        reported=float(reported),
        last=_last_operation(scores_BK),
    )


def examples_to_measure(bench: Bench) -> int:
    """A second's work at most, unless that is too few to tell anything of units or classes."""
    return min(len(bench.data.splits["train"]), max(32, min(EXAMPLES, bench.affordable(1.0, trained=False))))


_SHAPING = ("View", "Reshape", "Copy", "Squeeze", "Unsqueeze", "Clone", "Alias", "Slice", "Permute", "Transpose")


def _last_operation(scores_BK: Tensor) -> str:
    """Whatever only changes shape or type is passed over."""
    node: Any = scores_BK.grad_fn
    while node is not None and any(word in node.name() for word in _SHAPING) and node.next_functions:
        node = node.next_functions[0][0]
    return "" if node is None else str(node.name()).partition("Backward")[0]


# --- the loss ---------------------------------------------------------------------------------------------------------


def initial_loss(bench: Bench, found: Untrained) -> list[Finding]:
    """The untrained loss against that of a network that has no opinion: ln C, whatever the label smoothing, or half the
    squared labels."""
    if not math.isfinite(found.minimised):
        return [_not_finite(bench)]
    if bench.recipe.pretrained.weights is not None:
        return []
    if isinstance(bench.recipe.loss, SquaredErrorLoss):
        expected = squared_error_of_zero(bench.recipe.loss.label_smoothing, bench.classes)
        what, high, very_high = "answering 0 to everything", FAR_SCORES, VERY_FAR_SCORES
    else:
        expected = math.log(bench.classes)
        what, high, very_high = f"knowing nothing, ln {bench.classes}", HIGH, VERY_HIGH
    times = found.minimised / expected
    if times > high:
        return [_high(bench, found, expected, what, "severe" if times > very_high else "warning")]
    if times < LOW and not isinstance(bench.recipe.loss, SquaredErrorLoss):
        return [_low(found, expected, what)]
    return []


def squared_error_of_zero(smoothing: float, classes: int) -> float:
    """½·Σ_k t_k² with t = (1 − ε)·label + ε/K."""
    own, other = 1.0 - smoothing + smoothing / classes, smoothing / classes
    return 0.5 * (own**2 + (classes - 1) * other**2)


def _not_finite(bench: Bench) -> Finding:
    return Finding(
        rule="initial_loss",
        severity="severe",
        title="The loss of the untrained network is not a finite number",
        seen=f"In {bench.recipe.train.precision}, the loss of the first examples is infinite or not a number.",
        why="Training ends at its first step.",
        cause="Inputs or initial weights so large that numbers overflow, or a division or logarithm of zero in the "
        "network.",
        cure="Look for logarithms, roots and divisions in the network, and at the scale of its inputs.",
    )


def _high(bench: Bench, found: Untrained, expected: float, what: str, severity: Severity) -> Finding:
    own_init = not isinstance(bench.recipe.init, DefaultInit)
    return Finding(
        rule="initial_loss",
        severity=severity,
        title="The untrained network is sure of wrong answers",
        seen=f"Its loss is {found.minimised:.3g}; {what}, gives {expected:.3g}. Its scores have a deviation of "
        f"{float(found.scores_BK.float().std()):.3g}.",
        why="The first steps go into unlearning that, with gradients far from those the learning rate is meant for.",
        cause="Initial weights that are too large, inputs that are not normalised, or a last layer that scales up.",
        cure="Draw smaller weights: init default."
        if own_init
        else "Normalise the inputs, or scale the last layer down.",
        changes={"init": {"name": "default"}} if own_init else {},
    )


def _low(found: Untrained, expected: float, what: str) -> Finding:
    return Finding(
        rule="initial_loss",
        severity="warning",
        title="The untrained network knows more than it can",
        seen=f"Its loss is {found.minimised:.3g}; {what}, gives {expected:.3g}.",
        why="It has not seen an example yet; so the answer must come with the inputs, or with its weights.",
        cause="Weights that were trained before, labels that leak into the inputs, or hardly any second class.",
        cure="Find out which; if trained weights are meant, name them in pretrained.weights.",
    )


# --- the scores -------------------------------------------------------------------------------------------------------


def squashed_scores(bench: Bench, found: Untrained) -> list[Finding]:
    """A last layer that bounds the scores, which the loss takes as they are: softmax, sigmoid, tanh or ReLU.

    Rows of log-probabilities are no harm, for the loss turns them into the same again.
    """
    if isinstance(bench.recipe.loss, SquaredErrorLoss):
        return []  # whose scores are to be 0 and 1
    scores_BK = found.scores_BK.double()
    low, high = float(scores_BK.min()), float(scores_BK.max())
    least = math.log(math.e + bench.classes - 1) - 1.0
    if low >= 0.0 and high <= 1.0 and float((scores_BK.sum(dim=1) - 1.0).abs().max()) < _SUMS_TO_ONE:
        return [_softmax_twice(low, high, least)]
    squashing = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0)}.get(found.last)
    if squashing is not None:
        return [_bounded(found.last.lower(), *squashing, bench.classes)]
    zeros = float((scores_BK == 0).double().mean())
    if (low >= 0.0 and zeros >= ZEROS and high > 0.0) or found.last == "Relu":
        return [_last_relu(zeros)]
    return []


def _softmax_twice(low: float, high: float, least: float) -> Finding:
    return Finding(
        rule="softmax_twice",
        severity="severe",
        title="The network ends in a softmax, and the loss applies another",
        seen=f"Every row of scores lies in 0 to 1 ({low:.3g} to {high:.3g}) and sums to 1.",
        why=f"Scores no further apart than 1 cannot bring the loss below {least:.2f}, and gradients through two "
        "softmax functions are small: training is slow and stays far from what it could reach.",
        cause="The last layer is a softmax; cross-entropy here takes scores as they are.",
        cure="Remove the softmax from the network.",
    )


def _bounded(name: str, low: float, high: float, classes: int) -> Finding:
    least = math.log(math.exp(high - low) + classes - 1) - (high - low)
    return Finding(
        rule="squashed_scores",
        severity="severe",
        title=f"The network ends in a {name}",
        seen=f"The operation that gives the scores is {name}: they stay between {low:g} and {high:g}.",
        why=f"With scores so bounded the loss cannot fall below {least:.2f}, and where they near a bound gradients "
        "vanish.",
        cause="An activation after the last layer; cross-entropy takes scores of any size.",
        cure=f"Remove the {name} after the last layer.",
    )


def _last_relu(zeros: float) -> Finding:
    return Finding(
        rule="last_relu",
        severity="severe",
        title="The network ends in a ReLU",
        seen=f"No score is negative, and {zeros:.0%} are exactly 0.",
        why="Where a score is 0 no gradient passes: a class whose score is 0 for its own examples is never learned.",
        cause="An activation after the last layer, as after the hidden ones.",
        cure="Remove the ReLU after the last layer.",
    )


def constant_scores(bench: Bench, found: Untrained) -> list[Finding]:
    """The same scores whatever the input. A last layer of zeros gives those, too, and is usual."""
    scores_BK = found.scores_BK.double()
    spread = float((scores_BK - scores_BK[:1]).abs().max())
    if (
        not math.isfinite(spread)
        or spread > _EQUAL * max(1e-3, float(scores_BK.abs().max()))
        or _zero_head(bench.network)
    ):
        return []
    return [
        Finding(
            rule="constant_scores",
            severity="severe",
            title="The network says the same of every image",
            seen=f"Scores of {len(scores_BK)} training examples differ by at most {spread:.2g}.",
            why="Nothing of the images reaches the scores, and so hardly any gradient reaches the first layers.",
            cause="Weights of zero or far too small, units that are all dead, or a layer that throws its input away.",
            cure="Draw the weights at random, at a scale that keeps signals alive: init kaiming for ReLU, xavier for "
            "tanh.",
            changes={} if isinstance(bench.recipe.init, DefaultInit) else {"init": {"name": "default"}},
        )
    ]


def _zero_head(model: nn.Module) -> bool:
    """Whether the last weights are zero, and no others."""
    zero = [not bool(weight.detach().any()) for weight in penalised_weights(model)]
    return len(zero) > 1 and zero[-1] and not any(zero[:-1])


# --- what scores depend on --------------------------------------------------------------------------------------------


def batch_leak(bench: Bench) -> list[Finding]:
    """Whether scores of an example depend on other examples, in evaluation mode, by gradient (Karpathy 2019)."""
    x_B, _ = bench.few(min(8, max(2, len(bench.data.splits["train"]))))
    x_B = x_B.clone().requires_grad_(True)
    model = bench.fresh()
    model.eval()
    scores_BK = bench.arithmetic().scores(model, x_B * 1.0)  # a model may write to what it is given
    if not scores_BK.requires_grad:
        return []
    weights_K = torch.linspace(1.0, 2.0, scores_BK.shape[1], device=scores_BK.device, dtype=scores_BK.dtype)
    leaks = 0
    for own in (0, len(x_B) - 1):
        (gradient_B,) = torch.autograd.grad(
            (scores_BK[own] * weights_K).sum(), x_B, retain_graph=True, allow_unused=True
        )
        if gradient_B is None:
            continue
        reached_B = (gradient_B != 0) & gradient_B.isfinite()
        reached_B[own] = False
        leaks += int(reached_B.flatten(1).any(dim=1).sum())
    if not leaks:
        return []
    return [
        Finding(
            rule="batch_leak",
            severity="severe",
            title="What the network says of an image depends on the other images of the batch",
            seen=f"In evaluation mode, scores of 2 of {len(x_B)} examples have a gradient to the inputs of {leaks} "
            "others.",
            why="Accuracy then depends on how images happen to be grouped, and single images get other answers.",
            cause="A reshape or transpose that mixes the batch with another axis, or statistics over the batch that "
            "are not frozen in evaluation mode.",
            cure="Keep the first axis apart: flatten(1) instead of a view that counts on the whole.",
        )
    ]
