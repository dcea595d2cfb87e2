"""Classifiers as convolutions: the same scores at the original size, and those of the crops on larger images."""

from __future__ import annotations

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torchvision.models import vgg

from assay.data.weight_files import weight_file
from assay.errors import DataError, InputError, ShapeError
from assay.models import surgery
from assay.models.build import build_model
from assay.models.surgery import FullyConvolutional, convolutionalised, score_map
from assay.recipe.schema import (
    ChannelCnnModel,
    CifarResNetModel,
    DefaultInit,
    LeNet5Model,
    MlpModel,
    OpenEndedCnnModel,
    SimpleNetModel,
    StepByStepCnnModel,
    TorchvisionModel,
)

EXACT = 1e-12


def build(section, input_shape, classes=10):
    """A network in float64 whose running statistics and gains are not those it starts with."""
    model = build_model(section, DefaultInit(name="default"), seed=0, input_shape=input_shape, classes=classes).double()
    return stirred(model)


def stirred(model):
    generator = torch.Generator().manual_seed(3)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, generator=generator)
    return model.eval()


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FAMILIES = {
    "lenet5": (LeNet5Model(name="lenet5", activation="tanh"), (1, 32, 32)),
    "lenet5 padded": (LeNet5Model(name="lenet5", pooling="average"), (3, 28, 20)),
    "simplenet": (SimpleNetModel(name="simplenet"), (1, 64, 64)),
    "simplenet, batch norm and dropout": (
        SimpleNetModel(name="simplenet", norm="batch", dropout=0.5, widths=(20, 30)),
        (2, 40, 43),
    ),
    "vanilla dropout": (SimpleNetModel(name="simplenet", dropout=0.3, dropout_form="vanilla"), (1, 40, 40)),
    "open-ended": (OpenEndedCnnModel(name="open_ended_cnn"), (3, 32, 32)),
    "step by step": (StepByStepCnnModel(name="step_by_step_cnn", norm="batch"), (3, 32, 32)),
    "channels": (ChannelCnnModel(name="channel_cnn", channels=8, widths=(30,)), (3, 32, 32)),
    "mlp": (MlpModel(name="mlp", widths=(20, 30), norm="layer"), (2, 6, 5)),
    "subsampled": (LeNet5Model(name="lenet5", pooling="subsample"), (1, 32, 32)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_at_the_original_size_scores_are_the_originals(name):
    section, shape = FAMILIES[name]
    model = build(section, shape)
    dense = convolutionalised(model, shape)
    x_BCHW = images(3, *shape)
    scores_BK11 = score_map(dense, x_BCHW)
    assert scores_BK11.shape == (3, 10, 1, 1)
    assert (scores_BK11[:, :, 0, 0] - model(x_BCHW)).abs().max() < EXACT
    assert not any(isinstance(layer, nn.Linear | nn.Flatten) for layer in dense.modules())


def test_torchvisions_alexnet_as_a_recipe_builds_it():
    model = build(TorchvisionModel(name="torchvision:alexnet"), (1, 224, 224)).float()
    dense = convolutionalised(model, (1, 224, 224))
    x_BCHW = images(1, 1, 224, 224).float()
    assert (score_map(dense, x_BCHW)[:, :, 0, 0] - model(x_BCHW)).abs().max() < 1e-6
    assert (dense.stride, dense.pads) == ((32, 32), True)
    assert score_map(dense, torch.zeros(1, 1, 256, 320)).shape == (1, 10, 2, 4)


def test_torchvisions_vgg():
    """A small one: the published ones take a gigabyte in float64."""
    features = vgg.make_layers([4, "M", 6, "M"], batch_norm=True)
    model = vgg.VGG(features, num_classes=5, init_weights=False)
    model.classifier = nn.Sequential(nn.Linear(6 * 7 * 7, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 5))
    model = stirred(model.double())
    dense = convolutionalised(model, (3, 28, 28))
    x_BCHW = images(2, 3, 28, 28)
    assert (score_map(dense, x_BCHW)[:, :, 0, 0] - model(x_BCHW)).abs().max() < EXACT
    with pytest.raises(InputError, match=r"avgpool \(AdaptiveAvgPool2d\) makes maps of any size alike"):
        convolutionalised(model, (3, 32, 32))


@pytest.mark.parametrize(
    "name", ["lenet5", "simplenet", "simplenet, batch norm and dropout", "vanilla dropout", "mlp", "subsampled"]
)
def test_each_position_has_the_scores_of_its_crop_where_nothing_pads(name):
    section, (channels, height, width) = FAMILIES[name]
    model = build(section, (channels, height, width))
    dense = convolutionalised(model, (channels, height, width))
    assert not dense.pads
    down, across = dense.stride
    x_BCHW = images(2, channels, height + 2 * down, width + 3 * across)
    scores_BKHW = score_map(dense, x_BCHW)
    assert scores_BKHW.shape == (2, 10, 3, 4)
    for i in range(3):
        for j in range(4):
            crop = x_BCHW[:, :, i * down : i * down + height, j * across : j * across + width]
            assert (scores_BKHW[:, :, i, j] - model(crop)).abs().max() < EXACT


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_the_same_of_any_row_of_layers_that_does_not_pad(data):
    torch.manual_seed(data.draw(st.integers(0, 1000), label="weights"))
    channels = data.draw(st.integers(1, 3))
    layers, maps = [], channels
    for _ in range(data.draw(st.integers(1, 3), label="convolutions")):
        kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        layers.append(
            nn.Conv2d(maps, 3, kernel, stride=data.draw(st.integers(1, 2)), dilation=data.draw(st.integers(1, 2)))
        )
        layers.append(data.draw(st.sampled_from([nn.Tanh(), nn.BatchNorm2d(3), nn.Identity(), nn.Dropout()])))
        layers.append(data.draw(st.sampled_from([nn.MaxPool2d(2), nn.AvgPool2d(3, stride=2), nn.Identity()])))
        maps = 3
    height, width = data.draw(st.integers(30, 50), label="height"), data.draw(st.integers(30, 50), label="width")
    body = nn.Sequential(*layers).double()
    try:
        units = body.eval()(torch.zeros(1, channels, height, width, dtype=torch.float64)).flatten(1).shape[1]
    except RuntimeError:
        return  # too small after so much pooling
    head = [
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(units, 4, bias=data.draw(st.booleans())),
        nn.BatchNorm1d(4),
        nn.ReLU(),
    ]
    model = stirred(
        nn.Sequential(body, nn.Sequential(*head, nn.LayerNorm(4), nn.Linear(4, 2), nn.Softmax(dim=1))).double()
    )
    dense = convolutionalised(model, (channels, height, width))
    down, across = dense.stride
    x_BCHW = images(1, channels, height + down, width + 2 * across)
    scores_BKHW = score_map(dense, x_BCHW)
    assert scores_BKHW.shape[2] >= 2
    assert scores_BKHW.shape[3] >= 3
    for i, j in ((0, 0), (1, 0), (0, 2), (1, 1)):
        crop = x_BCHW[:, :, i * down : i * down + height, j * across : j * across + width]
        assert (scores_BKHW[:, :, i, j] - model(crop)).abs().max() < EXACT


def test_a_network_that_pads_meets_zeros_around_a_crop_and_the_image_on_the_map():
    section, shape = FAMILIES["step by step"]
    model = build(section, shape)
    dense = convolutionalised(model, shape)
    assert (dense.pads, dense.stride) == (True, (8, 8))
    x_BCHW = images(1, 3, 96, 96)
    scores_BKHW = score_map(dense, x_BCHW)
    assert scores_BKHW.shape == (1, 10, 9, 9)
    middle = model(x_BCHW[:, :, 32:64, 32:64])
    assert (scores_BKHW[:, :, 4, 4] - middle).abs().max() > 1e-3
    # Away from the image's own edges the map moves with the image.
    moved = score_map(dense, x_BCHW.roll((8, 16), dims=(2, 3)))
    assert (moved[:, :, 5, 6] - scores_BKHW[:, :, 4, 4]).abs().max() < EXACT


def test_weights_are_copies_frozen_as_they_were_and_modes_stay():
    model = build(SimpleNetModel(name="simplenet", norm="batch", dropout=0.5), (1, 40, 40))
    model.get_submodule("linear1").requires_grad_(False)
    model.train()
    model.get_submodule("conv1_norm").eval()
    dense = convolutionalised(model, (1, 40, 40))
    assert not dense.linear1.weight.requires_grad
    assert dense.output.weight.requires_grad
    assert dense.linear1.training
    assert dense.training
    assert not dense.conv1_norm.training
    before = model.get_submodule("output").weight.clone()
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.zero_()
    assert torch.equal(model.get_submodule("output").weight, before)
    score_map(dense, images(1, 1, 40, 40))
    assert dense.linear1.training
    assert not dense.conv1_norm.training


def test_one_activation_in_many_places():
    relu = nn.ReLU()
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), relu, nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), relu, nn.Flatten(), nn.Linear(50, 4), relu
    ).double()
    dense = convolutionalised(model, (1, 16, 16))
    x_BCHW = images(2, 1, 16, 16)
    assert (score_map(dense, x_BCHW)[:, :, 0, 0] - model(x_BCHW)).abs().max() < EXACT


REFUSED = {
    "layer norm of maps": (
        build(LeNet5Model(name="lenet5", norm="layer"), (1, 32, 32)),
        r"conv1_norm \(GroupNorm\) normalises by the whole map",
    ),
    "branches": (
        build(CifarResNetModel(name="cifar_resnet", depth=8), (1, 32, 32)),
        "CifarResNet cannot be turned into convolutions: its layers must stand in a row",
    ),
    "no linear layers": (
        nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "it must hold one nn.Flatten and linear layers after it, got 1 nn.Flatten",
    ),
    "pooling to a size": (
        nn.Sequential(nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(49, 2)),
        r"0 \(AdaptiveAvgPool2d\) makes maps of any size alike, so it must leave those of the original size as they "
        r"are: for images of shape \(1, 32, 32\) it makes \(1, 7, 7\) of \(1, 32, 32\)",
    ),
    "batch norm of all features": (
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1024), nn.Linear(1024, 2)),
        r"1 \(BatchNorm1d\) after the Flatten before the first linear layer cannot",
    ),
    "an own layer": (
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Flatten(), nn.Linear(4096, 2)),
        r"0 \(Upsample\) is no layer of which it is known what it does to larger images",
    ),
    "something after the linear layers": (
        nn.Sequential(nn.Flatten(), nn.Linear(1024, 4), nn.Softmax(dim=-1)),
        r"2 \(Softmax\) after the Flatten cannot be turned into a convolution",
    ),
    "rows flattened alone": (
        nn.Sequential(nn.Flatten(2), nn.Linear(1024, 2)),
        "must flatten whole maps, from dimension 1 to the last",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_turned_is_refused(name):
    model, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        convolutionalised(model, (1, 32, 32))


def test_shapes_are_checked():
    model = build(LeNet5Model(name="lenet5"), (1, 32, 32))
    with pytest.raises(ShapeError, match=r"input_shape must be \(channels, height, width\), got \(1024,\)"):
        convolutionalised(model, (1024,))
    with pytest.raises(ShapeError, match=r"The model does not take images of shape \(3, 32, 32\)"):
        convolutionalised(model, (3, 32, 32))
    with pytest.raises(ShapeError, match=r"linear1 takes 400 features, and the map before it has 16×6×6"):
        convolutionalised(model, (1, 36, 36))
    dense = convolutionalised(model, (1, 32, 32))
    for shape in ((1, 3, 32, 32), (1, 1, 31, 64), (1, 1, 64, 31), (1, 32, 32)):
        with pytest.raises(
            ShapeError, match=r"Images must be of shape \(batch, 1, height, width\), at least 32×32, got"
        ):
            score_map(dense, torch.zeros(shape))


def test_the_example_runs():
    assert doctest.testmod(surgery).failed == 0


def test_published_weights_survive():
    """SqueezeNet has no linear layers; AlexNet's and VGG's weights are not at hand. Its convolutions under a new head
    are real weights enough."""
    try:
        file = weight_file("squeezenet1_1-imagenet-fp16.safetensors", "torchvision:squeezenet1_1")
    except DataError as error:
        pytest.skip(f"needs weights: {str(error).splitlines()[0]}")
    weights = load_file(file.path)
    first = nn.Conv2d(3, 64, 3, stride=2)
    name = next(name for name in weights if name.endswith("features.0.weight"))
    first.load_state_dict({"weight": weights[name], "bias": weights[name.replace("weight", "bias")]})
    model = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(3, stride=2), nn.Flatten(), nn.Linear(64 * 7 * 7, 10)).double()
    dense = convolutionalised(model, (3, 33, 33))
    x_BCHW = images(1, 3, 33, 37)
    scores = score_map(dense, x_BCHW)
    assert scores.shape == (1, 10, 1, 2)
    assert (scores[..., 1] - model(x_BCHW[..., 4:])[..., None]).abs().max() < EXACT


def test_it_is_a_module_like_any_other():
    dense = convolutionalised(build(LeNet5Model(name="lenet5"), (1, 32, 32)), (1, 32, 32))
    assert isinstance(dense, FullyConvolutional)
    assert (dense.input_shape, dense.stride, dense.pads) == ((1, 32, 32), (4, 4), False)
    loss = dense(images(1, 1, 40, 40)).sum()
    loss.backward()
    assert dense.linear1.weight.grad is not None
