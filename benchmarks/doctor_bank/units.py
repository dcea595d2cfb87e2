"""Dead and saturated units of a stored run, measured anew on a thousand test images."""

from __future__ import annotations

import numpy as np
from truth import Fact

from assay.data.load import load_source
from assay.recipe.schema import Recipe
from assay.studies.store.contract import StoredRun
from assay.training.activations import ActivationTracer
from assay.training.predictor import Predictor


def facts_of_units(run: StoredRun) -> dict[str, Fact]:
    """Judged by other images than the doctor saw."""
    if run.record.status == "diverged":
        return dict.fromkeys(("dead_units", "saturated_units"), Fact(right=None))
    predictor = Predictor(run.record, run.weights(), run.preprocessing())
    inputs = load_source(Recipe.model_validate(run.record.recipe).data).inputs
    chosen = run.predictions()["test"].indices_N[:1000]
    tracer = ActivationTracer()
    with tracer:
        predictor.probabilities(np.asarray(inputs[chosen]))
    dead = max((one.dead for one in tracer.found if one.kind == "rectifier" and one.units >= 8), default=0.0)
    saturated = max((one.saturated for one in tracer.found if one.kind == "saturating"), default=0.0)
    return {
        "dead_units": Fact(right=_share(dead), must=dead > 0.6),
        "saturated_units": Fact(right=_share(saturated), must=saturated > 0.6),
    }


def _share(share: float) -> bool | None:
    return True if share >= 0.45 else False if share < 0.35 else None
