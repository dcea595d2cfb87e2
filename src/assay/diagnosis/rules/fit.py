"""How well the model fits what it was trained on, and what it was not."""

from __future__ import annotations

import math

import numpy as np

from assay.diagnosis.evidence import SURE, Evidence
from assay.diagnosis.finding import Chart, Finding, Series
from assay.diagnosis.rules.predictions import validation_flatters

_GAP = 0.05
"""Training minus validation accuracy from which on a model overfits."""
_LARGE_GAP = 0.15
_WELL_FITTED = 0.95
"""Training accuracy from which on a model does not underfit."""
_LITTLE_TRAINED = 0.01
"""Share of the parameters: below it, almost all are frozen."""
_CARRIES_OVER = 0.25
"""Of what is learnt in training, the share that labels drawn at random might seem to carry over to validation."""
_KNOWS_NOTHING = 5.0
"""Nats by which predictions may explain the labels of a split by luck; see `assay.metrics.label_noise`."""
_BIAS = 3.0
"""Training error over the gap, from where on a model is told to underfit: three quarters of its validation error are
there on training examples already."""
_FROZEN = ("Almost all of it is frozen.", "Train at least the last layer's weights.")
_NOTHING_LEARNT = (
    "A rate far too high or far too low, weights that start all equal, units that are dead from the start, or labels "
    "that have nothing to do with the images.",
    "Run `assay doctor` on the study file: it tries a single batch.",
)
"""Causes, and what to do."""


def not_learning(evidence: Evidence) -> Finding | None:
    """Neither training nor validation is better than guessing at the end."""
    on_val = evidence.metric("val_accuracy")
    on_train = evidence.metric("train_accuracy")
    if on_train is None:
        on_train = evidence.metric("running_train_accuracy")
    if on_val is None or on_train is None or evidence.diverged or not evidence.in_epochs:
        return None
    if not evidence.by_chance(on_val, "val") or not evidence.by_chance(on_train, "train"):
        return None
    trained, all_ = evidence.record.trainable_parameters, evidence.record.parameters
    frozen = trained < _LITTLE_TRAINED * all_
    return Finding(
        rule="not_learning",
        severity="severe",
        title="The model has learnt nothing",
        seen=f"After {len(evidence.history)} epochs training accuracy is {on_train:.1%} and validation accuracy "
        f"{on_val:.1%}; always saying the most frequent class gives {evidence.chance:.1%}."
        + (f" Of its {all_:,} parameters {trained:,} are trained." if frozen else ""),
        why="Nothing that is measured of it means anything.",
        cause=_FROZEN[0] if frozen else _NOTHING_LEARNT[0],
        cure=_FROZEN[1] if frozen else _NOTHING_LEARNT[1],
        chart=_curves(evidence, "loss"),
    )


def labels_at_random(evidence: Evidence) -> Finding | None:
    """Training is learnt by heart while validation stays at chance."""
    on_val, on_train = evidence.metric("val_accuracy"), evidence.metric("train_accuracy")
    if on_val is None or on_train is None or evidence.diverged:
        return None
    learnt = on_train - evidence.chance
    if not evidence.by_chance(on_val, "val") or learnt < max(0.05, 2 * SURE * evidence.noise(evidence.chance, "train")):
        return None
    # Few examples cannot show that nothing carries over: what may do so must be little beside what was learnt.
    if on_val + 2 * evidence.noise(on_val, "val") - evidence.chance > _CARRIES_OVER * learnt:
        return None
    if any(evidence.knows_of(split) > _KNOWS_NOTHING for split in ("val", "test")):
        return None
    return Finding(
        rule="labels_at_random",
        severity="severe",
        title="What is learnt of the training labels tells nothing of validation",
        seen=f"Training accuracy is {on_train:.1%}, validation accuracy {on_val:.1%}; always saying the most frequent "
        f"class gives {evidence.chance:.1%}.",
        why="The model learns its training labels by heart; they have nothing in common with those of validation.",
        cause="Labels were shuffled, or read in another order than the images.",
        cure="Look at images with their labels: `assay data show`.",
        chart=_curves(evidence, "accuracy"),
    )


def overfitting(evidence: Evidence) -> Finding | None:
    """Training accuracy is well above validation accuracy."""
    on_val, on_train = evidence.metric("val_accuracy"), evidence.metric("train_accuracy")
    if on_val is None or on_train is None or evidence.diverged:
        return None
    gap, sd = on_train - on_val, evidence.noise(on_val, "val")
    if gap < max(_GAP, 2 * sd):
        return None
    large = gap >= _LARGE_GAP
    change = _against_overfitting(evidence)
    return Finding(
        rule="overfitting",
        severity="warning" if large else "note",
        title=f"The model overfits: {100 * gap:.1f} points from training to validation",
        seen=f"Training accuracy {on_train:.1%}, validation accuracy {on_val:.1%} ± {200 * sd:.1f} points (95 %).",
        why="What the model knows beyond validation is particular to its training examples.",
        cause="More parameters and epochs than the examples can keep in check.",
        cure=f"Try {', '.join(change)}." if change else "Add examples, augmentation, dropout, or weight decay.",
        changes=change,
        chart=_curves(evidence, "accuracy"),
    )


def underfitting(evidence: Evidence) -> Finding | None:
    """Most of what validation gets wrong, training gets wrong as well."""
    on_val, on_train = evidence.metric("val_accuracy"), evidence.metric("train_accuracy")
    if on_val is None or on_train is None or evidence.diverged or evidence.by_chance(on_train, "train"):
        return None
    if on_train >= _WELL_FITTED or 1.0 - on_train < _BIAS * (on_train - on_val) or validation_flatters(evidence):
        return None
    falling = _still_falling(evidence)
    changes = {"train.epochs": 2 * evidence.recipe.train.epochs} if evidence.in_epochs and falling else {}
    return Finding(
        rule="underfitting",
        severity="note" if on_train >= 0.8 else "warning",
        title=f"The model underfits: training accuracy is only {on_train:.1%}",
        seen=f"Training accuracy {on_train:.1%}, validation accuracy {on_val:.1%}"
        + (f"; the training loss still fell by {falling:.0%} in the last quarter of the run." if falling else "."),
        why="Most of what it gets wrong in validation it gets wrong in training too, so there is room in both.",
        cause="The run ended too early."
        if falling
        else "A model too small, or too much regularisation or augmentation.",
        cure="Train longer." if falling else "Widen the model, or weaken dropout, weight decay or augmentation.",
        changes=changes or _against_underfitting(evidence),
        chart=_curves(evidence, "loss"),
    )


def best_epoch_early(evidence: Evidence) -> Finding | None:
    """Validation was better long before the end."""
    epochs, accuracy = evidence.measured("val_accuracy")
    if len(epochs) < 5 or evidence.diverged or evidence.recipe.train.keep == "best":
        return None
    best = int(accuracy.argmax())
    last, fell = float(accuracy[-1]), float(accuracy.max() - accuracy[-1])
    # The best of many epochs is better than the last by luck alone, so the neighbours of the best must be as well.
    around = float(accuracy[max(0, best - 1) : best + 2].mean())
    end = float(accuracy[-2:].mean())
    sd = evidence.noise(last, "val")
    if best > 0.7 * (len(epochs) - 1) or around - end < max(0.01, math.sqrt(2) * sd):
        return None
    return Finding(
        rule="best_epoch_early",
        severity="warning",
        title=f"The best epoch was {epochs[best]:.0f} of {epochs[-1]:.0f}",
        seen=f"Validation accuracy was {accuracy.max():.1%} after epoch {epochs[best]:.0f} and {last:.1%} at the end: "
        f"{100 * fell:.1f} points were lost again.",
        why="What came after made the model worse, and it is the last one that is kept.",
        cause="Overfitting, or a rate that stays high.",
        cure="Keep the best epoch's weights, and stop when nothing improves.",
        changes={"train.keep": "best"},
        chart=_curves(evidence, "accuracy"),
    )


def validation_better(evidence: Evidence) -> Finding | None:
    """Validation looks better than training, with the reason why."""
    on_val, running = evidence.metric("val_accuracy"), evidence.metric("running_train_accuracy")
    on_train = evidence.metric("train_accuracy")
    if on_val is None or running is None or evidence.diverged or evidence.by_chance(on_val, "val"):
        return None
    sd = evidence.noise(on_val, "val")
    if on_val - running < max(0.01, SURE * sd) or validation_flatters(evidence):  # which is worse, and explains it
        return None
    recipe = evidence.recipe
    reasons = []
    if recipe.augment.active:
        reasons.append("augmentation makes training images harder")
    if getattr(recipe.model, "dropout", 0.0):
        reasons.append("dropout is on while training")
    if recipe.averaging.name != "none":
        reasons.append("averaged weights are what is evaluated")
    reasons.append("the running figure is averaged while the weights still improve")
    explained = on_train is not None and on_train > on_val - SURE * sd
    return Finding(
        rule="validation_better",
        severity="note" if explained or on_train is None else "warning",
        title="Validation looks better than training",
        seen=f"Validation accuracy {on_val:.1%}; training accuracy {running:.1%} as averaged over the last epoch"
        + (f", {on_train:.1%} measured after it in the same way as validation." if on_train is not None else "."),
        why="Nothing is wrong: the two were measured differently."
        if explained or on_train is None
        else "Even measured alike validation is better, which luck does not explain.",
        cause="; ".join(reasons).capitalize() + "."
        if explained or on_train is None
        else "Validation examples are easier, or copies of training ones.",
        cure="Compare train_accuracy with val_accuracy, which are measured alike."
        if explained or on_train is None
        else "Look for copies across splits with `assay data check`.",
        chart=_curves(evidence, "accuracy", running=True),
    )


def noisy_validation(evidence: Evidence) -> Finding | None:
    """Validation has too few examples to see differences that matter."""
    on_val = evidence.metric("val_accuracy")
    if on_val is None or not evidence.examples("val"):
        return None
    half = 1.96 * evidence.noise(on_val, "val")
    if half < 0.02:
        return None
    needed = math.ceil(on_val * (1 - on_val) * (1.96 / 0.01) ** 2)
    return Finding(
        rule="noisy_validation",
        severity="note",
        title=f"Validation accuracy is known to ± {100 * half:.1f} points only",
        seen=f"{evidence.examples('val'):,} validation examples at {on_val:.1%}; ± 1 point needs some {needed:,}.",
        why="A single run cannot tell improvements below that from luck, and the best epoch is chosen by it.",
        cause="The validation split is small.",
        cure="Compare over several seeds, whose splits differ, as studies do; or validate on a larger share.",
        changes={"data.validation": min(0.5, 2 * evidence.recipe.data.validation)}
        if evidence.recipe.data.validation <= 0.25
        else {},
    )


def _still_falling(evidence: Evidence) -> float:
    """By what share the training loss fell in the last quarter of the run; 0 if that is little."""
    _, loss = evidence.measured("running_train_loss")
    if len(loss) < 4:
        return 0.0
    before = float(loss[-max(2, len(loss) // 4) - 1])
    above = before - evidence.loss_floor
    fell = (before - float(loss[-1])) / above if above > 0 else 0.0
    return fell if fell > 0.03 else 0.0


def _against_overfitting(evidence: Evidence) -> dict[str, object]:
    recipe = evidence.recipe
    if getattr(recipe.model, "dropout", None) == 0.0:
        return {"model.dropout": 0.3}
    if len(evidence.record.data.get("shape", ())) == 3 and not recipe.augment.active:
        return {"augment.crop_padding": 2}
    if not recipe.loss.l2 and evidence.in_epochs:
        return {"loss.l2": 5e-4}
    return {}


def _against_underfitting(evidence: Evidence) -> dict[str, object]:
    recipe = evidence.recipe
    dropout = getattr(recipe.model, "dropout", 0.0)
    if dropout:
        return {"model.dropout": round(dropout / 2, 3)}
    if recipe.loss.l2 > 1e-4:
        return {"loss.l2": recipe.loss.l2 / 10}
    return {}


def _curves(evidence: Evidence, what: str, *, running: bool = False) -> Chart | None:
    names = [("training", f"running_train_{what}" if running else f"train_{what}"), ("validation", f"val_{what}")]
    series = []
    for called, name in names:
        epochs, values = evidence.measured(name)
        if len(values) > 1:
            series.append(Series(name=called, x=tuple(epochs.tolist()), y=tuple(np.round(values, 6).tolist())))
    return Chart(x="epoch", y=what, series=tuple(series)) if series else None
