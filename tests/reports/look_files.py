"""Made-up files of a closer look, as large as runs keep them, and studies whose runs kept them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from PIL import Image
from synthetic_study import BASE, Behaviour, MemoryRun, make_run

from assay.data.thumbnails import Thumbnails, png, thumbnails
from assay.metrics.class_activation import (
    CLASS_ACTIVATION,
    ClassActivation,
    class_activation_written,
    examples_to_explain,
)
from assay.metrics.mistakes import MISTAKES, choose_mistakes, mistakes_of, mistakes_written
from assay.metrics.shown_examples import Tiles, shown_examples
from assay.metrics.weight_statistics import WEIGHTS, weight_statistics, weights_written
from assay.records import Run
from assay.studies.design import Study
from assay.studies.results import StudyResults

PICTURES = ("mistakes.png", "class_activation.png", "filters.png")


def noise(count: int, side: int, seed: int = 0) -> list[np.ndarray]:
    """Images that hardly compress."""
    return list(np.random.default_rng(seed).integers(256, size=(count, 3, side, side), dtype=np.uint8))


@cache
def sheet_of(count: int, side: int) -> Thumbnails:
    return thumbnails(noise(count, side), side=side)


def picture(width: int = 30, height: int = 20) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


def weights(layers: Sequence[str] = ("conv1.weight", "output.weight"), *, scale: float = 0.1) -> bytes:
    rng = np.random.default_rng(0)
    return weights_written(weight_statistics({name: rng.normal(0, scale, size=(20, 30)) for name in layers}))


def look_of(run: Run, *, layers: Sequence[str] = ("conv1.weight", "output.weight")) -> Mapping[str, bytes]:
    """What a run would have kept of its test predictions, had it been trained on images of 32×32 in colour."""
    predictions = run.predictions["test"]
    chosen = choose_mistakes(predictions, probabilistic=True)
    sheet = sheet_of(len(chosen.places), 32)
    tiles = Tiles(columns=sheet.columns, width=sheet.width, height=sheet.height)
    places = examples_to_explain(predictions)
    maps = sheet_of(2 * len(places), 64)
    activation = ClassActivation(
        layer="conv2",
        examples=shown_examples(predictions, places, probabilistic=True),
        tiles=Tiles(columns=maps.columns, width=maps.width, height=maps.height),
    )
    mistakes = mistakes_of(predictions, chosen, tiles, probabilistic=True)
    return {
        "mistakes.png": sheet.content,
        MISTAKES: mistakes_written(mistakes),
        "class_activation.png": maps.content,
        CLASS_ACTIVATION: class_activation_written(activation),
        "filters.png": png(Image.fromarray(noise(1, 160)[0].transpose(1, 2, 0))),
        WEIGHTS: weights(layers),
    }


def results_with_looks(
    arms: Sequence[str],
    *,
    seeds: int = 2,
    instead: Mapping[str, bytes | None] | None = None,
    layers: Sequence[str] = ("conv1.weight", "output.weight"),
    **run_options: Any,
) -> StudyResults:
    """A study whose runs kept a closer look; with ``instead``, the first run of its first arm kept these files, or
    none of that name."""
    study = Study.model_validate(
        {
            "name": "looks",
            "base": BASE,
            "arms": {name: {"train.epochs": 40 + at} for at, name in enumerate(arms)},
            "seeds": {"at_least": seeds, "at_most": seeds},
        }
    )
    runs: dict[str, dict[int, Any]] = {}
    options = {"epochs": 4, "examples": 200, **run_options}
    for number, arm in enumerate(study.arms):
        behaviour = Behaviour(accuracy=0.6)
        for seed in range(seeds):
            run = make_run(seed, number, behaviour, recipe=arm.recipe.resolved(), **options)
            files = {**look_of(run, layers=layers)}
            if number == seed == 0:
                files = {name: content for name, content in {**files, **(instead or {})}.items() if content is not None}
            metrics = {**run.record.metrics, "near_zero_weights": 0.1 + 0.01 * seed}
            run = replace(run, artefacts=files, record=replace(run.record, metrics=metrics))
            runs.setdefault(arm.name, {})[seed] = MemoryRun(run)
    fingerprints = {arm: {seed: run.record.fingerprint for seed, run in of.items()} for arm, of in runs.items()}
    return StudyResults(study=study, runs=runs, failures={}, claims=(), fingerprints=fingerprints)
