"""A stored run's model gives again what the run's own evaluation gave, to the last bit."""

import numpy as np
import pytest

from assay.data.load import load_source
from assay.errors import InputError, StoreError
from assay.recipe.schema import FittedAtOnce, Recipe
from assay.records import Run
from assay.studies.store.folder import FolderStore
from assay.training.predictor import Predictor
from assay.training.run import run_recipe

DIGITS = {"source": "digits"}
SGD = {"name": "sgd", "lr": 0.05}


def recipe_of(**sections) -> Recipe:
    return Recipe.model_validate({"data": DIGITS, "optimizer": SGD, "train": {"epochs": 2}, "seed": 3} | sections)


def stored(recipe: Recipe, tmp_path):
    """As a store gives it back: read-only arrays, and nothing of the process that trained it."""
    run: Run = run_recipe(recipe, fingerprint="abcdef")
    FolderStore(tmp_path).add(run)
    kept = FolderStore(tmp_path).get("abcdef")
    assert kept is not None
    return kept


def predictor_of(kept) -> Predictor:
    return Predictor(kept.record, kept.weights(), kept.preprocessing())


MODELS = {
    "mlp": {"name": "mlp", "widths": [16], "dropout": 0.5},
    "convolutions and batch norm": {"name": "cifar_resnet", "depth": 20},
}

RECIPES = {
    "mlp": {"model": MODELS["mlp"]},
    "numpy engine": {"model": {"name": "mlp", "widths": [16]}, "train": {"epochs": 2, "engine": "numpy"}},
    "whole images whitened": {"model": MODELS["mlp"], "data": {**DIGITS, "normalize": "zca"}},
    "averaged weights": {"model": MODELS["mlp"], "averaging": {"name": "ema", "decay": 0.9}},
    "best epoch": {"model": MODELS["mlp"], "train": {"epochs": 4, "keep": "best"}},
    "double precision": {"model": MODELS["mlp"], "train": {"epochs": 1, "precision": "float64"}},
    "bfloat16 and views": {
        "model": MODELS["convolutions and batch norm"],
        "train": {"epochs": 1, "precision": "bfloat16", "channels_last": True, "threads": 2},
        "evaluate": {"views": "mirrored_and_shifted"},
    },
    "linear machine": {"model": {"name": "svm", "kernel": "linear"}},
    "rbf machine": {"model": {"name": "svm", "kernel": "rbf"}},
    "logistic regression": {"model": {"name": "logistic_regression"}},
    "two classes, rbf machine": {"data": {"source": "circles"}, "model": {"name": "svm", "kernel": "rbf"}},
    "two classes, linear machine": {"data": {"source": "circles"}, "model": {"name": "svm", "kernel": "linear"}},
    "two classes, logistic regression": {"data": {"source": "circles"}, "model": {"name": "logistic_regression"}},
    "not trained": {"model": MODELS["mlp"], "train": {"epochs": 0}},
}


@pytest.mark.parametrize("name", RECIPES)
def test_it_gives_again_what_the_run_recorded(name, tmp_path):
    recipe = recipe_of(**RECIPES[name])
    kept = stored(recipe, tmp_path)
    predictor, inputs = predictor_of(kept), load_source(recipe.data).inputs
    for split, recorded in kept.predictions().items():
        raw_N = inputs[recorded.indices_N]
        batches = range(0, len(raw_N), predictor.batch_size)
        again = [predictor.probabilities(raw_N[start : start + predictor.batch_size]) for start in batches]
        if recipe.train.engine == "numpy" or isinstance(recipe.model, FittedAtOnce):  # which add up in another order
            np.testing.assert_allclose(np.concatenate(again), recorded.probabilities_NC, atol=1e-6, err_msg=split)
        else:
            np.testing.assert_array_equal(np.concatenate(again), recorded.probabilities_NC, err_msg=split)


def test_inputs_of_another_shape_are_refused(tmp_path):
    predictor = predictor_of(stored(recipe_of(model=MODELS["mlp"]), tmp_path))
    with pytest.raises(InputError, match=r"takes inputs \(1, 8, 8\), got \(1, 8, 9\)"):
        predictor.probabilities(np.zeros((2, 1, 8, 9), dtype=np.uint8))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    kept = stored(recipe_of(model=MODELS["mlp"]), tmp_path)
    weights = dict(kept.weights())
    weights.popitem()
    with pytest.raises(StoreError, match=r"The weights of run abcdef do not fit its recipe: .*Missing key"):
        Predictor(kept.record, weights, kept.preprocessing())


def test_weights_of_a_machine_that_do_not_fit_are_refused(tmp_path):
    kept = stored(recipe_of(model={"name": "svm", "kernel": "rbf"}), tmp_path)
    weights = {name: array for name, array in kept.weights().items() if name != "gamma"}
    with pytest.raises(StoreError, match="The weights of run abcdef do not fit its recipe: 'gamma'"):
        Predictor(kept.record, weights, kept.preprocessing())
