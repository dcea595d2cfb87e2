"""Support vector machines and logistic regression as runs: what scikit-learn fits, kept so that NumPy can predict."""

import itertools
import math
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC, LinearSVC
from splits_of_arrays import split_of
from threadpoolctl import threadpool_info, threadpool_limits

from assay.data.normalize import fit
from assay.errors import DataError, InvalidValueError
from assay.metrics.catalogue import CATALOGUE
from assay.models.build import build_model
from assay.recipe.schema import DefaultInit, Recipe, SvmModel
from assay.testing.comparing import differences
from assay.training.classical import fit_at_once
from assay.training.describe import anatomy_of, check_model, model_anatomy
from assay.training.prepare import PreparedData, prepare_data
from assay.training.run import run_recipe
from assay.training.shifts import DIRECTIONS, shifted

CIRCLES = {"source": "circles", "points": 250, "validation": 0.2}
DIGITS = {"source": "digits"}
DATA = {"circles": CIRCLES, "digits": DIGITS}
MODELS = {
    "linear": ({"name": "svm", "kernel": "linear"}, lambda: LinearSVC(dual=False)),
    "linear, C 0.01": ({"name": "svm", "kernel": "linear", "C": 0.01}, lambda: LinearSVC(dual=False, C=0.01)),
    "linear, C 1000": ({"name": "svm", "kernel": "linear", "C": 1e3}, lambda: LinearSVC(dual=False, C=1e3)),
    "rbf": ({"name": "svm"}, SVC),
    "rbf, C 0.01": ({"name": "svm", "C": 0.01}, lambda: SVC(C=0.01)),
    "rbf, C 1000": ({"name": "svm", "C": 1000}, lambda: SVC(C=1000)),
    "rbf, gamma 0.1": ({"name": "svm", "gamma": 0.1}, lambda: SVC(gamma=0.1)),
    "logistic": ({"name": "logistic_regression"}, lambda: LogisticRegression(max_iter=1000)),
    "logistic, C 0.01": (
        {"name": "logistic_regression", "C": 0.01},
        lambda: LogisticRegression(max_iter=1000, C=0.01),
    ),
}
every_model = pytest.mark.parametrize("name", list(MODELS))
all_data = pytest.mark.parametrize("source", list(DATA))
one_of_each = pytest.mark.parametrize("name", ["linear", "rbf", "logistic"])


def recipe(name="rbf", source="circles", **sections) -> Recipe:
    return Recipe.model_validate({"data": DATA[source], "model": MODELS[name][0], **sections})


def run(name="rbf", source="circles", device="cpu", **sections):
    return run_recipe(recipe(name, source, **sections), fingerprint="f00d", device=device)


def inputs_of(data: PreparedData, split: str) -> tuple[np.ndarray, np.ndarray]:
    part = data.splits[split]
    return part.inputs(np.arange(len(part))).flatten(1).double().numpy(), part.labels_N.numpy()


def data_of(inputs, labels, *, test_labels=None, classes=3) -> PreparedData:
    """Points as all three splits; the labels of the last two may be others."""
    x = torch.tensor(np.asarray(inputs, dtype=np.float32))
    of_train, of_test = (torch.tensor(values) for values in (labels, labels if test_labels is None else test_labels))
    splits = {name: split_of(x, of_train if name == "train" else of_test) for name in ("train", "val", "test")}
    preprocessing = fit(x.numpy(), np.arange(len(x)), "none", 1e-3)
    return PreparedData(splits=splits, classes=tuple("abc"[:classes]), preprocessing=preprocessing, facts={})


# --- it is scikit-learn's ---------------------------------------------------------------------------------------------


@all_data
@every_model
def test_predictions_are_those_of_scikit_learn_used_directly(name, source):
    ours = run(name, source, seed=1)
    data = prepare_data(recipe(name, source, seed=1), torch.device("cpu"))
    with threadpool_limits(limits=1):  # as the run: more threads add in another order
        theirs = MODELS[name][1]().fit(*inputs_of(data, "train"))
    for split in ("val", "test"):
        x_ND, labels_N = inputs_of(data, split)
        predictions = ours.predictions[split]
        np.testing.assert_array_equal(predictions.predicted_N(), theirs.predict(x_ND))
        np.testing.assert_array_equal(predictions.labels_N, labels_N)
        assert ours.record.metrics[f"{split}_accuracy"] == theirs.score(x_ND, labels_N)
        if name.startswith("logistic"):
            np.testing.assert_allclose(predictions.probabilities_NC, theirs.predict_proba(x_ND), atol=1e-7)
        else:
            assert set(np.unique(predictions.probabilities_NC)) == {0.0, 1.0}
            np.testing.assert_array_equal(predictions.probabilities_NC.sum(axis=1), 1.0)
    assert ours.record.metrics["train_accuracy"] == theirs.score(*inputs_of(data, "train"))
    assert ours.record.notes == ()


def predicted_by_numpy(weights, x_ND):
    """Classes from the stored weights alone, as `fit_at_once` says."""
    if "coefficients" in weights:
        scores_NR = x_ND @ weights["coefficients"].T + weights["intercepts"]
        best_N = scores_NR.argmax(axis=1) if scores_NR.shape[1] > 1 else (scores_NR[:, 0] > 0).astype(int)
        return weights["classes"][best_N]
    support_SD, alpha_JS = weights["support_vectors"], weights["dual_coefficients"]
    squares_NS = (x_ND**2).sum(axis=1)[:, None] + (support_SD**2).sum(axis=1) - 2.0 * x_ND @ support_SD.T
    kernel_NS = np.exp(-weights["gamma"] * squares_NS)
    ends = np.cumsum([0, *weights["support_counts"]])
    votes_NJ = np.zeros((len(x_ND), len(weights["classes"])), dtype=int)
    sign = -1.0 if len(weights["classes"]) == 2 else 1.0
    for pair, (i, j) in enumerate(itertools.combinations(range(len(weights["classes"])), 2)):
        of_i, of_j = slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])
        score_N = kernel_NS[:, of_i] @ alpha_JS[j - 1, of_i] + kernel_NS[:, of_j] @ alpha_JS[i, of_j]
        for_i_N = sign * (score_N + weights["intercepts"][pair]) > 0
        votes_NJ[np.arange(len(x_ND)), np.where(for_i_N, i, j)] += 1
    return weights["classes"][votes_NJ.argmax(axis=1)]


@all_data
@every_model
def test_the_stored_weights_predict_without_scikit_learn(name, source):
    ours = run(name, source)
    data = prepare_data(recipe(name, source), torch.device("cpu"))
    for split in ("val", "test"):
        predicted_N = predicted_by_numpy(ours.weights, inputs_of(data, split)[0])
        np.testing.assert_array_equal(predicted_N, ours.predictions[split].predicted_N())
    numbers = sum(array.size for array in ours.weights.values() if array.dtype == np.float64)
    assert ours.record.parameters == ours.record.trainable_parameters == numbers == ours.record.metrics["parameters"]
    assert {array.dtype.name for array in ours.weights.values()} == {"float64", "int64"}
    assert all(array.flags.c_contiguous for array in ours.weights.values())


@all_data
def test_what_logistic_regression_minimises_is_what_the_recipe_says(source):
    """The gradient of ‖W‖²/2 + C·Σ cross-entropy vanishes at the weights, and grows beside them."""
    ours = run("logistic, C 0.01", source, train={"precision": "float64"})
    x_ND, labels_N = inputs_of(prepare_data(recipe("logistic", source), torch.device("cpu")), "train")
    w_RD, b_R = (torch.tensor(ours.weights[key], requires_grad=True) for key in ("coefficients", "intercepts"))

    def gradient(scale):
        logits = torch.tensor(x_ND) @ (scale * w_RD).T + b_R
        if len(b_R) == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels_N), reduction="sum")
        objective = ((scale * w_RD) ** 2).sum() / 2 + 0.01 * loss
        return max(float(g.abs().max()) for g in torch.autograd.grad(objective, [w_RD, b_R]))

    assert gradient(1.0) < 2e-3 < 5e-3 < gradient(1.5)


@all_data
def test_what_the_linear_machine_minimises_is_what_the_recipe_says(source):
    """For each class against the rest (‖w‖² + b²)/2 + C·Σ max(0, 1 − y·score)²."""
    ours = run("linear, C 0.01", source)
    x_ND, labels_N = inputs_of(prepare_data(recipe("linear", source), torch.device("cpu")), "train")
    for row, (w_D, b) in enumerate(zip(ours.weights["coefficients"], ours.weights["intercepts"], strict=True)):
        own = 1 if len(ours.weights["intercepts"]) == 1 else row
        y_N = np.where(labels_N == own, 1.0, -1.0)

        def gradient(scale, w_D=w_D, b=b, y_N=y_N):
            slack_N = np.maximum(0.0, 1.0 - y_N * (x_ND @ (scale * w_D) + b))
            both = [scale * w_D - 0.02 * x_ND.T @ (y_N * slack_N), [b - 0.02 * (y_N * slack_N).sum()]]
            return np.linalg.norm(np.concatenate(both))

        assert gradient(1.0) < 0.02 * gradient(0.0)


def test_linear_machines_fail_on_circles_and_rbf_machines_do_not():
    means = {
        name: np.mean([run(name, seed=seed).record.metrics["test_accuracy"] for seed in range(8)])
        for name in ("linear", "rbf", "rbf, C 0.01", "logistic")
    }
    assert 0.4 < means["linear"] < 0.6
    assert 0.4 < means["logistic"] < 0.6
    assert means["rbf"] >= 0.93
    assert means["rbf"] > means["rbf, C 0.01"]


# --- what a run keeps ------------------------------------------------------------------------------------------------


@one_of_each
def test_the_record_is_that_of_any_run(name):
    ours = run(name, "digits", train={"batch_size": 5000, "epochs": 7})
    metrics, (epoch,) = ours.record.metrics, ours.history
    asked_for = {"evaluate.shift", "evaluate.views"}
    assert set(metrics) == {key for key, metric in CATALOGUE.items() if metric.needs not in asked_for}
    assert (epoch.epoch, epoch.step, epoch.lr, epoch.gradient_norm) == (1, 0, 0.0, None)
    assert (metrics["best_val_accuracy"], metrics["best_epoch"]) == (epoch.val_accuracy, 1.0)
    assert metrics["accuracy_gap"] == metrics["train_accuracy"] - metrics["val_accuracy"]
    assert 0 < metrics["seconds"] == epoch.seconds < ours.record.seconds
    assert 0 < metrics["inference_seconds"] < 0.01
    assert (metrics["running_train_loss"], metrics["running_train_accuracy"]) == (None, None)
    assert ours.record.status == "completed"
    assert ours.record.notes == ()  # a batch larger than the data is nothing to note here
    assert ours.record.environment["scikit-learn"]
    assert ours.record.classes == tuple("0123456789")


def test_machines_have_no_losses_and_logistic_regression_has():
    for name in ("linear", "rbf"):
        metrics = run(name, "digits").record.metrics
        assert {metrics[key] for key in metrics if key.endswith("_loss")} == {None}
    ours = run("logistic", "digits")
    metrics, test = ours.record.metrics, ours.predictions["test"]
    assert metrics["initial_loss"] == math.log(10)
    p_N = test.probabilities_NC[np.arange(len(test.labels_N)), test.labels_N]
    assert metrics["test_loss"] == pytest.approx(-np.log(p_N).mean(), rel=1e-4)
    assert 0 < metrics["train_loss"] < metrics["val_loss"] < metrics["initial_loss"]


def test_the_log_says_that_a_loss_is_none_and_not_that_it_was_not_finite():
    assert "train loss none, accuracy" in run("linear").log
    assert "not finite" not in run("linear").log


@one_of_each
def test_losses_are_missing_even_where_all_is_right(name):
    labels = [0, 0, 1, 1, 2, 2]
    trained = fit_at_once(recipe(name), data_of(10.0 * np.eye(3)[labels], labels))
    assert trained.evaluations["test"].accuracy == 1.0
    missing = {name: evaluation.finite_loss is None for name, evaluation in trained.evaluations.items()}
    assert set(missing.values()) == {name != "logistic"}
    assert (trained.history[0].train_loss is None) == (name != "logistic")


def test_the_weight_norm_is_that_of_all_numbers_of_a_linear_model():
    for name in ("linear", "logistic"):
        ours = run(name, "digits")
        values = np.concatenate([ours.weights["coefficients"].ravel(), ours.weights["intercepts"]])
        assert ours.record.metrics["weight_norm"] == pytest.approx(np.linalg.norm(values), rel=1e-12)
    assert run("rbf").record.metrics["weight_norm"] is None


def test_shapes_for_two_classes_and_for_ten():
    assert {key: array.shape for key, array in run("linear").weights.items()} == {
        "coefficients": (1, 2),
        "intercepts": (1,),
        "classes": (2,),
    }
    of_ten = run("rbf", "digits").weights
    vectors = int(of_ten["support_counts"].sum())
    assert {key: array.shape for key, array in of_ten.items()} == {
        "support_vectors": (vectors, 64),
        "dual_coefficients": (9, vectors),
        "intercepts": (45,),
        "gamma": (),
        "support_counts": (10,),
        "classes": (10,),
    }


def test_shifted_images_are_measured_where_asked():
    asked = recipe("linear", "digits", evaluate={"shift": 1})
    metrics, data = (
        run("linear", "digits", evaluate={"shift": 1}).record.metrics,
        prepare_data(asked, torch.device("cpu")),
    )
    with threadpool_limits(limits=1):
        theirs = MODELS["linear"][1]().fit(*inputs_of(data, "train"))
    x_ND, labels_N = inputs_of(data, "test")
    moved = [
        data.splits["test"].with_changed(partial(shifted, down=down, right=right)).inputs(np.arange(len(labels_N)))
        for down, right in DIRECTIONS
    ]
    predicted_8N = np.array([theirs.predict(x.flatten(1).double().numpy()) for x in moved])
    assert metrics["shifted_test_accuracy"] == pytest.approx(np.mean(predicted_8N == labels_N), rel=1e-12)
    assert metrics["shift_consistency"] == pytest.approx(np.mean(predicted_8N == theirs.predict(x_ND)), rel=1e-12)
    assert 0.2 < metrics["shifted_test_accuracy"] < metrics["test_accuracy"]


# --- classes that do not occur ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [[0, 0, 2, 2], [0, 1, 2, 2]], ids=["two of three", "all"])
@one_of_each
def test_a_class_missing_from_training_is_never_predicted(name, labels):
    points = np.array([[0, 0], [0, 1], [5, 0], [5, 1]])
    trained = fit_at_once(recipe(name), data_of(points, labels, test_labels=[0, 1, 2, 2]))
    probabilities_NK = trained.evaluations["test"].probabilities_NK.numpy()
    assert probabilities_NK.shape == (4, 3)
    np.testing.assert_allclose(probabilities_NK.sum(axis=1), 1.0, rtol=1e-6)
    present = sorted(set(labels))
    np.testing.assert_array_equal(trained.weights["classes"], present)
    predicted_N = predicted_by_numpy(trained.weights, points.astype(float))
    np.testing.assert_array_equal(probabilities_NK.argmax(axis=1), predicted_N)
    if len(present) == 2:
        assert (probabilities_NK[:, 1] == 0.0).all()
        assert trained.evaluations["test"].finite_loss is None  # class 1 was given no chance
    if name == "logistic":
        assert trained.initial_loss == math.log(len(present))
        assert trained.history[0].train_loss is not None


@one_of_each
def test_a_single_class_is_nothing_to_fit(name):
    with pytest.raises(DataError) as caught:
        fit_at_once(recipe(name), data_of(np.eye(3), [1, 1, 1]))
    model = recipe(name).model.name
    assert str(caught.value) == (
        f"model.name {model} needs examples of at least 2 classes to be fitted, got 3 of class 'b'. Add examples of "
        "others."
    )


def test_inputs_that_are_all_the_same_still_give_a_kernel():
    trained = fit_at_once(recipe("rbf"), data_of(np.ones((4, 2)), [0, 1, 0, 1]))
    assert trained.weights["gamma"] == 1.0


def test_networks_are_not_fitted_at_once():
    plain = Recipe.model_validate({"data": CIRCLES, "model": {"name": "mlp"}})
    with pytest.raises(TypeError, match="fits models that have no epochs, got mlp; use fit_in_epochs"):
        fit_at_once(plain, data_of(np.eye(3), [0, 1, 2]))


# --- the same bits, quietly ------------------------------------------------------------------------------------------


@one_of_each
def test_the_same_recipe_gives_the_same_bits_whatever_ran_before(name):
    first = run(name, "digits")
    np.random.seed(99), torch.manual_seed(99)
    run("rbf")
    assert differences(run(name, "digits"), first) == []
    assert differences(run(name, "digits", seed=1), first)


@one_of_each
def test_global_generators_are_left_alone(name):
    np.random.seed(7)
    before = np.random.get_state()[1].copy(), np.random.get_state()[2]
    fit_at_once(recipe(name), data_of(np.eye(3), [0, 1, 2]))
    after = np.random.get_state()
    np.testing.assert_array_equal(after[1], before[0])
    assert after[2] == before[1]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "fitting"), [("linear", LinearSVC), ("rbf", SVC), ("logistic", LogisticRegression)])
def test_fitting_uses_the_threads_of_the_recipe(name, fitting, threads, monkeypatch):
    """SciPy's BLAS, which the machines call, is loaded with scikit-learn: after the run has set its limit."""
    seen = []
    original = fitting.fit

    def watched(self, *arguments):
        seen.extend(threadpool_info())
        return original(self, *arguments)

    monkeypatch.setattr(fitting, "fit", watched)
    run(name, train={"threads": threads})
    assert any("scipy" in library["filepath"] for library in seen)
    assert {library["num_threads"] for library in seen} == {threads}


def test_too_few_iterations_are_a_note_and_no_failure():
    few = {"name": "logistic_regression", "iterations": 3}
    ours = run_recipe(recipe("logistic", "digits", model=few), fingerprint="f00d")
    assert ours.record.status == "completed"
    assert ours.record.notes == (
        "ConvergenceWarning: logistic_regression had not converged after model.iterations 3. Raise it, lower model.C, "
        "or choose data.normalize channel.",
    )
    assert ours.record.metrics["test_accuracy"] > 0.5


def test_a_linear_machine_that_gives_up_is_noted_too_and_other_warnings_stay(monkeypatch):
    original = LinearSVC.fit

    def hasty(self, *arguments):
        self.max_iter = 1
        warnings.warn("something else", UserWarning, stacklevel=1)
        return original(self, *arguments)

    monkeypatch.setattr(LinearSVC, "fit", hasty)
    assert run("linear", "digits").record.notes == (
        "UserWarning: something else",
        "ConvergenceWarning: svm had not converged when scikit-learn stopped. Lower model.C, or choose data.normalize "
        "channel.",
    )
    with pytest.warns(ConvergenceWarning), pytest.warns(UserWarning, match="something else"):
        fit_at_once(recipe("linear"), data_of(np.eye(3), [0, 1, 2]))


def test_scikit_learn_is_imported_when_something_is_fitted_and_not_before():
    code = "import sys, assay.api, assay.training.run; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_device_is_the_cpu_whatever_was_asked():
    assert run("linear", device="cuda:7").record.environment["device"] == "cpu"


# --- looking at one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("linear", "LinearSVC"), ("logistic", "LogisticRegression")])
@all_data
def test_a_linear_model_has_a_layer_table_of_one_row(name, kind, source):
    anatomy = model_anatomy(recipe(name, source))
    (row,) = anatomy.rows
    vectors, values = (1, 2) if source == "circles" else (10, 64)
    assert (row.kind, row.output_shape, row.macs) == (kind, (vectors,), vectors * values)
    assert row.parameters == anatomy.parameters == anatomy.trainable_parameters
    assert anatomy.parameters == run(name, source).record.parameters


def test_an_rbf_machine_has_no_layer_table_and_passes_the_check_of_a_study():
    with pytest.raises(InvalidValueError) as caught:
        model_anatomy(recipe("rbf"))
    assert str(caught.value) == (
        "model.kernel must be linear for a table of layers, got rbf: that machine is made of the training examples "
        "that turn out to be its support vectors.\n  The metric parameters of a run says how large it became."
    )
    check_model(recipe("rbf"))
    with pytest.raises(InvalidValueError, match=r"^model\.options must fit"):
        check_model(Recipe.model_validate({
            "data": DIGITS, "model": {"name": "own_models:Frozen", "options": {"no_such": 1}},
        }))  # fmt: skip


def test_there_is_no_network_to_build():
    model = SvmModel(name="svm")
    with pytest.raises(InvalidValueError) as caught:
        build_model(model, DefaultInit(name="default"), seed=0, input_shape=(2,), classes=2)
    assert str(caught.value) == (
        "model.name must name a network here, got svm, which scikit-learn fits at once and which has no layers.\n"
        "  Choose mlp, lenet5 or another network, or a torch.nn.Module of your own."
    )
    anatomy = anatomy_of(recipe("linear"), input_shape=(3, 4, 4), classes=5)
    assert anatomy.parameters == 5 * 49
