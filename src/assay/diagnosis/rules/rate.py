"""Whether the steps were of the right size.

Shape key: S sampled steps, L weight tensors, T stretches of steps.
"""

from __future__ import annotations

import math

import numpy as np

from assay.diagnosis.evidence import SURE, Evidence
from assay.diagnosis.finding import Chart, Finding, Series
from assay.diagnosis.rules.units import tiny_batches_with_batch_norm
from assay.recipe.schema import ConstantSchedule
from assay.records import Array

_LARGE_UPDATE, _LARGE_AND_STUCK = 0.05, 0.015
"""Of a weight tensor by one step: about 0.001 to 0.01 is usual, and a twentieth each step leaves nothing of it after
twenty. Less is asked where the loss hardly fell."""
_SHORT_PATH = 0.05
"""All updates of a run together, relative to the weights: so little leaves a network about as it was."""
_RISE, _SPIKE = 1.3, 3.0
"""Times what the loss was before training: by less it rises in sound trainings too, by more than the latter seldom."""


def diverged(evidence: Evidence) -> Finding | None:
    """The loss stopped being a number, or ends above where it began."""
    if not evidence.in_epochs or not (evidence.diverged or _ends_above_start(evidence)):
        return None
    step, chart = _began(evidence)
    seen = f"The loss began to run away at about step {step:,}" if step is not None else "The loss ran away"
    at = evidence.record.diverged_at
    seen += f", and was no number any more at step {at['step']:,}, in epoch {at['epoch']}." if at else "."
    gradient = _highest_gradient(evidence)
    if gradient is not None:
        seen += f" The largest gradient norm was {gradient:.3g}."
    lower = evidence.divided_rate(10.0)
    return Finding(
        rule="diverged",
        severity="severe",
        title="Training diverged" if step is None else f"Training diverged from about step {step:,} on",
        seen=seen,
        why="The weights are lost; what is measured of them means nothing.",
        cause=f"A learning rate of {evidence.rate:g} is too high for {evidence.recipe.optimizer.name} here, or "
        "gradients burst now and then.",
        cure="Take a tenth of the rate; where that is too slow, clip gradients (train.clip_norm).",
        changes=lower,
        chart=chart,
    )


def rate_too_high(evidence: Evidence) -> Finding | None:
    """Steps so large that they undo each other."""
    if not evidence.in_epochs or evidence.diverged or _ends_above_start(evidence):
        return None
    ratio = _early_update(evidence)
    worst = _highest_loss(evidence)
    start = evidence.metric("initial_loss") or math.log(max(2, evidence.classes))
    rise = 0.0 if worst is None else worst / max(start, math.log(max(2, evidence.classes)))
    progress = _progress(evidence)
    stuck = progress < 0.15
    size = 0.0 if ratio is None or evidence.updates_are_large_by_design else ratio
    if tiny_batches_with_batch_norm(evidence) is not None or getattr(evidence.recipe.model, "dropout", 0.0) >= 0.5:
        rise = 0.0  # which keep the loss up whatever the rate
    signs = (
        size > _LARGE_UPDATE and rise > _SPIKE and progress < 0.4,
        size > _LARGE_AND_STUCK and rise > _RISE and stuck,
        size > _LARGE_UPDATE and stuck,
        rise > _SPIKE and progress < 0.1,
    )
    if not any(signs):
        return None
    seen = []
    if ratio is not None:
        seen.append(f"Early steps changed a weight tensor by {ratio:.1%} of itself; some 0.1 % is usual.")
    if rise > _RISE:
        seen.append(f"The loss of a batch rose to {worst:.3g}, from {start:.3g} before training.")
    if stuck:
        seen.append(f"The training loss fell by only {max(0.0, progress):.0%} of what there was to fall.")
    return Finding(
        rule="rate_too_high",
        severity="severe" if stuck else "warning",
        title=f"The learning rate {evidence.rate:g} is too high",
        seen=" ".join(seen),
        why="Large steps jump over what they are looking for; the model is worse than it need be.",
        cause=f"{evidence.rate:g} is much for {evidence.recipe.optimizer.name} on this network.",
        cure="Take a tenth of the rate, or look for one with `assay lr`.",
        changes=evidence.divided_rate(10.0),
        chart=_losses(evidence),
    )


def rate_too_low(evidence: Evidence) -> Finding | None:
    """Steps so small that the run ends before anything has happened."""
    if not evidence.in_epochs or evidence.diverged:
        return None
    path = _path(evidence)
    progress = _progress(evidence)
    if path is None or path > _SHORT_PATH or progress > 0.3 or _no_gradient(evidence):
        return None
    factor = 100.0 if path < _SHORT_PATH / 10 else 10.0
    return Finding(
        rule="rate_too_low",
        severity="severe",
        title=f"The learning rate {evidence.rate:g} is too low",
        seen=f"All steps of the run together moved the weights by about {path:.2%} of their size; the training loss "
        f"fell by {max(0.0, progress):.0%} of what there was to fall.",
        why="The model is almost as it was before training.",
        cause=f"{evidence.rate:g} is little for {evidence.recipe.optimizer.name} on this network, for so few steps.",
        cure=f"Take {factor:.0f} times the rate, or look for one with `assay lr`.",
        changes=evidence.divided_rate(1.0 / factor),
        chart=_losses(evidence),
    )


def oscillation(evidence: Evidence) -> Finding | None:
    """Validation accuracy jumps up and down from epoch to epoch, more than chance and progress explain."""
    epochs, accuracy = evidence.measured("val_accuracy")
    if len(accuracy) < 6 or evidence.diverged:
        return None
    later = accuracy[len(accuracy) // 2 :]
    jumps = np.diff(later)
    turns = float((np.sign(jumps[1:]) * np.sign(jumps[:-1]) < 0).mean()) if len(jumps) > 1 else 0.0
    size = float(np.median(np.abs(jumps)))
    sd = evidence.noise(float(later.mean()), "val")
    if size < max(0.03, SURE * sd) or turns < 0.3:
        return None
    constant = isinstance(evidence.recipe.schedule, ConstantSchedule)
    return Finding(
        rule="oscillation",
        severity="warning",
        title=f"Validation accuracy jumps by {100 * size:.0f} points from epoch to epoch",
        seen=f"In the second half of the run the median jump is {100 * size:.1f} points, and {turns:.0%} of them turn "
        f"back; the size of the split explains {100 * sd:.1f}.",
        why="Which epoch is the last decides the result, by luck.",
        cause="Steps too large for the end of training, or running statistics of small batches.",
        cure="Let the rate fall to zero." if constant else "Lower the rate.",
        changes={"schedule": {"name": "cosine"}} if constant else evidence.divided_rate(3.0),
        chart=Chart(
            x="epoch",
            y="accuracy",
            series=(Series(name="validation", x=tuple(epochs.tolist()), y=tuple(accuracy.tolist())),),
        ),
    )


def plateau(evidence: Evidence) -> Finding | None:
    """The training loss stood still for a long while, far from its floor, under a rate that did not fall."""
    epochs, loss = evidence.measured("running_train_loss")
    if len(loss) < 8 or evidence.diverged:
        return None
    guessing = math.log(max(2, evidence.classes))
    above = float(loss[-1]) - evidence.loss_floor
    length = _flat_length(loss, guessing)
    accuracy = evidence.metric("running_train_accuracy")
    learnt = accuracy is not None and accuracy > 0.9
    if length < 0.4 * len(loss) or above < 0.1 * (guessing - evidence.loss_floor) or learnt:
        return None
    rates = evidence.column("lr")
    if float(np.nanmin(rates[-length:])) < 0.2 * float(np.nanmax(rates)):
        return None  # it has fallen already, and standing still at the end is what it is for
    return Finding(
        rule="plateau",
        severity="warning",
        title=f"The training loss has stood still for the last {length} of {len(loss)} epochs",
        seen=f"It went from {loss[-length]:.4g} to {loss[-1]:.4g} in these epochs; guessing has {guessing:.4g}.",
        why="These epochs cost time and brought nothing.",
        cause="At this rate the steps only circle around; or the model can do no better.",
        cure="Lower the rate when the loss stands still.",
        changes={"schedule": {"name": "plateau"}},
        chart=Chart(
            x="epoch",
            y="training loss",
            series=(Series(name="training", x=tuple(epochs.tolist()), y=tuple(loss.tolist())),),
            mark=float(epochs[-length]),
        ),
    )


def _flat_length(loss: Array, guessing: float) -> int:
    """How many epochs at the end lie within a hundredth of the last one, or of the loss of guessing if that is more."""
    near = np.abs(loss - loss[-1]) <= 0.01 * max(guessing, abs(float(loss[-1])))
    return len(loss) if near.all() else int(len(loss) - 1 - np.flatnonzero(~near)[-1])


def _progress(evidence: Evidence) -> float:
    """What share of the way from guessing to its floor the training loss has gone."""
    _, loss = evidence.measured("running_train_loss")
    guessing = math.log(max(2, evidence.classes))
    return (guessing - float(loss[-1])) / max(guessing - evidence.loss_floor, 1e-9) if len(loss) else 0.0


def _ends_above_start(evidence: Evidence) -> bool:
    """Whether the training loss ends higher than guessing, and much higher than it once was."""
    _, loss = evidence.measured("running_train_loss")
    guessing = math.log(max(2, evidence.classes))
    return len(loss) > 1 and float(loss[-1]) > 1.5 * guessing and float(loss[-1]) > 1.5 * float(loss.min())


def _early_update(evidence: Evidence) -> float | None:
    """How much a step changes a weight tensor, relative to it: the median over tensors, at its highest in the first
    quarter of the run. The very first step is left out if there are others: optimizers that normalise take it at full
    rate whatever the gradient."""
    ratio_SL = evidence.update_ratios_SL
    if not ratio_SL.size:
        return None
    early_SL = ratio_SL[: max(2, len(ratio_SL) // 4)][1 if len(ratio_SL) > 1 else 0 :]
    with np.errstate(all="ignore"):
        usual_S = np.array([np.nanmedian(row) for row in early_SL if np.isfinite(row).any()])
    return float(usual_S.max()) if usual_S.size else None


def _path(evidence: Evidence) -> float | None:
    """How long the way was that the weights went, relative to their size; of the tensor that moved most."""
    ratio_SL = evidence.update_ratios_SL
    if not ratio_SL.size or not np.isfinite(ratio_SL).any() or evidence.vitals is None:
        return None
    steps = sum(stretch.steps for stretch in evidence.vitals.stretches)
    with np.errstate(all="ignore"):
        mean_L = np.nanmean(np.where(np.isfinite(ratio_SL).any(axis=0), ratio_SL, 0.0), axis=0)
    return float(np.nanmax(mean_L)) * steps


def _no_gradient(evidence: Evidence) -> bool:
    """Whether the last layer's weights get none, so that no rate would help."""
    gradient_SL = evidence.gradients_SL
    return bool(gradient_SL.size) and float(np.nanmax(gradient_SL[:, -1])) == 0.0


def _highest_loss(evidence: Evidence) -> float | None:
    found = [one.highest_loss for one in evidence.vitals.stretches] if evidence.vitals else []
    return max((loss for loss in found if loss is not None), default=None)


def _highest_gradient(evidence: Evidence) -> float | None:
    found = [one.highest_gradient_norm for one in evidence.vitals.stretches] if evidence.vitals else []
    return max((norm for norm in found if norm is not None), default=None)


def _began(evidence: Evidence) -> tuple[int | None, Chart | None]:
    """The step from which on the loss stayed well above the least it had been, with a drawing."""
    if evidence.vitals is None or not evidence.vitals.stretches:
        return None, None
    steps = [one.step for one in evidence.vitals.stretches]
    losses = np.array([math.inf if one.loss is None else one.loss for one in evidence.vitals.stretches])
    least = np.minimum.accumulate(losses)
    fine = np.flatnonzero(losses <= 1.5 * least + 1e-9)
    at = int(fine[-1]) + 1 if len(fine) else 0
    step = steps[min(at, len(steps) - 1)]
    chart = _losses(evidence)
    return step, None if chart is None else Chart(x=chart.x, y=chart.y, series=chart.series, log=True, mark=float(step))


def _losses(evidence: Evidence) -> Chart | None:
    if evidence.vitals is None:
        return None
    found = [(float(one.step), math.nan if one.loss is None else one.loss) for one in evidence.vitals.stretches]
    if len(found) < 2:
        return None
    x, y = zip(*found, strict=True)
    return Chart(x="step", y="training loss", series=(Series(name="training", x=x, y=y),))
