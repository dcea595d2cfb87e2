"""The fast network: its whitening first layer, its start, its sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from assay.errors import InvalidValueError
from assay.models.build import build_model
from assay.models.fast_cifar import FastCifar, whitening_filters
from assay.recipe.schema import DefaultInit, FastCifarModel, XavierInit


def section(**keys) -> FastCifarModel:
    return FastCifarModel(name="fast_cifar", **keys)


def built(model: FastCifarModel, input_shape=(3, 32, 32), classes=10, init=None) -> FastCifar:
    network = build_model(model, init or DefaultInit(name="default"), seed=3, input_shape=input_shape, classes=classes)
    assert isinstance(network, FastCifar)
    return network


def images(count: int, channels: int = 3, side: int = 12) -> torch.Tensor:
    """Images whose neighbouring pixels and channels are correlated, as real ones are."""
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(count, channels, side + 2, side + 2))
    smooth = (
        noise[:, :, 1:-1, 1:-1]
        + noise[:, :, :-2, 1:-1]
        + noise[:, :, 1:-1, :-2]
        + noise.mean(axis=1)[:, None, 1:-1, 1:-1]
    )
    return torch.from_numpy(smooth)


def test_the_parameter_count_is_the_stated_one():
    assert sum(p.numel() for p in built(section()).parameters()) == 1_972_792


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_have_no_correlation_and_unit_variance(channels):
    x_NCHW = images(400, channels) * 3.0
    filters_DCHW = whitening_filters(x_NCHW)
    outputs_NDHW = nn.functional.conv2d(x_NCHW, filters_DCHW)
    flat_DM = outputs_NDHW.transpose(0, 1).flatten(1)
    second_moments_DD = flat_DM @ flat_DM.T / flat_DM.shape[1]
    assert second_moments_DD == pytest.approx(torch.eye(4 * channels, dtype=torch.float64).numpy(), abs=0.02)


def test_patches_that_do_not_vary_are_not_divided_by_nothing():
    filters_DCHW = whitening_filters(torch.zeros(5, 3, 4, 4, dtype=torch.float64))
    norms_D = filters_DCHW.flatten(1).norm(dim=1)
    assert norms_D.numpy() == pytest.approx(np.full(12, 5e-4**-0.5))


def test_the_whitening_layer_holds_directions_and_their_negatives_and_stays():
    network = built(section())
    network.whiten_patches_of(images(50).float())
    weight = network.whiten.weight
    assert torch.equal(weight[:12], -weight[12:])
    assert not weight.requires_grad
    assert network.whiten.bias.requires_grad
    assert not network.whiten.bias.any()


def test_convolutions_start_by_passing_their_input_on():
    network = built(section(widths=(8, 4, 16)))
    x_BCHW = torch.randn(2, 8, 5, 5)
    assert torch.equal(network.group1.conv2(x_BCHW), x_BCHW)
    narrowing = network.group2.conv1(x_BCHW)
    assert torch.equal(narrowing, x_BCHW[:, :4])
    widening = network.group3.conv1(x_BCHW[:, :4])
    assert torch.equal(widening[:, :4], x_BCHW[:, :4])
    assert not torch.equal(widening[:, 4:8], x_BCHW[:, :4])


def test_without_identity_they_start_as_the_recipe_says():
    plain = built(section(identity=False), init=XavierInit(name="xavier"))
    conv = plain.group2.conv2
    assert float(conv.weight.detach().std()) == pytest.approx((2.0 * 2.0 / (9 * 512)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("norm_scale", "trained"), [("fixed", False), ("trained", True)])
def test_the_scale_of_batch_norm_is_trained_only_if_asked(norm_scale, trained):
    network = built(section(norm_scale=norm_scale, norm_momentum=0.3))
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 6
    assert {norm.weight.requires_grad for norm in norms} == {trained}
    assert {norm.momentum for norm in norms} == {0.3}


@pytest.mark.parametrize("side", [9, 16, 20, 32, 33])
def test_any_size_from_the_smallest_on(side):
    network = built(section(widths=(8, 8, 8)), input_shape=(3, side, side), classes=7).eval()
    assert network(torch.randn(2, 3, side, side)).shape == (2, 7)


@pytest.mark.parametrize("shape", [(3, 8, 32), (3, 32, 8), (5,)])
def test_smaller_inputs_are_refused(shape):
    with pytest.raises(InvalidValueError, match="fast_cifar needs images of at least 9×9 pixels, got inputs of shape"):
        built(section(), input_shape=shape)


def test_the_scores_are_scaled():
    plain, scaled = built(section(score_scale=1.0)).eval(), built(section(score_scale=0.25)).eval()
    x_BCHW = torch.randn(2, 3, 32, 32)
    assert torch.allclose(scaled(x_BCHW), plain(x_BCHW) / 4.0)
