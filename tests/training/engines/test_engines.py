"""The engines against each other: one recipe, one curve, whatever computes it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

import assay
from assay.data.batches import training_batches
from assay.data.load import load_source, source_fingerprint
from assay.data.normalize import Preprocessing, apply
from assay.errors import DataError, InputError, InvalidValueError
from assay.models.build import build_model
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.scratch import convolution
from assay.scratch.in_parallel import in_shares, shares
from assay.training.engines.choose import build_engine
from assay.training.prepare import prepare_data
from assay.training.run import run_recipe

CURVES = (
    "running_train_loss",
    "running_train_accuracy",
    "train_loss",
    "val_loss",
    "train_accuracy",
    "val_accuracy",
    "gradient_norm",
    "weight_norm",
)


def recipe(engine: str, **sections) -> Recipe:
    train = {"epochs": 3, "batch_size": 50, "precision": "float64", **sections.pop("train", {}), "engine": engine}
    return Recipe.model_validate({"data": {"source": "digits", "fraction": 0.3}, **sections, "train": train})


def run(engine: str, **sections) -> Run:
    return run_recipe(recipe(engine, **sections), fingerprint="f00d")


def curves(one: Run) -> np.ndarray:
    return np.array([[getattr(epoch, name) for name in CURVES] for epoch in one.history])


def assert_one_curve(one: Run, other: Run, tolerance: float) -> None:
    np.testing.assert_allclose(curves(one), curves(other), rtol=tolerance, atol=tolerance)
    assert set(one.weights) == set(other.weights)
    for name, array in one.weights.items():
        np.testing.assert_allclose(array, other.weights[name], rtol=tolerance, atol=tolerance, err_msg=name)
        assert array.dtype == other.weights[name].dtype, name
        assert array.shape == other.weights[name].shape, name
    for split, predictions in one.predictions.items():
        np.testing.assert_allclose(predictions.probabilities_NC, other.predictions[split].probabilities_NC, atol=1e-6)
    for name in ("parameters", "trainable_parameters", "examples", "notes", "status"):
        assert getattr(one.record, name) == getattr(other.record, name), name


# --- four rungs ------------------------------------------------------------------------------------------------------

ONE_LAYER = {
    "model": {"name": "mlp", "widths": [32], "activation": "tanh"},
    "optimizer": {"name": "sgd", "lr": 0.03},
}


def test_one_hidden_layer_learns_the_circles_alike_on_all_four_rungs():
    circles = {"data": {"source": "circles", "normalize": "none"}, "train": {"epochs": 150, "batch_size": 10}}
    runs = {engine: run(engine, **ONE_LAYER, **circles) for engine in ("torch", "numpy", "autograd", "modules")}
    for engine, one in runs.items():
        assert np.abs(curves(one) - curves(runs["torch"])).max() <= 1e-10, engine
        assert_one_curve(one, runs["torch"], 1e-10)


def test_the_same_code_serves_mnist_unchanged():
    sections = {**ONE_LAYER, "data": {"source": "mnist", "fraction": 0.02}, "schedule": {"name": "cosine"}}
    try:
        source_fingerprint(recipe("torch", **sections).data)
    except DataError as error:
        pytest.skip(f"set ASSAY_DATA to where the data are: {str(error).splitlines()[0]}")
    runs = {engine: run(engine, **sections) for engine in ("torch", "numpy", "autograd", "modules")}
    for one in runs.values():
        assert_one_curve(one, runs["torch"], 1e-10)
    assert runs["numpy"].record.metrics["test_accuracy"] > 0.5


def test_all_four_rungs_follow_a_schedule():
    sections = {**ONE_LAYER, "schedule": {"name": "cosine"}}
    runs = {engine: run(engine, **sections) for engine in ("torch", "numpy", "autograd", "modules")}
    assert len({epoch.lr for epoch in runs["torch"].history}) > 1
    for one in runs.values():
        assert_one_curve(one, runs["torch"], 1e-10)


@pytest.mark.parametrize("engine", ["torch", "numpy", "autograd", "modules"])
def test_a_loss_that_is_not_finite_ends_the_steps_and_leaves_the_weights(engine):
    asked = recipe(engine, **{**ONE_LAYER, "optimizer": {"name": "sgd", "lr": 1e-3}})
    one, batches, _ = built(asked)
    steps = one.steps(
        itertools.chain(
            islice(batches, 1), [(torch.full((4, 1, 8, 8), math.nan, dtype=torch.float64), torch.arange(4))], batches
        )
    )
    assert math.isfinite(next(steps).gradient_norm)
    before = one.weights()
    (last,) = steps
    assert (last.step, last.correct, last.examples) == (1, 0, 4)
    assert math.isnan(last.loss)
    assert math.isnan(last.gradient_norm)
    for name, array in one.weights().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("engine", ["autograd", "modules"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"name": "lenet5"}}, "model.name must be mlp with train.engine {engine}"),
        ({"model.widths": [8, 8]}, "model.widths must be a list of one width with train.engine {engine}"),
        ({"model.activation": "relu"}, "model.activation must be tanh with train.engine {engine}"),
        ({"model.norm": "batch"}, "model.norm must be none"),
        ({"model.dropout": 0.1}, "model.dropout must be 0"),
        ({"optimizer": {"name": "adam"}}, "optimizer.name must be sgd"),
        ({"optimizer.momentum": 0.9}, "optimizer.momentum must be 0"),
        ({"loss": {"l2": 0.1}}, "loss.l2 must be 0"),
        ({"loss": {"label_smoothing": 0.1}}, "loss.label_smoothing must be 0"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(value),
)
def test_the_two_small_engines_serve_that_net_only(engine, change, message):
    sections = {name: dict(section) for name, section in ONE_LAYER.items()}
    for key, value in change.items():
        section, dot, own = key.partition(".")
        if dot:
            sections[section][own] = value
        else:
            sections[section] = value
    with pytest.raises(InvalidValueError) as caught:
        recipe(engine, **sections)
    assert message.format(engine=engine) in str(caught.value)
    assert "Choose train.engine torch, which trains every network, or numpy." in str(caught.value)
    assert caught.value.exit_code == 2


# --- NumPy against torch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "swish"])
@pytest.mark.parametrize("model", ["mlp", "lenet5"])
def test_every_activation_and_norm_trains_alike(model, activation, norm):
    section = {"name": model, "activation": activation, "norm": norm, "dropout": 0.3}
    assert_one_curve(run("numpy", model=section), run("torch", model=section), 1e-8)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize(
    "model",
    [
        {"name": "simplenet", "channels": [3, 4], "widths": [12]},
        {"name": "open_ended_cnn", "channels": [4, 3], "kernels": [5, 1], "widths": [12, 8]},
        {"name": "step_by_step_cnn", "channels": [4, 3, 5], "widths": [12], "pooling": "average"},
        {"name": "channel_cnn", "channels": 3, "widths": [12]},
    ],
    ids=lambda model: model["name"],
)
def test_every_family_without_branches_trains_alike(model, norm):
    sections = {
        "model": {**model, "norm": norm, "dropout": 0.3},
        "data": {"source": "own_sequences:LargeDigits"},
        "train": {"epochs": 2},
    }
    assert_one_curve(run("numpy", **sections), run("torch", **sections), 1e-8)


@pytest.mark.parametrize("pooling", ["max", "average", "subsample"])
@pytest.mark.parametrize("form", ["inverted", "vanilla"])
def test_every_pooling_and_form_of_dropout_trains_alike(pooling, form):
    section = {"name": "lenet5", "pooling": pooling, "dropout": 0.4, "dropout_form": form}
    assert_one_curve(run("numpy", model=section), run("torch", model=section), 1e-8)


@pytest.mark.parametrize(
    "sections",
    [
        {
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
            "schedule": {"name": "one_cycle"},
        },
        {"optimizer": {"name": "rmsprop", "momentum": 0.5}, "schedule": {"name": "step", "every": 1.0}},
        {"optimizer": {"name": "adamw", "weight_decay": 0.3}, "schedule": {"name": "cosine", "warmup_epochs": 1.0}},
        {"loss": {"label_smoothing": 0.1, "l1": 1e-3, "l2": 1e-2}, "init": {"name": "kaiming"}},
        {"augment": {"mixup": 0.4, "cutmix": 1.0, "crop_padding": 1, "noise": 0.02}, "init": {"name": "xavier"}},
        {"data": {"source": "digits", "normalize": "pca"}, "init": {"name": "normal", "scale": 0.05}},
        {"train": {"batch_size": 1, "epochs": 1}, "data": {"source": "digits", "fraction": 0.05}},
    ],
    ids=["nesterov", "rmsprop", "adamw", "penalties", "augmented", "pca", "one example at a time"],
)
def test_everything_else_of_a_recipe_means_the_same(sections):
    model = {"name": "mlp", "widths": [24, 12]} if "data" in sections else {"name": "lenet5"}
    assert_one_curve(run("numpy", model=model, **sections), run("torch", model=model, **sections), 1e-8)


def test_a_convolutional_net_with_batch_norm_and_dropout_takes_twenty_equal_steps():
    sections = {
        "model": {"name": "own_sequences:ThreeLayers"},
        "data": {"source": "digits"},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "train": {"batch_size": 64, "epochs": 2},
    }
    losses = {}
    for name in ("numpy", "torch"):
        asked, cpu = recipe(name, **sections), torch.device("cpu")
        data = prepare_data(asked, cpu)
        engine = build_engine(asked, data, cpu)
        batches = training_batches(
            data.splits["train"], asked.augment, classes=10, batch_size=64, epochs=2, seed=asked.seed
        )
        losses[name] = [record.loss for record in islice(engine.steps(batches), 20)]
        assert int(engine.weights()["0.1.num_batches_tracked"]) == 20
    assert len(losses["numpy"]) == 20
    np.testing.assert_allclose(losses["numpy"], losses["torch"], rtol=0, atol=1e-8)
    assert losses["numpy"][-1] < 0.7 * losses["numpy"][0]
    assert_one_curve(run("numpy", **sections), run("torch", **sections), 1e-8)


def test_in_float32_the_engines_differ_by_rounding_only():
    sections = {"model": {"name": "lenet5", "norm": "batch"}, "train": {"precision": "float32", "epochs": 1}}
    by_hand, torchs = run("numpy", **sections), run("torch", **sections)
    assert all(array.dtype in (np.float32, np.int64) for array in by_hand.weights.values())
    losses = [name.endswith("loss") for name in CURVES]
    np.testing.assert_allclose(curves(by_hand)[0, losses], curves(torchs)[0, losses], rtol=1e-3)


def test_two_threads_change_the_last_bits_at_most():
    sections = {"model": {"name": "lenet5", "norm": "batch", "dropout": 0.2}}
    one, two = run("numpy", **sections), run("numpy", **sections, train={"threads": 2})
    np.testing.assert_allclose(curves(one), curves(two), rtol=1e-9)
    again = run("numpy", **sections, train={"threads": 2})
    assert [replace(epoch, seconds=0.0) for epoch in again.history] == [replace(e, seconds=0.0) for e in two.history]


def built(asked: Recipe):
    """An engine, its batches, and the data it was made for."""
    data = prepare_data(asked, torch.device("cpu"))
    batches = training_batches(data.splits["train"], asked.augment, classes=10, batch_size=50, epochs=3, seed=0)
    return build_engine(asked, data, torch.device("cpu")), batches, data


def test_both_passes_and_evaluation_share_batches_among_threads(monkeypatch):
    engine, batches, data = built(recipe("numpy", model={"name": "lenet5"}, train={"threads": 2}))
    seen = []

    def watched(examples, work):
        seen.append(len(shares(examples)))
        return in_shares(examples, work)

    monkeypatch.setattr(convolution, "in_shares", watched)
    list(islice(engine.steps(batches), 1))
    assert set(seen) == {2}
    seen.clear()
    engine.scores(data.splits["val"].inputs(np.arange(4)))
    assert set(seen) == {2}


def test_no_step_computes_a_gradient_of_the_images(monkeypatch):
    engine, batches, _ = built(recipe("numpy", model={"name": "lenet5"}))
    of_convolutions, original = [], convolution.Convolution.input_gradient

    def watched(layer, dy_BFHW, cache):
        of_convolutions.append(cache[0].shape)
        return original(layer, dy_BFHW, cache)

    monkeypatch.setattr(convolution.Convolution, "input_gradient", watched)
    list(islice(engine.steps(batches), 1))
    assert len(of_convolutions) == 1  # of two
    assert of_convolutions[0][1] > 1


@pytest.mark.parametrize("engine", ["torch", "numpy", "autograd", "modules"])
def test_weights_are_copies_that_later_steps_leave_alone(engine):
    sections = {"model": {"name": "lenet5", "norm": "batch"}} if engine in ("torch", "numpy") else ONE_LAYER
    one, batches, _ = built(recipe(engine, **sections))
    steps = one.steps(batches)
    next(steps)
    weights = one.weights()
    before = {name: array.copy() for name, array in weights.items()}
    next(steps)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
        assert not np.array_equal(array, one.weights()[name]), name


def test_torch_loads_what_was_trained_by_hand():
    sections = {"model": {"name": "lenet5", "norm": "batch", "dropout": 0.5}, "data": {"source": "digits"}}
    one = run("numpy", **sections)
    asked = recipe("numpy", **sections)
    model = build_model(asked.model, asked.init, seed=0, input_shape=(1, 8, 8), classes=10).double()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in one.weights.items()})
    kept, images = one.predictions["test"], load_source(asked.data).inputs
    inputs = apply(Preprocessing(facts=one.preprocessing), images[kept.indices_N], np.float64)
    with torch.no_grad():
        p_NK = model.eval()(torch.from_numpy(inputs)).softmax(dim=1).numpy()
    np.testing.assert_allclose(kept.probabilities_NC, p_NK, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "gelu"])  # gelu's squares overflow before its loss does
def test_a_run_that_diverges_does_so_at_the_same_step_and_quietly(activation):
    sections = {
        "model": {"name": "mlp", "widths": [32, 32, 32], "activation": activation},
        "optimizer": {"name": "sgd", "lr": 1000.0},
        "train": {"precision": "float32"},
    }
    by_hand, torchs = run("numpy", **sections), run("torch", **sections)
    assert by_hand.record.status == torchs.record.status == "diverged"
    assert by_hand.record.diverged_at == torchs.record.diverged_at
    assert by_hand.record.notes == ()
    assert by_hand.record.metrics["val_loss"] is None
    assert math.isfinite(by_hand.record.metrics["val_accuracy"])


def test_a_gpu_is_not_asked_for_by_layers_on_the_cpu():
    asked = recipe("numpy", model={"name": "mlp", "widths": [4]}, train={"epochs": 1})
    assert run_recipe(asked, fingerprint="f00d", device="cuda").record.environment["device"] == "cpu"


# --- what NumPy lacks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "own_sequences:Unknown"}, "numpy has no layer Softsign (2) written by hand."),
        ({"name": "own_sequences:WithSubclass"}, "numpy has no layer Lenient (2) written by hand."),
        ({"name": "own_sequences:Detour"}, "numpy needs a model that is an nn.Sequential of layers, got Detour."),
        (
            {"name": "own_sequences:ConvolutionFirst", "options": {"dilation": 2}},
            "numpy has no Conv2d with dilation (2, 2) written by hand.",
        ),
        (
            {"name": "own_sequences:ConvolutionFirst", "options": {"padding": "same"}},
            "numpy has no Conv2d with padding 'same' written by hand.",
        ),
        (
            {"name": "own_sequences:ConvolutionFirst", "options": {"padding_mode": "reflect", "padding": 1}},
            "numpy has no Conv2d with padding_mode 'reflect' written by hand.",
        ),
        (
            {"name": "own_sequences:Squares", "options": {"what": "twice"}},
            "numpy keeps each weight in one place, and 2.weight is also 4.weight.",
        ),
        (
            {"name": "own_sequences:Squares", "options": {"what": "tied"}},
            "numpy keeps each weight in one place, and 2.weight is also 4.weight.",
        ),
        (
            {"name": "own_sequences:Squares", "options": {"what": "frozen"}},
            "numpy trains every weight, and 2.weight is frozen.",
        ),
        (
            {"name": "own_sequences:Squares", "options": {"what": "hook"}},
            "numpy calls no hooks, and 2 has one.",
        ),
        (
            {"name": "own_sequences:Squares", "options": {"what": "forward"}},
            "numpy goes by a layer's class, and 2 has a forward of its own.",
        ),
        (
            {"name": "own_sequences:Squares", "options": {"what": "beside"}},
            "numpy trains the weights of layers, and scale belongs to none.",
        ),
    ],
    ids=[
        "unknown",
        "subclass",
        "detour",
        "dilation",
        "same",
        "reflect",
        "twice",
        "tied",
        "frozen",
        "hook",
        "forward",
        "beside",
    ],
)
def test_what_is_not_written_by_hand_is_named(model, message):
    with pytest.raises(InvalidValueError) as caught:
        run("numpy", model=model)
    assert str(caught.value).startswith(f"train.engine {message}")
    assert "Choose train.engine torch" in str(caught.value)


def test_a_study_with_a_layer_that_is_not_written_by_hand_ends_before_its_first_run(tmp_path):
    study = assay.Study(
        question="By hand?",
        base={"data": {"source": "digits"}, "model": {"name": "own_sequences:Unknown"}},
        arms={"torch": {}, "numpy": {"train.engine": "numpy"}},
    )
    with pytest.raises(InputError, match=r"^arm numpy: train\.engine numpy has no layer Softsign"):
        assay.run(study, store=tmp_path, executor="inline")
    assert not any((tmp_path / "runs").glob("*"))


def test_a_shape_that_only_torch_takes_is_found_before_the_first_run(tmp_path):
    study = assay.Study(
        question="By hand?",
        base={"data": {"source": "digits"}, "model": {"name": "own_sequences:LinearOnImages"}},
        arms={"torch": {}, "numpy": {"train.engine": "numpy"}},
    )
    with pytest.raises(InputError) as caught:
        assay.run(study, store=tmp_path, executor="inline")
    assert str(caught.value) == (
        "arm numpy: train.engine numpy cannot take a batch of 2 through this model. "
        "Affine needs input (B, D) and weights (F, D), got (2, 1, 8, 8) and (4, 8).\n  Choose train.engine torch."
    )
    assert not any((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_a_model_with_nothing_to_train_is_refused_by_both(engine):
    with pytest.raises(InvalidValueError) as caught:
        run(engine, model={"name": "own_sequences:Untrainable"})
    assert str(caught.value) == "model.name must have parameters to train; Untrainable has none."


def test_an_own_sequence_of_known_layers_is_trained_by_hand():
    model = {"name": "own_sequences:ConvolutionFirst", "options": {"stride": [2, 1], "padding": "valid"}}
    assert_one_curve(run("numpy", model=model), run("torch", model=model), 1e-8)


def test_a_layer_in_two_places_is_called_twice_by_both():
    model = {"name": "own_sequences:Reused"}
    assert_one_curve(run("numpy", model=model), run("torch", model=model), 1e-8)
