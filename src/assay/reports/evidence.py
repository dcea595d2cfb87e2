"""Everything a report needs from the store, read once, run by run.

Shape key: E epochs, F history fields, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from assay.errors import StoreError
from assay.metrics.catalogue import Metric
from assay.metrics.vitals import VITALS, update_ratio_by_epoch, vitals_read
from assay.records import EpochRecord, Predictions, RunRecord, Split
from assay.studies.results import StudyResults
from assay.studies.store.contract import StoredRun

HISTORY_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(EpochRecord))
LEAST_UPDATE = 1e-6
_COLUMN = {name: position for position, name in enumerate(HISTORY_FIELDS)}


@dataclass(frozen=True, kw_only=True)
class RunEvidence:
    """One stored run without its bulk: ``history_EF`` holds a row per epoch, not-a-number where a value is missing."""

    seed: int
    record: RunRecord
    location: str
    history_EF: NDArray[np.float64]
    update_ratio_E: NDArray[np.float64]
    """See `assay.metrics.vitals.update_ratio_by_epoch`; of a run that kept none, or a damaged file, not-a-number."""

    def column(self, name: str) -> NDArray[np.float64]:
        """One history field over the epochs, or what is computed of them."""
        if name == "update_ratio":
            return self.update_ratio_E
        if name == "accuracy_gap":
            return self.column("train_accuracy") - self.column("val_accuracy")
        column_E: NDArray[np.float64] = self.history_EF[:, _COLUMN[name]]
        return column_E

    def value(self, metric: Metric) -> float | None:
        """A metric of this run as verdicts see it; None when it is missing."""
        if metric.epoch is None:
            return self.record.metrics.get(metric.name)
        epochs_E, values_E = self.column("epoch"), self.column(metric.name.partition("@")[0])
        at_epoch = values_E[epochs_E == metric.epoch]
        if not at_epoch.size and metric.stays:  # it ended earlier: what it was by then counts
            at_epoch = values_E[-1:]
        return float(at_epoch[0]) if at_epoch.size and np.isfinite(at_epoch[0]) else None


@dataclass(frozen=True, kw_only=True)
class ConfusionCounts:
    """Summed over seeds: ``counts_CC[i, j]`` examples of class i predicted as j; ``unclassified_C`` had no number."""

    split: Split
    counts_CC: NDArray[np.int64]
    unclassified_C: NDArray[np.int64]
    seeds: int


@dataclass(frozen=True, kw_only=True)
class WrongCounts:
    """In how many runs of an arm each test example is classified wrongly; not-a-number counts as wrong.

    ``positions_N`` are those in the data source, the same in every run.
    """

    positions_N: NDArray[np.int64]
    wrong_N: NDArray[np.int64]
    seeds: int

    def of(self, position: int) -> int | None:
        """Of the example at a position; None for one that is not in the test split."""
        found = np.flatnonzero(self.positions_N == position)
        return int(self.wrong_N[found[0]]) if found.size else None


@dataclass(frozen=True, kw_only=True)
class ArmEvidence:
    """The runs of one arm by ascending seed."""

    name: str
    runs: tuple[RunEvidence, ...]
    confusion: ConfusionCounts | None
    wrong: WrongCounts | None
    """None where its runs do not have the same test examples."""

    def values(self, metric: Metric) -> list[float | None]:
        """The metric of each run."""
        return [run.value(metric) for run in self.runs]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.runs[0].record.classes if self.runs else ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A study's results with the history and confusions of every arm, in the order declared."""

    results: StudyResults
    arms: tuple[ArmEvidence, ...]

    def records(self) -> Iterable[RunRecord]:
        return (run.record for arm in self.arms for run in arm.runs)


def gather(results: StudyResults) -> Evidence:
    """Read every run of a study once.

    Raises:
        StoreError: a stored file is damaged; the message names it.
    """
    arms = [_gather_arm(arm.name, results.runs.get(arm.name, {})) for arm in results.study.arms]
    return Evidence(results=results, arms=tuple(arms))


def _gather_arm(name: str, runs: Mapping[int, StoredRun]) -> ArmEvidence:
    gathered = []
    predictions = []
    for seed, run in sorted(runs.items()):
        history_EF = _history(run.history())
        gathered.append(
            RunEvidence(
                seed=seed,
                record=run.record,
                location=run.location,
                history_EF=history_EF,
                update_ratio_E=_update_ratios(run, history_EF[:, _COLUMN["epoch"]]),
            )
        )
        predictions.append(run.predictions())
    classes = len(gathered[0].record.classes) if gathered else 0
    return ArmEvidence(
        name=name,
        runs=tuple(gathered),
        confusion=_confusion(predictions, classes),
        wrong=_wrong([by_split.get("test") for by_split in predictions]),
    )


def _history(epochs: tuple[EpochRecord, ...]) -> NDArray[np.float64]:
    rows = [[getattr(epoch, name) for name in HISTORY_FIELDS] for epoch in epochs]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(HISTORY_FIELDS))  # None becomes not-a-number


def _update_ratios(run: StoredRun, epoch_E: NDArray[np.float64]) -> NDArray[np.float64]:
    content = run.artefact(VITALS)
    last = int(epoch_E.max(initial=0))
    try:
        ratio_E = np.full(last, np.nan) if content is None else update_ratio_by_epoch(vitals_read(content), last)
    except StoreError:
        ratio_E = np.full(last, np.nan)  # told where the file is shown, in `assay.reports.activations`
    places_E = epoch_E.astype(np.int64) - 1
    ratio_E = np.maximum(
        ratio_E, LEAST_UPDATE
    )  # so that a network that stands still can be drawn on a logarithmic axis
    return np.where(places_E >= 0, np.append(ratio_E, np.nan)[places_E], np.nan)


def _confusion(predictions: list[Mapping[str, Predictions]], classes: int) -> ConfusionCounts | None:
    """Counts over the test split where every run has one, else the validation split, else None."""
    split: Split
    for split in ("test", "val"):
        if predictions and classes and all(split in by_split for by_split in predictions):
            break
    else:
        return None
    joint_size = classes * (classes + 1)
    counts = np.zeros(joint_size, dtype=np.int64)
    for by_split in predictions:
        labels_N, predicted_N = by_split[split].labels_N, by_split[split].predicted_N()
        column_N = np.where(predicted_N < 0, classes, predicted_N)
        counts += np.bincount(labels_N * (classes + 1) + column_N, minlength=joint_size)
    counts_CP = counts.reshape(classes, classes + 1)
    return ConfusionCounts(
        split=split, counts_CC=counts_CP[:, :classes], unclassified_C=counts_CP[:, classes], seeds=len(predictions)
    )


def _wrong(predictions: list[Predictions | None]) -> WrongCounts | None:
    known = [of_run for of_run in predictions if of_run is not None]
    if not known or len(known) < len(predictions):
        return None
    positions_N = known[0].indices_N
    if not all(np.array_equal(of_run.indices_N, positions_N) for of_run in known):
        return None
    wrong_N = np.sum([~of_run.correct_N() for of_run in known], axis=0)
    return WrongCounts(positions_N=positions_N, wrong_N=wrong_N, seeds=len(known))
