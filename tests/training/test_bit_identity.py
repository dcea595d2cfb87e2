"""The same recipe and seed give the same bits: in this process or a fresh one, alone or beside others."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from assay.recipe.schema import Recipe
from assay.records import Run
from assay.training.run import run_recipe

RECIPES = {
    "mlp": {"model": {"name": "mlp", "widths": [96, 64], "norm": "batch", "dropout": 0.4}},
    "lenet5": {"model": {"name": "lenet5", "norm": "layer", "dropout": 0.2}, "optimizer": {"name": "rmsprop"}},
    "own": {"model": {"name": "own_models:Restless"}, "optimizer": {"name": "sgd", "momentum": 0.9}},
    "by hand": {"model": {"name": "lenet5", "norm": "batch", "dropout": 0.2}, "train": {"engine": "numpy"}},
}
trial = partial(run_recipe, fingerprint="same")


def recipe(name: str, seed: int = 5) -> Recipe:
    base = {"data": {"source": "digits"}, "train": {"epochs": 3, "batch_size": 50}, "seed": seed}
    sections = {**base, **RECIPES[name]}
    return Recipe.model_validate({**sections, "train": {**base["train"], **sections["train"]}})


def bits(run: Run) -> dict[str, object]:
    return {
        "history": [replace(epoch, seconds=0.0) for epoch in run.history],
        "weights": {name: array.tobytes() for name, array in run.weights.items()},
        "probabilities": {name: p.probabilities_NC.tobytes() for name, p in run.predictions.items()},
        "splits": {name: p.indices_N.tobytes() for name, p in run.predictions.items()},
        "preprocessing": run.preprocessing,
        "metrics": {name: value for name, value in run.record.metrics.items() if "seconds" not in name},
    }


@pytest.mark.slow
def test_workers_side_by_side_give_what_this_process_gives():
    inline = {name: bits(trial(recipe(name))) for name in RECIPES}
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as workers:
        futures = [(name, workers.submit(trial, recipe(name))) for name in [*RECIPES, *reversed(RECIPES)]]
        for name, future in futures:
            assert bits(future.result()) == inline[name], name


@pytest.mark.parametrize("name", list(RECIPES))
def test_nothing_that_ran_before_shows(name):
    first = bits(trial(recipe(name)))
    threads = torch.get_num_threads()
    torch.manual_seed(99), np.random.seed(99)
    trial(recipe("mlp", seed=77))
    torch.set_num_threads(2)
    try:
        assert bits(trial(recipe(name))) == first
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", list(RECIPES))
def test_another_seed_gives_other_bits(name):
    one, other = bits(trial(recipe(name))), bits(trial(recipe(name, seed=6)))
    assert one["weights"] != other["weights"]
    assert one["splits"] != other["splits"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_repeats_its_own_bits_and_comes_near_the_cpu():
    plain = recipe("mlp").model_copy(update={"model": recipe("mlp").model.model_copy(update={"dropout": 0.0})})
    first, again = trial(plain, device="cuda"), trial(plain, device="cuda")
    assert bits(first) == bits(again)
    on_cpu = trial(plain)
    assert first.record.metrics["initial_loss"] == pytest.approx(on_cpu.record.metrics["initial_loss"], rel=1e-4)
    assert first.record.metrics["val_accuracy"] == pytest.approx(on_cpu.record.metrics["val_accuracy"], abs=0.05)
    assert first.record.environment["gpu"]
