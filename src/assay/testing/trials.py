"""Made-up recipes, and trials that take microseconds in the place of training.

Shape key: N examples of a split, C classes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Literal

import numpy as np

from assay.errors import DataError
from assay.recipe.schema import DigitsData, MlpModel, Recipe
from assay.recipe.streams import stream
from assay.records import Array, EpochRecord, Predictions, Run, RunRecord

Misfortune = Literal["raise", "raise unpicklable", "raise input error", "exit", "exit hard", "killed", "hang"]

EXAMPLES = 360
CLASSES = 10
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""


def made_up_recipe(seed: int = 0, *, dropout: float = 0.0) -> Recipe:
    """A small recipe; seed and dropout tell one from another."""
    return Recipe(
        data=DigitsData(source="digits"), model=MlpModel(name="mlp", widths=(16,), dropout=dropout), seed=seed
    )


def made_up_fingerprint(recipe: Recipe) -> str:
    """Names the run of a recipe, without looking at any data set."""
    return hashlib.sha256(json.dumps(recipe.resolved(), sort_keys=True).encode()).hexdigest()[:32]


def made_up_run(recipe: Recipe) -> Run:
    """What training might give: every part of a run, decided by the recipe alone but for its times."""
    draws = stream(recipe.seed, "init", json.dumps(recipe.model.model_dump(mode="json"), sort_keys=True))
    predictions = {"val": _predictions(draws), "test": _predictions(draws)}
    accuracy = float(predictions["val"].correct_N().mean())
    started = time.time()
    return Run(
        record=RunRecord(
            fingerprint=made_up_fingerprint(recipe),
            status="completed",
            recipe=recipe.resolved(),
            metrics={
                "val_accuracy": accuracy,
                "val_loss": None,
                "test_accuracy": float(predictions["test"].correct_N().mean()),
                "seconds": time.time() - started,
            },
            examples={"train": 1077, "val": EXAMPLES, "test": EXAMPLES},
            classes=tuple(str(digit) for digit in range(CLASSES)),
            parameters=1210,
            trainable_parameters=1210,
            environment={"device": "made up", "python": sys.version.split()[0]},
            started_at=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(started)),
            seconds=time.time() - started,
            data={
                "source": "digits",
                "shape": [1, 8, 8],
                "counts": {
                    "train": [108] * 7 + [107] * 3,
                    "val": [EXAMPLES // CLASSES] * CLASSES,
                    "test": [EXAMPLES // CLASSES] * CLASSES,
                },
                "skipped": [],
                "remarks": ["made up"],
            },
        ),
        history=tuple(_epoch(epoch, accuracy) for epoch in range(1, 4)),
        predictions=predictions,
        weights={
            "layers.0.weight": draws.normal(size=(16, 64)).astype(np.float32),
            "layers.0.bias": np.zeros(16, dtype=np.float32),
            "batches": np.array(51, dtype=np.int64),
        },
        preprocessing={"normalize": "standard", "shape": [1, 8, 8]},
        preprocessing_arrays={"mean": np.full((1, 8, 8), 0.3), "deviation": np.full((1, 8, 8), 0.4)},
        artefacts={"augmented.png": PICTURE, "confusion_test.csv": b"true,predicted,count\n"},
        log="trained on made-up digits: ½ of them\n",
    )


def noisy_trial(recipe: Recipe) -> Run:
    """Writes to both standard streams, in Python's way and below it."""
    print("noise on standard output")
    print("noise on standard error", file=sys.stderr)
    os.write(1, b"noise on descriptor 1\n")
    os.write(2, b"noise on descriptor 2\n")
    return made_up_run(recipe)


def slow_trial(recipe: Recipe, *, seconds: float) -> Run:
    """Takes its time."""
    time.sleep(seconds)
    return made_up_run(recipe)


def huge_trial(recipe: Recipe, *, megabytes: int) -> Run:
    """A run far larger than any pipe's buffer."""
    run = made_up_run(recipe)
    weights: dict[str, Array] = {"huge": np.full(megabytes * 131_072, float(recipe.seed))}
    return Run(record=run.record, weights=weights)


def unsendable_trial(recipe: Recipe) -> Run:
    """A run that cannot be pickled."""
    return Run(record=made_up_run(recipe).record, preprocessing={"function": lambda: None})


def unlucky_trial(recipe: Recipe, *, misfortunes: Mapping[int, Misfortune]) -> Run:
    """Comes to grief at the seeds named, each in its own way."""
    match misfortunes.get(recipe.seed):
        case "raise":
            raise ValueError(f"seed {recipe.seed} is unlucky")
        case "raise unpicklable":
            raise UnpicklableError(lambda: None)
        case "raise input error":
            raise DataError("pixels.csv has no rows.")
        case "exit":
            sys.exit("enough")
        case "exit hard":
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        case "hang":
            time.sleep(3600.0)
    return made_up_run(recipe)


class UnpicklableError(Exception):
    """An exception no pipe can carry."""

    def __str__(self) -> str:
        return "this exception holds a function"


def _predictions(draws: np.random.Generator) -> Predictions:
    labels_N = np.arange(EXAMPLES, dtype=np.int64) % CLASSES
    logits_NC = draws.normal(size=(EXAMPLES, CLASSES)) + 4.0 * np.eye(CLASSES)[labels_N]
    odds_NC = np.exp(logits_NC)
    probabilities_NC = (odds_NC / odds_NC.sum(axis=1, keepdims=True)).astype(np.float32)
    return Predictions(probabilities_NC=probabilities_NC, labels_N=labels_N, indices_N=np.arange(EXAMPLES) + 1437)


def _epoch(epoch: int, accuracy: float) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        step=17 * epoch,
        lr=0.001,
        running_train_loss=1.0 / epoch,
        running_train_accuracy=accuracy,
        train_loss=1.0 / (epoch + 1),
        train_accuracy=accuracy,
        val_loss=None,
        val_accuracy=accuracy,
        gradient_norm=0.1,
        weight_norm=10.0 + epoch,
        seconds=0.01,
    )
