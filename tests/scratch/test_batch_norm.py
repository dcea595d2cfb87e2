"""Batch normalisation: two backward passes, running statistics, batches of one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from assay.errors import ShapeError
from assay.scratch.batch_norm import BatchNorm, SpatialBatchNorm, running
from assay.testing.layers import LayerCase, LayerContract

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 5)
epsilons = st.sampled_from([1e-5, 1e-3, 0.1])
flat_shapes = st.tuples(sizes, sizes)
image_shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))

both_layouts = pytest.mark.parametrize(
    ("layer_class", "torch_class", "shape"),
    [(BatchNorm, nn.BatchNorm1d, (6, 3)), (SpatialBatchNorm, nn.BatchNorm2d, (2, 3, 4, 5))],
    ids=["flat", "images"],
)


def arguments(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of different means and deviations, whose values lie apart: where they are nearly equal, a step of
    central differences is no small one."""
    rng = np.random.default_rng(seed)
    examples, features, *places = shape
    count = examples * int(np.prod(places))
    apart = rng.permuted(np.arange(count) * np.ones((features, 1)), axis=1)
    apart += rng.uniform(0.0, 0.5, apart.shape)
    apart = (apart - count / 2) * rng.uniform(0.5, 2.0, (features, 1)) + rng.normal(size=(features, 1))
    x = np.moveaxis(apart.reshape(features, examples, *places), 0, 1)
    return np.ascontiguousarray(x), rng.normal(size=features), rng.normal(size=features)


def case(layer_class, seed: int, shape: tuple[int, ...], eps: float) -> LayerCase:
    def reference(x: torch.Tensor, gain_F: torch.Tensor, bias_F: torch.Tensor) -> torch.Tensor:
        if x.numel() == x.shape[1]:  # torch refuses one value per feature
            return (x - x) * gain_F.view(-1, *x.shape[2:]) + bias_F.view(-1, *x.shape[2:])
        return functional.batch_norm(x, None, None, gain_F, bias_F, training=True, eps=eps)

    return LayerCase(layer=layer_class(eps=eps), arguments=arguments(seed, shape), reference=reference)


class TestBatchNorm(LayerContract):
    def cases(self):
        return st.builds(case, st.just(BatchNorm), seeds, flat_shapes, epsilons)


class TestSpatialBatchNorm(LayerContract):
    def cases(self):
        return st.builds(case, st.just(SpatialBatchNorm), seeds, image_shapes, epsilons)


@given(seeds, st.one_of(flat_shapes, image_shapes, st.just((500, 2)), st.just((20, 3, 9, 8))), epsilons)
def test_the_simplified_backward_pass_is_the_direct_one(seed, shape, eps):
    layer = (BatchNorm if len(shape) == 2 else SpatialBatchNorm)(eps=eps)
    _, cache = layer.forward(*arguments(seed, shape))
    dy = np.random.default_rng(seed + 1).normal(size=shape)
    for simplified, direct in zip(layer.backward(dy, cache), layer.backward_by_graph(dy, cache), strict=True):
        # Small batches make dx a small difference of numbers near 1, so rounding is measured against those.
        assert np.linalg.norm(simplified - direct) <= 1e-12 * max(1.0, np.linalg.norm(direct))


@both_layouts
@pytest.mark.parametrize("backward", ["backward", "backward_by_graph"])
def test_a_single_value_per_feature_gives_the_bias_and_a_gradient_of_zero(layer_class, torch_class, shape, backward):
    x, gain_F, bias_F = arguments(0, (1, 3, *(1 for _ in shape[2:])))
    y, cache = layer_class().forward(x, gain_F, bias_F)
    assert y.ravel().tolist() == bias_F.tolist()
    dy = np.random.default_rng(1).normal(size=x.shape)
    dx, dgain_F, dbias_F = getattr(layer_class(), backward)(dy, cache)
    assert not dx.any()
    assert not dgain_F.any()
    assert dbias_F.tolist() == dy.ravel().tolist()


@both_layouts
@pytest.mark.parametrize("constant", [0.0, 3.5])
def test_a_constant_feature_gives_the_bias(layer_class, torch_class, shape, constant):
    y, cache = layer_class().forward(np.full(shape, constant), np.full(3, 2.0), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(np.moveaxis(y, 1, -1).reshape(-1, 3), np.tile([1.0, 2.0, 3.0], (y.size // 3, 1)))
    assert all(np.isfinite(gradient).all() for gradient in layer_class().backward(np.ones(shape), cache))


@both_layouts
def test_what_comes_out_has_mean_0_and_variance_1(layer_class, torch_class, shape):
    x, _, _ = arguments(0, shape)
    y, _ = layer_class(eps=0.0).forward(1000.0 + x, np.ones(3), np.zeros(3))
    averaged = (0, *range(2, len(shape)))
    np.testing.assert_allclose(y.mean(axis=averaged), 0.0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=averaged), 1.0, rtol=1e-12)


@both_layouts
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_statistics_and_evaluation_are_torchs_over_several_batches(layer_class, torch_class, shape, dtype):
    theirs = torch_class(3, dtype=torch.float32 if dtype == np.float32 else torch.float64)
    mean_F, variance_F = np.zeros(3, dtype), np.ones(3, dtype)
    gain_F, bias_F = np.array([0.5, -1.0, 2.0], dtype), np.array([0.0, 1.0, -1.0], dtype)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(gain_F))
        theirs.bias.copy_(torch.from_numpy(bias_F))
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    for seed, examples in enumerate([shape[0], shape[0], 2]):
        x = arguments(seed, (examples, *shape[1:]))[0].astype(dtype)
        y, cache = layer_class().forward(x, gain_F, bias_F)
        mean_F, variance_F = running(
            mean_F, variance_F, cache.mean_F, cache.variance_F, cache.count
        )  # 0.1, torch's own default
        np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach().numpy(), rtol=rtol, atol=rtol)
        assert mean_F.dtype == variance_F.dtype == dtype
        np.testing.assert_allclose(mean_F, theirs.running_mean.numpy(), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(variance_F, theirs.running_var.numpy(), rtol=rtol)
    x = arguments(9, shape)[0].astype(dtype)
    evaluated = layer_class().evaluate(x, gain_F, bias_F, mean_F, variance_F)
    assert evaluated.dtype == dtype
    expected = theirs.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(evaluated, expected, rtol=rtol, atol=rtol)


def test_evaluation_takes_a_single_example_and_leaves_its_arguments():
    x_BD, statistics = np.array([[3.0, 5.0]]), [np.full(2, value) for value in (2.0, 1.0, 1.0, 4.0)]
    before = [array.copy() for array in (x_BD, *statistics)]
    y_BD = BatchNorm(eps=0.0).evaluate(x_BD, *statistics)
    assert y_BD.tolist() == [[3.0, 5.0]]  # 2·(3 − 1)/√4 + 1 and 2·(5 − 1)/√4 + 1
    for array, copy in zip((x_BD, *statistics), before, strict=True):
        assert np.array_equal(array, copy)


def test_running_statistics_of_one_value_per_feature_are_refused():
    with pytest.raises(ShapeError) as caught:
        running(np.zeros(2), np.ones(2), np.zeros(2), np.zeros(2), 1, 0.1)
    assert str(caught.value) == (
        "Batch normalisation needs more than one value per feature in training, got 1. Change the batch size, so that "
        "no batch holds a single example."
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_in_channels_last_order_give_the_same(dtype):
    x_BCHW, gain_C, bias_C = (array.astype(dtype) for array in arguments(0, (3, 2, 4, 5)))
    last_BCHW = np.ascontiguousarray(x_BCHW.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    layer = SpatialBatchNorm()
    (y, cache), (y_last, cache_last) = (layer.forward(x, gain_C, bias_C) for x in (x_BCHW, last_BCHW))
    rtol = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y_last, y, rtol=rtol, atol=rtol)
    for one, other in zip(layer.backward(x_BCHW, cache), layer.backward(last_BCHW, cache_last), strict=True):
        np.testing.assert_allclose(other, one, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    ("layer", "x", "gain", "bias"),
    [
        (BatchNorm(), (4, 3), (1,), (1,)),
        (BatchNorm(), (4, 3), (4,), (4,)),
        (BatchNorm(), (4, 3), (3,), (1,)),
        (BatchNorm(), (4, 3), (1, 3), (1, 3)),
        (BatchNorm(), (0, 3), (3,), (3,)),
        (BatchNorm(), (4, 3, 2, 2), (3,), (3,)),
        (SpatialBatchNorm(), (4, 3), (3,), (3,)),
        (SpatialBatchNorm(), (2, 3, 4, 5), (5,), (5,)),
        (SpatialBatchNorm(), (2, 3, 0, 5), (3,), (3,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(layer, x, gain, bias):
    layout, per_feature = ("(B, D)", "(D,)") if isinstance(layer, BatchNorm) else ("(B, C, H, W)", "(C,)")
    with pytest.raises(ShapeError) as caught:
        layer.forward(np.ones(x), np.ones(gain), np.ones(bias))
    assert str(caught.value) == (
        f"{type(layer).__name__} needs input of shape {layout}, not empty, and parameters and statistics of shape "
        f"{per_feature}, got {x} and {gain}, {bias}."
    )


def test_statistics_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"got \(4, 3\) and \(3,\), \(3,\), \(1,\), \(3,\)\."):
        BatchNorm().evaluate(np.ones((4, 3)), np.ones(3), np.ones(3), np.ones(1), np.ones(3))
