"""What is measured of a model: before its training, after an epoch, and at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from assay.recipe.schema import Recipe
from assay.records import EpochRecord, Split, StepRecord
from assay.training.engines.engine import Engine
from assay.training.evaluate import Evaluation, evaluate, seconds_per_example
from assay.training.ground import Ground
from assay.training.prepare import PreparedData
from assay.training.shifts import shift_metrics
from assay.training.views import seen_from


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the splits say of a model at one moment; None of one that was not measured then."""

    train: Evaluation | None = None
    val: Evaluation | None = None

    @property
    def finite(self) -> bool:
        """Whether every loss is, of what was measured."""
        return all(math.isfinite(one.loss) for one in (self.train, self.val) if one is not None)


NOTHING_MEASURED = Measured()


@dataclass(frozen=True, kw_only=True)
class FinalMeasurements:
    """Of the model that is kept."""

    evaluations: Mapping[Split, Evaluation]
    inference_seconds: float
    extra_metrics: Mapping[str, float] = field(default_factory=dict)


class Measurements:
    """Asks the engine's model of the splits that the recipe wants measured."""

    def __init__(self, recipe: Recipe, engine: Engine, data: PreparedData, ground: Ground) -> None:
        self._section = recipe.evaluate
        self._scores = engine.scores
        self._ground = ground
        self._train = ground.train if recipe.evaluate.train_split else None
        self._val, self._test = data.splits["val"], data.splits["test"]

    def before_training(self) -> Measured:
        return Measured(train=None if self._train is None else evaluate(self._ground.scores, self._train))

    def after_epoch(self) -> Measured:
        on_train = None if self._train is None else evaluate(self._ground.scores, self._train)
        return Measured(train=on_train, val=evaluate(self._ground.scores, self._ground.val))

    def completed(self, measured: Measured) -> Measured:
        """The same, with what is lacking at the end measured now. What is kept of the validation split is what the
        whole model says of its images."""
        on_train, on_val = measured.train, measured.val
        if self._train is not None and on_train is None:
            on_train = evaluate(self._ground.scores, self._train)
        if on_val is None or not self._ground.of_images:
            on_val = evaluate(self._scores, self._val)
        return Measured(train=on_train, val=on_val)

    def at_the_end(self, measured: Measured) -> FinalMeasurements:
        """Of a model whose training and validation splits were measured: the test split, and what else is asked."""
        on_test, on_val = evaluate(self._scores, self._test), measured.val
        extra = dict(shift_metrics(self._scores, self._test, on_test, self._section.shift))
        inference_seconds = seconds_per_example(self._scores, self._test)
        if self._section.views != "one":
            extra["one_view_test_accuracy"] = on_test.accuracy
            scores = seen_from(self._section.views, self._scores)
            on_val, on_test = evaluate(scores, self._val), evaluate(scores, self._test)
        by_split: dict[Split, Evaluation | None] = {"val": on_val, "test": on_test, "train": measured.train}
        evaluations = {name: one for name, one in by_split.items() if one is not None}
        return FinalMeasurements(evaluations=evaluations, inference_seconds=inference_seconds, extra_metrics=extra)


def epoch_record(
    epoch: int, records: Sequence[StepRecord], measured: Measured, weight_norm: float, seconds: float
) -> EpochRecord:
    """What is kept of an epoch of these steps."""
    examples = sum(record.examples for record in records)
    return EpochRecord(
        epoch=epoch,
        step=records[-1].step,
        lr=records[-1].lr,
        running_train_loss=_finite(sum(record.loss * record.examples for record in records) / examples),
        running_train_accuracy=sum(record.correct for record in records) / examples,
        train_loss=None if measured.train is None else measured.train.finite_loss,
        train_accuracy=None if measured.train is None else measured.train.accuracy,
        val_loss=None if measured.val is None else measured.val.finite_loss,
        val_accuracy=None if measured.val is None else measured.val.accuracy,
        gradient_norm=_finite(sum(record.gradient_norm for record in records) / len(records)),
        weight_norm=_finite(weight_norm),
        seconds=seconds,
    )


def untrained_record(measured: Measured, weight_norm: float) -> EpochRecord:
    """The only record of a run without training."""
    return EpochRecord(
        epoch=0,
        step=0,
        lr=0.0,
        running_train_loss=None,
        running_train_accuracy=None,
        train_loss=None if measured.train is None else measured.train.finite_loss,
        train_accuracy=None if measured.train is None else measured.train.accuracy,
        val_loss=None if measured.val is None else measured.val.finite_loss,
        val_accuracy=None if measured.val is None else measured.val.accuracy,
        gradient_norm=None,
        weight_norm=_finite(weight_norm),
        seconds=0.0,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
