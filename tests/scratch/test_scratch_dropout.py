"""Dropout by hand: its two forms against each other, and against the torch layer on the same stream."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from assay.errors import InputError, InvalidValueError, ShapeError
from assay.models.layers import Dropout
from assay.recipe.streams import keep_mask, stream
from assay.scratch.dropout import InvertedDropout, VanillaDropout
from assay.testing.layers import LayerCase, LayerContract

seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
rates = st.floats(0.0, 0.95)


def case(layer_class, seed: int, shape: list[int], p: float) -> LayerCase:
    rng = np.random.default_rng(seed)
    scale = 1.0 / (1.0 - p) if layer_class is InvertedDropout else 1.0
    return LayerCase(
        layer=layer_class(p=p),
        arguments=(rng.normal(size=shape),),
        fixed=(rng.random(shape) >= p,),
        reference=lambda x, kept: torch.where(kept, x * scale, 0.0),
    )


class TestInvertedDropout(LayerContract):
    def cases(self):
        return st.builds(case, st.just(InvertedDropout), seeds, shapes, rates)


class TestVanillaDropout(LayerContract):
    def cases(self):
        return st.builds(case, st.just(VanillaDropout), seeds, shapes, rates)


@pytest.mark.parametrize("layer_class", [InvertedDropout, VanillaDropout])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_evaluation_is_the_expectation_of_training(layer_class, p):
    layer, x, draws = layer_class(p=p), np.array([-2.0, 0.5, 1.0, 3.0]), 4000
    bits = stream(0, "dropout", "layer").bit_generator
    trained = np.array([layer.forward(x, keep_mask(bits, x.shape, p))[0] for _ in range(draws)])
    kept_value = np.abs(x) * (1.0 / (1.0 - p) if layer_class is InvertedDropout else 1.0)
    standard_error = kept_value * np.sqrt(p * (1.0 - p) / draws)
    assert (np.abs(trained.mean(axis=0) - layer.evaluate(x)) < 4.0 * standard_error).all()


@pytest.mark.parametrize("p", [0.0, 0.3, 0.8])
def test_the_two_forms_differ_by_the_factor_1_minus_p_in_training_and_evaluation(p):
    x = np.random.default_rng(0).normal(size=(5, 4))
    kept = keep_mask(stream(0, "dropout", "layer").bit_generator, x.shape, p)
    inverted, vanilla = InvertedDropout(p=p), VanillaDropout(p=p)
    np.testing.assert_allclose(vanilla.forward(x, kept)[0], (1.0 - p) * inverted.forward(x, kept)[0], rtol=1e-15)
    np.testing.assert_allclose(vanilla.evaluate(x), (1.0 - p) * inverted.evaluate(x), rtol=1e-15)


def test_inverted_dropout_passes_what_it_evaluates():
    x = np.ones(3)
    assert InvertedDropout(p=0.5).evaluate(x) is x


def test_vanilla_evaluation_keeps_the_type():
    assert VanillaDropout(p=0.3).evaluate(np.ones(3, np.float32)).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 4, 5)])
def test_every_bit_is_that_of_the_torch_layer(shape, dtype):
    theirs = Dropout(0.3, seed=5, layer="dropout1")
    bits = stream(5, "dropout", "dropout1").bit_generator
    for step in range(3):
        x = np.random.default_rng(step).normal(size=shape).astype(dtype)
        ours, _ = InvertedDropout(p=0.3).forward(x, keep_mask(bits, shape, 0.3))
        assert ours.tobytes() == theirs(torch.from_numpy(x)).numpy().tobytes()


@pytest.mark.parametrize("layer_class", [InvertedDropout, VanillaDropout])
@pytest.mark.parametrize("p", [-0.1, 1.0, np.nan])
def test_a_rate_outside_0_to_1_is_refused(layer_class, p):
    with pytest.raises(InvalidValueError) as caught:
        layer_class(p=p)
    assert str(caught.value) == f"{layer_class.__name__}.p must be at least 0 and below 1, got {p}."


@pytest.mark.parametrize("layer_class", [InvertedDropout, VanillaDropout])
@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (np.ones((4, 1), bool), "bool of shape (4, 1)"),
        (np.ones(3, bool), "bool of shape (3,)"),
        (np.ones((4, 3)), "float64 of shape (4, 3)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(layer_class, mask, got):
    with pytest.raises(ShapeError) as caught:
        layer_class(p=0.5).forward(np.ones((4, 3)), mask)
    assert str(caught.value) == (
        f"{layer_class.__name__} needs a mask of booleans of its input's shape (4, 3), got {got}."
    )


def test_whole_numbers_cannot_be_scaled_up():
    with pytest.raises(InputError, match=r"^InvertedDropout needs floats, got int64\."):
        InvertedDropout(p=0.5).forward(np.ones(3, np.int64), np.ones(3, bool))
