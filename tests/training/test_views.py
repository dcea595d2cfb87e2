"""Views of an image against loops over single images and pixels."""

import numpy as np
import pytest
import torch
from torch import nn

from assay.recipe.schema import Recipe
from assay.training.run import run_recipe
from assay.training.views import seen_from


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 6 * 5, 4)).double()


def score_of(model, image_CHW) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(np.ascontiguousarray(image_CHW))[None]).numpy()[0]


def mirrored(image_CHW):
    turned = np.empty_like(image_CHW)
    for column in range(image_CHW.shape[2]):
        turned[:, :, column] = image_CHW[:, :, image_CHW.shape[2] - 1 - column]
    return turned


def shifted(image_CHW, by: int):
    """Each pixel is the one so far down and right of it; beyond the edge the image is mirrored, its edge once."""
    _, height, width = image_CHW.shape

    def inside(position: int, size: int) -> int:
        position = abs(position)
        return position if position < size else 2 * (size - 1) - position

    moved = np.empty_like(image_CHW)
    for row in range(height):
        for column in range(width):
            moved[:, row, column] = image_CHW[:, inside(row + by, height), inside(column + by, width)]
    return moved


def test_one_view_is_the_scores_themselves():
    def scores(x):
        return x

    assert seen_from("one", scores) is scores


@pytest.mark.parametrize("views", ["mirrored", "mirrored_and_shifted"])
def test_scores_are_the_weighted_mean_over_the_views(views):
    model = network()
    images_BCHW = np.random.default_rng(2).normal(size=(3, 2, 6, 5))
    expected = []
    for image in images_BCHW:
        both = (score_of(model, image) + score_of(model, mirrored(image))) / 2
        if views == "mirrored_and_shifted":
            moved = [shifted(image, by) for by in (-1, 1)]
            four = [score_of(model, view) for one in moved for view in (one, mirrored(one))]
            both = both / 2 + sum(four) / 8
        expected.append(both)
    with torch.inference_mode():
        found = seen_from(views, model)(torch.from_numpy(images_BCHW))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def run(views, **sections):
    recipe = Recipe.model_validate(
        {
            "data": {"source": "digits"},
            "model": {"name": "lenet5"},
            "train": {"epochs": 1, "batch_size": 64},
            "evaluate": {"views": views},
            **sections,
        }
    )
    return run_recipe(recipe, fingerprint="f00d")


def test_a_run_is_trained_alike_and_measured_by_its_views_at_the_end():
    plain, seen = run("one"), run("mirrored")
    assert seen.history[-1].val_accuracy == plain.history[-1].val_accuracy
    for name, array in plain.weights.items():
        np.testing.assert_array_equal(seen.weights[name], array)
    metrics = seen.record.metrics
    assert metrics["one_view_test_accuracy"] == plain.record.metrics["test_accuracy"]
    assert "one_view_test_accuracy" not in plain.record.metrics
    assert metrics["test_accuracy"] == seen.predictions["test"].correct_N().mean()
    assert metrics["val_accuracy"] == seen.predictions["val"].correct_N().mean()
    assert not np.array_equal(seen.predictions["test"].probabilities_NC, plain.predictions["test"].probabilities_NC)
