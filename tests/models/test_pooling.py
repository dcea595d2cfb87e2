"""Pooling of 2×2 windows: max-pooling against torch's own, in values and gradients; and what may stand in its place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from assay.models.pooling import MaxPool2x2, Subsample2x2, pooling_layer

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 9), st.integers(2, 9))

CORNERS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def both(x_BCHW, seed=0):
    """Values and gradients, of assay's layer and of torch's function."""
    found = []
    for pool in (MaxPool2x2(), lambda x: functional.max_pool2d(x, 2)):
        x = x_BCHW.clone().requires_grad_()
        y = pool(x)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
        found.append((y.detach(), *torch.autograd.grad(y, x, dy)))
    return found


@given(shape=SHAPES, levels=st.integers(1, 5), dtype=st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=200, deadline=None)
def test_values_and_gradients_are_torchs_ties_included(shape, levels, dtype):
    generator = torch.Generator().manual_seed(sum(shape) + levels)
    x = torch.randint(-levels, levels + 1, shape, generator=generator).to(dtype)  # few levels: many ties
    (own_y, own_dx), (torch_y, torch_dx) = both(x)
    assert torch.equal(own_y, torch_y)
    assert torch.equal(own_dx, torch_dx)


def test_a_value_that_is_not_a_number_passes_on():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 2] = torch.nan
    assert MaxPool2x2()(x).isnan().tolist() == [[[[False, True], [False, False]]]]


@pytest.mark.parametrize("shape", [(2, 3, 1, 5), (2, 3, 5, 1)])
def test_images_too_small_are_refused_as_by_torch(shape):
    with pytest.raises(RuntimeError, match="Output size is too small"):
        MaxPool2x2()(torch.zeros(shape))


def test_other_layouts_in_memory_give_the_same():
    x = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    expected = functional.max_pool2d(x, 2)
    assert torch.equal(MaxPool2x2()(x.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(MaxPool2x2()(x.transpose(2, 3)).transpose(2, 3), expected)


@given(shape=SHAPES)
@settings(max_examples=50, deadline=None)
def test_all_kinds_have_one_size_and_are_their_definitions(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    batch, channels, height, width = shape
    windows = torch.stack([x[:, :, row : height // 2 * 2 : 2, column : width // 2 * 2 : 2] for row, column in CORNERS])
    assert windows.shape == (4, batch, channels, height // 2, width // 2)
    assert torch.equal(pooling_layer("max")(x), windows.amax(dim=0))
    torch.testing.assert_close(pooling_layer("average")(x), windows.mean(dim=0))
    assert torch.equal(pooling_layer("subsample")(x), windows[0])
    assert not any(list(pooling_layer(name).parameters()) for name in ("max", "average", "subsample"))


def test_a_convolution_before_subsampling_is_one_of_stride_2():
    x, weight = torch.randn(2, 3, 9, 8), torch.randn(4, 3, 5, 5)
    thinned = Subsample2x2()(functional.conv2d(x, weight, padding=2)[:, :, :8])
    torch.testing.assert_close(thinned, functional.conv2d(x, weight, padding=2, stride=2)[:, :, :4])


def test_pixels_that_subsampling_does_not_see_get_no_gradient():
    x = torch.zeros(1, 1, 3, 5, requires_grad=True)
    Subsample2x2()(x).sum().backward()
    assert x.grad[0, 0].tolist() == [[1, 0, 1, 0, 0], [0] * 5, [0] * 5]
