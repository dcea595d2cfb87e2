"""Made-up decision boundaries, written from the description in `assay.training.boundary`, and studies that hold
them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from synthetic_study import BASE, Behaviour, MemoryRun, make_run

from assay.studies.design import Study
from assay.studies.results import StudyResults
from assay.studies.store.contract import StoredRun
from assay.studies.verdicts import judge

Field = Callable[[Any, Any], Any]


def ring(radius: float) -> Field:
    """Class 1 inside a circle, surer by 6 for every unit further in."""
    return lambda x, y: 6 * (radius - np.hypot(x, y))


def artefact(
    *,
    epochs: Sequence[int] = (0, 1, 5),
    radius: Sequence[float] = (),
    field: Field | None = None,
    scores: Field | None = None,
    classes: int = 2,
    grid: int = 33,
    kind: str = "probabilities",
    lost: Sequence[bool] = (),
    points: Sequence[Sequence[float]] = ((0.1, 0.1, 1), (0.9, -0.9, 0)),
    points_in_all: int | None = None,
) -> bytes:
    """A file of frames from −1 to 1 each way: log-odds by a field, or scores of several classes."""
    x_YX, y_YX = np.meshgrid(np.linspace(-1, 1, grid), np.linspace(-1, 1, grid))
    winners, leads = [], []
    for at in range(len(epochs)):
        if scores is not None:
            scores_KYX = scores(x_YX, y_YX)
            ordered = np.sort(scores_KYX, axis=0)
            winner_YX, lead_YX = scores_KYX.argmax(axis=0), ordered[-1] - ordered[-2]
        else:
            odds_YX = (field or ring(radius[at] if radius else 0.5))(x_YX, y_YX)
            winner_YX, lead_YX = (odds_YX > 0).astype(int), np.abs(odds_YX)
        if lost and lost[at]:
            winner_YX, lead_YX = np.full_like(winner_YX, 255), np.zeros_like(lead_YX)
        winners.append(winner_YX)
        leads.append(np.minimum(lead_YX, 8))
    largest = [float(lead.max()) for lead in leads]
    byte_FYX = np.stack(
        [np.rint(255 * np.sqrt(lead / (top or 1))) for lead, top in zip(leads, largest, strict=True)]
    ).astype(np.uint8)
    change_FYX = np.diff(np.diff(byte_FYX, axis=2, prepend=np.uint8(0)), axis=1, prepend=np.uint8(0))
    blocks = np.stack(winners).astype(np.uint8).tobytes() + change_FYX.astype(np.uint8).tobytes()
    accuracies = [round(min(0.5 + 0.1 * at, 1.0), 3) for at in range(len(epochs))]
    facts = {
        "version": 1,
        "kind": kind,
        "extent": [-1.0, 1.0, -1.0, 1.0],
        "grid": grid,
        "epochs": list(epochs),
        "train_accuracy": accuracies,
        "val_accuracy": [round(a - 0.05, 3) if at else None for at, a in enumerate(accuracies)],
        "points": [list(point) for point in points],
        "points_in_all": points_in_all or len(points),
        "largest_leads": largest,
        "frames": base64.b64encode(zlib.compress(blocks)).decode(),
    }
    return json.dumps(facts).encode()


def results_with_boundaries(
    contents: Mapping[str, bytes | None],
    *,
    classes: Sequence[str] = ("outer", "inner"),
    shape: Sequence[int] | None = (2,),
    diverged: Collection[str] = (),
    claims: Sequence[tuple[str, str]] = (),
    seeds_from: int = 0,
    seeds: int = 3,
) -> StudyResults:
    """A study whose arms' runs kept these files; every seed's but the first's is one of its own."""
    study = Study.model_validate(
        {
            "name": "planes",
            "question": "Where does the line run?",
            "base": BASE,
            "arms": {name: {"train.epochs": 40 + at} for at, name in enumerate(contents)},
            "seeds": {"at_least": seeds, "at_most": seeds},
            "margin": {"val_accuracy": 0.01},
            "claims": [{"arm": arm, "beats": than, "metric": "val_accuracy"} for arm, than in claims],
        }
    )
    runs: dict[str, dict[int, StoredRun]] = {}
    for number, arm in enumerate(study.arms):
        content = contents[arm.name]
        behaviour = Behaviour(
            diverging_seeds=range(seeds_from, seeds_from + seeds) if arm.name in set(diverged) else ()
        )
        for seed in range(seeds_from, seeds_from + seeds):
            recipe = arm.recipe.resolved()
            run = make_run(seed, number, behaviour, epochs=4, classes=classes, examples=20, recipe=recipe)
            kept = content if seed == seeds_from else artefact(epochs=(0, 777))
            facts = {"source": "circles", "counts": {}, "skipped": [], "remarks": []}
            if shape is not None:
                facts["shape"] = list(shape)
            run = replace(
                run,
                record=replace(run.record, data=facts),
                artefacts={} if kept is None else {"decision_boundary.json": kept},
            )
            runs.setdefault(arm.name, {})[seed] = MemoryRun(run)
    fingerprints = {arm: {seed: run.record.fingerprint for seed, run in of.items()} for arm, of in runs.items()}
    judged = judge(
        study.comparisons,
        runs,
        {},
        first_seeds={arm.name: seeds_from for arm in study.arms},
        at_least=seeds,
        at_most=seeds,
    )
    return StudyResults(study=study, runs=runs, failures={}, claims=judged, fingerprints=fingerprints)
