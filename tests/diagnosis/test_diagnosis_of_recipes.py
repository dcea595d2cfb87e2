"""Planted mistakes are named before training, and sound recipes are left in peace."""

import warnings

import numpy as np
import pytest
import torch

from assay.diagnosis.cure import study_of_cure
from assay.diagnosis.recipe import OF_DATA, checks_of, examine, examining
from assay.recipe.reading import parse
from assay.recipe.schema import Recipe
from assay.studies.design import Study

SGD = {"name": "sgd", "momentum": 0.9, "lr": 0.05}
ADAM = {"name": "adam"}


def recipe(**sections) -> Recipe:
    base = {"data": {"source": "digits"}, "model": {"name": "mlp", "widths": [64]}, "optimizer": SGD}
    return Recipe.model_validate({**base, **sections})


def own_model(name: str, **sections) -> Recipe:
    return recipe(model={"name": f"planted:{name}"}, **sections)


def own_data(mistake: str, **sections) -> Recipe:
    return recipe(data={"source": "planted:Digits", "options": {"mistake": mistake}}, **sections)


def severe(findings) -> list[str]:
    return [finding.rule for finding in findings if finding.severity == "severe"]


# --- planted ----------------------------------------------------------------------------------------------------------


PLANTED = {
    "normalisation forgotten at test": (own_data("test not normalised"), "split_shift"),
    "softmax twice": (own_model("SoftmaxTwice"), "softmax_twice"),
    "everything frozen by the class": (own_model("AllFrozen"), "frozen_everything"),
    "everything frozen by the recipe": (recipe(freeze={"layers": ["*"]}), "frozen_everything"),
    "rate times 100, sgd": (recipe(optimizer={**SGD, "lr": 5.0}), "learning_rate"),
    "rate times 100, adam": (recipe(optimizer={**ADAM, "lr": 1.0}), "learning_rate"),
    "rate over 1000, sgd": (recipe(optimizer={**SGD, "lr": 5e-5}), "learning_rate"),
    "rate over 1000, adam": (recipe(optimizer={**ADAM, "lr": 1e-6}), "learning_rate"),
    "last layer ReLU": (own_model("LastRelu"), "last_relu"),
    "last layer sigmoid": (own_model("LastSigmoid"), "squashed_scores"),
    "last layer tanh": (own_model("LastTanh"), "squashed_scores"),
    "validation images in training": (own_data("validation in training"), "split_leak"),
    "all zero": (own_model("AllZero"), "equal_units"),
    "all zero by the recipe": (recipe(init={"name": "normal", "scale": 0.0}), "equal_units"),
    "all alike": (own_model("AllAlike"), "equal_units"),
    "one class missing in training": (own_data("class missing"), "class_missing"),
    "labels shuffled": (own_data("labels shuffled"), "labels_at_random"),
    "scores far too large": (own_model("HugeScores"), "initial_loss"),
    "statistics of the batch": (own_model("MixesTheBatch"), "batch_leak"),
    "gradient cut": (own_model("CutGradient"), "gradients_reach_every_layer"),
    "input not used": (own_model("IgnoresImages"), "constant_scores"),
    "units dead": (own_model("DeadUnits"), "dead_units"),
    "units saturated": (own_model("SaturatedUnits"), "saturated_units"),
    "raises in training": (own_model("BreaksInTraining"), "network_breaks"),
    "loss not a number": (own_model("NoNumbers"), "initial_loss"),
}


@pytest.mark.parametrize(("planted", "rule"), PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_is_named(planted, rule):
    findings = examine(planted)
    assert rule in severe(findings), [(finding.severity, finding.rule) for finding in findings]
    for finding in findings:
        texts = (finding.title, finding.seen, finding.why, finding.cause, finding.cure)
        assert all(text and text[0] != " " and "nan" not in text.split() for text in texts)
        assert not finding.title.endswith(".")
        assert all(text.endswith(".") for text in texts[1:])


@pytest.mark.parametrize(("mistake", "rule"), [
    ("imbalance", "class_imbalance"), ("contradictions", "contradicting_labels"), ("blank", "constant_images"),
])  # fmt: skip
def test_what_is_odd_about_images_is_a_warning(mistake, rule):
    findings = examine(own_data(mistake))
    assert rule in [finding.rule for finding in findings if finding.severity == "warning"]
    assert not severe(findings)


def test_pictures_saved_anew_in_validation_are_found():
    (finding,) = [f for f in examine(recipe(data={"source": "planted:SavedAnew"})) if f.rule == "near_copies"]
    assert finding.severity == "warning"
    assert "nearly equal one of" in finding.seen
    sound = recipe(data={"source": "planted:SavedAnew", "options": {"share": 0.0}})
    assert "near_copies" not in [finding.rule for finding in examine(sound)]


def test_a_layer_that_is_not_called_is_a_warning():
    findings = examine(own_model("UnusedLayer"))
    assert [(finding.rule, finding.severity) for finding in findings] == [("unused_parameters", "warning")]
    assert "forgotten.weight" in findings[0].seen


# --- sound ------------------------------------------------------------------------------------------------------------


SOUND = {
    "sgd": recipe(),
    "plain sgd": recipe(optimizer={"name": "sgd", "lr": 0.1}),
    "adam": recipe(optimizer=ADAM),
    "adamw, deeper, dropout": recipe(
        model={"name": "mlp", "widths": [128, 128], "dropout": 0.5}, optimizer={"name": "adamw", "weight_decay": 0.1}
    ),
    "rmsprop, tanh": recipe(model={"name": "mlp", "widths": [64], "activation": "tanh"}, optimizer={"name": "rmsprop"}),
    "muon": recipe(model={"name": "mlp", "widths": [64, 64, 64]}, optimizer={"name": "muon"}),
    "sigmoid": recipe(model={"name": "mlp", "widths": [64], "activation": "sigmoid"}, optimizer={**SGD, "lr": 0.5}),
    "batch norm, kaiming": recipe(model={"name": "mlp", "widths": [64, 64], "norm": "batch"}, init={"name": "kaiming"}),
    "label smoothing, one cycle": recipe(loss={"label_smoothing": 0.2}, schedule={"name": "one_cycle"}),
    "squared error": recipe(loss={"name": "squared_error"}),
    "convolutions, augmented, mixup": recipe(
        model={"name": "open_ended_cnn", "channels": [16, 16], "widths": [32]},
        augment={"crop_padding": 1, "mixup": 0.2},
        optimizer=ADAM,
    ),
    "bfloat16": recipe(train={"precision": "bfloat16"}),
    "by hand": recipe(train={"engine": "numpy"}),
    "whitened": recipe(data={"source": "digits", "normalize": "pca"}, optimizer=ADAM),
    "standard": recipe(data={"source": "digits", "normalize": "standard"}, optimizer=ADAM),
    "circles": recipe(
        data={"source": "circles"}, model={"name": "mlp", "widths": [32, 32]}, optimizer={**ADAM, "lr": 0.01}
    ),
    "own class": own_model("Sound"),
    "log-softmax": own_model("LogSoftmaxTwice"),
    "head of zeros": own_model("ZeroHead"),
    "part frozen": recipe(model={"name": "mlp", "widths": [64, 64]}, freeze={"layers": ["linear1"]}),
    "linear": recipe(model={"name": "mlp", "widths": []}),
    "not trained": recipe(train={"epochs": 0}),
    "fitted at once": recipe(model={"name": "svm"}),
    "own data": own_data("none"),
}


@pytest.mark.parametrize("sound", SOUND.values(), ids=SOUND)
def test_a_sound_recipe_is_left_in_peace(sound):
    assert [(finding.severity, finding.rule, finding.seen) for finding in examine(sound)] == []


def test_pixels_as_they_are_deserve_a_note():
    findings = examine(recipe(data={"source": "digits", "normalize": "none"}))
    assert [(finding.severity, finding.rule) for finding in findings] == [("note", "inputs")]
    assert findings[0].changes == {"data.normalize": "channel"}


# --- what it is besides -----------------------------------------------------------------------------------------------


def test_the_process_is_left_as_it_was_and_the_answer_is_the_same_again():
    torch.manual_seed(5)
    np.random.seed(6)
    before, threads, filters = torch.get_rng_state(), torch.get_num_threads(), list(warnings.filters)
    numpy_before = np.random.get_state()[1].copy()
    first = examine(recipe(optimizer={**SGD, "lr": 5.0}))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert (torch.get_num_threads(), warnings.filters) == (threads, filters)
    assert str(examine(recipe(optimizer={**SGD, "lr": 5.0}))) == str(first)  # charts hold NaN, which equals nothing


def test_leaving_it_in_the_middle_restores_the_process_too():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    work = examining(recipe())
    told = [next(work) for _ in range(12)]
    work.close()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert all(step.done <= step.total for step in told)


def test_of_a_model_fitted_at_once_only_data_are_examined():
    assert checks_of(recipe(model={"name": "svm"})) == OF_DATA
    assert "learning_rate" not in checks_of(recipe(train={"epochs": 0}))
    assert "learning_rate" in checks_of(recipe())


@pytest.mark.parametrize("name", ["rate over 1000, sgd", "all zero by the recipe", "everything frozen by the recipe"])
def test_a_cure_makes_a_study_whose_changed_arm_is_sound(name):
    planted, rule = PLANTED[name]
    finding = next(finding for finding in examine(planted) if finding.rule == rule)
    study = Study.model_validate({"name": "cure", **parse(study_of_cure(finding, planted), "cure")[0]})
    assert not severe(examine(study.arm("changed").recipe))
