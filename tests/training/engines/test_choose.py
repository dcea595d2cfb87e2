"""What a recipe asks of a model and its data that only the two together can tell."""

import pytest

from assay.errors import InvalidValueError
from assay.recipe.schema import Recipe
from assay.training.run import run_recipe


def run(**sections):
    base = {
        "data": {"source": "digits"},
        "model": {"name": "own_networks_of_size:AnySize"},
        "train": {"epochs": 3, "batch_size": 128, "smaller_first": [{"epochs": 2, "side": 5}]},
    }
    return run_recipe(Recipe.model_validate({**base, **sections}), fingerprint="f00d")


def test_a_network_for_images_of_any_size_trains_on_smaller_ones_first():
    trained = run()
    assert len(trained.history) == 3
    whole = run(train={"epochs": 3, "batch_size": 128})
    assert trained.history[0].running_train_loss != whole.history[0].running_train_loss


@pytest.mark.parametrize("model", ["lenet5", "own_networks_of_size:Raises", "own_networks_of_size:GivesAMap"])
def test_a_network_that_cannot_take_smaller_images_is_refused_before_training(model):
    with pytest.raises(InvalidValueError) as caught:
        run(model={"name": model})
    assert str(caught.value) == (
        f"train.smaller_first[0].side makes images of 5×5 pixels, and model.name {model} cannot take that size.\n"
        "  Choose a larger side, or a model that pools over whatever is left of an image before its last layer."
    )


def test_the_part_that_does_not_fit_is_named():
    parts = [{"epochs": 1, "side": 6}, {"epochs": 1, "side": 4}]
    with pytest.raises(InvalidValueError, match=r"^train\.smaller_first\[1\]\.side makes images of 4×4 pixels"):
        run(model={"name": "own_networks_of_size:Raises"}, train={"epochs": 3, "smaller_first": parts})


@pytest.mark.parametrize("side", [8, 9])
def test_a_side_that_makes_nothing_smaller_is_refused(side):
    with pytest.raises(InvalidValueError) as caught:
        run(train={"epochs": 3, "smaller_first": [{"epochs": 1, "side": side}]})
    assert str(caught.value) == (
        f"train.smaller_first[0].side must be less than the images' shorter side, 8 pixels, got {side}.\n"
        "  Leave that part out."
    )


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"train": {"epochs": 2, "smaller_first": [{"epochs": 1, "side": 4}]}}, "train.smaller_first"),
        ({"train": {"epochs": 2}, "evaluate": {"views": "mirrored"}}, "evaluate.views"),
    ],
)
def test_points_of_a_source_of_ones_own_are_refused_where_images_are_needed(sections, key):
    with pytest.raises(InvalidValueError) as caught:
        run(data={"source": "own_models:Points"}, model={"name": "mlp"}, **sections)
    assert str(caught.value) == f"{key} needs images, and data.source own_models:Points gives points.\n  Leave it out."
