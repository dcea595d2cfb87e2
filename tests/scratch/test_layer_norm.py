"""Layer normalisation of features and of images."""

import numpy as np
import pytest
from hypothesis import strategies as st
from torch.nn import functional

from assay.errors import ShapeError
from assay.scratch.layer_norm import LayerNorm, SpatialLayerNorm
from assay.testing.layers import LayerCase, LayerContract

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 5)
epsilons = st.sampled_from([1e-5, 1e-3, 0.1])


def arguments(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples whose values lie apart: where they are nearly equal, a step of central differences is no small one."""
    rng = np.random.default_rng(seed)
    apart = rng.permuted(np.arange(np.prod(shape[1:])) * np.ones((shape[0], 1)), axis=1).reshape(shape)
    x = apart + rng.uniform(0.0, 0.5, shape) + rng.normal(size=(shape[0], *(1 for _ in shape[1:])))
    return x, rng.normal(size=shape[1]), rng.normal(size=shape[1])


def flat_case(seed: int, shape: tuple[int, int], eps: float) -> LayerCase:
    return LayerCase(
        layer=LayerNorm(eps=eps),
        arguments=arguments(seed, shape),
        reference=lambda x_BD, gain_D, bias_D: functional.layer_norm(x_BD, shape[1:], gain_D, bias_D, eps),
    )


def image_case(seed: int, shape: tuple[int, int, int, int], eps: float) -> LayerCase:
    return LayerCase(
        layer=SpatialLayerNorm(eps=eps),
        arguments=arguments(seed, shape),
        reference=lambda x_BCHW, gain_C, bias_C: functional.group_norm(x_BCHW, 1, gain_C, bias_C, eps),
    )


class TestLayerNorm(LayerContract):
    def cases(self):
        return st.builds(flat_case, seeds, st.tuples(sizes, sizes), epsilons)


class TestSpatialLayerNorm(LayerContract):
    def cases(self):
        small = st.integers(1, 4)
        shapes = st.tuples(small, small, small, small).filter(lambda shape: np.prod(shape) > 1)  # torch refuses one
        return st.builds(image_case, seeds, shapes, epsilons)


@pytest.mark.parametrize(("layer", "shape"), [(LayerNorm(), (4, 1)), (SpatialLayerNorm(), (4, 1, 1, 1))])
def test_an_example_of_one_value_gives_the_bias_and_a_gradient_of_zero(layer, shape):
    x, gain, bias = arguments(0, shape)
    y, cache = layer.forward(x, gain, bias)
    assert y.ravel().tolist() == [bias[0]] * 4
    dx, dgain, _ = layer.backward(np.random.default_rng(1).normal(size=shape), cache)
    assert not dx.any()
    assert not dgain.any()


@pytest.mark.parametrize(("layer", "shape"), [(LayerNorm(), (4, 6)), (SpatialLayerNorm(), (4, 6, 3, 2))])
def test_examples_do_not_touch_each_other(layer, shape):
    x, gain, bias = arguments(0, shape)
    other = x.copy()
    other[1:] *= 7.0
    assert np.array_equal(layer.forward(x, gain, bias)[0][0], layer.forward(other, gain, bias)[0][0])


def test_a_known_case():
    y_BD, _ = LayerNorm(eps=0.0).forward(np.array([[1.0, 3.0], [5.0, -5.0]]), np.array([2.0, 1.0]), np.array([0.5, 0]))
    assert y_BD.tolist() == [[-1.5, 1.0], [2.5, -1.0]]


@pytest.mark.parametrize(("layer", "shape"), [(LayerNorm(), (3, 4)), (SpatialLayerNorm(), (3, 4, 2, 2))])
@pytest.mark.parametrize("constant", [0.0, 1e6])
def test_a_constant_example_gives_the_bias(layer, shape, constant):
    y, cache = layer.forward(np.full(shape, constant), np.ones(4), np.full(4, 0.25))
    assert (y == 0.25).all()
    assert all(np.isfinite(gradient).all() for gradient in layer.backward(np.ones(shape), cache))


@pytest.mark.parametrize(
    ("x", "gain", "bias"),
    [((4, 3), (1,), (3,)), ((4, 3), (3,), (1,)), ((4, 3), (4,), (4,)), ((3,), (3,), (3,)), ((4, 0), (0,), (0,))],
)
def test_shapes_that_do_not_fit_are_refused(x, gain, bias):
    with pytest.raises(ShapeError) as caught:
        LayerNorm().forward(np.ones(x), np.ones(gain), np.ones(bias))
    assert str(caught.value) == (
        f"LayerNorm needs input of shape (B, D), D at least 1, and gain and bias of shape (D,), got {x}, {gain} and "
        f"{bias}."
    )


@pytest.mark.parametrize(
    ("x", "gain", "bias"),
    [
        ((2, 3, 4, 5), (5,), (5,)),
        ((2, 3, 4, 5), (1,), (1,)),
        ((2, 3, 4, 5), (3,), (1,)),
        ((2, 3, 4), (3,), (3,)),
        ((2, 3, 0, 4), (3,), (3,)),
    ],
)
def test_images_that_do_not_fit_are_refused(x, gain, bias):
    with pytest.raises(ShapeError) as caught:
        SpatialLayerNorm().forward(np.ones(x), np.ones(gain), np.ones(bias))
    assert str(caught.value) == (
        f"SpatialLayerNorm needs input of shape (B, C, H, W), not empty, and gain and bias of shape (C,), got {x}, "
        f"{gain} and {bias}."
    )
