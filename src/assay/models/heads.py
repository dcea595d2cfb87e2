"""Which layer of a network gives the scores, and which sees the images: by kind and place, for any module.

A network says nowhere which of its layers these are, and the order in which it calls them is known only by running it.
Here the order counts in which its constructor made them, which is the same in every classifier of torchvision and in
assay's own networks.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from assay.errors import InvalidValueError

Weighted = nn.Linear | _ConvNd
"""Layers that multiply by weights: ``_ConvNd`` is every convolution; torch has no public name for it."""


def head_of(model: nn.Module, *, classes: int | None = None) -> str:
    """The name within the model of the layer that gives the scores, such as ``output``, ``fc`` or ``classifier.6``.

    It is the last linear layer, or, where there is none (SqueezeNet), the last convolution. The projection inside an
    attention layer is no head.

    Args:
        model: any module.
        classes: consider only layers with that many outputs; None considers all.

    Raises:
        InvalidValueError: the model holds no such layer.
    """
    weighted = [
        (name, layer)
        for name, layer in _weighted(model)
        if not isinstance(layer, NonDynamicallyQuantizableLinear) and classes in (None, _outputs(layer))
    ]
    linear = [name for name, layer in weighted if isinstance(layer, nn.Linear)]
    if not weighted:
        outputs = "" if classes is None else f" with {classes} outputs"
        raise InvalidValueError(
            ("model", "name"),
            f"must hold a linear layer or a convolution{outputs}, which gives the scores; {type(model).__name__} "
            "holds none.",
        )
    return linear[-1] if linear else weighted[-1][0]


def first_layer_of(model: nn.Module) -> str:
    """The name within the model of its first linear layer or convolution, which sees the images.

    Raises:
        InvalidValueError: the model holds neither.
    """
    for name, _ in _weighted(model):
        return name
    raise InvalidValueError(
        ("model", "name"),
        f"must hold a linear layer or a convolution, which sees the images; {type(model).__name__} holds none.",
    )


def _weighted(model: nn.Module) -> list[tuple[str, Weighted]]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, _ConvNd))]


def _outputs(layer: Weighted) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
