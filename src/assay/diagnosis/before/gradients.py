"""Gradients of the first steps: whether they reach every layer, how they fade, and how much a step changes."""

from __future__ import annotations

import math
from statistics import median

from assay.diagnosis.before.bench import Bench
from assay.diagnosis.before.memorise import Attempt
from assay.diagnosis.finding import Chart, Finding, Series
from assay.recipe.schema import AdamOptimizer, AdamWOptimizer, DefaultInit, RmspropOptimizer

FADED = 1e-4
"""The first layer's gradient over the greatest, each as a share of its weights: four orders of magnitude, so that one
rate cannot suit both. Adam and its kin divide gradients by their size and mind less."""
LARGE_UPDATE, HUGE_UPDATE = 0.3, 3.0
"""Of a weight tensor's norm, by the median step of the median tensor: 1e-3 is usual (cs231n); at 1 it is replaced."""
SMALL_TRAVEL = 1e-3
"""Of a weight tensor's norm: as far as all steps of a training come even if all point the same way."""


def unreached(attempt: Attempt) -> list[Finding]:
    """Trainable parameters that no gradient reached in the first steps."""
    if not attempt.reached or not math.isfinite(attempt.losses[0]):
        return []
    missing = [name for name, reached in attempt.reached.items() if not reached]
    cut = [name for name in missing if name in attempt.called]
    idle = [name for name in missing if name not in attempt.called]
    findings = []
    if cut:
        grave = any(name in attempt.weight_norms for name in cut) or len(cut) == len(attempt.reached)
        findings.append(
            Finding(
                rule="gradients_reach_every_layer",
                severity="severe" if grave else "warning",
                title="Gradients do not reach every layer",
                seen=f"{len(cut)} of {len(attempt.reached)} trainable parameter tensors had no gradient, or one of "
                f"zeros, in each of the first steps: {_listed(cut)}.",
                why="These layers stay as they were drawn.",
                cause="A detach() or a conversion to NumPy in the network, dead or equal units after these layers, or "
                "weights of zero.",
                cure="Follow the scores back to these layers for where the gradient is cut; freeze them if that is "
                "meant.",
                chart=_chart(attempt),
            )
        )
    if idle:
        findings.append(
            Finding(
                rule="unused_parameters",
                severity="warning",
                title="Some layers are never used",
                seen=f"{len(idle)} of {len(attempt.reached)} trainable parameter tensors belong to layers that were "
                f"not called: {_listed(idle)}.",
                why="They cost memory and never learn; perhaps a layer was forgotten in the network's forward.",
                cause="The layer is made in the constructor and not called.",
                cure="Call the layer, or remove it.",
            )
        )
    return findings


def fading(bench: Bench, attempt: Attempt) -> list[Finding]:
    """Gradients that get smaller by orders of magnitude on their way to the first layer."""
    sizes = _relative_gradients(attempt)
    if len(sizes) < 3 or isinstance(bench.recipe.optimizer, (AdamOptimizer, AdamWOptimizer, RmspropOptimizer)):
        return []
    first, greatest = sizes[0], max(sizes)
    if first == 0.0 or first > FADED * greatest:
        return []
    return [
        Finding(
            rule="fading_gradients",
            severity="warning",
            title="Gradients fade on their way to the first layer",
            seen=f"As a share of its weights, the first layer's gradient is {first:.2g}, the greatest {greatest:.2g}: "
            f"{greatest / first:,.0f} times more.",
            why="At a rate that suits the last layers the first ones hardly learn.",
            cause="Many layers of sigmoid or tanh, or initial weights that are too small.",
            cure="Normalise after each layer (model.norm batch), use ReLU, or an optimizer that scales each gradient.",
            changes={"model.norm": "batch"} if getattr(bench.recipe.model, "norm", "") == "none" else {},
            chart=_chart(attempt),
        )
    ]


def update_ratio(bench: Bench, attempt: Attempt, total_steps: int) -> list[Finding]:
    """How much of a weight tensor a step changes: the median over the first steps, then over tensors."""
    drawn = [name for name, norm in attempt.weight_norms.items() if norm > 0.0]
    ratios = [median(attempt.updates[name]) for name in drawn if attempt.updates.get(name)]
    ratios = [ratio for ratio in ratios if math.isfinite(ratio)]
    if not ratios:
        return []
    ratio, section = median(ratios), bench.recipe.optimizer
    seen = (
        f"Each of the first steps of {section.name} at rate {attempt.rate:g} changes a layer's weights by about "
        f"{ratio:.2g} of their size; 1e-3 is usual"
    )
    x = tuple(float(number) for number in range(1, len(ratios) + 1))
    chart = Chart(x="layer", y="change per step", series=(Series(name="change", x=x, y=tuple(ratios)),), log=True)
    if ratio > LARGE_UPDATE and section.name != "muon":
        return [
            Finding(
                rule="update_ratio",
                severity="severe" if ratio > HUGE_UPDATE else "warning",
                title="The first steps all but replace the weights",
                seen=f"{seen}.",
                why="Initial weights are drawn at a scale that lets signals and gradients pass; that is lost.",
                cause="A learning rate that is too high for this optimizer, or gradients that are far too large.",
                cure=f"Lower the rate: optimizer.lr {section.lr / 100:g}, or ask assay lr.",
                changes={"optimizer.lr": float(f"{section.lr / 100:.2g}")},
                chart=chart,
            )
        ]
    if ratio * total_steps < SMALL_TRAVEL:
        return [_hardly_moving(bench, f"{seen}.", ratio * total_steps, total_steps, chart)]
    return []


def _hardly_moving(bench: Bench, seen: str, travel: float, total_steps: int, chart: Chart) -> Finding:
    drawn = isinstance(bench.recipe.init, DefaultInit)
    rate = float(f"{min(1000.0, bench.recipe.optimizer.lr * 1000):.2g}")
    return Finding(
        rule="update_ratio",
        severity="severe",
        title="The whole training hardly moves the weights",
        seen=f"{seen} All {total_steps:,} steps together, even in one direction, come to {travel:.2g}.",
        why="The network stays about as it was drawn.",
        cause="A learning rate that is too low for this optimizer, or gradients that vanish on their way.",
        cure=f"Raise the rate: optimizer.lr {rate:g}, or ask assay lr."
        if drawn
        else "Draw weights at a scale that keeps gradients alive: init kaiming for ReLU, xavier for tanh.",
        changes={"optimizer.lr": rate} if drawn else {"init": {"name": "kaiming"}},
        chart=chart,
    )


def _relative_gradients(attempt: Attempt) -> list[float]:
    """Of each weight tensor, in the model's order: its first change at a rate is proportional to it for plain SGD."""
    norms = attempt.weight_norms
    return [
        attempt.first_gradients[name] / norms[name]
        for name in norms
        if norms[name] > 0.0 and math.isfinite(attempt.first_gradients.get(name, math.nan))
    ]


def _chart(attempt: Attempt) -> Chart:
    names = [name for name in attempt.first_gradients if name in attempt.weight_norms]
    y = tuple(attempt.first_gradients[name] for name in names)
    x = tuple(float(number) for number in range(1, len(names) + 1))
    return Chart(x="layer", y="gradient norm", series=(Series(name="gradient", x=x, y=y),), log=True)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
