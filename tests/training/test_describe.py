"""What a recipe's network, or any module, looks like."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

import assay
from assay.errors import InputError
from assay.recipe.schema import Recipe
from assay.training.describe import anatomy_of, inspect


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"data": {"source": "digits"}, "model": {"name": "lenet5"}, **sections})


def test_a_recipe_is_inspected_as_its_data_are() -> None:
    anatomy = assay.inspect(recipe())
    assert anatomy.input_shape == (1, 8, 8)
    assert anatomy.rows[-1].output_shape == (10,)


def test_a_module_is_inspected_for_a_shape() -> None:
    anatomy = inspect(nn.Conv2d(3, 8, 5, padding=2), [3, 32, 32])
    assert (anatomy.macs, anatomy.input_shape) == (32 * 32 * 8 * 3 * 25, (3, 32, 32))


def test_frozen_layers_are_frozen_in_the_table_too() -> None:
    anatomy = inspect(recipe(freeze={"layers": ["conv1"]}))
    assert [(row.parameters, row.trainable_parameters) for row in anatomy.rows[:1]] == [(156, 0)]
    everything = anatomy_of(recipe(freeze={"layers": ["*"]}), input_shape=(1, 32, 32), classes=10)
    assert (everything.trainable_parameters, everything.training_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (
            nn.Linear(2, 2),
            None,
            "input_shape must be that of one example, such as (3, 32, 32), for a module, got None.",
        ),
        (nn.Linear(2, 2), (), "for a module, got ()."),
        (nn.Linear(2, 2), (0,), "for a module, got (0,)."),
        (nn.Linear(2, 2), (2.0,), "for a module, got (2.0,)."),
        (recipe(), (1, 8, 8), "input_shape belongs to a module; a recipe's data decide it, got (1, 8, 8)."),
        ("lenet5", (1, 8, 8), "inspect needs a Recipe or a torch.nn.Module, got 'lenet5'."),
    ],
)
def test_wrong_arguments_are_told(model: Any, shape: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        inspect(model, shape)
    assert message in str(caught.value)
