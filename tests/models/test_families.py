"""The networks of assay's own: their shapes, sizes, layers and names, against what their papers and labs say."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import nn

from assay.errors import InvalidValueError
from assay.models.anatomy import dissect
from assay.models.build import build_model
from assay.models.heads import first_layer_of, head_of
from assay.models.layers import Dropout
from assay.models.pooling import MaxPool2x2
from assay.recipe.schema import DefaultInit, KaimingInit, Model, NormalInit

DEFAULT = DefaultInit(name="default")
STACKS = ["simplenet", "open_ended_cnn", "step_by_step_cnn", "channel_cnn"]
SMALL = {
    "simplenet": {},
    "open_ended_cnn": {"channels": [4, 3], "widths": [7]},
    "step_by_step_cnn": {"channels": [4, 3], "widths": [7]},
    "channel_cnn": {"channels": 2, "widths": [7]},
    "cifar_resnet": {"depth": 8, "width": 3},
}
"""Keys that make a family quick to test."""


def section(name: str, **fields: Any) -> Any:
    return TypeAdapter(Model).validate_python({"name": name, **fields})


def build(name: str, *, input_shape=(3, 32, 32), classes=10, init=DEFAULT, seed=0, **fields: Any) -> nn.Module:
    return build_model(section(name, **fields), init, seed=seed, input_shape=input_shape, classes=classes)


def parameters_by_layer(model: nn.Module) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        layer = name.rpartition(".")[0]
        counts[layer] = counts.get(layer, 0) + parameter.numel()
    return counts


# --- how many parameters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "input_shape", "classes", "counts"),
    [
        ("simplenet", (1, 64, 64), 15, {"conv1": 260, "conv2": 5_020, "linear1": 50_100, "output": 1_515}),
        (
            "open_ended_cnn",
            (3, 32, 32),
            10,
            {
                "conv1": 4_864,
                "conv1_norm": 128,
                "conv2": 18_464,
                "conv2_norm": 64,
                "linear1": 524_544,
                "linear2": 32_896,
                "output": 1_290,
            },
        ),
        (
            "step_by_step_cnn",
            (3, 32, 32),
            10,
            {"conv1": 2_432, "conv2": 51_264, "conv3": 102_464, "linear1": 1_025_000, "output": 10_010},
        ),
        (
            "channel_cnn",
            (3, 32, 32),
            100,
            {
                "conv1": 9_728,
                "conv2": 147_584,
                "conv3": 147_584,
                "conv4": 295_168,
                "linear1": 16_781_312,
                "output": 409_700,
            },
        ),
    ],
)
def test_parameters_are_those_of_the_labs_layer_by_layer(name, input_shape, classes, counts):
    assert parameters_by_layer(build(name, input_shape=input_shape, classes=classes)) == counts


@pytest.mark.parametrize(
    ("name", "documented", "total"),
    [
        ("simplenet", "56,895", 56_895),
        ("open_ended_cnn", "582,250", 582_250),
        ("step_by_step_cnn", "1,191,170", 1_191_170),
        ("channel_cnn", "17,791,076", 17_791_076),
    ],
)
def test_the_total_is_the_one_documented(name, documented, total):
    shape, classes = ((1, 64, 64), 15) if name == "simplenet" else ((3, 32, 32), 100 if name == "channel_cnn" else 10)
    model = build(name, input_shape=shape, classes=classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == total
    assert documented in str(sys.modules[type(model).__module__].__doc__)


# --- which layers, in which order ------------------------------------------------------------------------------------


def test_simplenet_pools_before_it_activates():
    model = build("simplenet", input_shape=(1, 64, 64), norm="batch", dropout=0.5)
    assert [name for name, _ in model.named_children()] == [
        *("conv1", "conv1_norm", "pool1", "conv1_activation"),
        *("conv2", "conv2_norm", "pool2", "conv2_activation"),
        *("flatten", "linear1", "linear1_norm", "linear1_activation", "dropout1", "output"),
    ]
    shapes = {row.name: row.output_shape for row in dissect(model, (1, 64, 64)).rows}
    assert shapes["conv1"] == (10, 60, 60)
    assert shapes["pool1"] == (10, 20, 20)
    assert shapes["conv2"] == (20, 16, 16)
    assert shapes["flatten"] == (500,)


def test_the_open_ended_cnn_normalises_its_convolutions_only_and_keeps_the_size_with_every_kernel():
    model = build("open_ended_cnn", kernels=[7, 1], dropout=0.5)
    assert [name for name, _ in model.named_children()] == [
        *("conv1", "conv1_norm", "conv1_activation", "pool1", "conv2", "conv2_norm", "conv2_activation", "pool2"),
        *("flatten", "linear1", "linear1_activation", "dropout1", "linear2", "linear2_activation", "dropout2"),
        "output",
    ]
    shapes = {row.name: row.output_shape for row in dissect(model, (3, 32, 32)).rows}
    assert [shapes[name] for name in ("conv1", "pool1", "conv2", "pool2")] == [
        *((64, 32, 32), (64, 16, 16), (32, 16, 16), (32, 8, 8)),
    ]
    assert model.get_submodule("conv2").kernel_size == (1, 1)


def test_the_step_by_step_cnn_normalises_every_layer_but_the_last_and_pools_as_asked():
    model = build("step_by_step_cnn", norm="batch", dropout=0.5)
    layer = ("conv{}", "conv{}_norm", "conv{}_activation", "pool{}")
    assert [name for name, _ in model.named_children()] == [
        *(part.format(number) for number in (1, 2, 3) for part in layer),
        *("flatten", "linear1", "linear1_norm", "linear1_activation", "dropout1", "output"),
    ]
    assert type(model.get_submodule("pool1")) is MaxPool2x2
    assert type(build("step_by_step_cnn", pooling="average").get_submodule("pool3")) is nn.AvgPool2d


def test_the_channel_cnn_leaves_4_by_4_of_32_by_32():
    model = build("channel_cnn", channels=4)
    shapes = [row.output_shape for row in dissect(model, (3, 32, 32)).rows]
    assert [shape for shape in shapes if shape is not None and len(shape) == 3] == [
        *[(4, 14, 14)] * 2,
        *[(4, 12, 12)] * 2,
        *[(4, 10, 10)] * 2,
        *[(8, 8, 8)] * 2,
        (8, 4, 4),
    ]
    assert model.get_submodule("conv1").stride == (2, 2)


@pytest.mark.parametrize("name", STACKS)
def test_the_head_is_called_output_and_the_first_layer_conv1(name):
    model = build(name, **SMALL[name])
    assert (first_layer_of(model), head_of(model)) == ("conv1", "output")


@pytest.mark.parametrize("name", STACKS)
def test_dropout_is_assays_own_and_named_by_its_layer(name):
    model = build(name, **SMALL[name], dropout=0.3, dropout_form="vanilla")
    (dropout,) = (layer for layer in model.children() if isinstance(layer, Dropout))
    assert (dropout.layer, dropout.p, dropout.form) == ("dropout1", 0.3, "vanilla")
    assert not any(isinstance(layer, nn.Dropout) for layer in model.modules())


# --- images of any size ----------------------------------------------------------------------------------------------


@given(
    name=st.sampled_from([*STACKS, "cifar_resnet"]),
    height=st.integers(1, 45),
    width=st.integers(1, 45),
    channels=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_a_family_takes_every_image_from_its_smallest_on_and_refuses_the_rest(name, height, width, channels):
    smallest = {"simplenet": 25, "open_ended_cnn": 4, "step_by_step_cnn": 4, "channel_cnn": 19, "cifar_resnet": 1}[name]
    shape = (channels, height, width)
    if min(height, width) < smallest:
        with pytest.raises(InvalidValueError) as caught:
            build(name, input_shape=shape, classes=3, **SMALL[name])
        assert f"{name} needs images of at least {smallest}×{smallest} pixels, got inputs of shape {shape}." in str(
            caught.value
        )
    else:
        assert build(name, input_shape=shape, classes=3, **SMALL[name]).eval()(torch.zeros(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("name", [*STACKS, "cifar_resnet"])
def test_points_are_no_images(name):
    with pytest.raises(InvalidValueError) as caught:
        build(name, input_shape=(2,), **SMALL[name])
    assert f"model.name {name} needs images of at least" in str(caught.value)
    assert "model.name: mlp, or another data.source." in str(caught.value)


def test_too_many_poolings_for_an_image_are_told_apart_from_too_small_an_image():
    with pytest.raises(InvalidValueError, match=r"at least 128×128 pixels.*\n  Choose fewer model\.channels, model"):
        build("step_by_step_cnn", channels=[2] * 7)


# --- CIFAR ResNets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "count"), [(20, 269_722), (32, 464_154), (56, 853_018), (110, 1_727_962)])
def test_a_resnet_has_the_papers_parameters_and_depth(depth, count):
    model = build("cifar_resnet", depth=depth)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in model.modules()) == depth
    assert head_of(model) == "linear"


def test_stages_halve_the_size_and_double_the_channels():
    shapes = {row.name: row.output_shape for row in dissect(build("cifar_resnet", depth=8), (3, 32, 32)).rows}
    ends = [shapes[f"layer{stage}.0.bn2"] for stage in (1, 2, 3)]
    assert ends == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_a_shortcut_where_the_size_changes_subsamples_and_adds_channels_of_zeros_around():
    shortcut = build("cifar_resnet", depth=8, width=4).get_submodule("layer2.0.shortcut")
    x = torch.randn(2, 4, 6, 5)
    y = shortcut(x)
    assert y.shape == (2, 8, 3, 3)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()


def test_without_its_convolutions_a_residual_block_passes_its_input_on_and_a_plain_one_nothing():
    x = torch.rand(2, 4, 6, 6)
    for shortcuts, expected in (("identity", x), ("none", torch.zeros_like(x))):
        block = build("cifar_resnet", depth=8, width=4, shortcuts=shortcuts).get_submodule("layer1.0").eval()
        nn.init.zeros_(block.get_parameter("conv2.weight"))
        assert torch.equal(block(x), expected)


def test_a_plain_network_has_the_weights_of_the_residual_one():
    residual, plain = (build("cifar_resnet", depth=8, shortcuts=kind).state_dict() for kind in ("identity", "none"))
    assert list(residual) == list(plain)
    assert all(torch.equal(residual[name], plain[name]) for name in residual)


# --- initial weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*STACKS, "cifar_resnet"])
def test_every_weight_comes_from_the_seed(name):
    first, again, other = (build(name, seed=seed, **SMALL[name]).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    weights = [key for key in first if key.endswith("weight") and first[key].dim() > 1]
    assert not any(torch.equal(first[key], other[key]) for key in weights)


@pytest.mark.parametrize("name", STACKS)
def test_what_two_variants_share_starts_alike(name):
    plain = build(name, **{**SMALL[name], "norm": "none"}).state_dict()
    more = build(name, **SMALL[name], norm="layer", dropout=0.2, activation="tanh").state_dict()
    assert all(torch.equal(plain[key], more[key]) for key in plain)


@pytest.mark.parametrize("name", [*STACKS, "cifar_resnet"])
def test_inits_reach_every_weight(name):
    model = build(name, init=NormalInit(name="normal", scale=0.0), **SMALL[name])
    weighted = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert weighted
    assert not any(parameter.any() for layer in weighted for parameter in layer.parameters())


def test_kaiming_uses_the_activations_gain():
    fields = {"channels": [64, 64, 64], "widths": [1000], "init": KaimingInit(name="kaiming")}
    relu, tanh = (build("step_by_step_cnn", activation=name, **fields) for name in ("relu", "tanh"))
    ratio = tanh.get_parameter("conv2.weight").std() / relu.get_parameter("conv2.weight").std()
    assert ratio.item() == pytest.approx(5 / 3 / 2**0.5)
