"""Convolution as it is defined and fast, against each other, torch and central differences."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from assay.errors import InputError, ShapeError
from assay.scratch import windows
from assay.scratch.convolution import Convolution
from assay.scratch.convolution_loops import ConvolutionByLoops
from assay.scratch.in_parallel import threads
from assay.scratch.windows import PART_BYTES
from assay.testing.layers import LayerCase, LayerContract


@st.composite
def geometries(draw, most: int = 9):
    """(stride, padding, image, kernel), rectangular all of them, such that at least one window fits."""
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    image = draw(st.tuples(st.integers(1, most), st.integers(1, most)))
    kernel = tuple(draw(st.integers(1, min(5, side + 2 * around))) for side, around in zip(image, padding, strict=True))
    return stride, padding, image, kernel


@st.composite
def convolutions(draw, layer=Convolution, most: int = 9):
    stride, padding, image, kernel = draw(geometries(most))
    images, channels, filters = (draw(st.integers(1, 3)) for _ in range(3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return LayerCase(
        layer=layer(stride=stride, padding=padding),
        arguments=(
            generator.standard_normal((images, channels, *image)),
            generator.standard_normal((filters, channels, *kernel)),
            generator.standard_normal(filters),
        ),
        reference=lambda x, weight, bias: functional.conv2d(x, weight, bias, stride=stride, padding=padding),
    )


class TestConvolution(LayerContract):
    def cases(self):
        return convolutions()


class TestConvolutionByLoops(LayerContract):
    def cases(self):
        return convolutions(ConvolutionByLoops, most=6)


@given(convolutions(most=7), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_fast_is_what_is_defined_on_any_number_of_threads(case, count):
    by_loops = ConvolutionByLoops(stride=case.layer.stride, padding=case.layer.padding)
    expected, cache = by_loops.forward(*case.arguments)
    dy = np.random.default_rng(0).standard_normal(expected.shape)
    with threads(count):
        y, fast_cache = case.layer.forward(*case.arguments)
        gradients = case.layer.backward(dy, fast_cache)
        alone = (case.layer.input_gradient(dy, fast_cache), *case.layer.parameter_gradients(dy, fast_cache))
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    for gradient, same, by_definition in zip(gradients, alone, by_loops.backward(dy, cache), strict=True):
        np.testing.assert_allclose(gradient, by_definition, rtol=1e-11, atol=1e-11)
        assert np.array_equal(gradient, same)


@given(convolutions(most=9), st.integers(1, 3), st.sampled_from([1, 500, 3000]))
@settings(deadline=None, max_examples=150)
def test_bands_do_not_show(case, count, part_bytes):
    whole, whole_cache = case.layer.forward(*case.arguments)
    dy = np.random.default_rng(0).standard_normal(whole.shape)
    with pytest.MonkeyPatch.context() as patch, threads(count):
        patch.setattr(windows, "PART_BYTES", part_bytes)
        patch.setattr(windows, "_ROWS_OF_KERNELS", 1)
        y, cache = case.layer.forward(*case.arguments)
        gradients = case.layer.backward(dy, cache)
    np.testing.assert_allclose(y, whole, rtol=1e-12, atol=1e-12)
    for in_bands, at_once in zip(gradients, case.layer.backward(dy, whole_cache), strict=True):
        np.testing.assert_allclose(in_bands, at_once, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("shape", "filters", "kernel", "stride", "padding"),
    [((100, 3, 31, 31), 25, 3, 2, 1), ((64, 3, 32, 32), 64, 5, 1, 2), ((8, 64, 16, 16), 64, 3, 1, 1)],
)
def test_batches_of_several_parts_equal_torch_in_float32(shape, filters, kernel, stride, padding):
    generator = np.random.default_rng(2)
    x, weight, bias = (
        generator.standard_normal(size, dtype=np.float32)
        for size in (shape, (filters, shape[1], kernel, kernel), (filters,))
    )
    layer = Convolution(stride=(stride, stride), padding=(padding, padding))
    y, cache = layer.forward(x, weight, bias)
    tensors = [torch.from_numpy(array).double().requires_grad_() for array in (x, weight, bias)]
    theirs = functional.conv2d(*tensors, stride=stride, padding=padding)
    dy = generator.standard_normal(y.shape, dtype=np.float32)
    expected = torch.autograd.grad(theirs, tensors, torch.from_numpy(dy).double())
    for own, other in zip((y, *layer.backward(dy, cache)), (theirs.detach(), *expected), strict=True):
        assert own.dtype == np.float32
        assert np.linalg.norm(own - other.numpy()) <= 1e-5 * np.linalg.norm(other.numpy())


def test_memory_grows_neither_with_the_batch_nor_with_the_height():
    layer, weight, bias = Convolution(padding=(2, 2)), np.ones((4, 8, 5, 5), np.float32), np.zeros(4, np.float32)

    def beside_results(images: int, height: int) -> float:
        x = np.ones((images, 8, height, 32), np.float32)
        tracemalloc.start()
        y, cache = layer.forward(x, weight, bias)
        dx, *_ = layer.backward(y, cache)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak - y.nbytes - dx.nbytes

    few, many = beside_results(16, 32), beside_results(160, 32)
    assert many < few + 50_000
    assert many < 4 * PART_BYTES
    assert beside_results(1, 3200) < 4 * PART_BYTES


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((2, 3, 5), (4, 3, 3, 3), (4,), "Convolution needs images (B, C, H, W) and weights (F, C, kh, kw) of as many"),
        ((2, 3, 5, 5), (4, 2, 3, 3), (4,), "got (2, 3, 5, 5) and (4, 2, 3, 3)."),
        ((2, 3, 5, 5), (4, 3, 3, 3), (3,), "Convolution of 4 filters needs as many biases, got (3,)."),
        ((2, 3, 2, 5), (4, 3, 3, 3), (4,), "A kernel of 3×3 must fit into the padded image; got an image of 2×5"),
    ],
)
@pytest.mark.parametrize("layer", [Convolution(), ConvolutionByLoops()], ids=["fast", "loops"])
def test_shapes_that_do_not_fit_are_named(layer, x, weight, bias, message):
    with pytest.raises(ShapeError) as caught:
        layer.forward(np.zeros(x), np.zeros(weight), np.zeros(bias))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "kernel"), [({"stride": (0, 1)}, (3, 3)), ({"padding": (0, -1)}, (3, 3)), ({}, (3, 0)), ({}, (0, 3))]
)
def test_kernels_strides_and_paddings_have_bounds(options, kernel):
    with pytest.raises(ShapeError, match="must be at least 1 and the padding at least 0"):
        Convolution(**options).forward(np.zeros((1, 1, 5, 5)), np.zeros((1, 1, *kernel)), np.zeros(1))


@pytest.mark.parametrize(("images", "channels", "filters"), [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_a_batch_without_images_channels_or_filters_is_one_of_no_numbers(images, channels, filters):
    x, weight = np.ones((images, channels, 5, 6)), np.ones((filters, channels, 3, 2))
    for layer in (Convolution(), ConvolutionByLoops()):
        y, cache = layer.forward(x, weight, np.full(filters, 0.5))
        assert y.shape == (images, filters, 3, 5)
        assert (y == 0.5).all()
        dx, dweight, dbias = layer.backward(np.ones_like(y), cache)
        assert (dx.shape, dweight.shape) == (x.shape, weight.shape)
        assert not dx.any()
        assert not dweight.any()
        assert dbias.tolist() == [15.0 * images] * filters


@pytest.mark.parametrize("layer", [Convolution(), ConvolutionByLoops()], ids=["fast", "loops"])
def test_whole_numbers_are_refused_and_not_cut_off(layer):
    with pytest.raises(InputError, match=r"^Convolution needs floats, got int64\. Convert them first"):
        layer.forward(np.ones((1, 1, 3, 3), np.int64), np.full((1, 1, 2, 2), 0.3), np.zeros(1))


def test_rows_that_no_window_meets_are_not_copied():
    x, weight = np.ones((2, 16, 64, 64), np.float32), np.ones((16, 16, 1, 1), np.float32)
    tracemalloc.start()
    y, _ = Convolution(stride=(2, 2)).forward(x, weight, np.zeros(16, np.float32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - y.nbytes < 2.5 * y.nbytes  # copies and a product, each as large as y
