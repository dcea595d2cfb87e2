"""Sections of a recipe held against each other."""

import pytest

from assay.errors import InvalidValueError
from assay.recipe.schema import Recipe

MLP = {"name": "mlp", "widths": [8]}
DIGITS = {"source": "digits"}


def recipe(**sections) -> Recipe:
    return Recipe.model_validate({"data": DIGITS, "model": MLP, **sections})


def refusal(**sections) -> str:
    with pytest.raises(InvalidValueError) as caught:
        recipe(**sections)
    return str(caught.value)


OF_TORCH_ALONE = [
    ({"train": {"precision": "bfloat16"}}, "train.precision must be float32 or float64", "bfloat16"),
    ({"train": {"channels_last": True}}, "train.channels_last must be false", "true"),
    ({"train": {"clip_norm": 1.5}}, "train.clip_norm must be left out", "1.5"),
    ({"averaging": {"name": "ema"}}, "averaging.name must be none", "ema"),
    ({"averaging": {"name": "lookahead"}}, "averaging.name must be none", "lookahead"),
    ({"optimizer": {"name": "muon"}}, "optimizer.name must be another", "muon"),
    ({"optimizer": {"lr_factors": {"*": 2.0}}}, "optimizer.lr_factors must be left out", "{'*': 2.0}"),
    ({"loss": {"name": "squared_error"}}, "loss.name must be cross_entropy", "squared_error"),
    ({"pretrained": {"weights": "net.pth"}}, "pretrained.weights must be left out", "net.pth"),
    ({"freeze": {"layers": ["output"]}}, "freeze.layers must be left out", "['output']"),
    ({"freeze": {"all_but": ["head"]}}, "freeze.all_but must be left out", "['head']"),
    ({"freeze": {"depth": 1}}, "freeze.depth must be 0", "1"),
]


@pytest.mark.parametrize(("sections", "problem", "got"), OF_TORCH_ALONE, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("engine", ["numpy", "autograd", "modules"])
def test_what_only_torch_knows_is_refused_of_the_other_engines(engine, sections, problem, got):
    others = {**sections, "train": {**sections.get("train", {}), "engine": engine}}
    assert refusal(**others) == (
        f"{problem} with train.engine {engine}, got {got}.\n  Choose train.engine torch, which knows it."
    )
    recipe(**sections)


@pytest.mark.parametrize("sections", [
    {"train": {"patience": 2, "keep": "best", "watch": "val_loss", "min_improvement": 0.01}},
    {"train": {"epochs": 0}},
    {"schedule": {"name": "plateau"}},
    {"optimizer": {"lr_scaling": "linear", "lr_batch_size": 32}},
    {"evaluate": {"every": 3, "train_split": False, "views": "mirrored"}},
], ids=str)  # fmt: skip
def test_what_is_not_the_engines_business_goes_with_each(sections):
    recipe(**{**sections, "train": {**sections.get("train", {}), "engine": "numpy"}})


NEEDS_IMAGES = [
    ({"evaluate": {"shift": 1}}, "evaluate.shift"),
    ({"evaluate": {"views": "mirrored_and_shifted"}}, "evaluate.views"),
    ({"train": {"smaller_first": [{"epochs": 1, "side": 8}]}}, "train.smaller_first"),
    ({"train": {"channels_last": True}}, "train.channels_last"),
]


@pytest.mark.parametrize(("sections", "key"), NEEDS_IMAGES, ids=lambda value: str(value)[:30])
def test_points_are_no_images(sections, key):
    assert refusal(data={"source": "circles"}, **sections) == (
        f"{key} needs images, and data.source circles gives points.\n  Leave it out."
    )


@pytest.mark.parametrize(("sections", "key"), NEEDS_IMAGES[1:], ids=lambda value: str(value)[:30])
def test_features_of_images_are_none_either(sections, key):
    assert refusal(data={**DIGITS, "normalize": "pca"}, **sections) == (
        f"{key} needs images, and data.normalize pca makes features of them.\n"
        "  Choose data.normalize zca, or leave it out."
    )


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"pretrained": {"weights": "net.pth"}}, "pretrained.weights"),
        ({"freeze": {"depth": 1}}, "freeze"),
        ({"evaluate": {"views": "mirrored"}}, "evaluate.views"),
        ({"averaging": {"name": "ema"}}, "averaging.name"),
        ({"train": {"precision": "float16"}}, "train.precision"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_needs_a_network_is_refused_of_models_fitted_at_once(sections, key):
    assert refusal(model={"name": "logistic_regression"}, **sections) == (
        f"{key} needs a network, and model.name logistic_regression is fitted by scikit-learn.\n"
        "  Leave it out for this model."
    )


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"train": {"epochs": 3, "smaller_first": [{"epochs": 2, "side": 4}, {"epochs": 2, "side": 6}]}},
            "train.smaller_first must take at most train.epochs (3) epochs, got 4.",
        ),
        (
            {"train": {"epochs": 2}, "schedule": {"name": "plateau", "warmup_epochs": 2.0}},
            "schedule.warmup_epochs must be less than train.epochs (2), got 2.",
        ),
        (
            {"train": {"epochs": 0}, "schedule": {"name": "cosine", "warmup_epochs": 0.5}},
            "schedule.warmup_epochs must be less than train.epochs (0), got 0.5.",
        ),
        (
            {"pretrained": {"partial": True}},
            "pretrained.partial needs pretrained.weights, got none.",
        ),
        (
            {"optimizer": {"name": "sgd", "nesterov": True}},
            "optimizer.nesterov needs optimizer.momentum above 0, got momentum 0.",
        ),
    ],
)
def test_what_cannot_be_is_said(sections, message):
    assert refusal(**sections) == message


def test_images_are_shifted_before_features_are_made_of_them():
    assert recipe(data={**DIGITS, "normalize": "pca"}, evaluate={"shift": 1}).evaluate.shift == 1


def test_as_many_smaller_epochs_as_there_are_will_do():
    assert recipe(train={"epochs": 4, "smaller_first": [{"epochs": 4, "side": 4}]}).train.epochs == 4
