"""From a torch network to the same network of layers by hand: same names, same weights, same streams.

So every engine starts from one description of each model, and what one has trained the other can load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from assay.errors import InputError, InvalidValueError
from assay.models.layers import Dropout
from assay.models.pooling import MaxPool2x2, Subsample2x2
from assay.recipe.streams import stream
from assay.scratch.activations import Gelu, LeakyRelu, Relu, Sigmoid, Swish, Tanh
from assay.scratch.affine import Affine
from assay.scratch.batch_norm import BatchNorm, SpatialBatchNorm
from assay.scratch.convolution import Convolution
from assay.scratch.dropout import InvertedDropout, VanillaDropout
from assay.scratch.layer import Array, Layer
from assay.scratch.layer_norm import LayerNorm, SpatialLayerNorm
from assay.scratch.network import Dropped, Fixed, Network, Normalised, Parameter, Stage, Weighted
from assay.scratch.pooling import AveragePool, MaxPool, Subsample
from assay.scratch.reshaping import Flatten
from assay.scratch.windows import Pair


def translate(model: nn.Module) -> Network:
    """The network by hand that computes what this module does. Its arrays are copies, of the module's type.

    Raises:
        InvalidValueError: the module is not a sequence of layers, or has one that is not written by hand, or one with
            an option that the layer by hand lacks; or its weights are shared, frozen or in no layer, or something else
            than its class says what a layer does.
    """
    layers = dict(_layers(model, ""))
    stages = {layer: _stage(name, layer) for name, layer in layers.items()}
    _refuse_what_layers_do_not_tell(model)
    network = Network({name: stages[layer] for name, layer in layers.items()})
    for name, _ in model.named_parameters():
        if name not in network.parameters:
            raise _beyond(f"trains the weights of layers, and {name} belongs to none.")
    return network


def check_shapes(network: Network, input_shape: tuple[int, ...]) -> None:
    """Pass zeros through: torch's layers take more shapes than those by hand, such as `nn.Linear` an image.

    Raises:
        InvalidValueError: a layer by hand refuses what reaches it.
    """
    try:
        network.evaluate(np.zeros((2, *input_shape), dtype=np.float32))
    except InputError as error:
        raise _beyond(f"cannot take a batch of 2 through this model. {error}") from error


def _refuse_what_layers_do_not_tell(model: nn.Module) -> None:
    """Refuse what a list of layers would pass over in silence, and then compute or train something else."""
    places: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in places:
            raise _beyond(f"keeps each weight in one place, and {places[id(parameter)]} is also {name}.")
        if not parameter.requires_grad:
            raise _beyond(f"trains every weight, and {name} is frozen.")
        places[id(parameter)] = name
    for name, module in model.named_modules():
        named = name or type(module).__name__
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
            raise _beyond(f"calls no hooks, and {named} has one.")
        if "forward" in vars(module):
            raise _beyond(f"goes by a layer's class, and {named} has a forward of its own.")


def _layers(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested `nn.Sequential`, in the order they are called in; one called twice is there twice."""
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        raise _beyond(f"needs a model that is an nn.Sequential of layers, got {type(module).__name__}.")
    for name, child in zip(module._modules, module, strict=True):  # named_children gives each module but once
        if isinstance(child, nn.Sequential):
            yield from _layers(child, f"{prefix}{name}.")
        elif not isinstance(child, nn.Identity):
            yield prefix + name, child


def _stage(name: str, layer: nn.Module) -> Stage:
    make = _STAGES.get(type(layer))
    if make is None:
        raise _lacking(f"has no layer {type(layer).__name__} ({name})")
    return make(layer)


def _lacking(what: str) -> InvalidValueError:
    return InvalidValueError(
        ("train", "engine"), f"numpy {what} written by hand.", "Choose train.engine torch, or leave that layer out."
    )


def _beyond(what: str) -> InvalidValueError:
    return InvalidValueError(("train", "engine"), f"numpy {what}", "Choose train.engine torch.")


def _demand(layer: nn.Module, **has: Any) -> None:
    """Refuse a layer with an option other than those the layer by hand has."""
    for option, value in has.items():
        if getattr(layer, option) != value:
            raise _lacking(f"has no {type(layer).__name__} with {option} {getattr(layer, option)!r}")


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy()).copy()


def _weighted(layer: Any, by_hand: Layer, *, penalised: bool) -> Stage:
    bias = None if layer.bias is None else Parameter(value=_array(layer.bias))
    return Weighted(layer=by_hand, weight=Parameter(value=_array(layer.weight), penalised=penalised), bias=bias)


def _affine(layer: nn.Linear) -> Stage:
    return _weighted(layer, Affine(), penalised=True)


def _convolution(layer: nn.Conv2d) -> Stage:
    _demand(layer, groups=1, dilation=(1, 1), padding_mode="zeros")
    if isinstance(layer.padding, str) and layer.padding != "valid":
        raise _lacking(f"has no Conv2d with padding {layer.padding!r}")
    padding = (0, 0) if isinstance(layer.padding, str) else _pair(layer.padding)
    return _weighted(layer, Convolution(stride=_pair(layer.stride), padding=padding), penalised=True)


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> Stage:
    _demand(layer, affine=True, track_running_stats=True)
    if layer.running_mean is None or layer.running_var is None or layer.momentum is None:
        raise _lacking("has no batch normalisation without running statistics or momentum")
    spatial = isinstance(layer, nn.BatchNorm2d)
    return Normalised(
        layer=SpatialBatchNorm(eps=layer.eps) if spatial else BatchNorm(eps=layer.eps),
        weight=Parameter(value=_array(layer.weight)),
        bias=Parameter(value=_array(layer.bias)),
        mean=_array(layer.running_mean),
        variance=_array(layer.running_var),
        momentum=layer.momentum,
    )


def _layer_norm(layer: nn.LayerNorm) -> Stage:
    _demand(layer, elementwise_affine=True)
    if len(layer.normalized_shape) != 1:
        raise _lacking(f"has no LayerNorm over {tuple(layer.normalized_shape)}")
    return _weighted(layer, LayerNorm(eps=layer.eps), penalised=False)


def _group_norm(layer: nn.GroupNorm) -> Stage:
    _demand(layer, num_groups=1, affine=True)
    return _weighted(layer, SpatialLayerNorm(eps=layer.eps), penalised=False)


def _dropout(layer: Dropout) -> Stage:
    by_hand = InvertedDropout(p=layer.p) if layer.form == "inverted" else VanillaDropout(p=layer.p)
    return Dropped(layer=by_hand, bits=stream(layer.seed, "dropout", layer.layer).bit_generator)


def _max_pool(layer: nn.MaxPool2d) -> Stage:
    _demand(layer, ceil_mode=False, return_indices=False)
    if _pair(layer.dilation) != (1, 1):
        raise _lacking(f"has no MaxPool2d with dilation {layer.dilation!r}")
    kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
    return Fixed(layer=MaxPool(kernel=kernel, stride=stride, padding=_pair(layer.padding)))


def _average_pool(layer: nn.AvgPool2d) -> Stage:
    _demand(layer, ceil_mode=False, count_include_pad=True, divisor_override=None)
    kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
    return Fixed(layer=AveragePool(kernel=kernel, stride=stride, padding=_pair(layer.padding)))


def _flatten(layer: nn.Flatten) -> Stage:
    _demand(layer, start_dim=1, end_dim=-1)
    return Fixed(layer=Flatten())


def _gelu(layer: nn.GELU) -> Stage:
    _demand(layer, approximate="none")
    return Fixed(layer=Gelu())


def _leaky_relu(layer: nn.LeakyReLU) -> Stage:
    if not 0.0 <= layer.negative_slope <= 1.0:
        raise _lacking(f"has no LeakyReLU with negative_slope {layer.negative_slope!r}")
    return Fixed(layer=LeakyRelu(slope=layer.negative_slope))


# Exact classes: a subclass may compute something else.
_STAGES: dict[type[nn.Module], Callable[[Any], Stage]] = {
    nn.Linear: _affine,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    Dropout: _dropout,
    nn.MaxPool2d: _max_pool,
    MaxPool2x2: _max_pool,
    nn.AvgPool2d: _average_pool,
    Subsample2x2: lambda _: Fixed(layer=Subsample()),
    nn.Flatten: _flatten,
    nn.ReLU: lambda _: Fixed(layer=Relu()),
    nn.LeakyReLU: _leaky_relu,
    nn.Tanh: lambda _: Fixed(layer=Tanh()),
    nn.Sigmoid: lambda _: Fixed(layer=Sigmoid()),
    nn.GELU: _gelu,
    nn.SiLU: lambda _: Fixed(layer=Swish()),
}
