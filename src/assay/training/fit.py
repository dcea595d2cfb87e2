"""Training with measurements: before the first epoch, after each, and at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter

from assay.data.batches import batch_bounds, training_batches
from assay.recipe.schema import Recipe
from assay.records import Array, EpochRecord, Split, StepRecord
from assay.training.boundary import BoundaryFrames
from assay.training.engines.engine import Engine
from assay.training.evaluate import Evaluation, evaluate, seconds_per_example
from assay.training.prepare import PreparedData
from assay.training.shifts import shift_metrics


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training came to."""

    history: tuple[EpochRecord, ...]
    initial_loss: float | None
    evaluations: Mapping[Split, Evaluation]
    inference_seconds: float
    weights: Mapping[str, Array]
    parameters: int
    trainable_parameters: int
    diverged_at: Mapping[str, int] | None = None
    extra_metrics: Mapping[str, float] = field(default_factory=dict)
    """What the recipe's section ``evaluate`` asks for, by the metric's name."""
    artefacts: Mapping[str, bytes] = field(default_factory=dict)
    """What was drawn while it trained, by file name."""


def fit_in_epochs(recipe: Recipe, engine: Engine, data: PreparedData) -> Trained:
    """Train until the last epoch, or until a loss is not finite."""
    train_data, val_data, test_data = (data.splits[name] for name in ("train", "val", "test"))
    steps = engine.steps(
        training_batches(
            train_data,
            recipe.augment,
            classes=len(data.classes),
            batch_size=recipe.train.batch_size,
            epochs=recipe.train.epochs,
            seed=recipe.seed,
        )
    )
    steps_per_epoch = len(batch_bounds(len(train_data), recipe.train.batch_size))
    initial = evaluate(engine.scores, train_data)
    boundary = BoundaryFrames(recipe, engine.scores, data)
    boundary.take(0, initial)
    history: list[EpochRecord] = []
    diverged_at = None
    for epoch in range(1, recipe.train.epochs + 1):
        start = perf_counter()
        records = list(islice(steps, steps_per_epoch))
        seconds = perf_counter() - start
        on_train = evaluate(engine.scores, train_data)
        on_val = evaluate(engine.scores, val_data)
        history.append(_epoch_record(epoch, records, on_train, on_val, engine.weight_norm(), seconds))
        diverged = not all(map(math.isfinite, (records[-1].loss, on_train.loss, on_val.loss)))
        boundary.take(epoch, on_train, on_val, last=diverged)
        if diverged:
            history[-1] = replace(history[-1], running_train_loss=None, train_loss=None, val_loss=None)
            diverged_at = {"epoch": epoch, "step": records[-1].step}
            break
    on_test = evaluate(engine.scores, test_data)
    return Trained(
        history=tuple(history),
        initial_loss=initial.finite_loss,
        evaluations={"train": on_train, "val": on_val, "test": on_test},
        inference_seconds=seconds_per_example(engine.scores, test_data),
        weights=engine.weights(),
        parameters=engine.parameters,
        trainable_parameters=engine.trainable_parameters,
        diverged_at=diverged_at,
        extra_metrics=shift_metrics(engine.scores, test_data, on_test, recipe.evaluate.shift),
        artefacts=boundary.artefacts(),
    )


def _epoch_record(
    epoch: int,
    records: Sequence[StepRecord],
    on_train: Evaluation,
    on_val: Evaluation,
    weight_norm: float,
    seconds: float,
) -> EpochRecord:
    examples = sum(record.examples for record in records)
    return EpochRecord(
        epoch=epoch,
        step=records[-1].step,
        lr=records[-1].lr,
        running_train_loss=_finite(sum(record.loss * record.examples for record in records) / examples),
        running_train_accuracy=sum(record.correct for record in records) / examples,
        train_loss=on_train.finite_loss,
        train_accuracy=on_train.accuracy,
        val_loss=on_val.finite_loss,
        val_accuracy=on_val.accuracy,
        gradient_norm=_finite(sum(record.gradient_norm for record in records) / len(records)),
        weight_norm=_finite(weight_norm),
        seconds=seconds,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
