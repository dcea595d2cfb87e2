"""Every classifier of torchvision, for any channels and classes; most of them as shapes alone, without memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torchvision import models

from assay.errors import InvalidValueError
from assay.models import torchvision_models
from assay.models.build import build_model
from assay.models.heads import first_layer_of, head_of
from assay.models.torchvision_models import classifiers
from assay.recipe.schema import DefaultInit, NormalInit, TorchvisionModel

NAMES = [name.removeprefix("torchvision:") for name in classifiers()]
SIDES = {"inception_v3": 75, "alexnet": 63, "maxvit_t": 224, "vit_h_14": 28}
HEADS = {
    **dict.fromkeys([name for name in NAMES if name.startswith("vit_")], "heads.head"),
    **dict.fromkeys([name for name in NAMES if name.startswith("swin_")], "head"),
    **dict.fromkeys([name for name in NAMES if "regnet" in name or "resne" in name or "shuffle" in name], "fc"),
    **dict.fromkeys(["googlenet", "inception_v3"], "fc"),
    **dict.fromkeys(["alexnet", *(name for name in NAMES if name.startswith("vgg"))], "classifier.6"),
    **dict.fromkeys([name for name in NAMES if name.startswith("densenet")], "classifier"),
    **dict.fromkeys(["squeezenet1_0", "squeezenet1_1"], "classifier.1"),
    **dict.fromkeys([name for name in NAMES if name.startswith("convnext")], "classifier.2"),
    **dict.fromkeys(["mobilenet_v3_large", "mobilenet_v3_small"], "classifier.3"),
    "maxvit_t": "classifier.5",
}
"""Where the rest has ``classifier.1``."""


def section(name: str, **fields: Any) -> TorchvisionModel:
    return TorchvisionModel.model_validate({"name": f"torchvision:{name}", **fields})


def build(name: str, *, input_shape=(3, 32, 32), classes=7, init=None, seed=0, **fields: Any) -> nn.Module:
    init = init or DefaultInit(name="default")
    return build_model(section(name, **fields), init, seed=seed, input_shape=input_shape, classes=classes)


@pytest.fixture
def without_memory(monkeypatch):
    """Parameters of modules made from now on are shapes alone: the largest networks have gigabytes of them."""
    register = nn.Module.register_parameter

    def register_shape(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        shape = None if parameter is None else nn.Parameter(parameter.detach().to("meta"))
        register(module, name, shape)

    monkeypatch.setattr(nn.Module, "register_parameter", register_shape)


@pytest.fixture
def probed(monkeypatch):
    """Shapes of what came out of networks as they were probed while they were built; a probe has one image."""
    shapes: list[tuple[int, ...]] = []

    def watched(*call: Any) -> Any:
        logits = functional_call(*call)
        shapes.append(tuple(logits.shape))
        return logits

    monkeypatch.setattr(torchvision_models, "functional_call", watched)
    return shapes


# --- every one of them -----------------------------------------------------------------------------------------------


def test_every_classifier_of_torchvision_is_there():
    assert len(NAMES) >= 80
    assert {"alexnet", "resnet18", "squeezenet1_1", "vit_b_16", "efficientnet_b0"} <= set(NAMES)
    assert not any("quantized" in name or "rcnn" in name or "raft" in name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_gives_scores_for_grey_images_and_seven_classes(name, without_memory, probed):
    side = SIDES.get(name, 32)
    model = build(name, input_shape=(1, side, side))
    assert probed == [(1, 7)]
    assert model.training
    assert head_of(model, classes=7) == head_of(model) == HEADS.get(name, "classifier.1")
    assert model.get_submodule(first_layer_of(model)).in_channels == 1


def test_shapes_alone_are_told_the_truth_by_real_arithmetic():
    for name in ("squeezenet1_1", "mobilenet_v3_small"):
        model = build(name, input_shape=(2, 33, 40), classes=5)
        logits = model(torch.randn(2, 2, 33, 40))
        assert logits.shape == (2, 5)
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_there_are_no_auxiliary_scores_in_training(name, without_memory):
    model = build(name, input_shape=(3, 75, 75))
    state = {name: tensor.to("meta") for name, tensor in model.state_dict().items()}
    assert functional_call(model, state, (torch.zeros(2, 3, 75, 75, device="meta"),)).shape == (2, 7)
    assert not any("aux" in name.lower() for name in state)


def test_colour_images_leave_the_network_as_torchvision_builds_it():
    model = build("resnet18", classes=7, seed=5)
    theirs = models.resnet18(num_classes=7)
    assert {name: p.shape for name, p in model.named_parameters()} == {
        name: p.shape for name, p in theirs.named_parameters()
    }
    assert str(model) == str(theirs)


# --- initial weights -------------------------------------------------------------------------------------------------


def test_weights_come_from_the_seed_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    first, again, other = (build("shufflenet_v2_x0_5", seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])


def test_other_layers_start_alike_whatever_the_first_one_became():
    plain, small = (build("resnet18", small_images=small).state_dict() for small in (False, True))
    grey = build("resnet18", input_shape=(1, 32, 32)).state_dict()
    for other in (small, grey):
        assert other["conv1.weight"].shape != plain["conv1.weight"].shape
        assert all(torch.equal(plain[name], other[name]) for name in plain if name != "conv1.weight")


def test_an_init_of_the_recipe_reaches_every_convolution_and_linear_layer():
    model = build("squeezenet1_1", init=NormalInit(name="normal", scale=0.0))
    weighted = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert len(weighted) == 26
    assert not any(parameter.any() for layer in weighted for parameter in layer.parameters())


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_dropout_is_torchvisions_own_unless_it_is_asked_for(without_memory):
    kept, changed = build("alexnet", input_shape=(3, 64, 64)), build("alexnet", input_shape=(3, 64, 64), dropout=0.1)
    assert [layer.p for layer in kept.modules() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    assert [layer.p for layer in changed.modules() if isinstance(layer, nn.Dropout)] == [0.1, 0.1]


def test_the_rate_of_a_densenet_is_its_dropout(without_memory):
    model = build("densenet121", dropout=0.3)
    assert {layer.drop_rate for layer in model.modules() if hasattr(layer, "drop_rate")} == {0.3}


def test_dropout_in_a_network_without_it_is_refused_but_for_none():
    with pytest.raises(InvalidValueError) as caught:
        build("resnet18", dropout=0.3)
    assert str(caught.value) == (
        "model.dropout needs dropout layers, and torchvision:resnet18 has none, got 0.3.\n  Leave model.dropout out."
    )
    assert build("resnet18", dropout=0.0)


# --- small images ----------------------------------------------------------------------------------------------------

START_STRIDING = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
    *("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "resnet18", "shufflenet_v2_x0_5"),
    *("squeezenet1_0", "squeezenet1_1"),
]


@pytest.mark.parametrize("name", START_STRIDING)
def test_a_first_layer_for_small_images_keeps_their_size(name, without_memory, probed, monkeypatch):
    sides: list[tuple[int, ...]] = []
    forward = nn.Conv2d.forward

    def watched(layer: nn.Conv2d, x_BCHW: torch.Tensor) -> torch.Tensor:
        sides.append(tuple(x_BCHW.shape[2:]))
        return forward(layer, x_BCHW)

    monkeypatch.setattr(nn.Conv2d, "forward", watched)
    build(name, input_shape=(1, 32, 32), small_images=True)
    assert probed == [(1, 7)]
    assert sides[:2] == [(32, 32), (32, 32)]  # nothing between the first convolution and the second makes them smaller


@pytest.mark.parametrize("name", ["vgg11", "vit_b_16", "swin_t"])
def test_networks_that_do_not_start_striding_refuse_small_images(name, without_memory):
    with pytest.raises(InvalidValueError) as caught:
        build(name, small_images=True)
    message = str(caught.value)
    assert message.startswith(
        "model.small_images needs a network that starts with a convolution that strides, got torchvision:" + name
    )
    assert "Leave it out for this model. Networks that start so: AlexNet, ConvNeXt, DenseNet" in message


# --- what is refused -------------------------------------------------------------------------------------------------


def test_an_unknown_classifier_is_answered_with_the_nearest():
    with pytest.raises(InvalidValueError) as caught:
        build("resnet19")
    assert str(caught.value).startswith("model.name must name a classifier of torchvision, got torchvision:resnet19.\n")
    assert 'Did you mean "torchvision:resnet1' in str(caught.value)


@pytest.mark.parametrize(
    ("name", "input_shape", "smallest", "hint"),
    [
        ("alexnet", (3, 32, 32), 63, "model.small_images: true, larger images"),
        ("squeezenet1_1", (1, 8, 8), 17, "model.small_images: true, larger images"),
        ("vgg11", (3, 28, 40), 32, "larger images"),
        ("swin_t", (3, 2, 9), 4, "larger images"),
    ],
)
def test_images_too_small_are_refused_with_the_size_that_would_do(name, input_shape, smallest, hint, without_memory):
    with pytest.raises(InvalidValueError) as caught:
        build(name, input_shape=input_shape)
    got = "×".join(map(str, input_shape[1:]))
    assert str(caught.value) == (
        f"model.name torchvision:{name} needs images of at least {smallest}×{smallest} pixels, got {got}.\n"
        f"  Choose {hint} (data.size of a folder), or another model."
    )
    assert build(name, input_shape=(3, smallest, smallest))


def test_small_images_that_are_too_small_all_the_same_are_not_told_to_be_small(without_memory):
    with pytest.raises(InvalidValueError, match=r"got 4×4\.\n  Choose larger images"):
        build("alexnet", input_shape=(3, 4, 4), small_images=True)


@pytest.mark.parametrize(
    ("name", "input_shape", "multiple"),
    [("vit_b_16", (3, 30, 30), 16), ("vit_b_32", (3, 32, 64), 32), ("maxvit_t", (3, 64, 64), 224)],
)
def test_networks_of_one_size_say_which(name, input_shape, multiple, without_memory):
    with pytest.raises(InvalidValueError) as caught:
        build(name, input_shape=input_shape)
    got = "×".join(map(str, input_shape[1:]))
    assert f"needs square images whose side is a multiple of {multiple}, got {got}." in str(caught.value)


def test_points_are_no_images():
    with pytest.raises(InvalidValueError, match=r"torchvision:resnet18 needs images .* got inputs of shape \(2,\)"):
        build("resnet18", input_shape=(2,))
