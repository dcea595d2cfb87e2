"""What a finished run left behind, as rules ask for it. Reads stored files only, without torch.

Shape key: E epochs, S sampled steps, L weight tensors, N examples of a split, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from assay.errors import StoreError
from assay.metrics.label_noise import known_of_labels
from assay.metrics.vitals import VITALS, ActivitySample, Vitals, gradients_of, update_ratios_of, vitals_read
from assay.recipe.schema import FittedAtOnce, MuonOptimizer, Recipe
from assay.records import Array, EpochRecord, Predictions, RunRecord, Split
from assay.studies.store.contract import StoredRun

SURE = 3.0
"""Standard deviations beyond which a difference is taken for real: one in 740 by luck, each way."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One run. ``history`` has at least one epoch."""

    record: RunRecord
    recipe: Recipe
    history: tuple[EpochRecord, ...]
    predictions: dict[Split, Predictions]
    vitals: Vitals | None
    layers: bytes | None
    """The table of the network's layers, as kept."""

    @classmethod
    def of(cls, run: StoredRun) -> Evidence:
        """Read a run.

        Raises:
            StoreError: a stored file is damaged.
        """
        content, predictions = run.artefact(VITALS), run.predictions()
        try:
            vitals = None if content is None else vitals_read(content)
        except StoreError as error:
            raise StoreError(f"{VITALS} of run {run.fingerprint} {error}") from None
        return cls(
            record=run.record,
            recipe=Recipe.model_validate(run.record.recipe),
            history=run.history(),
            predictions={"val": predictions["val"], "test": predictions["test"]},
            vitals=vitals,
            layers=run.artefact("layers.json"),
        )

    # --- what was asked -----------------------------------------------------------------------------------------------

    @property
    def in_epochs(self) -> bool:
        """Whether it trained step by step."""
        return not isinstance(self.recipe.model, FittedAtOnce) and self.recipe.train.epochs > 0

    @property
    def rate(self) -> float:
        """The learning rate of the recipe."""
        return self.recipe.optimizer.lr

    def divided_rate(self, factor: float) -> dict[str, object]:
        """The learning rate divided by that, as a change of the recipe; none for a model without epochs."""
        return {"optimizer.lr": float(f"{self.rate / factor:.3g}")} if self.in_epochs else {}

    @property
    def updates_are_large_by_design(self) -> bool:
        return isinstance(self.recipe.optimizer, MuonOptimizer)

    # --- how it went --------------------------------------------------------------------------------------------------

    @property
    def diverged(self) -> bool:
        return self.record.status == "diverged"

    def column(self, name: str) -> NDArray[np.float64]:
        """A field of the history by epoch, not-a-number where it is missing."""
        values = [getattr(epoch, name) for epoch in self.history]
        return np.array([math.nan if value is None else float(value) for value in values])

    @property
    def epochs(self) -> NDArray[np.float64]:
        return self.column("epoch")

    def measured(self, name: str) -> tuple[Array, Array]:
        """Epochs that have the field, and its values there."""
        values_E = self.column(name)
        there_E = np.isfinite(values_E)
        return self.epochs[there_E], values_E[there_E]

    def metric(self, name: str) -> float | None:
        return self.record.metrics.get(name)

    @property
    def loss_floor(self) -> float:
        """About the least training loss there can be, in nats: that of a model which is sure, with label smoothing."""
        smoothing: float = getattr(self.recipe.loss, "label_smoothing", 0.0)
        if not smoothing or self.classes < 2:
            return 0.0
        right, wrong = 1.0 - smoothing + smoothing / self.classes, smoothing / self.classes
        return -(right * math.log(right) + (self.classes - 1) * wrong * math.log(wrong))

    # --- examples -----------------------------------------------------------------------------------------------------

    @property
    def classes(self) -> int:
        return len(self.record.classes)

    def examples(self, split: Split) -> int:
        return self.record.examples.get(split, 0)

    def counts(self, split: Split) -> Array | None:
        """Examples of each class, (C,)."""
        found = self.record.data.get("counts", {}).get(split)
        return None if found is None else np.asarray(found, dtype=np.int64)

    @cached_property
    def chance(self) -> float:
        """Validation accuracy of always saying the most frequent class."""
        return self._chance_in("val")

    def _chance_in(self, split: Split) -> float:
        of = self.predictions.get(split)
        if of is None:  # of training no predictions are kept
            return self.chance
        return float(np.bincount(of.labels_N).max() / len(of.labels_N))

    def noise(self, accuracy: float, split: Split) -> float:
        """Standard deviation of an accuracy on that split, over sets of as many examples; never 0."""
        examples = max(1, self.examples(split))
        inner = min(max(accuracy, 1.0 / (examples + 2)), 1.0 - 1.0 / (examples + 2))
        return math.sqrt(inner * (1.0 - inner) / examples)

    def by_chance(self, accuracy: float, split: Split) -> bool:
        """Whether so much could come of always saying one class, or of guessing."""
        chance = self._chance_in(split)
        room = self.noise(chance, "val") if split == "train" else 0.0  # whose chance is that of validation
        return accuracy <= chance + SURE * self.noise(chance, split) + room

    def knows_of(self, split: Split) -> float:
        """By how many nats the predictions explain the labels of a split better than the classes' frequencies."""
        of = self.predictions[split]
        usable_N = np.isfinite(of.probabilities_NC).all(axis=1)
        if not usable_N.any():
            return 0.0
        return known_of_labels(of.probabilities_NC[usable_N], of.labels_N[usable_N])

    # --- what was watched ---------------------------------------------------------------------------------------------

    @cached_property
    def update_ratios_SL(self) -> Array:
        """What a step changed of each weight tensor, relative to it; not-a-number where either is not finite or 0."""
        if self.vitals is None or not self.vitals.samples:
            return np.empty((0, 0))
        return update_ratios_of(self.vitals)

    @cached_property
    def gradients_SL(self) -> Array:
        """Root mean square of each weight tensor's gradient."""
        if self.vitals is None or not self.vitals.samples:
            return np.empty((0, 0))
        return gradients_of(self.vitals)

    @property
    def last_activity(self) -> ActivitySample | None:
        return self.vitals.activity[-1] if self.vitals and self.vitals.activity else None
