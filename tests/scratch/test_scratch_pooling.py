"""Poolings, fast and as they are defined, against each other, torch and central differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from assay.errors import InputError, ShapeError
from assay.models.pooling import Subsample2x2
from assay.scratch import pooling
from assay.scratch.in_parallel import threads
from assay.scratch.pooling import AveragePool, MaxPool, Subsample
from assay.scratch.pooling_loops import MaxPoolByLoops
from assay.testing.layers import LayerCase, LayerContract


@st.composite
def poolings(draw, layer, reference, *, ties: bool = False):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
    image = tuple(draw(st.integers(max(1, side - 2 * around), 8)) for side, around in zip(kernel, padding, strict=True))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *image)
    x = generator.integers(0, 2, shape).astype(np.float64) if ties else generator.standard_normal(shape)
    return LayerCase(
        layer=layer(kernel=kernel, stride=stride, padding=padding),
        arguments=(x,),
        reference=lambda x: reference(x, kernel, stride=stride, padding=padding),
    )


class TestMaxPool(LayerContract):
    def cases(self):
        return poolings(MaxPool, functional.max_pool2d)


class TestMaxPoolByLoops(LayerContract):
    def cases(self):
        return poolings(MaxPoolByLoops, functional.max_pool2d)


class TestAveragePool(LayerContract):
    def cases(self):
        return poolings(AveragePool, functional.avg_pool2d)


class TestSubsample(LayerContract):
    def cases(self):
        shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 7), st.integers(2, 7))
        return shapes.map(
            lambda shape: LayerCase(
                layer=Subsample(),
                arguments=(np.random.default_rng(sum(shape)).standard_normal(shape),),
                reference=Subsample2x2(),
            )
        )


@given(poolings(MaxPool, functional.max_pool2d, ties=True), st.integers(1, 3))
@settings(deadline=None, max_examples=100)
def test_of_equal_pixels_the_first_gets_the_gradient_as_in_torch(case, count):
    (x,) = case.arguments
    layer = case.layer
    by_loops = MaxPoolByLoops(kernel=layer.kernel, stride=layer.stride, padding=layer.padding)
    with threads(count):
        y, cache = layer.forward(x)
        dy = np.random.default_rng(0).standard_normal(y.shape)
        (dx,) = layer.backward(dy, cache)
    by_definition, looped_cache = by_loops.forward(x)
    tensor = torch.from_numpy(x).requires_grad_()
    theirs = case.reference(tensor)
    (expected,) = torch.autograd.grad(theirs, tensor, torch.from_numpy(dy))
    assert np.array_equal(y, theirs.detach().numpy())
    assert np.array_equal(y, by_definition)
    np.testing.assert_allclose(dx, expected.numpy(), atol=1e-14)
    np.testing.assert_allclose(by_loops.backward(dy, looped_cache)[0], expected.numpy(), atol=1e-14)


@pytest.mark.parametrize("layer", [MaxPool(kernel=(3, 2), stride=(1, 1)), AveragePool(kernel=(3, 2), stride=(1, 1))])
@pytest.mark.parametrize(("count", "part_bytes"), [(1, 1), (2, 1), (2, 2**19), (3, 2**19)])
def test_threads_and_parts_change_no_bit(layer, count, part_bytes, monkeypatch):
    draws = np.random.default_rng(3)
    x, dy = draws.integers(0, 4, (5, 2, 6, 7)).astype(np.float64), draws.standard_normal((5, 2, 4, 6))
    expected, cache = layer.forward(x)
    (expected_dx,) = layer.backward(dy, cache)
    monkeypatch.setattr(pooling, "PART_BYTES", part_bytes)
    with threads(count):
        y, cache = layer.forward(x)
        (dx,) = layer.backward(dy, cache)
    assert np.array_equal(y, expected)
    assert np.array_equal(dx, expected_dx)


def test_padding_is_never_the_maximum():
    x = np.full((1, 1, 2, 2), -5.0)
    y, cache = MaxPool(kernel=(2, 2), padding=(1, 1)).forward(x)
    assert (y == -5.0).all()
    assert np.array_equal(MaxPool(kernel=(2, 2), padding=(1, 1)).backward(np.ones_like(y), cache)[0], np.ones_like(x))


def test_padding_counts_in_the_mean():
    y, _ = AveragePool(kernel=(2, 2), padding=(1, 1)).forward(np.full((1, 1, 2, 2), 4.0))
    assert (y == 1.0).all()


def test_not_a_number_passes_through():
    x = np.zeros((1, 1, 2, 2))
    x[0, 0, 1, 1] = np.nan
    assert np.isnan(MaxPool().forward(x)[0]).all()


@pytest.mark.parametrize("layer", [MaxPool, AveragePool, MaxPoolByLoops])
def test_what_does_not_fit_is_named(layer):
    with pytest.raises(ShapeError, match=r"needs images of shape \(B, C, H, W\), H and W at least 1, got \(2, 3\)\."):
        layer().forward(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"H and W at least 1, got \(1, 1, 0, 4\)\."):
        layer(padding=(1, 1)).forward(np.zeros((1, 1, 0, 4)))  # every window would lie in the padding
    for padding in ((2, 0), (0, 2)):
        with pytest.raises(ShapeError) as caught:
            layer(padding=padding).forward(np.zeros((1, 1, 4, 4)))
        assert f"can be padded by at most half its kernel (2, 2), got padding {padding}." in str(caught.value)
    with pytest.raises(ShapeError, match=r"must be at least 1 .* got kernel \(2, 0\)"):
        layer(kernel=(2, 0), stride=(1, 1)).forward(np.zeros((1, 1, 4, 4)))
    with pytest.raises(InputError, match=r"needs floats, got uint8\."):
        layer().forward(np.zeros((1, 1, 4, 4), np.uint8))
    with pytest.raises(ShapeError, match="A kernel of 3×3 must fit into the padded image"):
        layer(kernel=(3, 3)).forward(np.zeros((1, 1, 2, 5)))


def test_subsample_needs_a_whole_window():
    with pytest.raises(ShapeError, match="of at least 2×2 pixels"):
        Subsample().forward(np.zeros((1, 1, 1, 4)))
    with pytest.raises(ShapeError, match="of at least 0×2 pixels, each at least 1"):
        Subsample(kernel=(0, 2)).forward(np.zeros((1, 1, 4, 4)))


@pytest.mark.parametrize("layer", [MaxPool(), AveragePool(), Subsample(), MaxPoolByLoops()], ids=repr)
def test_a_batch_may_be_empty(layer):
    y, cache = layer.forward(np.ones((0, 3, 4, 6)))
    assert y.shape == (0, 3, 2, 3)
    assert layer.backward(y, cache)[0].shape == (0, 3, 4, 6)
