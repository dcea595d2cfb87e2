"""What became of units, gradients and normalisation inside the network.

Shape key: S sampled steps, L weight tensors.
"""

from __future__ import annotations

import json
import math

import numpy as np

from assay.diagnosis.evidence import Evidence
from assay.diagnosis.finding import Chart, Finding, Series
from assay.metrics.vitals import Activity

_MANY_DEAD = 0.5
_FEWEST_EXAMPLES = 32
_FEWEST_UNITS = 8
_MANY_SATURATED = 0.5
_VANISHING = 1e-3
"""Gradient of the first weights over that of the last."""
_EXPLODING = 10.0
"""Median norm of the gradient of a mean loss; that of healthy trainings was 0.3 to 6."""
_TINY_BATCH = 4
_NOTHING = 1e-7
"""Root mean square below which weights are as good as 0."""


def dead_units(evidence: Evidence) -> Finding | None:
    """Rectified units that are silent for every example."""
    sample = evidence.last_activity
    if sample is None or sample.examples < _FEWEST_EXAMPLES or evidence.diverged:
        return None
    layers = [one for one in sample.layers if one.kind == "rectifier" and one.units >= _FEWEST_UNITS]
    worst = max(layers, key=lambda one: one.dead, default=None)
    if worst is None or worst.dead < _MANY_DEAD:
        return None
    at_start = _at_start(evidence, worst.layer)
    died = at_start is not None and at_start.dead < worst.dead / 2
    return Finding(
        rule="dead_units",
        severity="severe" if worst.dead >= 0.95 else "warning",
        title=f"{worst.dead:.0%} of the units of {worst.layer or 'a layer'} are dead",
        seen=f"They give 0 for all of {sample.examples} training examples"
        + (f"; before training it was {at_start.dead:.0%}." if at_start is not None else "."),
        why="A unit that is never active gets no gradient: it will not come back, and the layer is so much narrower.",
        cause="Steps too large have pushed them where no example reaches them."
        if died
        else "Their weights or biases started so.",
        cure="Take a tenth of the rate, or use an activation with a slope everywhere."
        if died
        else "Use an activation with a slope everywhere, or another initialisation.",
        changes=evidence.divided_rate(10.0) if died else _other_activation(evidence),
        chart=_by_layer(layers, "dead"),
    )


def saturated_units(evidence: Evidence) -> Finding | None:
    """Sigmoid or tanh units at their ends, where they have almost no slope."""
    sample = evidence.last_activity
    if sample is None:
        return None
    layers = [one for one in sample.layers if one.kind == "saturating"]
    worst = max(layers, key=lambda one: one.saturated, default=None)
    if worst is None or worst.saturated < _MANY_SATURATED:
        return None
    return Finding(
        rule="saturated_units",
        severity="warning",
        title=f"{worst.saturated:.0%} of the outputs of {worst.layer or 'a layer'} are saturated",
        seen=f"There the slope of {worst.operation} is below a tenth of its steepest, for {sample.examples} training "
        "examples.",
        why="Hardly any gradient passes through them, so the layers before learn slowly or not at all.",
        cause="Weights or a rate too large for this activation.",
        cure="Start with smaller weights, lower the rate, or normalise before the activation.",
        changes=_other_activation(evidence),
        chart=_by_layer(layers, "saturated"),
    )


def vanishing_gradients(evidence: Evidence) -> Finding | None:
    """The first weights get next to no gradient."""
    ratio, gradient_L = _first_over_last(evidence)
    accuracy = evidence.metric("train_accuracy")
    if ratio is None or ratio >= _VANISHING or gradient_L is None or (accuracy is not None and accuracy > 0.95):
        return None
    return Finding(
        rule="vanishing_gradients",
        severity="severe" if ratio < _VANISHING / 100 else "warning",
        title="Gradients vanish on their way to the first layer",
        seen=f"The first weights' gradient is {ratio:.1e} times that of the last ones (medians over the run).",
        why="The first layers stay as they were drawn, and the last ones have to make do.",
        cause="Many layers of saturating activations, or weights too small, with nothing to normalise between.",
        cure="Normalise between layers, use ReLU with Kaiming's initialisation, or shortcuts.",
        changes=_normalised(evidence),
        chart=_gradients(evidence, gradient_L),
    )


def exploding_gradients(evidence: Evidence) -> Finding | None:
    """Gradients grow on their way to the first layer, or burst now and then."""
    if evidence.vitals is None or evidence.diverged:
        return None
    norms = [(one.gradient_norm, one.highest_gradient_norm) for one in evidence.vitals.stretches]
    usual = [mean for mean, _ in norms if mean is not None]
    highest = max((top for _, top in norms if top is not None), default=0.0)
    if not usual:
        return None
    median = float(np.median(usual))
    _, gradient_L = _first_over_last(evidence)
    bursts = highest > 100.0 * median and highest > 100.0 and evidence.recipe.train.clip_norm is None
    if not bursts and median < _EXPLODING:
        return None
    clipped = {"train.clip_norm": float(f"{max(1.0, 3 * median):.2g}")}
    return Finding(
        rule="exploding_gradients",
        severity="warning",
        title="Gradients burst now and then" if bursts else "Gradients are large throughout",
        seen=f"The largest gradient norm was {highest:.3g}, the median {median:.3g}.",
        why="One such step can undo what a thousand have learnt."
        if bursts
        else "Small changes of the weights change the loss wildly, so that only tiny steps help.",
        cause="A rate too high, or single examples far from all others."
        if bursts
        else "Weights that start too large, in many layers with nothing to normalise between.",
        cure="Clip gradients a little above their usual norm."
        if bursts
        else "Start with smaller weights, or normalise.",
        changes=clipped if bursts else _normalised(evidence),
        chart=None if gradient_L is None else _gradients(evidence, gradient_L),
    )


def tiny_batches_with_batch_norm(evidence: Evidence) -> Finding | None:
    """Batch normalisation has too few examples to estimate its statistics."""
    if not evidence.in_epochs or not _has_batch_norm(evidence):
        return None
    size = evidence.recipe.train.batch_size
    left = evidence.examples("train") % size
    if size > _TINY_BATCH:
        return None
    return Finding(
        rule="tiny_batches_with_batch_norm",
        severity="severe" if size == 1 else "warning",
        title=f"Batch normalisation over batches of {size}",
        seen=f"train.batch_size is {size}" + (f", and the last batch has {left}." if left else "."),
        why="Mean and variance of so few examples are mostly noise; running statistics are others than training saw.",
        cause="Batches were made small, perhaps for want of memory.",
        cure="Take batches of 16 or more, or group or layer normalisation.",
        changes={"train.batch_size": 32},
    )


def initial_loss(evidence: Evidence) -> Finding | None:
    """The untrained model is far from undecided."""
    loss = evidence.metric("initial_loss")
    guessing = math.log(max(2, evidence.classes))
    if loss is None or not evidence.in_epochs or evidence.recipe.pretrained.weights is not None:
        return None
    if loss < 2.0 * guessing:
        return None
    return Finding(
        rule="initial_loss",
        severity="severe" if loss > 10.0 * guessing else "warning",
        title=f"The loss before training is {loss:.3g} instead of about {guessing:.3g}",
        seen=f"A model that holds all {evidence.classes} classes for equally likely has ln {evidence.classes} = "
        f"{guessing:.3f}; this one had {loss:.4g}.",
        why="The first epochs are spent on taking back what the initial weights said with such certainty.",
        cause="Initial weights too large, or inputs that are not normalised.",
        cure="Initialise with Kaiming's rule, and normalise the inputs.",
        changes={"init": {"name": "kaiming"}} if evidence.recipe.init.name == "normal" else {},
    )


def equal_units(evidence: Evidence) -> Finding | None:
    """Weights before the last layer that are all zero at the start."""
    if evidence.vitals is None or not evidence.vitals.samples or evidence.vitals.samples[0].step != 0:
        return None
    sizes = evidence.vitals.samples[0].weight_L
    zero = [
        name
        for name, size in list(zip(evidence.vitals.weights, sizes, strict=True))[:-1]
        if size is not None and size < _NOTHING
    ]
    if not zero:
        return None
    return Finding(
        rule="equal_units",
        severity="severe",
        title="Weights start at zero",
        seen=f"Before the first step every value of {', '.join(zero[:5])}{' and others' if zero[5:] else ''} was 0.",
        why="Units that start equal get equal gradients and stay equal, or get none: a layer then counts as one unit.",
        cause="An initialisation that sets weights, and not only biases, to zero.",
        cure="Draw the weights at random, by Kaiming's rule for instance.",
        changes={"init": {"name": "kaiming"}} if evidence.recipe.init.name != "kaiming" else {},
    )


def _first_over_last(evidence: Evidence) -> tuple[float | None, np.ndarray | None]:
    """Median gradient of the first weight tensor over that of the last, with all tensors' medians."""
    gradient_SL = evidence.gradients_SL
    if gradient_SL.shape[0] < 1 or gradient_SL.shape[1] < 2:
        return None, None
    with np.errstate(all="ignore"):
        gradient_L = np.nanmedian(gradient_SL, axis=0)
    if not np.isfinite(gradient_L[[0, -1]]).all() or gradient_L[-1] <= 0.0:
        return None, None
    return float(gradient_L[0] / gradient_L[-1]), gradient_L


def _has_batch_norm(evidence: Evidence) -> bool:
    if evidence.layers is None:
        return False
    try:
        rows = json.loads(evidence.layers)["rows"]
        return any(str(row[1]).startswith("BatchNorm") for row in rows)
    except (ValueError, KeyError, TypeError, IndexError):
        return False


def _at_start(evidence: Evidence, layer: str) -> Activity | None:
    first = evidence.vitals.activity[0] if evidence.vitals and evidence.vitals.activity else None
    if first is None or first.epoch != 0:
        return None
    return next((one for one in first.layers if one.layer == layer), None)


def _other_activation(evidence: Evidence) -> dict[str, object]:
    activation = getattr(evidence.recipe.model, "activation", None)
    other = {"relu": "leaky_relu", "sigmoid": "relu", "tanh": "relu"}.get(str(activation))
    return {"model.activation": other} if other else {}


def _normalised(evidence: Evidence) -> dict[str, object]:
    if getattr(evidence.recipe.model, "norm", None) == "none":
        return {"model.norm": "batch"}
    return _other_activation(evidence)


def _by_layer(layers: list[Activity], what: str) -> Chart:
    numbers = tuple(float(at) for at in range(1, len(layers) + 1))
    shares = tuple(float(getattr(one, what)) for one in layers)
    return Chart(x="layer", y=f"share {what}", series=(Series(name=what, x=numbers, y=shares),))


def _gradients(evidence: Evidence, gradient_L: np.ndarray) -> Chart:
    numbers = tuple(float(at) for at in range(1, len(gradient_L) + 1))
    values = tuple(float(value) for value in gradient_L)
    return Chart(x="layer", y="gradient", series=(Series(name="median gradient", x=numbers, y=values),), log=True)
