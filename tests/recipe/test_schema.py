"""Recipes: every mistake is one message that names key, rule, value and the nearest valid name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import InvalidValueError
from assay.recipe.schema import AdamOptimizer, MlpModel, Recipe


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"data": {"source": "digits"}, "model": {"name": "mlp"}, **sections})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"optimzer": {}}, 'optimzer is not a known key.\n  Did you mean "optimizer"?'),
        ({"model": {"name": "mpl"}}, "model has an unknown name, got 'mpl'.\n  Did you mean \"mlp\"?"),
        (
            {"model": {}},
            "model needs the key 'name' to say which one is meant.\n"
            "  Valid names: mlp, lenet5, simplenet, open_ended_cnn, step_by_step_cnn, channel_cnn, cifar_resnet, "
            "fast_cifar, svm, logistic_regression. A class of your own is written package.module:Class. A classifier "
            "of torchvision is written torchvision:resnet18.",
        ),
        (
            {"model": {"name": "resnet18"}},
            "package.module:Class. A classifier of torchvision is written torchvision:resnet18.",
        ),
        (
            {"model": {"name": "torchvision:ResNet18"}},
            "model.name must be torchvision: and a classifier's name there, like torchvision:resnet18, got "
            "'torchvision:ResNet18'.",
        ),
        ({"model": {"name": "torchvision:resnet18", "dropout": 1}}, "model.dropout must be less than 1.0, got 1."),
        (
            {"model": {"name": "torchvision:resnet18", "widths": [1]}},
            "model.widths is not a known key of torchvision.\n  Valid: dropout, name, small_images.",
        ),
        (
            {"freeze": {"layers": ["conv 1"]}},
            "freeze.layers[0] must be a name of layers or parameters, or a pattern of some, like features.*, got",
        ),
        (
            {"model": {"name": "open_ended_cnn", "kernels": [5]}},
            "model.kernels must be as many as model.channels (2), got 1.",
        ),
        ({"model": {"name": "open_ended_cnn", "kernels": [5, 2]}}, "must be odd, so that the size is kept, got 2."),
        *(
            (
                {"model": {"name": name}, "train": {"engine": "numpy"}},
                "train.engine numpy trains networks that are sequences of layers written by hand, and model.name "
                f"{name} is none.\n  Choose train.engine torch",
            )
            for name in ("cifar_resnet", "fast_cifar", "torchvision:resnet18")
        ),
        ({"model": "mlp"}, "model must be a mapping with the key 'name', got 'mlp'."),
        ({"model": None}, "model must be a mapping with the key 'name', got None."),
        ({"model": {"name": 3}}, "model has an unknown name, got 3."),
        ({"data": {"source": "digit"}}, 'Did you mean "digits"? A class of your own is written package.module:Class.'),
        ({"model": {"name": "lenet5", "widths": [1]}}, "model.widths is not a known key of lenet5."),
        ({"optimizer": {"momentum": 0.9}}, "optimizer.momentum is not a known key of adam.\n  Valid: beta1, beta2"),
        (
            {"model": {"name": "mlp", "dropuot": 0.1}},
            'model.dropuot is not a known key of mlp.\n  Did you mean "dropout"?',
        ),
        ({"model": {"name": "mlp", "dropout": 1}}, "model.dropout must be less than 1.0, got 1."),
        ({"model": {"name": "mlp", "dropout": float("nan")}}, "model.dropout must be a finite number, got nan."),
        ({"model": {"name": "mlp", "widths": [64, 0]}}, "model.widths[1] must be at least 1, got 0."),
        ({"model": {"name": "mlp", "widths": 64}}, "model.widths must be a list, got 64."),
        ({"freeze": {"all_but": "head"}}, "freeze.all_but must be a list, got 'head'.\n  Write [head]."),
        ({"freeze": {"layers": "*conv"}}, "freeze.layers must be a list, got '*conv'.\n  Write [\"*conv\"]."),
        ({"model": {"name": "mlp", "activation": "rely"}}, 'Did you mean "relu"?'),
        ({"train": {"batch_size": 0}}, "train.batch_size must be at least 1, got 0."),
        ({"train": {"epochs": 1.5}}, "train.epochs must be a whole number, got 1.5."),
        ({"train": {"epochs": True}}, "train.epochs must be a whole number, got True."),
        ({"optimizer": {"name": "adam", "lr": "1e-3"}}, "optimizer.lr must be a number, got '1e-3'.\n  A number was"),
        ({"optimizer": {"name": "adam", "lr": 0}}, "optimizer.lr must be greater than 0, got 0."),
        ({"optimizer": {"name": "adamm"}}, 'Did you mean "adam"?'),
        ({"optimizer": {"name": "sgd", "nesterov": True}}, "optimizer.nesterov needs optimizer.momentum above 0"),
        ({"optimizer": {"name": "sgd", "nesterov": "yes"}}, "optimizer.nesterov must be true or false, got 'yes'."),
        (
            {"schedule": {"name": "cosine", "warmup_epochs": 20}},
            "warmup_epochs must be less than train.epochs (20), got 20.",
        ),
        ({"evaluate": {"shift": -1}}, "evaluate.shift must be at least 0, got -1."),
        ({"evaluate": {"shift": 65}}, "evaluate.shift must be at most 64, got 65."),
        ({"evaluate": {"shfit": 1}}, 'evaluate.shfit is not a known key.\n  Did you mean "shift"?'),
        (
            {"evaluate": {"shift": 1}, "data": {"source": "circles"}},
            "evaluate.shift needs images, and data.source circles gives points.\n  Leave it out.",
        ),
        ({"model": {"name": "lenet5", "pooling": "mean"}}, "pooling must be one of max, average, subsample"),
        ({"model": {"name": "mlp", "pooling": "max"}}, "model.pooling is not a known key of mlp."),
        ({"seed": -1}, "seed must be at least 0, got -1."),
        ({"seed": 2**32}, "seed must be less than 4,294,967,296, got 4294967296."),
        ({"model": {"name": "lenet5"}, "data": {"source": "circles"}}, "model.name lenet5 needs images"),
        *(
            (
                {"data": {"source": "folder", "root": "photos", "size": size}},
                f"data.size must be one whole number, or [height, width], from 1 to 4,096, got {size!r}.",
            )
            for size in (0, 5000, 16.0, "16", True, [16], [16, 0], [16, 16, 3], {"height": 16})
        ),
        *(
            (
                {"model": {"name": "svm", "gamma": gamma}},
                f"model.gamma must be scale, or a number above 0 and at most 1,000,000,000, got {gamma!r}.",
            )
            for gamma in ("auto", 0, -1.0, 2e9, float("nan"), float("inf"), True, [1.0], None)
        ),
        ({"model": {"name": "svm", "gamma": "0.1"}}, "got '0.1'.\n  A number was written as text; remove the quotes."),
        (
            {"model": {"name": "svm", "kernel": "linear", "gamma": 0.1}},
            "model.gamma needs model.kernel rbf, got kernel linear, which has no width.\n  Leave model.gamma out",
        ),
        (
            {"model": {"name": "mlp", "widths": []}, "train": {"engine": "modules"}, "optimizer": {"name": "sgd"}},
            "Choose train.engine torch, which trains every network, or numpy.",
        ),
        (
            {"model": {"name": "mlp", "norm": "batch"}, "train": {"batch_size": 1}},
            "train.batch_size must be at least 2",
        ),
        ({"model": {"name": "os:"}}, "model.name must be a dotted path like package.module:Name, got 'os:'."),
        ({"model": {"name": "a:B", "options": {"x": float("inf")}}}, "model.options must be a finite number"),
    ],
)
def test_mistakes_are_explained(sections, message):
    with pytest.raises(InvalidValueError) as caught:
        recipe(**sections)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_several_mistakes_are_counted():
    with pytest.raises(InvalidValueError, match=r"train.epochs must be at least 0, got -1\.\n  \(1 more problem"):
        recipe(train={"epochs": -1, "batch_size": -1})


def test_a_section_that_names_no_variant_means_the_default_one():
    assert recipe(loss={"label_smoothing": 0.1}) == recipe(loss={"name": "cross_entropy", "label_smoothing": 0.1})
    assert recipe(optimizer={"lr": 0.1}, schedule={}, init={}) == recipe(optimizer={"name": "adam", "lr": 0.1})


def test_missing_sections_are_named():
    with pytest.raises(InvalidValueError, match="data is missing; it has no default"):
        Recipe.model_validate({"model": {"name": "mlp"}})


def test_a_recipe_made_in_python_equals_the_one_read():
    made = recipe(model=MlpModel(name="mlp", widths=(8,)), optimizer=AdamOptimizer(name="adam", lr=1.0))
    assert made == recipe(model={"name": "mlp", "widths": [8]}, optimizer={"name": "adam", "lr": 1})


def test_a_recipe_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        recipe().train.epochs = 3  # type: ignore[misc]


@given(
    st.floats(0, 0.99),
    st.lists(st.integers(1, 4096), max_size=4),
    st.sampled_from(["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "swish"]),
    st.integers(0, 2**32 - 1),
)
def test_resolved_recipes_validate_to_themselves(dropout, widths, activation, seed):
    made = recipe(model={"name": "mlp", "dropout": dropout, "widths": widths, "activation": activation}, seed=seed)
    assert Recipe.model_validate(made.resolved()) == made
    assert made.at_seed(7).resolved() == {**made.resolved(), "seed": 7}


def test_a_network_for_images_refuses_features_made_of_them():
    with pytest.raises(InvalidValueError) as told:
        Recipe.model_validate({"data": {"source": "digits", "normalize": "pca"}, "model": {"name": "lenet5"}})
    assert str(told.value) == (
        "data.normalize pca makes features of images, and model.name lenet5 needs images.\n"
        "  Choose data.normalize zca, or model.name mlp."
    )
