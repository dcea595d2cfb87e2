"""Training with measurements: before the first epoch, after each, and at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

from assay.data.batches import batch_bounds, training_batches
from assay.data.smaller import share_of_pixels
from assay.recipe.schema import Recipe
from assay.records import Array, EpochRecord, Split, StepRecord
from assay.training.boundary import BoundaryFrames
from assay.training.checkpoint import Checkpoints, Resumable
from assay.training.engines.engine import Engine
from assay.training.evaluate import Evaluation
from assay.training.ground import ground_of
from assay.training.measure import NOTHING_MEASURED, Measurements, epoch_record, untrained_record
from assay.training.prepare import PreparedData
from assay.training.progress import BestEpoch, Progress
from assay.training.telling import Telling
from assay.training.vitals import Watch


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


def fit_in_epochs(
    recipe: Recipe,
    engine: Engine,
    data: PreparedData,
    checkpoints: Checkpoints | None = None,
    telling: Telling | None = None,
) -> Trained:
    """Train until the last epoch, until a loss is not finite, or until nothing has improved for long enough.

    Args:
        recipe: what to train, and what to measure.
        engine: with the initial weights.
        data: prepared for the recipe.
        checkpoints: those of the run, from the last of which it goes on; None keeps none.
        telling: hears how far training has come.

    Raises:
        CannotRestoreError: there is a sound checkpoint that does not fit; the engine cannot be used any more.
    """
    training = _Training(recipe, engine, data, checkpoints or Checkpoints(), telling or Telling())
    training.begin()
    while not training.ended:
        training.train_epoch()
        training.measure_epoch()
    return training.outcome()


class _Training:
    """One training under way. Whatever changes is the engine's, or in ``progress``, or only needed at the end."""

    def __init__(
        self, recipe: Recipe, engine: Engine, data: PreparedData, checkpoints: Checkpoints, telling: Telling
    ) -> None:
        self._recipe, self._engine, self._data = recipe, engine, data
        self._checkpoints, self._telling = checkpoints, telling
        self._ground = ground_of(recipe, engine, data)
        self._measurements = Measurements(recipe, engine, data, self._ground)
        self._boundary = BoundaryFrames(recipe, engine.scores, data)
        section = recipe.train
        self._progress = Progress(best=BestEpoch(section.watch, section.min_improvement))
        self._steps_per_epoch = len(batch_bounds(len(data.splits["train"]), section.batch_size))
        self._watch = Watch(engine, data.splits["train"], steps_per_epoch=self._steps_per_epoch, epochs=section.epochs)
        self._steps: Iterator[StepRecord] = iter(())
        self._measured = NOTHING_MEASURED
        self._diverged_at: Mapping[str, int] | None = None
        self._notes: tuple[str, ...] = ()
        self.ended = section.epochs == 0

    def begin(self) -> None:
        """Measure the model as it is, or go on from a checkpoint."""
        parts: dict[str, Resumable] = {
            "engine": self._engine,
            "progress": self._progress,
            "boundary": self._boundary,
            "watch": self._watch,
        }
        for name, part in parts.items():
            self._checkpoints.follow(name, part)
        if not self._checkpoints.resume():
            self._progress.seconds = self._ground.seconds
            self._measured = self._measurements.before_training()
            if self._measured.train is not None:
                self._progress.initial_loss = self._measured.train.finite_loss
                self._boundary.take(0, self._measured.train)
            self._watch.after_epoch(0, last=False)
        done, section = self._progress.steps_done(self._steps_per_epoch), self._recipe.train
        shape, epochs = self._data.input_shape, range(1, section.epochs + 1)
        work = [share_of_pixels(section.smaller_first, epoch, shape) for epoch in epochs]
        self._telling.begin(work=work, steps=section.epochs * self._steps_per_epoch, done=done)
        self._steps = self._steps_from(done)

    def _steps_from(self, first: int) -> Iterator[StepRecord]:
        section = self._recipe.train
        batches = training_batches(
            self._ground.train,
            self._recipe.augment,
            classes=len(self._data.classes),
            batch_size=section.batch_size,
            epochs=section.epochs,
            seed=self._recipe.seed,
            smaller_first=section.smaller_first,
            skip=first,
        )
        return self._engine.steps(batches, first_step=first)

    def train_epoch(self) -> None:
        """Take the steps of an epoch, or those that are left of it."""
        progress = self._progress
        since = perf_counter()
        while len(progress.records) < self._steps_per_epoch:
            self._watch.before_step(progress.steps_done(self._steps_per_epoch))
            record = next(self._steps, None)
            if record is None:  # the last loss was not finite
                break
            self._watch.after_step(record)
            progress.records.append(record)
            if math.isfinite(record.loss):  # the loop has ended otherwise, which going on would not find out again
                progress.seconds += perf_counter() - since
                done = progress.steps_done(self._steps_per_epoch)
                self._checkpoints.after(done)
                self._telling.after(done, progress.last_accuracy)
                since = perf_counter()
        progress.seconds += perf_counter() - since

    def measure_epoch(self) -> None:
        """Measure what the epoch made of the model, and decide whether it was the last."""
        progress, section = self._progress, self._recipe.train
        records, epoch = progress.records, progress.epoch
        diverged = not math.isfinite(records[-1].loss)
        self._measured = NOTHING_MEASURED
        if epoch % self._recipe.evaluate.every == 0 or epoch == section.epochs or diverged:
            self._measured = self._measurements.after_epoch()
            diverged = diverged or not self._measured.finite
            if self._measured.train is not None:
                self._boundary.take(epoch, self._measured.train, self._measured.val, last=diverged)
        record = epoch_record(epoch, records, self._measured, self._engine.weight_norm(), progress.seconds)
        self._engine.observe(record)
        if diverged:
            record = replace(record, running_train_loss=None, train_loss=None, val_loss=None)
            self._diverged_at = {"epoch": epoch, "step": records[-1].step}
        progress.end_epoch(record)
        self.ended = diverged or self._stops_early(record) or epoch == section.epochs
        self._watch.after_epoch(epoch, last=self.ended)
        if not self.ended:  # the end is near otherwise, and what was just measured is needed there
            self._checkpoints.after(progress.steps_done(self._steps_per_epoch))

    def _stops_early(self, record: EpochRecord) -> bool:
        """Whether nothing has improved for long enough; keeps the weights if they are the best so far."""
        best, section = self._progress.best, self._recipe.train
        if best.improved_by(record) and section.keep == "best":
            best.weights = self._engine.weights()
        if not section.patience or best.waited < section.patience or record.epoch == section.epochs:
            return False
        enough = f" by more than {section.min_improvement:g}" if section.min_improvement else ""
        measurements = "measurement" if best.waited == 1 else "measurements"
        self._notes = (
            f"Training stopped after epoch {record.epoch}: {section.watch} had not improved{enough} for {best.waited} "
            f"{measurements} since epoch {best.since}.",
        )
        return True

    def outcome(self) -> Trained:
        """Measure the model that is kept, and put together what training came to."""
        history, measured = list(self._progress.history), self._measured
        kept_epoch = history[-1].epoch if history else 0
        last_weights, best = None, self._progress.best
        if best.weights is not None and best.epoch != kept_epoch:
            last_weights, kept_epoch = self._engine.weights(), best.epoch
            self._engine.set_weights(best.weights)
            measured = NOTHING_MEASURED
        measured = self._measurements.completed(measured)
        if not history:
            history.append(untrained_record(measured, self._engine.weight_norm()))
        final = self._measurements.at_the_end(measured)
        return Trained(
            history=tuple(history),
            initial_loss=self._progress.initial_loss,
            evaluations=final.evaluations,
            inference_seconds=final.inference_seconds,
            weights=self._engine.weights(),
            parameters=self._engine.parameters,
            trainable_parameters=self._engine.trainable_parameters,
            kept_epoch=kept_epoch,
            last_weights=last_weights,
            diverged_at=self._diverged_at,
            extra_metrics=final.extra_metrics,
            artefacts={**self._boundary.artefacts(), **self._watch.artefacts()},
            notes=self._ground.notes + self._notes,
        )
