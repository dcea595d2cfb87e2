"""The affine layer."""

import numpy as np
import pytest
from hypothesis import strategies as st
from torch.nn import functional

from assay.errors import ShapeError
from assay.scratch.affine import Affine
from assay.testing.layers import LayerCase, LayerContract

sizes = st.integers(1, 6)


def case(seed: int, examples: int, inputs: int, outputs: int) -> LayerCase:
    rng = np.random.default_rng(seed)
    shapes = [(examples, inputs), (outputs, inputs), (outputs,)]
    return LayerCase(
        layer=Affine(), arguments=tuple(rng.normal(size=shape) for shape in shapes), reference=functional.linear
    )


class TestAffine(LayerContract):
    def cases(self):
        return st.builds(case, st.integers(0, 2**32 - 1), sizes, sizes, sizes)


def test_a_known_case():
    x_BD, weight_FD, bias_F = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, -0.5])
    y_BF, cache = Affine().forward(x_BD, weight_FD, bias_F)
    assert y_BF.tolist() == [[11.5, 16.5]]
    dx_BD, dweight_FD, dbias_F = Affine().backward(np.array([[1.0, -1.0]]), cache)
    assert dx_BD.tolist() == [[-2.0, -2.0]]
    assert dweight_FD.tolist() == [[1.0, 2.0], [-1.0, -2.0]]
    assert dbias_F.tolist() == [1.0, -1.0]


def test_gradients_come_apart():
    rng = np.random.default_rng(0)
    layer = Affine()
    _, cache = layer.forward(rng.normal(size=(4, 3)), rng.normal(size=(2, 3)), rng.normal(size=2))
    dy_BF = rng.normal(size=(4, 2))
    apart = (layer.input_gradient(dy_BF, cache), *layer.parameter_gradients(dy_BF, cache))
    for one, other in zip(layer.backward(dy_BF, cache), apart, strict=True):
        assert np.array_equal(one, other)


def test_an_empty_batch_has_gradients_of_zero():
    y_BF, cache = Affine().forward(np.empty((0, 3)), np.ones((2, 3)), np.ones(2))
    assert y_BF.shape == (0, 2)
    dx_BD, dweight_FD, dbias_F = Affine().backward(y_BF, cache)
    assert dx_BD.shape == (0, 3)
    assert not dweight_FD.any()
    assert not dbias_F.any()


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((4, 3), (2, 4), (2,), "Affine needs input (B, D) and weights (F, D), got (4, 3) and (2, 4)."),
        ((3,), (2, 3), (2,), "Affine needs input (B, D) and weights (F, D), got (3,) and (2, 3)."),
        ((4, 3), (3,), (2,), "Affine needs input (B, D) and weights (F, D), got (4, 3) and (3,)."),
        ((4, 3), (2, 3), (1,), "Affine needs a bias of shape (2,), got (1,)."),
        ((4, 3), (4, 3), (4, 1), "Affine needs a bias of shape (4,), got (4, 1)."),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, weight, bias, message):
    with pytest.raises(ShapeError) as caught:
        Affine().forward(np.ones(x), np.ones(weight), np.ones(bias))
    assert str(caught.value) == message
