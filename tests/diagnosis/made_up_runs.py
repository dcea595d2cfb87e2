"""Runs that were never trained, with whatever history, predictions and vitals a rule is to be shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.diagnosis.evidence import Evidence
from assay.metrics.vitals import Activity, ActivitySample, Stretch, Vitals, WeightSample
from assay.recipe.schema import Recipe
from assay.records import EpochRecord, Predictions, RunRecord

CLASSES = tuple("abcdefghij")
RECIPE: dict[str, Any] = {
    "data": {"source": "digits"},
    "model": {"name": "mlp"},
    "optimizer": {"name": "sgd", "lr": 0.05},
    "train": {"epochs": 20},
}


def predictions(
    accuracy: float, examples: int = 2000, classes: int = 10, *, seed: int = 0, confidence: float = 0.8
) -> Predictions:
    """Wrong ones are of the next class, the label the second most probable: confusions of alike classes."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, classes, size=examples)
    wrong_N = np.arange(examples) < round((1 - accuracy) * examples)
    predicted_N = (labels_N + wrong_N) % classes
    probabilities_NC = rng.uniform(0.9, 1.1, size=(examples, classes)) * (1 - confidence) / classes
    probabilities_NC[np.arange(examples), labels_N] += 0.1 * confidence
    probabilities_NC[np.arange(examples), predicted_N] += 0.9 * confidence
    probabilities_NC /= probabilities_NC.sum(axis=1, keepdims=True)
    return Predictions(
        probabilities_NC=probabilities_NC.astype(np.float32), labels_N=labels_N, indices_N=np.arange(examples)
    )


def uncertain_predictions(examples: int = 2000, classes: int = 10, *, seed: int = 0) -> Predictions:
    """Of examples easy and hard, with labels drawn from the probabilities themselves."""
    rng = np.random.default_rng(seed)
    score_NC = rng.normal(size=(examples, classes)) * rng.uniform(1.0, 10.0, size=(examples, 1))
    probability_NC = np.exp(score_NC - score_NC.max(axis=1, keepdims=True))
    probability_NC /= probability_NC.sum(axis=1, keepdims=True)
    drawn_N1 = rng.random((examples, 1))
    labels_N = (drawn_N1 > probability_NC.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return Predictions(
        probabilities_NC=probability_NC.astype(np.float32), labels_N=labels_N, indices_N=np.arange(examples)
    )


def history(
    train_accuracy: Sequence[float],
    val_accuracy: Sequence[float],
    train_loss: Sequence[float] | None = None,
    *,
    running_accuracy: Sequence[float] | None = None,
    lr: Sequence[float] | None = None,
) -> tuple[EpochRecord, ...]:
    losses = train_loss if train_loss is not None else [2.3 * (1 - a) + 0.01 for a in train_accuracy]
    running = running_accuracy if running_accuracy is not None else train_accuracy
    return tuple(
        EpochRecord(
            epoch=at + 1,
            step=(at + 1) * 100 - 1,
            lr=0.05 if lr is None else lr[at],
            running_train_loss=losses[at],
            running_train_accuracy=running[at],
            train_loss=losses[at],
            train_accuracy=train_accuracy[at],
            val_loss=2.3 * (1 - val_accuracy[at]) + 0.05,
            val_accuracy=val_accuracy[at],
            gradient_norm=1.0,
            weight_norm=10.0,
            seconds=1.0,
        )
        for at in range(len(train_accuracy))
    )


def rising(to: float, epochs: int = 20) -> list[float]:
    return [0.1 + (to - 0.1) * (1 - math.exp(-5 * (at + 1) / epochs)) for at in range(epochs)]


def made_up(
    of_history: tuple[EpochRecord, ...] | None = None,
    *,
    val: Predictions | None = None,
    test: Predictions | None = None,
    vitals: Vitals | None = None,
    recipe: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float | None] | None = None,
    **facts: Any,
) -> Evidence:
    """A healthy run, but for what is given."""
    of_history = of_history or history(rising(0.97), rising(0.96))
    last = of_history[-1]
    val = val or predictions(last.val_accuracy or 0.0, seed=1)
    test = test or predictions(float(val.correct_N().mean()), seed=2)
    found = {
        "val_accuracy": float(val.correct_N().mean()),
        "test_accuracy": float(test.correct_N().mean()),
        "train_accuracy": last.train_accuracy,
        "running_train_accuracy": last.running_train_accuracy,
        "initial_loss": 2.31,
        **(metrics or {}),
    }
    options: dict[str, Any] = {
        "fingerprint": "f" * 32,
        "status": "completed",
        "recipe": {},
        "metrics": found,
        "examples": {"train": 8000, "val": len(val.labels_N), "test": len(test.labels_N)},
        "classes": CLASSES,
        "parameters": 1000,
        "trainable_parameters": 1000,
        "environment": {},
        "started_at": "2026-01-01T00:00:00Z",
        "seconds": 1.0,
        "data": {"shape": [1, 8, 8]},
    }
    layers = facts.pop("layers", None)
    return Evidence(
        record=RunRecord(**{**options, **facts}),
        recipe=Recipe.model_validate({**RECIPE, **(recipe or {})}),
        history=of_history,
        predictions={"val": val, "test": test},
        vitals=vitals,
        layers=layers,
    )


def vitals_of(
    *,
    losses: Sequence[float | None] = (2.3, 1.5, 1.0, 0.7, 0.5, 0.3),
    norms: Sequence[float | None] | None = None,
    ratios: Sequence[float] = (1e-3, 1e-3, 1e-3),
    gradients: Sequence[float] = (1e-2, 1e-2, 1e-2),
    weight: float = 0.1,
    samples: int = 10,
    activity: Sequence[Activity] = (),
    examples: int = 256,
) -> Vitals:
    """Steps 100 to a stretch; the same update ratio and gradient of each of three weight tensors at every look."""
    norms = norms if norms is not None else [1.0] * len(losses)
    return Vitals(
        steps_per_epoch=100,
        stretches=tuple(
            Stretch(
                step=100 * at,
                steps=100,
                loss=loss,
                highest_loss=None if loss is None else 1.2 * loss,
                gradient_norm=norm,
                highest_gradient_norm=norm,
            )
            for at, (loss, norm) in enumerate(zip(losses, norms, strict=True))
        ),
        weights=("linear1.weight", "linear2.weight", "output.weight"),
        samples=tuple(
            WeightSample(
                step=16 * at,
                gradient_L=tuple(gradients),
                weight_L=(weight,) * 3,
                update_L=tuple(weight * ratio for ratio in ratios),
            )
            for at in range(samples)
        ),
        activity=tuple(
            ActivitySample(epoch=epoch, examples=examples, layers=tuple(activity))
            for epoch in ((0, 20) if activity else ())
        ),
    )


def layer(kind: str = "rectifier", *, dead: float = 0.0, saturated: float = 0.0, units: int = 64) -> Activity:
    return Activity(
        layer="activation1",
        operation="relu" if kind == "rectifier" else "sigmoid",
        kind=kind,  # type: ignore[arg-type]
        units=units,
        dead=dead,
        active=0.5 * (1 - dead),
        saturated=saturated,
        mean=0.1,
        deviation=0.2,
    )
