"""Flatten and residual addition."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from assay.errors import ShapeError
from assay.scratch.reshaping import Add, Flatten
from assay.testing.layers import LayerCase, LayerContract

seeds = st.integers(0, 2**32 - 1)


def flatten_case(seed: int, shape: list[int]) -> LayerCase:
    x = np.random.default_rng(seed).normal(size=shape)
    return LayerCase(layer=Flatten(), arguments=(x,), reference=lambda x: torch.flatten(x, 1))


def add_case(seed: int, shape: list[int]) -> LayerCase:
    rng = np.random.default_rng(seed)
    return LayerCase(layer=Add(), arguments=(rng.normal(size=shape), rng.normal(size=shape)), reference=torch.add)


class TestFlatten(LayerContract):
    def cases(self):
        return st.builds(flatten_case, seeds, st.lists(st.integers(1, 4), min_size=2, max_size=4))


class TestAdd(LayerContract):
    def cases(self):
        return st.builds(add_case, seeds, st.lists(st.integers(1, 4), min_size=1, max_size=4))


def test_flattening_copies_nothing_in_either_direction():
    x_BCHW = np.arange(24.0).reshape(1, 2, 3, 4)
    y_BD, cache = Flatten().forward(x_BCHW)
    assert y_BD.tolist() == [list(range(24))]
    assert np.shares_memory(y_BD, x_BCHW)
    (dx_BCHW,) = Flatten().backward(y_BD, cache)
    assert dx_BCHW.shape == x_BCHW.shape
    assert np.shares_memory(dx_BCHW, x_BCHW)


def test_images_in_channels_last_order_are_flattened_channel_by_channel_all_the_same():
    x_BCHW = np.arange(24.0).reshape(1, 2, 3, 4)
    last_BCHW = np.ascontiguousarray(x_BCHW.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert Flatten().forward(last_BCHW)[0].tolist() == [list(range(24))]


def test_an_empty_batch_is_flattened():
    y_BD, cache = Flatten().forward(np.empty((0, 2, 3)))
    assert y_BD.shape == (0, 6)
    assert Flatten().backward(y_BD, cache)[0].shape == (0, 2, 3)


def test_flattening_needs_a_batch_and_something_in_it():
    with pytest.raises(ShapeError) as caught:
        Flatten().forward(np.ones(3))
    assert str(caught.value) == "Flatten needs input of shape (B, …), at least two axes, got (3,)."


@pytest.mark.parametrize("shortcut", [(1, 3), (3,), (4, 1), (4, 3, 1)])
def test_a_shortcut_of_another_shape_is_refused_even_if_it_would_broadcast(shortcut):
    with pytest.raises(ShapeError) as caught:
        Add().forward(np.ones((4, 3)), np.ones(shortcut))
    assert str(caught.value) == f"Add needs two inputs of one shape, got (4, 3) and {shortcut}."
