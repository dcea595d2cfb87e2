"""Every layer by hand does what the module it was made from does, whatever its options; others are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from assay.errors import InvalidValueError
from assay.models.layers import Dropout
from assay.models.pooling import MaxPool2x2, Subsample2x2
from assay.training.engines.translate import translate
from assay.training.penalties import penalised_weights

FLAT, IMAGES = (4, 6), (3, 6, 5, 7)

ALIKE = {
    "linear": (lambda: nn.Linear(6, 3), FLAT),
    "linear without bias": (lambda: nn.Linear(6, 3, bias=False), FLAT),
    "convolution": (lambda: nn.Conv2d(6, 2, (3, 2), stride=(2, 1), padding=(1, 0)), IMAGES),
    "convolution, valid": (lambda: nn.Conv2d(6, 2, 3, padding="valid", bias=False), IMAGES),
    "batch norm": (lambda: nn.BatchNorm1d(6, eps=0.3, momentum=0.4), FLAT),
    "batch norm of images": (lambda: nn.BatchNorm2d(6, eps=0.3, momentum=0.4), IMAGES),
    "layer norm": (lambda: nn.LayerNorm(6, eps=0.3), FLAT),
    "layer norm without bias": (lambda: nn.LayerNorm(6, bias=False), FLAT),
    "group norm": (lambda: nn.GroupNorm(1, 6, eps=0.3), IMAGES),
    "max pooling": (lambda: nn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 0), dilation=(1, 1)), IMAGES),
    "max pooling, own": (MaxPool2x2, IMAGES),
    "average pooling": (lambda: nn.AvgPool2d((3, 2), stride=(1, 2), padding=(1, 0)), IMAGES),
    "subsampling": (Subsample2x2, IMAGES),
    "dropout": (lambda: Dropout(0.4, seed=2, layer="one"), FLAT),
    "vanilla dropout": (lambda: Dropout(0.4, seed=2, layer="one", form="vanilla"), FLAT),
    "flatten": (nn.Flatten, IMAGES),
    "relu": (nn.ReLU, FLAT),
    "leaky relu": (lambda: nn.LeakyReLU(0.3), FLAT),
    "tanh": (nn.Tanh, FLAT),
    "sigmoid": (nn.Sigmoid, FLAT),
    "gelu": (nn.GELU, FLAT),
    "swish": (nn.SiLU, FLAT),
}

REFUSED = {
    "Conv2d with groups 2": nn.Conv2d(4, 4, 3, groups=2),
    "Conv2d with dilation (1, 2)": nn.Conv2d(4, 4, 3, dilation=(1, 2)),
    "BatchNorm2d with affine False": nn.BatchNorm2d(4, affine=False),
    "BatchNorm1d with track_running_stats False": nn.BatchNorm1d(4, track_running_stats=False),
    "batch normalisation without running statistics or momentum": nn.BatchNorm2d(4, momentum=None),
    "LayerNorm with elementwise_affine False": nn.LayerNorm(4, elementwise_affine=False),
    "LayerNorm over (4, 5)": nn.LayerNorm((4, 5)),
    "GroupNorm with num_groups 2": nn.GroupNorm(2, 4),
    "GroupNorm with affine False": nn.GroupNorm(1, 4, affine=False),
    "MaxPool2d with dilation 2": nn.MaxPool2d(2, dilation=2),
    "MaxPool2d with ceil_mode True": nn.MaxPool2d(2, ceil_mode=True),
    "MaxPool2d with return_indices True": nn.MaxPool2d(2, return_indices=True),
    "AvgPool2d with ceil_mode True": nn.AvgPool2d(2, ceil_mode=True),
    "AvgPool2d with count_include_pad False": nn.AvgPool2d(2, count_include_pad=False),
    "AvgPool2d with divisor_override 3": nn.AvgPool2d(2, divisor_override=3),
    "Flatten with start_dim 2": nn.Flatten(2),
    "Flatten with end_dim 2": nn.Flatten(1, 2),
    "GELU with approximate 'tanh'": nn.GELU(approximate="tanh"),
    "LeakyReLU with negative_slope 1.5": nn.LeakyReLU(1.5),
    "layer Dropout": nn.Dropout(0.5),  # torch draws its masks from a stream of its own
}


def drawn(module: nn.Module) -> nn.Sequential:
    """The module in a sequence, with parameters that are not those a layer starts from."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    return nn.Sequential(module).double()


@pytest.mark.parametrize("name", list(ALIKE))
def test_training_and_evaluation_are_those_of_the_module(name):
    make, shape = ALIKE[name]
    model = drawn(make())
    network, penalised = translate(model), penalised_weights(model)
    rng = np.random.default_rng(1)
    for _ in range(2):
        x = rng.normal(loc=0.5, size=shape)
        y, _ = network.train(x)
        np.testing.assert_allclose(y, model.train()(torch.from_numpy(x)).detach().numpy(), rtol=1e-12, atol=1e-12)
    x = rng.normal(loc=0.5, size=shape)
    expected = model.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(network.evaluate(x), expected, rtol=1e-12, atol=1e-12)
    assert set(network.parameters) | set(network.statistics) == set(model.state_dict())
    for own, parameter in model.named_parameters():
        assert network.parameters[own].penalised == any(parameter is weight for weight in penalised), own


@pytest.mark.parametrize("what", list(REFUSED))
def test_options_that_a_layer_by_hand_lacks_are_refused(what):
    with pytest.raises(InvalidValueError) as caught:
        translate(nn.Sequential(REFUSED[what]))
    assert f"numpy has no {what}" in str(caught.value)
    assert "written by hand" in str(caught.value)
    assert "Choose train.engine torch" in str(caught.value)


def test_arrays_are_copies():
    model = drawn(nn.BatchNorm1d(6))
    network = translate(model)
    before = {name: array.clone() for name, array in model.state_dict().items()}
    for parameter in network.parameters.values():
        parameter.value += 1.0
    network.train(np.random.default_rng(0).normal(size=FLAT))
    for name, array in model.state_dict().items():
        assert torch.equal(array, before[name]), name
