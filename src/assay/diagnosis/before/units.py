"""Units of the untrained network that never fire, and units that are saturated.

Shape key: B examples in a batch.
"""

from __future__ import annotations

from typing import Any

import torch

from assay.diagnosis.before.bench import Bench
from assay.diagnosis.before.scores import examples_to_measure
from assay.diagnosis.finding import Chart, Finding, Series, Severity
from assay.metrics.vitals import Activity
from assay.recipe.schema import DefaultInit
from assay.training.activations import activity_of

DEAD, ALL_DEAD = 0.5, 0.95
"""Share of a layer's units that are 0 for every example (SageMaker Debugger: half)."""
SATURATED, ALL_SATURATED = 0.5, 0.95
"""Share of a layer's values with a slope below a tenth of the steepest."""


def traced(bench: Bench) -> tuple[Activity, ...]:
    """Every nonlinearity of the untrained network on some training examples, in training mode without dropout."""
    x_B, _ = bench.few(examples_to_measure(bench))
    model, arithmetic = bench.fresh(), bench.arithmetic()
    with torch.no_grad():
        return activity_of(model, lambda: arithmetic.scores(model, x_B))


def idle_units(bench: Bench, seen: tuple[Activity, ...]) -> list[Finding]:
    """Layers of which most units never fire, or are saturated, before the first step."""
    relus = [one for one in seen if one.kind == "rectifier"]
    others = [one for one in seen if one.kind == "saturating"]
    findings = []
    if any(one.dead > DEAD for one in relus):
        findings.append(_dead(bench, relus))
    if any(one.saturated > SATURATED for one in others):
        findings.append(_saturated(bench, others))
    return findings


def _dead(bench: Bench, relus: list[Activity]) -> Finding:
    worst = max(relus, key=lambda one: one.dead)
    severity: Severity = "severe" if worst.dead > ALL_DEAD else "warning"
    where, shares = worst.layer or "the network", [one.dead for one in relus]
    return Finding(
        rule="dead_units",
        severity=severity,
        title="Most units of a layer never fire",
        seen=f"Before training, {worst.dead:.0%} of the {worst.units} units of {where} are 0 for every one of "
        f"{examples_to_measure(bench)} training examples; so are more than half in {_above(shares, DEAD)}.",
        why="No gradient passes a ReLU that never fires, so such units learn nothing.",
        cause="Biases that are far below 0, weights far too large or too small, or inputs off scale.",
        cure="Draw the weights at the scale made for ReLU: init kaiming.",
        changes=_drawn(bench, {"name": "kaiming"}),
        chart=_chart("share of dead units", shares),
    )


def _saturated(bench: Bench, others: list[Activity]) -> Finding:
    worst = max(others, key=lambda one: one.saturated)
    severity: Severity = "severe" if worst.saturated > ALL_SATURATED else "warning"
    where, shares = worst.layer or "the network", [one.saturated for one in others]
    return Finding(
        rule="saturated_units",
        severity=severity,
        title="Most units of a layer are saturated",
        seen=f"Before training, {worst.saturated:.0%} of the {worst.operation} values in {where} are so near a bound "
        f"that less than a tenth of the gradient passes; so are more than half in {_above(shares, SATURATED)}.",
        why="Gradients shrink at every such layer, and the layers before it hardly learn.",
        cause="Weights that are too large for this activation, or inputs off scale.",
        cure="Draw the weights at the scale made for it: init xavier.",
        changes=_drawn(bench, {"name": "xavier"}),
        chart=_chart("share of saturated values", shares),
    )


def _above(shares: list[float], share: float) -> str:
    return f"{sum(one > share for one in shares)} of {len(shares)} such layers"


def _drawn(bench: Bench, init: dict[str, str]) -> dict[str, Any]:
    """The change to other initial weights, where the present ones were asked for."""
    return {} if isinstance(bench.recipe.init, DefaultInit) else {"init": init}


def _chart(what: str, shares: list[float]) -> Chart:
    x = tuple(float(number) for number in range(1, len(shares) + 1))
    return Chart(x="layer", y=what, series=(Series(name=what, x=x, y=tuple(shares)),))
