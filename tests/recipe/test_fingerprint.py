"""Fingerprints: equal for what trains equally, different for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.recipe import fingerprint as module
from assay.recipe.fingerprint import fingerprint
from assay.recipe.schema import Recipe

BASE = {"data": {"source": "digits"}, "model": {"name": "mlp"}}


def name(sections: dict, data: str = "d", sources: dict | None = None) -> str:
    return fingerprint(Recipe.model_validate({**BASE, **sections}), data, sources or {})


def test_a_default_written_out_changes_nothing():
    plain = name({})
    assert name({"train": {"epochs": 20}}) == plain
    assert name({"train": {}, "schedule": {"name": "constant"}, "loss": {"name": "cross_entropy", "l1": 0}}) == plain
    assert name({"optimizer": {"name": "adam", "lr": 1e-3}, "seed": 0}) == plain


def test_whatever_decides_numbers_changes_it():
    names = [
        name({}),
        name({"seed": 1}),
        name({"train": {"threads": 2}}),
        name({"train": {"precision": "float64"}}),
        name({"model": {"name": "mlp", "dropout": 0.1}}),
        name({"optimizer": {"name": "sgd"}}),
        name({"optimizer": {"name": "adamw"}}),
        name({}, data="other"),
        name({}, sources={"a:B": "hash"}),
    ]
    assert len(set(names)) == len(names)


def test_where_data_lie_decides_nothing_but_what_is_made_of_them_does():
    folder = {"source": "folder", "root": "scenes", "size": 64}
    assert name({"data": folder}) == name({"data": {**folder, "root": "/elsewhere/scenes", "size": [64, 64]}})
    others = [{}, {"size": 32}, {"fit": "pad"}, {"color": "grey"}, {"on_bad": "skip"}, {"normalize": "zca"}]
    assert len({name({"data": {**folder, **other}}) for other in others}) == len(others)


def test_the_order_of_factors_on_rates_decides_for_the_first_that_fits_counts():
    first, second = {"*.bias": 2.0, "output*": 3.0}, {"output*": 3.0, "*.bias": 2.0}
    names = [name({"optimizer": {"name": "sgd", "lr_factors": factors}}) for factors in (first, second, {})]
    assert len(set(names)) == 3
    assert names[2] == name({"optimizer": {"name": "sgd"}})


def test_augmentation_that_is_off_changes_nothing():
    assert name({"augment": {}}) == name({"augment": {"horizontal_flip": 0, "crop_padding": 0}}) == name({})
    assert name({"augment": {"horizontal_flip": 0.5}}) != name({})


def test_a_change_of_numerics_starts_anew(monkeypatch):
    before = name({})
    monkeypatch.setattr(module, "NUMERICS", module.NUMERICS + 1)
    assert name({}) != before


def test_it_is_the_same_on_every_machine():
    # Pinned: a stored run must be found again by later versions. If this fails, old stores are lost to their owners.
    assert name({}) == "10177597c5177aec93c90047b5983400"


OLD_RECIPES = {
    "b9308b3b673a7792c056d950741f2fef": {
        "data": {"source": "folder", "root": "scenes", "size": 64, "color": "grey"},
        "augment": {"horizontal_flip": 0.5},
        "model": {"name": "lenet5", "norm": "batch"},
        "loss": {"l2": 1e-4},
        "optimizer": {"name": "sgd", "momentum": 0.9},
        "schedule": {"name": "cosine"},
        "train": {"epochs": 3, "threads": 2, "keep": "best"},
        "evaluate": {"shift": 2},
        "seed": 7,
    },
    "250fc118d4c92891509f42e0e525792f": {"data": {"source": "mnist", "root": "/x"}, "model": {"name": "svm"}},
    "c38e5242159ce240a046a105a46289f0": {
        "data": {"source": "cifar10", "normalize": "zca"},
        "model": {"name": "torchvision:resnet18", "small_images": True},
        "train": {"smaller_first": [{"epochs": 1, "side": 16}]},
    },
}


@pytest.mark.parametrize("expected", OLD_RECIPES)
def test_recipes_without_weights_of_before_keep_their_names(expected):
    assert fingerprint(Recipe.model_validate(OLD_RECIPES[expected]), "d", {"a:B": "h"}) == expected


def test_the_content_of_weights_decides_and_not_where_they_lie():
    def of(weights: str | None, sha256: str | None, **more) -> str:
        pretrained = {} if weights is None else {"weights": weights}
        recipe = Recipe.model_validate({**BASE, "pretrained": {**pretrained, **more}})
        return fingerprint(recipe, "d", {}, weights=sha256)

    assert of("here.pth", "1") == of("/there/other.safetensors", "1")
    different = [of(None, None), of("here.pth", "1"), of("here.pth", "2"), of("here.pth", "1", partial=True)]
    assert len(set(different)) == len(different)
    assert of(None, None) == name({})


@given(st.floats(1e-6, 999), st.floats(1e-6, 999))
def test_it_tells_rates_apart_exactly_when_they_differ(first, second):
    one, two = (name({"optimizer": {"name": "adam", "lr": lr}}) for lr in (first, second))
    assert (one == two) == (first == second)
