"""Initial weights, drawn from the seed's init stream: one substream per parameter name.

So a network with one more layer, or another normalisation, starts its other layers at the same draws. Kaiming: He et
al. 2015, arXiv:1502.01852; Xavier: Glorot and Bengio 2010; default: as torch, a third of the variance that LeCun et al.
1998 ("Efficient BackProp") recommend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from assay.models.layers import LEAK
from assay.recipe.schema import (
    Activation,
    DefaultInit,
    Init,
    KaimingInit,
    NormalInit,
    XavierInit,
)
from assay.recipe.streams import stream
from assay.records import Array

GAINS: dict[Activation, float] = {
    "relu": math.sqrt(2.0),
    "leaky_relu": math.sqrt(2.0 / (1.0 + LEAK**2)),
    "tanh": 5.0 / 3.0,
    "sigmoid": 1.0,
    "gelu": math.sqrt(2.0),
    "swish": math.sqrt(2.0),
}
"""Those of ``torch.nn.init.calculate_gain``; GELU and swish, which it lacks, take ReLU's, whose shape they share."""

_Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def initialise(model: nn.Module, init: Init, *, seed: int, activation: Activation) -> None:
    """Set the weights and biases of every linear and convolution layer; other layers stay as they were constructed.

    With ``default`` weights and biases are U(−1/√fan_in, 1/√fan_in), as torch draws them. With the others biases are
    zero, and the weights have the standard deviation that the recipe's schema states, of a normal or uniform
    distribution; the gain is the activation's.

    Args:
        model: changed in place.
        init: the recipe's init section.
        seed: the recipe's seed.
        activation: whose gain to use.
    """
    with torch.no_grad():
        for name, layer in model.named_modules():
            for parameter_name, parameter in _own_parameters(layer):
                draw = _draw_of(init, layer, parameter_name, GAINS[activation])
                values = draw(stream(seed, "init", f"{name}.{parameter_name}"), tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _own_parameters(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
        yield from layer.named_parameters(recurse=False)


def _draw_of(init: Init, layer: nn.Module, parameter: str, gain: float) -> _Draw:
    weight = layer.weight
    if not isinstance(weight, Tensor):  # torch types attributes of a module as Tensor or Module
        raise TypeError(f"A linear or convolution layer has a weight tensor, got {type(weight).__name__}.")
    field = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * field, weight.shape[0] * field
    if isinstance(init, DefaultInit):
        return _uniform(1.0 / math.sqrt(3.0 * fan_in))
    if parameter != "weight":
        return lambda _, shape: np.zeros(shape)
    if isinstance(init, NormalInit):
        return _normal(init.scale)
    if isinstance(init, KaimingInit):
        deviation = gain / math.sqrt(fan_in)
    elif isinstance(init, XavierInit):
        deviation = gain * math.sqrt(2.0 / (fan_in + fan_out))
    return _normal(deviation) if init.distribution == "normal" else _uniform(deviation)


def _normal(deviation: float) -> _Draw:
    return lambda generator, shape: deviation * generator.standard_normal(shape)


def _uniform(deviation: float) -> _Draw:
    """Uniform around 0 of that standard deviation: U(−√3·deviation, √3·deviation)."""
    bound = math.sqrt(3.0) * deviation
    return lambda generator, shape: generator.uniform(-bound, bound, shape)
