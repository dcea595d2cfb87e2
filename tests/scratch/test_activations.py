"""Activations: known values, extremes, any shape and memory order."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch.nn import functional

from assay.errors import InvalidValueError
from assay.scratch.activations import Gelu, LeakyRelu, Relu, Sigmoid, Swish, Tanh
from assay.testing.layers import LayerCase, LayerContract

REFERENCES = [
    (Relu(), functional.relu),
    (LeakyRelu(), functional.leaky_relu),
    (LeakyRelu(slope=0.3), lambda x: functional.leaky_relu(x, 0.3)),
    (LeakyRelu(slope=0.0), functional.relu),
    (LeakyRelu(slope=1.0), lambda x: x * 1.0),
    (Tanh(), torch.tanh),
    (Sigmoid(), torch.sigmoid),
    (Gelu(), functional.gelu),
    (Swish(), functional.silu),
]
every_activation = pytest.mark.parametrize(("layer", "reference"), REFERENCES, ids=[str(row[0]) for row in REFERENCES])


def case(layer_and_reference, seed: int, shape: list[int], scale: float, at_kinks: bool) -> LayerCase:
    layer, reference = layer_and_reference
    x = np.random.default_rng(seed).normal(scale=scale, size=shape)
    return LayerCase(layer=layer, arguments=(np.round(x) if at_kinks else x,), reference=reference)


class _OfAnyShape(LayerContract):
    layers: st.SearchStrategy

    def cases(self):
        shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
        scales, seldom = st.sampled_from([0.1, 1.0, 5.0]), st.sampled_from([False, False, False, True])
        return st.builds(case, self.layers, st.integers(0, 2**32 - 1), shapes, scales, seldom)


class TestRelu(_OfAnyShape):
    layers = st.just(REFERENCES[0])


class TestLeakyRelu(_OfAnyShape):
    layers = st.floats(0.0, 1.0).map(lambda slope: (LeakyRelu(slope=slope), lambda x: functional.leaky_relu(x, slope)))


class TestTanh(_OfAnyShape):
    layers = st.just((Tanh(), torch.tanh))


class TestSigmoid(_OfAnyShape):
    layers = st.just((Sigmoid(), torch.sigmoid))


class TestGelu(_OfAnyShape):
    layers = st.just((Gelu(), functional.gelu))


class TestSwish(_OfAnyShape):
    layers = st.just((Swish(), functional.silu))


def both(layer, reference, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Value and gradient, each by hand and by torch."""
    y, cache = layer.forward(x)
    (dx,) = layer.backward(np.ones_like(x), cache)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = reference(x_torch)
    (dx_torch,) = torch.autograd.grad(y_torch, x_torch, torch.ones_like(y_torch))
    return [(y, y_torch.detach().numpy()), (dx, dx_torch.numpy())]


@every_activation
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_values_give_what_torch_gives_without_a_warning(layer, reference, dtype):
    x = np.array([-1000, -100, -30, -1e-30, -0.0, 0.0, 1e-30, 30, 100, 1000], dtype)
    for ours, theirs in both(layer, reference, x):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-38)


@every_activation
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (2, 3, 4, 5)])
def test_any_shape_will_do(layer, reference, shape):
    x = np.random.default_rng(0).normal(size=shape)
    for ours, theirs in both(layer, reference, x):
        assert np.shape(ours) == shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    ("layer", "x", "y", "dx"),
    [
        (Relu(), [-2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 1.0]),
        (LeakyRelu(slope=0.25), [-2.0, 0.0, 3.0], [-0.5, 0.0, 3.0], [0.25, 0.25, 1.0]),
        (Tanh(), [0.0, np.log(2.0)], [0.0, 0.6], [1.0, 0.64]),
        (Sigmoid(), [0.0, np.log(3.0)], [0.5, 0.75], [0.25, 0.1875]),
        (Swish(), [0.0, np.log(3.0)], [0.0, 0.75 * np.log(3.0)], [0.5, 0.75 + 0.1875 * np.log(3.0)]),
        (Gelu(), [0.0, 1.0], [0.0, 0.841344746068543], [0.5, 0.841344746068543 + 0.241970724519143]),
    ],
    ids=str,
)
def test_known_values(layer, x, y, dx):
    found_y, cache = layer.forward(np.array(x))
    np.testing.assert_allclose(found_y, y, rtol=1e-14)
    np.testing.assert_allclose(layer.backward(np.ones(len(x)), cache)[0], dx, rtol=1e-14)


@every_activation
def test_memory_order_stays(layer, reference):
    x_BCHW = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    for x in (x_BCHW, np.asfortranarray(x_BCHW), x_BCHW.transpose(0, 2, 3, 1)):
        y, cache = layer.forward(x)
        (dx,) = layer.backward(x, cache)
        assert y.strides == dx.strides == x.strides


@pytest.mark.parametrize("layer", [row[0] for row in REFERENCES], ids=str)
def test_not_a_number_stays_one(layer):
    assert np.isnan(layer.forward(np.array([np.nan, 1.0]))[0]).tolist() == [True, False]


@pytest.mark.parametrize("slope", [-0.1, 1.5, np.nan])
def test_a_slope_outside_0_to_1_is_refused(slope):
    with pytest.raises(InvalidValueError) as caught:
        LeakyRelu(slope=slope)
    assert str(caught.value) == f"LeakyRelu.slope must lie in 0 to 1, got {slope}."
