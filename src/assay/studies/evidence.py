"""What stored runs say about claims: pairs of values, scores per test example, and what is missing or mixed.

Shape key: A arms of a comparison in the order of its weights, P pairs (one per seed index), N test examples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.metrics.catalogue import Metric
from assay.records import Array, EpochRecord, Predictions
from assay.studies.claims import Comparison
from assay.studies.store.contract import StoredRun

CHANGES_NO_NUMBERS = frozenset({"python", "platform"})
"""Keys of a run's environment in which runs may differ without a word, unless the metric is a time."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A comparison's effects by seed index, from 0 to the study's ``at_most``."""

    values_AP: Array
    """Each arm's metric; NaN where there is none (yet)."""
    effects_P: Array
    """Weighted sum over the arms; NaN where any is."""
    attempted_P: NDArray[np.bool_]
    """Every arm has its run, stored or failed."""
    lost_P: NDArray[np.bool_]
    """An arm's run ended without the metric."""
    floor: float
    """Least standard deviation of the effects to believe in: one unit in which the metric counts."""

    @property
    def dropped(self) -> int:
        return int((self.attempted_P & np.isnan(self.effects_P)).sum())

    def first(self, seeds: int) -> Pairs:
        """The pairs of the first ``seeds`` seeds."""
        return Pairs(
            values_AP=self.values_AP[:, :seeds],
            effects_P=self.effects_P[:seeds],
            attempted_P=self.attempted_P[:seeds],
            lost_P=self.lost_P[:seeds],
            floor=self.floor,
        )


@dataclass(frozen=True, kw_only=True)
class _TestScores:
    """One run's score on every test example, and which examples these are."""

    correct_N: NDArray[np.bool_]
    loss_N: NDArray[np.float32]
    """−log of the label's probability, in nats."""
    examples: bytes
    """Digest of the data's identity and the examples' positions in it."""

    @classmethod
    def from_predictions(cls, predictions: Predictions, data: str) -> _TestScores:
        labels_N, probabilities_NC = predictions.labels_N, predictions.probabilities_NC
        likelihood_N = probabilities_NC[np.arange(labels_N.size), labels_N]
        least = np.finfo(probabilities_NC.dtype).tiny  # a probability that underflowed to 0 has a loss too
        return cls(
            correct_N=predictions.correct_N(),
            loss_N=-np.log(np.maximum(likelihood_N, least)),
            examples=hashlib.sha256(data.encode() + np.ascontiguousarray(predictions.indices_N).tobytes()).digest(),
        )

    def of(self, metric: Metric) -> Array:
        return (self.loss_N if metric.fraction_of is None else self.correct_N).astype(np.float64)


class Evidence:
    """Answers questions about the runs of a study, reading each run's history or predictions at most once, if at all.

    Args:
        runs: arm to seed to stored run.
        failed: arm to failed seeds; a seed with a stored run as well counts as stored.
        first_seeds: every arm with its first seed.
        seeds: how many seeds of each arm to look at.
    """

    def __init__(
        self,
        runs: Mapping[str, Mapping[int, StoredRun]],
        failed: Mapping[str, Collection[int]],
        first_seeds: Mapping[str, int],
        seeds: int,
    ) -> None:
        self._first_seeds = first_seeds
        self._seeds = seeds
        self._runs: dict[str, dict[int, StoredRun]] = {}
        self._failed_P: dict[str, NDArray[np.bool_]] = {}
        for arm, first in first_seeds.items():
            self._runs[arm] = {s - first: run for s, run in runs.get(arm, {}).items() if first <= s < first + seeds}
            missed = set(failed.get(arm, ()))
            self._failed_P[arm] = np.array(
                [first + p in missed and p not in self._runs[arm] for p in range(seeds)], dtype=np.bool_
            )
        self._stored_P = {arm: np.array([p in self._runs[arm] for p in range(seeds)]) for arm in first_seeds}
        self._values_P: dict[tuple[str, str], Array] = {}
        self._histories: dict[tuple[str, int], Sequence[EpochRecord]] = {}
        self._scores: dict[tuple[str, int], _TestScores | None] = {}

    def complete(self) -> int:
        """How many seeds every arm of the study has attempted, counted from its first without a gap."""
        attempted_AP = np.array([self._stored_P[arm] | self._failed_P[arm] for arm in self._first_seeds])
        return int(np.logical_and.accumulate(attempted_AP.all(axis=0)).sum()) if attempted_AP.size else 0

    def share_seeds(self, arms: Sequence[str]) -> bool:
        """Whether the i-th runs of these arms have the same seed."""
        return len({self._first_seeds[arm] for arm in arms}) == 1

    def pairs(self, comparison: Comparison) -> Pairs:
        """The comparison's values and effects at every seed index."""
        arms = list(comparison.weights)
        values_AP = np.stack([self._values(arm, comparison.metric) for arm in arms])
        attempted_P = np.all([self._stored_P[arm] | self._failed_P[arm] for arm in arms], axis=0)
        effects_P = sum(
            weight * values_P for weight, values_P in zip(comparison.weights.values(), values_AP, strict=True)
        )
        return Pairs(
            values_AP=values_AP,
            effects_P=effects_P,
            attempted_P=attempted_P,
            lost_P=np.any(
                [self._stored_P[arm] & np.isnan(values) for arm, values in zip(arms, values_AP, strict=True)], axis=0
            ),
            floor=self._floor(comparison),
        )

    def failures(self, comparison: Comparison, seeds: int) -> list[str]:
        """The comparison's failed runs among the first ``seeds``, as ``arm at seed 3``."""
        return [
            f"{arm} at seed {self._first_seeds[arm] + int(p)}"
            for arm in comparison.weights
            for p in np.flatnonzero(self._failed_P[arm][:seeds])
        ]

    def losses(self, comparison: Comparison, seeds: int) -> tuple[list[str], list[str]]:
        """Runs among the first ``seeds`` that ended without the metric: (those that diverged, all others)."""
        diverged: list[str] = []
        others: list[str] = []
        for arm, p, run in self._runs_of(comparison, seeds):
            if math.isnan(self._values(arm, comparison.metric)[p]):
                place = f"{arm} at seed {self._first_seeds[arm] + p}"
                (diverged if run.record.status == "diverged" else others).append(place)
        return diverged, others

    def mixed_environments(self, comparison: Comparison, seeds: int) -> dict[str, list[str]]:
        """What the first ``seeds`` runs of the comparison were made on or with, where that differs: key to values."""
        values: dict[str, set[str]] = {}
        for _, _, run in self._runs_of(comparison, seeds):
            for key, value in run.record.environment.items():
                values.setdefault(key, set()).add(value)
        passed_over = frozenset() if comparison.metric.timing else CHANGES_NO_NUMBERS
        return {
            key: sorted(found) for key, found in sorted(values.items()) if len(found) > 1 and key not in passed_over
        }

    def compares_data(self, comparison: Comparison, seeds: int) -> bool:
        """Whether the first ``seeds`` runs of the comparison were made on different examples."""
        identities = {run.record.data.get("identity") for _, _, run in self._runs_of(comparison, seeds)}
        return len(identities) > 1

    def example_effects(self, comparison: Comparison, indices: Sequence[int]) -> Array | None:
        """Effect on every test example at each of the given seed indices, shape (len(indices), N).

        Scores are 1 for right and 0 for wrong where the metric is an accuracy, else −log of the label's probability.

        Returns:
            None when a run kept no test predictions, or the runs were tested on different examples.
        """
        effects_PN: list[Array] = []
        tested_on: set[bytes] = set()
        for p in indices:
            effect_N: Array = np.zeros(1)
            for arm, weight in comparison.weights.items():
                scores = self._test_scores(arm, p)
                if scores is None:
                    return None
                tested_on.add(scores.examples)
                if len(tested_on) > 1:
                    return None
                effect_N = effect_N + weight * scores.of(comparison.metric)
            effects_PN.append(effect_N)
        return np.array(effects_PN) if effects_PN else None

    def _runs_of(self, comparison: Comparison, seeds: int) -> Iterator[tuple[str, int, StoredRun]]:
        for arm in comparison.weights:
            for p, run in sorted(self._runs[arm].items()):
                if p < seeds:
                    yield arm, p, run

    def _values(self, arm: str, metric: Metric) -> Array:
        values_P = self._values_P.get((arm, metric.name))
        if values_P is None:
            values_P = np.full(self._seeds, np.nan)
            for p, run in self._runs[arm].items():
                value = metric.value(run.record.metrics, () if metric.epoch is None else self._history(arm, p, run))
                if value is not None and math.isfinite(value):
                    values_P[p] = value
            self._values_P[arm, metric.name] = values_P
        return values_P

    def _history(self, arm: str, p: int, run: StoredRun) -> Sequence[EpochRecord]:
        if (arm, p) not in self._histories:
            self._histories[arm, p] = run.history()
        return self._histories[arm, p]

    def _test_scores(self, arm: str, p: int) -> _TestScores | None:
        if (arm, p) not in self._scores:
            run = self._runs[arm][p]
            predictions, data = run.predictions().get("test"), str(run.record.data.get("identity", ""))
            self._scores[arm, p] = None if predictions is None else _TestScores.from_predictions(predictions, data)
        return self._scores[arm, p]

    def _floor(self, comparison: Comparison) -> float:
        metric, floors = comparison.metric, [0.0]
        for arm, weight in comparison.weights.items():
            if metric.unit == "count":
                floors.append(abs(weight))
            elif metric.fraction_of is not None and self._runs[arm]:
                examples = next(iter(self._runs[arm].values())).record.examples.get(metric.fraction_of, 0)
                floors.append(abs(weight) / examples if examples else 0.0)
        return max(floors)
