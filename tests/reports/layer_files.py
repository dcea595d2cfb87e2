"""Made-up tables of layers, written from the description in `assay.training.layer_table`, and studies with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from synthetic_study import BASE, Behaviour, MemoryRun, make_run

from assay.studies.design import Study
from assay.studies.results import StudyResults

CONVOLUTION = ["conv1", "Conv2d 5×5", [6, 28, 28], 156, 156, 117_600, 18_816, [5, 5], [1, 1]]
OUTPUT = ["output", "Linear", [10], 47_050, 47_050, 47_040, 40, ["whole", "whole"], [None, None]]


def layers(**changes: Any) -> bytes:
    """A file of a small network."""
    facts = {
        "version": 1,
        "input_shape": [1, 32, 32],
        "parameters": 47_206,
        "trainable_parameters": 47_206,
        "macs": 164_640,
        "output_bytes": 18_856,
        "training_bytes": 22_912,
        "largest_window": [5, 5],
        "layers": 2,
        "depth": None,
        "rows": [CONVOLUTION, OUTPUT],
    }
    return json.dumps({**facts, **changes}).encode()


def results_with_layers(
    contents: Mapping[str, bytes | None], *, models: Mapping[str, Mapping[str, Any]] | None = None, seeds: int = 2
) -> StudyResults:
    """A study whose arms' first runs kept these files, and further ones something else."""
    models = models or {}
    arms = {name: {"train.epochs": 40 + at, **_model(models.get(name))} for at, name in enumerate(contents)}
    study = Study.model_validate(
        {"name": "networks", "base": BASE, "arms": arms, "seeds": {"at_least": seeds, "at_most": seeds}}
    )
    runs: dict[str, dict[int, Any]] = {}
    for number, arm in enumerate(study.arms):
        for seed in range(seeds):
            run = make_run(seed, number, Behaviour(), epochs=4, examples=20, recipe=arm.recipe.resolved())
            kept = contents[arm.name] if seed == 0 else layers(macs=seed)
            run = replace(run, artefacts={} if kept is None else {"layers.json": kept})
            runs.setdefault(arm.name, {})[seed] = MemoryRun(run)
    fingerprints = {arm: {seed: run.record.fingerprint for seed, run in of.items()} for arm, of in runs.items()}
    return StudyResults(study=study, runs=runs, failures={}, claims=(), fingerprints=fingerprints)


def _model(section: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {} if section is None else {"model": section}


def row(**changes: Any) -> Sequence[Any]:
    """A row with some of its values changed, by place in `assay.training.layer_table`."""
    names = ("name", "kind", "shape", "parameters", "trainable", "macs", "output_bytes", "field", "stride")
    return [changes.get(name, value) for name, value in zip(names, CONVOLUTION, strict=True)]
