"""Training with measurements: before the first epoch, after each, and at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter

from assay.data.batches import batch_bounds, training_batches
from assay.recipe.schema import Recipe, Watched
from assay.records import Array, EpochRecord, Split, StepRecord
from assay.training.boundary import BoundaryFrames
from assay.training.engines.engine import Engine
from assay.training.evaluate import Evaluation, evaluate, seconds_per_example
from assay.training.prepare import PreparedData
from assay.training.shifts import shift_metrics
from assay.training.views import seen_from


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training came to."""

    history: tuple[EpochRecord, ...]
    initial_loss: float | None
    evaluations: Mapping[Split, Evaluation]
    """Of the splits that were measured: of validation and test always."""
    inference_seconds: float
    weights: Mapping[str, Array]
    parameters: int
    trainable_parameters: int
    kept_epoch: int
    """After which epoch the weights were as they are kept."""
    last_weights: Mapping[str, Array] | None = None
    """Those of the last epoch, where better ones are kept."""
    diverged_at: Mapping[str, int] | None = None
    extra_metrics: Mapping[str, float] = field(default_factory=dict)
    """What the recipe's section ``evaluate`` asks for, by the metric's name."""
    artefacts: Mapping[str, bytes] = field(default_factory=dict)
    """What was drawn while it trained, by file name."""
    notes: tuple[str, ...] = ()


def fit_in_epochs(recipe: Recipe, engine: Engine, data: PreparedData) -> Trained:
    """Train until the last epoch, until a loss is not finite, or until nothing has improved for long enough."""
    section = recipe.train
    train_data, val_data, test_data = (data.splits[name] for name in ("train", "val", "test"))
    measured_train = train_data if recipe.evaluate.train_split else None
    initial = None if measured_train is None else evaluate(engine.scores, measured_train)
    boundary = BoundaryFrames(recipe, engine.scores, data)
    if initial is not None:
        boundary.take(0, initial)
    steps = engine.steps(
        training_batches(
            train_data,
            recipe.augment,
            classes=len(data.classes),
            batch_size=section.batch_size,
            epochs=section.epochs,
            seed=recipe.seed,
            smaller_first=section.smaller_first,
        )
    )
    steps_per_epoch = len(batch_bounds(len(train_data), section.batch_size))
    history: list[EpochRecord] = []
    best = BestEpoch(section.watch, section.min_improvement)
    diverged_at = None
    notes: list[str] = []
    on_train: Evaluation | None = initial
    on_val: Evaluation | None = None
    for epoch in range(1, section.epochs + 1):
        start = perf_counter()
        records = list(islice(steps, steps_per_epoch))
        seconds = perf_counter() - start
        diverged = not math.isfinite(records[-1].loss)
        on_train = on_val = None
        if epoch % recipe.evaluate.every == 0 or epoch == section.epochs or diverged:
            on_train = None if measured_train is None else evaluate(engine.scores, measured_train)
            on_val = evaluate(engine.scores, val_data)
            losses = [evaluation.loss for evaluation in (on_train, on_val) if evaluation is not None]
            diverged = diverged or not all(map(math.isfinite, losses))
            if on_train is not None:
                boundary.take(epoch, on_train, on_val, last=diverged)
        history.append(_epoch_record(epoch, records, on_train, on_val, engine.weight_norm(), seconds))
        engine.observe(history[-1])
        if diverged:
            history[-1] = replace(history[-1], running_train_loss=None, train_loss=None, val_loss=None)
            diverged_at = {"epoch": epoch, "step": records[-1].step}
            break
        if best.improved_by(history[-1]) and section.keep == "best":
            best.weights = engine.weights()
        if section.patience and best.waited >= section.patience:
            notes.append(
                f"Training stopped after epoch {epoch}: {section.watch} had not improved for {best.waited} "
                f"measurements since epoch {best.epoch}."
            )
            break
    last_weights = None
    kept_epoch = history[-1].epoch if history else 0
    if best.weights is not None and best.epoch != kept_epoch:
        last_weights, kept_epoch = engine.weights(), best.epoch
        engine.set_weights(best.weights)
        on_train = on_val = None
    if measured_train is not None and on_train is None:
        on_train = evaluate(engine.scores, measured_train)
    if on_val is None:
        on_val = evaluate(engine.scores, val_data)
    if not history:
        history.append(_untrained(on_train, on_val, engine.weight_norm()))
    on_test = evaluate(engine.scores, test_data)
    extra_metrics = dict(shift_metrics(engine.scores, test_data, on_test, recipe.evaluate.shift))
    inference_seconds = seconds_per_example(engine.scores, test_data)
    if recipe.evaluate.views != "one":
        extra_metrics["one_view_test_accuracy"] = on_test.accuracy
        scores = seen_from(recipe.evaluate.views, engine.scores)
        on_val, on_test = evaluate(scores, val_data), evaluate(scores, test_data)
    evaluations: dict[Split, Evaluation] = {"val": on_val, "test": on_test}
    if on_train is not None:
        evaluations["train"] = on_train
    return Trained(
        history=tuple(history),
        initial_loss=None if initial is None else initial.finite_loss,
        evaluations=evaluations,
        inference_seconds=inference_seconds,
        weights=engine.weights(),
        parameters=engine.parameters,
        trainable_parameters=engine.trainable_parameters,
        kept_epoch=kept_epoch,
        last_weights=last_weights,
        diverged_at=diverged_at,
        extra_metrics=extra_metrics,
        artefacts=boundary.artefacts(),
        notes=tuple(notes),
    )


class BestEpoch:
    """The best measurement so far of what is watched, the first one when tied."""

    def __init__(self, watch: Watched, min_improvement: float = 0.0) -> None:
        self._watch = watch
        self._min_improvement = min_improvement
        self._best = -math.inf
        self._counted = -math.inf
        self.epoch = 0
        self.waited = 0
        """Measurements since the last improvement that counted."""
        self.weights: Mapping[str, Array] | None = None

    def improved_by(self, record: EpochRecord) -> bool:
        """Whether this epoch's measurement is the best so far; an epoch without one is not."""
        value: float | None = getattr(record, self._watch)
        if value is None:
            return False
        good = value if self._watch == "val_accuracy" else -value
        if good > self._counted + self._min_improvement:
            self._counted, self.waited = good, 0
        else:
            self.waited += 1
        if good <= self._best:
            return False
        self._best, self.epoch = good, record.epoch
        return True


def _epoch_record(
    epoch: int,
    records: Sequence[StepRecord],
    on_train: Evaluation | None,
    on_val: Evaluation | None,
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
        train_loss=None if on_train is None else on_train.finite_loss,
        train_accuracy=None if on_train is None else on_train.accuracy,
        val_loss=None if on_val is None else on_val.finite_loss,
        val_accuracy=None if on_val is None else on_val.accuracy,
        gradient_norm=_finite(sum(record.gradient_norm for record in records) / len(records)),
        weight_norm=_finite(weight_norm),
        seconds=seconds,
    )


def _untrained(on_train: Evaluation | None, on_val: Evaluation, weight_norm: float) -> EpochRecord:
    """The only record of a run without training."""
    return EpochRecord(
        epoch=0,
        step=0,
        lr=0.0,
        running_train_loss=None,
        running_train_accuracy=None,
        train_loss=None if on_train is None else on_train.finite_loss,
        train_accuracy=None if on_train is None else on_train.accuracy,
        val_loss=on_val.finite_loss,
        val_accuracy=on_val.accuracy,
        gradient_norm=None,
        weight_norm=_finite(weight_norm),
        seconds=0.0,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
