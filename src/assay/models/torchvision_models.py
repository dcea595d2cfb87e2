"""torchvision's classifiers, each of the paper that its documentation names, for any images and any number of classes.

Layers keep torchvision's names, so that published weights can be loaded; auxiliary heads are left out. A first layer
that has to be another one, for images of other than three channels or because they are small, starts as torch starts
every convolution; all others start as torchvision's constructors make them.

Shape key: B images in a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torchvision import models
from torchvision.models.densenet import _DenseLayer

from assay.errors import InvalidValueError, did_you_mean
from assay.models.heads import first_layer_of
from assay.models.stack import demand_images
from assay.recipe.schema import TorchvisionModel

_PREFIX = "torchvision:"
_OWN_CHANNELS = 3
_LARGEST_SOUGHT = 512
"""Up to this side a network is asked which images are large enough for it."""

_MULTIPLES = {"maxvit_t": 224, "vit_b_16": 16, "vit_b_32": 32, "vit_l_16": 16, "vit_l_32": 32, "vit_h_14": 14}
"""Networks made for square images of one size, and what that must be a multiple of: a patch, or for MaxViT seven cells
of the last of its five halvings."""

_POOL_AFTER_FIRST: dict[type[nn.Module], str | None] = {
    models.AlexNet: "features.2",
    models.ConvNeXt: None,
    models.DenseNet: "features.pool0",
    models.EfficientNet: None,
    models.GoogLeNet: "maxpool1",
    models.Inception3: "maxpool1",
    models.MNASNet: None,
    models.MobileNetV2: None,
    models.MobileNetV3: None,
    models.RegNet: None,
    models.ResNet: "maxpool",
    models.ShuffleNetV2: "maxpool",
    models.SqueezeNet: "features.2",
}
"""Networks whose first layer strides, and the pooling that follows it."""


def classifiers() -> tuple[str, ...]:
    """The names of torchvision's classifiers, as recipes have them: ``torchvision:resnet18``."""
    return tuple(_PREFIX + name for name in models.list_models(module=models))


def build_classifier(section: TorchvisionModel, *, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network from images (B, C, H, W) to logits (B, K), its weights drawn from torch's global generator.

    Args:
        section: the recipe's model section.
        input_shape: of one image, (C, H, W).
        classes: how many logits per image.

    Raises:
        InvalidValueError: torchvision has no such classifier, or one that cannot have that dropout, first layer, or
            images of that size.
    """
    if section.name not in classifiers():
        raise InvalidValueError(
            ("model", "name"),
            f"must name a classifier of torchvision, got {section.name}.",
            did_you_mean(section.name, classifiers()),
        )
    demand_images(section.name, input_shape)
    name = section.name.removeprefix(_PREFIX)
    arguments = _arguments(section.name, name, input_shape)
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **arguments)
    if section.small_images:
        _keep_the_size(network, section.name)
    if input_shape[0] != _OWN_CHANNELS:
        _take_channels(network, input_shape[0])
    if section.dropout is not None:
        _drop(network, section.name, section.dropout)
    _demand_size(network, section, input_shape)
    return network


def _arguments(model: str, name: str, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """What the constructor must be told besides the number of classes."""
    sides = input_shape[1:]
    if name in _MULTIPLES:
        multiple = _MULTIPLES[name]
        if sides[0] != sides[1] or sides[0] % multiple:
            raise InvalidValueError(
                ("model", "name"),
                f"{model} needs square images whose side is a multiple of {multiple}, got {_by(sides)}.",
                "Bring the images to such a size (data.size of a folder), or choose another model.",
            )
        return {"input_size": sides} if name == "maxvit_t" else {"image_size": sides[0]}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _keep_the_size(network: nn.Module, model: str) -> None:
    """Put a 3×3 convolution that does not stride in the place of the first layer and of the pooling after it."""
    if type(network) not in _POOL_AFTER_FIRST:
        able = ", ".join(sorted(kind.__name__ for kind in _POOL_AFTER_FIRST))
        raise InvalidValueError(
            ("model", "small_images"),
            f"needs a network that starts with a convolution that strides, got {model}.",
            f"Leave it out for this model. Networks that start so: {able}.",
        )
    name = first_layer_of(network)
    old = _first_convolution(network)
    bias = old.bias is not None
    network.set_submodule(name, nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=bias))
    pool = _POOL_AFTER_FIRST[type(network)]
    if pool is not None:
        network.set_submodule(pool, nn.Identity())


def _take_channels(network: nn.Module, channels: int) -> None:
    """Fit the first layer to images of so many channels."""
    old = _first_convolution(network)
    new = nn.Conv2d(
        channels,
        old.out_channels,
        (old.kernel_size[0], old.kernel_size[1]),
        stride=(old.stride[0], old.stride[1]),
        padding=old.padding if isinstance(old.padding, str) else (old.padding[0], old.padding[1]),
        bias=old.bias is not None,
    )
    network.set_submodule(first_layer_of(network), new)


def _first_convolution(network: nn.Module) -> nn.Conv2d:
    layer = network.get_submodule(first_layer_of(network))
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"Classifiers of torchvision start with a convolution, got {type(layer).__name__}.")
    return layer


def _drop(network: nn.Module, model: str, p: float) -> None:
    """Set the probability of all dropout layers; a DenseNet's stand in its layers as a rate."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Dropout | _DenseLayer)]
    for layer in layers:
        if isinstance(layer, nn.Dropout):
            layer.p = p
        else:
            layer.drop_rate = p
    if not layers and p > 0.0:
        raise InvalidValueError(
            ("model", "dropout"), f"needs dropout layers, and {model} has none, got {p:g}.", "Leave model.dropout out."
        )


def _demand_size(network: nn.Module, section: TorchvisionModel, input_shape: tuple[int, ...]) -> None:
    channels, *sides = input_shape
    if _takes(network, input_shape):
        return
    smallest = _smallest_side(network, channels)
    can_be_small = type(network) in _POOL_AFTER_FIRST and not section.small_images
    also = "model.small_images: true, " if can_be_small else ""
    raise InvalidValueError(
        ("model", "name"),
        f"{section.name} needs images of at least {smallest}×{smallest} pixels, got {_by(sides)}.",
        f"Choose {also}larger images (data.size of a folder), or another model.",
    )


def _smallest_side(network: nn.Module, channels: int) -> int:
    """The smallest square images the network takes: what it takes of one size, it takes of every larger one."""
    too_small, enough = 0, _LARGEST_SOUGHT
    while enough - too_small > 1:
        side = (too_small + enough) // 2
        if _takes(network, (channels, side, side)):
            enough = side
        else:
            too_small = side
    return enough


def _takes(network: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether an image of this shape comes through, found on torch's meta device, where tensors are shapes alone."""
    tensors = chain(network.named_parameters(), network.named_buffers())
    weightless = {name: tensor.detach().to("meta") for name, tensor in tensors}
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            functional_call(network, weightless, (torch.zeros(1, *input_shape, device="meta"),))
    except (RuntimeError, ValueError):
        return False
    finally:
        network.train(was_training)
    return True


def _by(sides: Any) -> str:
    return "×".join(str(side) for side in sides)
