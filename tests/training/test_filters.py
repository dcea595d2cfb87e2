"""Pictures of the filters of a first convolution."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from assay.recipe.schema import Recipe
from assay.training.filters import FILTERS, MOST_TILES, filters_file, filters_picture, first_layer
from assay.training.run import run_recipe


def shown(filters_OCHW: np.ndarray) -> np.ndarray:
    with Image.open(io.BytesIO(filters_picture(filters_OCHW))) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_each_weight_is_a_square_grey_where_it_is_zero() -> None:
    weights = np.array([[[[0.0, 2.0], [-2.0, 1.0]]], [[[0.0, 0.5], [0.25, 0.0]]]], dtype=np.float32)
    picture = shown(weights)
    assert picture.shape == (48, 2 * 48 + 2, 3)
    first, second = picture[:, :48, 0], picture[:, 50:, 0]
    assert {first[0, 0], first[23, 23]} == {128}
    assert (first[0, 24], first[24, 0], first[24, 24]) == (255, 0, 191)
    assert (second[0, 0], second[0, 24], second[24, 0]) == (128, 255, 191)  # by its own largest weight
    assert (picture[:, 48:50] == 255).all()


def test_three_channels_are_colours() -> None:
    weights = np.zeros((1, 3, 1, 1))
    weights[0, :, 0, 0] = 1.0, -1.0, 0.0
    assert np.abs(shown(weights)[0, 0].astype(int) - (255, 0, 128)).max() <= 1


@pytest.mark.parametrize(("filters", "columns", "rows"), [(3, 3, 1), (8, 8, 1), (20, 8, 3), (500, 8, 8)])
def test_at_most_sixty_four_filters_are_shown(filters: int, columns: int, rows: int) -> None:
    picture = shown(np.random.default_rng(0).normal(size=(filters, 1, 3, 3)))
    assert picture.shape[:2] == (rows * 50 - 2, columns * 50 - 2)
    assert rows * columns <= max(MOST_TILES, 64)


def test_of_other_layers_each_channel_is_a_tile_and_a_filter_is_a_row() -> None:
    weights = np.zeros((10, 20, 1, 1))
    weights[1, 2] = 1.0
    picture = shown(weights)
    assert picture.shape[:2] == (8 * 50 - 2, 8 * 50 - 2)
    assert [tuple(place) for place in np.argwhere((picture[::50, ::50, 0]) == 255)] == [(1, 2)]


def test_weights_that_are_no_numbers_are_grey_and_none_is_left_white() -> None:
    assert (shown(np.full((1, 1, 1, 1), np.nan)) == 128).all()
    weights = np.array([[[[np.inf, 1.0]]]])
    assert shown(weights)[0, :, 0].tolist() == [128] * 24 + [255] * 24
    assert len(filters_picture(np.random.default_rng(1).normal(size=(64, 3, 11, 11)))) < 60_000


def test_the_first_layer_with_weights_counts() -> None:
    convolution = nn.Conv2d(1, 2, 3)
    assert first_layer(nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), convolution, nn.Linear(3, 3))) == "2"
    assert first_layer(nn.Sequential(nn.LayerNorm((4, 4)), convolution)) == "1"
    assert first_layer(nn.Sequential(nn.Flatten(), nn.Linear(3, 3), convolution)) is None
    assert first_layer(nn.Sequential(nn.Conv1d(1, 1, 3), convolution)) is None
    assert first_layer(nn.Sequential(nn.ReLU())) is None


def test_a_layer_whose_weight_goes_by_another_name_is_left_out() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3))
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(4, 2))
    assert filters_file(model, {name: tensor.numpy() for name, tensor in model.state_dict().items()}) == {}


@pytest.mark.parametrize("sections", [{}, {"train": {"epochs": 1, "engine": "numpy"}}], ids=["torch", "numpy"])
def test_runs_keep_the_filters_of_their_weights(sections: dict[str, Any]) -> None:
    given = {"data": {"source": "digits"}, "model": {"name": "lenet5"}, "train": {"epochs": 1}, **sections}
    run = run_recipe(Recipe.model_validate(given), fingerprint="f00d")
    assert run.artefacts[FILTERS] == filters_picture(run.weights["conv1.weight"])
    without = run_recipe(Recipe.model_validate({**given, "model": {"name": "mlp"}}), fingerprint="f00d")
    assert FILTERS not in without.artefacts
