"""The test images that a run keeps because its model gets them wrong."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from assay.metrics.mistakes import MISTAKES, Mistakes, mistakes_read
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.training.mistakes import MISTAKES_SHEET
from assay.training.prepare import prepare_data
from assay.training.run import run_recipe

DIGITS = {"data": {"source": "digits"}, "model": {"name": "mlp", "widths": [8]}, "train": {"epochs": 1}}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({**DIGITS, **sections})


def run(**sections: Any) -> Run:
    return run_recipe(recipe(**sections), fingerprint="f00d")


def kept_of(found: Run) -> tuple[Mistakes, np.ndarray]:
    kept = mistakes_read(found.artefacts[MISTAKES], classes=len(found.record.classes))
    with Image.open(io.BytesIO(found.artefacts[MISTAKES_SHEET])) as image:
        return kept, np.asarray(image.convert("L"))


@pytest.mark.parametrize(
    "model", [{"name": "mlp", "widths": [8]}, {"name": "logistic_regression"}], ids=["network", "fitted at once"]
)
def test_every_tile_is_the_image_that_is_spoken_of(model: dict[str, Any]) -> None:
    found = run(model=model)
    kept, sheet = kept_of(found)
    data = prepare_data(recipe(model=model), torch.device("cpu"))
    split, predictions = data.splits["test"], found.predictions["test"]
    assert len(kept.examples) >= 18
    for at, one in enumerate(kept.examples):
        (place,) = np.flatnonzero(split.indices_N == one.position)
        row, column = divmod(at, kept.tiles.columns)
        tile = sheet[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        assert np.array_equal(tile, split.raw(np.array([place])).numpy()[0, 0])
        assert one.label == predictions.labels_N[place]
        assert one.predicted == predictions.predicted_N()[place]
        assert one.probability == pytest.approx(predictions.probabilities_NC[place, one.label], abs=1e-5)


def test_a_machine_that_decides_keeps_no_probabilities() -> None:
    kept, _ = kept_of(run(model={"name": "svm", "kernel": "linear"}))
    assert kept.examples
    assert all(one.probability is None and one.confidence is None for one in kept.examples)
    assert all(one.predicted != one.label for one in kept.examples)


def test_points_have_no_pictures() -> None:
    found = run(data={"source": "circles"})
    assert MISTAKES not in found.artefacts
    assert MISTAKES_SHEET not in found.artefacts


def test_a_model_that_is_always_right_keeps_what_was_hardest() -> None:
    found = run(train={"epochs": 30}, model={"name": "lenet5"}, data={"source": "digits", "fraction": 0.3})
    kept, _ = kept_of(found)
    assert len(kept.worst) == 18
    assert any(one.predicted == one.label for one in kept.examples)
