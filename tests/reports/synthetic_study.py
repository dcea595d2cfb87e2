"""Studies with made-up but lifelike runs, kept in memory: what the report is tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from assay.metrics.catalogue import CLASSIFICATION
from assay.metrics.classification import classification_report
from assay.metrics.evaluation import EVALUATION, reports_written
from assay.records import Array, EpochRecord, FailedRun, Predictions, Run, RunRecord
from assay.studies.design import Study
from assay.studies.results import StudyResults
from assay.studies.store.contract import StoredRun
from assay.studies.verdicts import judge

BASE = {
    "data": {"source": "digits"},
    "model": {"name": "mlp", "widths": [256, 256]},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "train": {"epochs": 40, "batch_size": 64},
}
ENVIRONMENT = {"assay": "0.1.0", "python": "3.11.9", "torch": "2.11.0", "device": "cpu", "cpu": "Example CPU, 2 cores"}


class MemoryRun(StoredRun):
    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def record(self) -> RunRecord:
        return self._run.record

    def history(self) -> tuple[EpochRecord, ...]:
        return self._run.history

    def predictions(self) -> Mapping[str, Predictions]:
        return self._run.predictions

    def weights(self) -> Mapping[str, Array]:
        return {}

    def last_weights(self) -> Mapping[str, Array]:
        return {}

    def preprocessing(self) -> tuple[Mapping[str, Any], Mapping[str, Array]]:
        return self._run.preprocessing, self._run.preprocessing_arrays

    def log(self) -> str:
        return self._run.log

    def artefacts(self) -> tuple[str, ...]:
        return tuple(sorted(self._run.artefacts))

    def artefact(self, name: str) -> bytes | None:
        return self._run.artefacts.get(name)

    @property
    def location(self) -> str:
        return f"runs/{self._run.fingerprint}"


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How the made-up runs of one arm come out."""

    accuracy: float = 0.97
    spread: float = 0.004
    overfit: float = 0.3
    diverging_seeds: Sequence[int] = field(default_factory=tuple)
    measured_every: int = 1
    measures_train: bool = True
    stops_after: int | None = None


def make_run(
    seed: int,
    arm_number: int,
    behaviour: Behaviour,
    *,
    epochs: int = 40,
    classes: Sequence[str] = tuple("0123456789"),
    examples: int = 360,
    recipe: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = ENVIRONMENT,
    evaluated: bool = False,
) -> Run:
    """With ``evaluated`` it keeps what its predictions are worth, as runs do; it takes hundredths of a second."""
    rng = np.random.default_rng([seed, arm_number])
    shared = np.random.default_rng([seed])
    target = np.clip(
        behaviour.accuracy + shared.normal(0, behaviour.spread) + rng.normal(0, behaviour.spread / 5), 0.02, 1
    )
    diverged = seed in behaviour.diverging_seeds
    trained = epochs // 4 if diverged else behaviour.stops_after or epochs
    history = _history(rng, float(target), behaviour, trained, diverged)
    split_predictions = {
        "val": _predictions(rng, shared, classes, examples, float(target), diverged),
        "test": _predictions(rng, np.random.default_rng(5), classes, examples, float(target) - 0.004, diverged),
    }
    accuracy = {split: float(p.correct_N().mean()) for split, p in split_predictions.items()}
    reports = {split: classification_report(p) for split, p in split_predictions.items()} if evaluated else {}
    last = history[-1]
    history = (*history[:-1], replace(last, val_accuracy=accuracy["val"]))
    record = RunRecord(
        fingerprint=f"{arm_number:04x}{seed:08x}".ljust(16, "a") + "0" * 48,
        status="diverged" if diverged else "completed",
        recipe=recipe or {},
        metrics={
            "val_accuracy": accuracy["val"],
            "val_loss": None if diverged else last.val_loss,
            "best_val_accuracy": accuracy["val"],
            "test_accuracy": accuracy["test"],
            "test_loss": None if diverged else float(0.1 + rng.normal(0, 0.01)),
            "train_accuracy": last.train_accuracy,
            "train_loss": last.train_loss,
            "seconds": float(2.0 + rng.normal(0, 0.1)),
            "inference_seconds": float(4e-6 + rng.normal(0, 1e-7)),
            "parameters": 85_002.0,
            "trainable_parameters": 85_002.0,
            **{
                f"{split}_{name}": figure.value
                for split, report in reports.items()
                for name, figure in report.figures.items()
                if name in CLASSIFICATION
            },
        },
        examples={"train": 1149, "val": examples, "test": examples},
        classes=tuple(classes),
        parameters=85_002,
        trainable_parameters=85_002,
        environment=environment,
        started_at=f"2026-03-01T10:{seed % 60:02d}:00Z",
        seconds=2.6,
        diverged_at={"epoch": len(history), "step": len(history) * 18} if diverged else None,
    )
    artefacts = {EVALUATION: reports_written(reports)} if evaluated else {}
    return Run(record=record, history=history, predictions=split_predictions, artefacts=artefacts)


def _history(
    rng: np.random.Generator, target: float, behaviour: Behaviour, epochs: int, diverged: bool
) -> tuple[EpochRecord, ...]:
    records = []
    for epoch in range(1, epochs + 1):
        learned = 1 - np.exp(-epoch / 5)
        lost = diverged and epoch == epochs
        measured = epoch % behaviour.measured_every == 0 or epoch == epochs
        on_train = measured and behaviour.measures_train
        accuracy = float(np.clip(0.1 + (target - 0.1) * learned + rng.normal(0, 0.004), 0, 1))
        train_loss = float(2.3 * np.exp(-epoch / 4) + 0.02 + abs(rng.normal(0, 0.002)))
        val_loss = float(2.3 * np.exp(-epoch / 4) + 0.09 + behaviour.overfit * 0.002 * epoch + rng.normal(0, 0.004))
        records.append(
            EpochRecord(
                epoch=epoch,
                step=epoch * 18,
                lr=1e-3,
                running_train_loss=None if lost else train_loss * 1.1,
                running_train_accuracy=accuracy,
                train_loss=train_loss if on_train and not lost else None,
                train_accuracy=float(min(1.0, accuracy + 0.02 * learned)) if on_train else None,
                val_loss=val_loss if measured and not lost else None,
                val_accuracy=accuracy if measured else None,
                gradient_norm=None if lost else float(1.5 * np.exp(-epoch / 9) + 0.05),
                weight_norm=None if lost else 14.0 + 0.1 * epoch,
                seconds=0.05,
            )
        )
    return tuple(records)


def _predictions(
    rng: np.random.Generator,
    labels_from: np.random.Generator,
    classes: Sequence[str],
    examples: int,
    target: float,
    diverged: bool,
) -> Predictions:
    count = len(classes)
    labels_N = np.sort(labels_from.integers(count, size=examples))
    # Most of what decides an example is the same for both arms of a pair, as it is in life.
    wrong_N = np.where(rng.random(examples) < 0.1, rng.random(examples), labels_from.random(examples)) >= target
    neighbour_N = (labels_N + rng.choice([1, 5 % count or 1, count - 1], size=examples, p=[0.5, 0.35, 0.15])) % count
    predicted_N = np.where(wrong_N, neighbour_N, labels_N)
    probabilities_NC = np.full((examples, count), 0.02, dtype=np.float32)
    probabilities_NC[np.arange(examples), predicted_N] = 0.9
    if diverged:
        probabilities_NC[: examples // 2] = np.nan
    return Predictions(
        probabilities_NC=probabilities_NC, labels_N=labels_N.astype(np.int64), indices_N=np.arange(examples)
    )


def make_results(
    study: Study,
    behaviours: Mapping[str, Behaviour] | None = None,
    *,
    seeds: int = 5,
    failing: Mapping[str, Mapping[int, FailedRun]] | None = None,
    **run_options: Any,
) -> StudyResults:
    """Results of a study as if it had run up to ``seeds`` seeds, with its claims judged on them."""
    behaviours = behaviours or {}
    failing = failing or {}
    runs: dict[str, dict[int, StoredRun]] = {}
    fingerprints: dict[str, dict[int, str]] = {}
    for number, arm in enumerate(study.arms):
        behaviour = behaviours.get(arm.name, Behaviour())
        by_seed = {
            seed: MemoryRun(make_run(seed, number, behaviour, recipe=arm.recipe.resolved(), **run_options))
            for seed in range(arm.first_seed, arm.first_seed + seeds)
            if seed not in failing.get(arm.name, {})
        }
        runs[arm.name] = dict(by_seed)
        fingerprints[arm.name] = {
            seed: f"{number:04x}{seed:08x}" for seed in range(arm.first_seed, arm.first_seed + seeds)
        }
    claims = judge(
        study.comparisons,
        runs,
        failing,
        first_seeds={arm.name: arm.first_seed for arm in study.arms},
        at_least=study.seeds.at_least,
        at_most=study.seeds.at_most,
    )
    return StudyResults(study=study, runs=runs, failures=failing, claims=claims, fingerprints=fingerprints)


def dropout_study(**changes: Any) -> Study:
    """A study with a claim of each outcome, given the behaviours of `DROPOUT`."""
    options: dict[str, Any] = {
        "question": "Does dropout help a small MLP on handwritten digits?",
        "name": "digits-dropout",
        "base": BASE,
        "arms": {
            "plain": {},
            "dropout 0.25": {"model.dropout": 0.25},
            "dropout 0.5": {"model.dropout": 0.5},
            "dropout 0.95": {"model.dropout": 0.95},
        },
        "seeds": {"at_least": 3, "at_most": 8},
        "margin": {"val_accuracy": 0.01},
        "claims": [
            {"arm": "dropout 0.5", "matches": "plain", "metric": "val_accuracy"},
            {"arm": "dropout 0.95", "beats": "plain", "metric": "val_accuracy"},
            {"arm": "dropout 0.25", "beats": "plain", "metric": "test_accuracy"},
            {"arm": "dropout 0.25", "beats": "plain", "metric": "val_loss"},
        ],
    }
    return Study(**{**options, **changes}).read_from("labs/digits/dropout.yaml")


DROPOUT = {
    "plain": Behaviour(accuracy=0.972, spread=0.001, overfit=1.0),
    "dropout 0.25": Behaviour(accuracy=0.978, spread=0.002, overfit=0.4),
    "dropout 0.5": Behaviour(accuracy=0.973, spread=0.001, overfit=0.1),
    "dropout 0.95": Behaviour(accuracy=0.845, spread=0.01, overfit=0.0),
}
