"""Fully connected layers as convolutions: a classifier that can be run on images of any size (Long et al. 2015,
arXiv:1411.4038; Sermanet et al. 2014, arXiv:1312.6229).

A fully connected layer after a map of h×w is a convolution whose kernel is as large as the map; those after it are
convolutions 1×1. On an image of the original size the network then gives what it gave, and on a larger one a map of
scores, one position for each place the original could be laid on, computed together.

Shape key: B images in a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from assay.errors import InputError, ShapeError
from assay.models.anatomy import dissect
from assay.models.layers import Dropout
from assay.models.pooling import Subsample2x2

_ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign),
    *(nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Identity),
    *(nn.Dropout, nn.AlphaDropout, Dropout),
)
_OF_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, Subsample2x2)
_PADDING = (nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d)
_OF_ONE_PLACE = (*_ELEMENTWISE, nn.BatchNorm2d, nn.LocalResponseNorm, nn.Dropout2d, nn.PReLU)
_WHOLE_MAP = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
_TO_SIZE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_OF_TORCHVISION = ("torchvision.models.alexnet.AlexNet", "torchvision.models.vgg.VGG")
"""Networks that flatten between their parts ``features``, ``avgpool`` and ``classifier``."""

Made = TypeVar("Made", nn.Conv2d, nn.BatchNorm2d, "LayerNormOfChannels")


class FullyConvolutional(nn.Sequential):
    """Images (B, C, H, W) to maps of scores (B, K, H', W'); `convolutionalised` makes it.

    Attributes:
        input_shape: (C, H, W) of the images for which the map has one position.
        stride: by how many rows and columns of the image positions are apart.
        pads: whether a layer pads; see `score_map`.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        *,
        input_shape: tuple[int, int, int],
        stride: tuple[int, int],
        pads: bool,
    ) -> None:
        super().__init__(OrderedDict(layers))
        self.input_shape = input_shape
        self.stride = stride
        self.pads = pads


class LayerNormOfChannels(nn.LayerNorm):
    """Layer normalisation over the channels of each position of maps (B, C, H, W)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convolutionalised(model: nn.Module, input_shape: tuple[int, ...]) -> FullyConvolutional:
    """The same classifier with convolutions in place of its fully connected layers.

    On images of ``input_shape`` it gives the original's scores up to rounding, as a map of one position. It can be made
    of layers in a row: convolutions, pooling, batch normalisation, dropout and activations before a ``Flatten``; linear
    layers, batch and layer normalisation, dropout and activations after it. So are assay's ``mlp``, ``lenet5``,
    ``simplenet``, ``open_ended_cnn``, ``step_by_step_cnn`` and ``channel_cnn``, torchvision's AlexNet and VGG, and an
    ``nn.Sequential`` of your own.

    Args:
        model: left as it was; weights are copied.
        input_shape: of the images it was made for, (C, H, W).

    Raises:
        InputError: the model is no such row, or holds a layer that depends on the size of the whole map.
        ShapeError: the model does not take such images.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(864, 10))
        >>> dense = convolutionalised(model, (1, 28, 28))
        >>> score_map(dense, torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10, 1, 1])
        >>> score_map(dense, torch.zeros(1, 1, 64, 100)).shape
        torch.Size([1, 10, 19, 37])
    """
    if len(input_shape) != 3:
        raise ShapeError(f"input_shape must be (channels, height, width), got {input_shape}.")
    before, after = _parted(model, list(_in_a_row(model)))
    channels, *kernel = _after(before, input_shape)
    kept = {name: copy.deepcopy(layer) for name, layer in before if not isinstance(layer, _TO_SIZE)}
    stride = _stride(kept, input_shape)
    for name, layer in after:
        kept[name] = _convolutional(name, layer, channels, (kernel[0], kernel[1]))
        if isinstance(layer, nn.Linear):
            channels, kernel = layer.out_features, [1, 1]
    made = FullyConvolutional(
        {name.replace(".", "_"): layer for name, layer in kept.items()},
        input_shape=(input_shape[0], input_shape[1], input_shape[2]),
        stride=stride,
        pads=any(_pads(layer) for _, layer in before),
    )
    made.training = model.training
    return made


def score_map(model: FullyConvolutional, x_BCHW: Tensor) -> Tensor:
    """Scores (B, K, H', W') of images at least as large as those the classifier was made for, in evaluation mode.

    Position (i, j) stands for the crop of the original's size at row i·stride and column j·stride. Its scores are those
    that the original gives for that crop alone, as far as the crop lies within the image, if no layer pads
    (``model.pads`` is false). A network that pads meets zeros around each crop, where the map meets the rest of the
    image: there only an image of the original size gives the original's scores.

    Args:
        model: of `convolutionalised`; left in the mode it was in.
        x_BCHW: the images, normalised as the classifier expects them.

    Raises:
        ShapeError: the images are too small, or of other channels.
    """
    channels, height, width = model.input_shape
    if x_BCHW.dim() != 4 or x_BCHW.shape[1] != channels or x_BCHW.shape[2] < height or x_BCHW.shape[3] < width:
        raise ShapeError(
            f"Images must be of shape (batch, {channels}, height, width), at least {height}×{width}, got "
            f"{tuple(x_BCHW.shape)}."
        )
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            scores_BKHW: Tensor = model(x_BCHW)
    finally:
        for module, training in was_training.items():
            module.training = training
    return scores_BKHW


# --- the row of layers -----------------------------------------------------------------------------------------------


def _in_a_row(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers that a model calls one after the other, by name."""
    prefix = f"{name}." if name else ""
    if f"{type(model).__module__}.{type(model).__qualname__}" in _OF_TORCHVISION:
        yield from _in_a_row(model.get_submodule("features"), f"{prefix}features")
        yield f"{prefix}avgpool", model.get_submodule("avgpool")
        yield f"{prefix}flatten", nn.Flatten()
        yield from _in_a_row(model.get_submodule("classifier"), f"{prefix}classifier")
    elif isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward:
        for own_name, layer in model._modules.items():
            if layer is not None:
                yield from _in_a_row(layer, f"{prefix}{own_name}")
    elif not name:
        raise InputError(
            f"{type(model).__name__} cannot be turned into convolutions: its layers must stand in a row, as in an "
            "nn.Sequential or torchvision's AlexNet and VGG."
        )
    else:
        yield name, model


def _parted(
    model: nn.Module, row: list[tuple[str, nn.Module]]
) -> tuple[list[tuple[str, nn.Module]], list[tuple[str, nn.Module]]]:
    """The layers before and after the flattening."""
    flattening = [at for at, (_, layer) in enumerate(row) if isinstance(layer, nn.Flatten)]
    after = row[flattening[0] + 1 :] if flattening else []
    if len(flattening) != 1 or not any(isinstance(layer, nn.Linear) for _, layer in after):
        raise InputError(
            f"{type(model).__name__} cannot be turned into convolutions: it must hold one nn.Flatten and linear layers "
            f"after it, got {len(flattening)} nn.Flatten."
        )
    name, flatten = row[flattening[0]]
    if isinstance(flatten, nn.Flatten) and (flatten.start_dim, flatten.end_dim) not in ((1, -1), (1, 3)):
        raise InputError(
            f"{name} (Flatten) must flatten whole maps, from dimension 1 to the last, got {flatten.start_dim} to "
            f"{flatten.end_dim}."
        )
    before = row[: flattening[0]]
    for name, layer in before:
        if isinstance(layer, _WHOLE_MAP):
            raise InputError(
                f"{name} ({type(layer).__name__}) normalises by the whole map, which is another on larger images: no "
                "position would get the scores of its crop. Batch normalisation can be kept."
            )
        if not isinstance(layer, (*_OF_WINDOWS, *_OF_ONE_PLACE, *_PADDING, *_TO_SIZE)):
            raise InputError(
                f"{name} ({type(layer).__name__}) is no layer of which it is known what it does to larger images. "
                "Convolutions, pooling, batch normalisation, dropout and activations are."
            )
    return before, after


def _after(layers: list[tuple[str, nn.Module]], input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The map's shape after layers, each of which must not depend on the images' size."""
    once_each = [copy.copy(layer) for _, layer in layers]  # a layer in two places has a row for each
    try:
        table = dissect(nn.Sequential(*once_each), input_shape)
    except RuntimeError as error:
        raise ShapeError(f"The model does not take images of shape {input_shape}: {error}") from error
    shapes = {row.name: row.output_shape for row in table.rows}
    before: tuple[int, ...] | None = input_shape
    for number, (name, layer) in enumerate(layers):
        shape = shapes.get(str(number))
        if isinstance(layer, _TO_SIZE) and shape != before:
            raise InputError(
                f"{name} ({type(layer).__name__}) makes maps of any size alike, so it must leave those of the original "
                f"size as they are: for images of shape {input_shape} it makes {shape} of {before}."
            )
        before = shape
    if before is None or len(before) != 3:
        raise ShapeError(f"Before its Flatten the model must give maps (channels, height, width), got {before}.")
    channels, height, width = before
    return channels, height, width


def _stride(layers: Mapping[str, nn.Module], input_shape: tuple[int, ...]) -> tuple[int, int]:
    table = dissect(nn.Sequential(*layers.values(), nn.Identity()), input_shape)
    down, across = table.rows[-1].stride or (None, None)
    if down is None or across is None:
        raise InputError("The layers before the Flatten must have a stride that is known; assay inspect shows it.")
    return down, across


def _pads(layer: nn.Module) -> bool:
    """Whether it adds to a map, or has a last window that hangs over the edge."""
    padding = getattr(layer, "padding", 0)
    margins = padding if isinstance(padding, tuple) else (padding,)
    return any(margin not in (0, "valid") for margin in margins) or bool(getattr(layer, "ceil_mode", False))


# --- one layer -------------------------------------------------------------------------------------------------------


def _convolutional(name: str, layer: nn.Module, channels: int, kernel: tuple[int, int]) -> nn.Module:
    """What stands for a layer after the flattening of maps (``channels``, *``kernel``)."""
    if isinstance(layer, nn.Linear):
        height, width = kernel
        if layer.in_features != channels * height * width:
            raise ShapeError(
                f"{name} takes {layer.in_features} features, and the map before it has {channels}×{height}×{width}."
            )
        return _of_linear(layer, channels, kernel)
    if isinstance(layer, _ELEMENTWISE) or (isinstance(layer, (nn.Softmax, nn.LogSoftmax)) and layer.dim == 1):
        return copy.deepcopy(layer)
    if kernel == (1, 1) and isinstance(layer, nn.BatchNorm1d):
        return _of_batch_norm(layer)
    if kernel == (1, 1) and isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1:
        return _of_layer_norm(layer)
    where = "" if kernel == (1, 1) else " before the first linear layer"
    raise InputError(
        f"{name} ({type(layer).__name__}) after the Flatten{where} cannot be turned into a convolution. What can is "
        "linear layers, batch and layer normalisation after them, dropout and activations."
    )


def _of_linear(layer: nn.Linear, channels: int, kernel: tuple[int, int]) -> nn.Conv2d:
    made = nn.Conv2d(channels, layer.out_features, kernel, bias=layer.bias is not None)
    return _like(layer, made)


def _of_batch_norm(layer: nn.BatchNorm1d) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    return _like(layer, made)


def _of_layer_norm(layer: nn.LayerNorm) -> LayerNormOfChannels:
    with_bias = getattr(layer, "bias", None) is not None
    return _like(layer, LayerNormOfChannels(layer.normalized_shape[0], layer.eps, layer.elementwise_affine, with_bias))


def _like(layer: nn.Module, made: Made) -> Made:
    """With the other layer's weights and statistics, frozen and in the mode as they are there."""
    values = layer.state_dict()
    for tensor in values.values():
        if tensor.is_floating_point():
            made.to(tensor.device, tensor.dtype)
    shapes = {name: tensor.shape for name, tensor in made.state_dict().items()}
    made.load_state_dict({name: tensor.view(shapes[name]) for name, tensor in values.items()})
    trained = dict(layer.named_parameters())
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(trained[name].requires_grad)
    return made.train(layer.training)
