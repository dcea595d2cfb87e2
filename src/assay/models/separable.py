"""Depthwise-separable convolutions (Sifre 2014, "Rigid-motion scattering for image classification", section 6.2; Howard
et al. 2017, arXiv:1704.04861): one k×k filter for each input channel, then a 1×1 convolution that mixes the channels.

For N output channels they take 1/N + 1/k² of the multiply-accumulates of a plain convolution, and of its weights. The
time they take is another matter, which a study can measure: they do less with each value they fetch.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from assay.models.anatomy import Anatomy, LayerRow


@dataclass(frozen=True, kw_only=True)
class SeparableCost:
    """A plain convolution of an anatomy, and what two that separate it would cost in its place.

    ``macs`` and ``parameters`` count one example and all calls, the depthwise and the pointwise layer together.
    """

    name: str
    kernel: tuple[int, int]
    in_channels: int
    out_channels: int
    plain_macs: int
    plain_parameters: int
    macs: int
    parameters: int

    @property
    def macs_ratio(self) -> float:
        """How many times fewer multiply-accumulates: N·k²/(N + k²) for N output channels."""
        return self.plain_macs / self.macs

    @property
    def parameters_ratio(self) -> float:
        """How many times fewer parameters; less than the other ratio by the biases, which stay as many."""
        return self.plain_parameters / self.parameters


def separable_costs(anatomy: Anatomy) -> tuple[SeparableCost, ...]:
    """For each convolution that was called and could be separated, what that would cost."""
    costs = (_cost(row) for row in anatomy.rows if row.macs)
    return tuple(cost for cost in costs if cost is not None)


def _cost(row: LayerRow) -> SeparableCost | None:
    made = row.convolution
    if made is None or made.groups != 1 or made.kernel == (1, 1):
        return None
    window = made.kernel[0] * made.kernel[1]
    mixing = made.in_channels * made.out_channels
    separated = window * made.in_channels + mixing
    return SeparableCost(
        name=row.name,
        kernel=made.kernel,
        in_channels=made.in_channels,
        out_channels=made.out_channels,
        plain_macs=row.macs,
        plain_parameters=row.parameters,
        macs=row.macs // (window * mixing) * separated,
        parameters=separated + (made.out_channels if made.bias else 0),
    )


def separable(model: nn.Module) -> nn.Module:
    """A copy of a model with each plain convolution of images replaced by two that separate it.

    In the place of a layer ``conv`` come ``conv.depthwise``, which has its stride, padding and dilation, and
    ``conv.pointwise``, which has its bias. Convolutions 1×1 and those in groups stay. New weights are drawn by torch's
    global generator, as its layers draw them, on the device and in the type of the old ones.

    Args:
        model: left as it was.
    """
    made = copy.deepcopy(model)
    if _is_separable(made):
        return _separated(made)
    places = [(name, child) for name, child in made.named_modules(remove_duplicate=False) if _is_separable(child)]
    separated = {child: _separated(child) for _, child in places}
    for name, child in places:  # a layer in two places stays one
        parent, _, own_name = name.rpartition(".")
        made.get_submodule(parent).add_module(own_name, separated[child])
    return made


def _is_separable(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1 and module.kernel_size != (1, 1)


def _separated(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"Only nn.Conv2d can be separated, got {type(layer).__name__}.")
    device, dtype = layer.weight.device, layer.weight.dtype
    depthwise = nn.Conv2d(
        layer.in_channels,
        layer.in_channels,
        _pair(layer.kernel_size),
        stride=_pair(layer.stride),
        padding=layer.padding if isinstance(layer.padding, str) else _pair(layer.padding),
        dilation=_pair(layer.dilation),
        groups=layer.in_channels,
        bias=False,
        padding_mode=layer.padding_mode,
        device=device,
        dtype=dtype,
    )
    mixed = layer.bias is not None
    pointwise = nn.Conv2d(layer.in_channels, layer.out_channels, 1, bias=mixed, device=device, dtype=dtype)
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise)).train(layer.training)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    height, width = values
    return height, width
