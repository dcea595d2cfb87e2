"""A network's layer table: what each layer gives, holds, costs and sees, found by running one example through it."""

from __future__ import annotations

import math
import warnings
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from assay.models.dry_run import (
    FLOAT32_BYTES,
    address,
    example_for,
    in_mode,
    plain_attention,
    training_bytes_of,
    without_data,
)
from assay.models.receptive_field import Reach, reach
from assay.models.receptive_field_tracing import SightTracer

ROOT_NAME = "(model)"
"""The row of what the outermost module holds or computes itself, outside its layers."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """What a convolution of images is made of; ``kernel`` is (height, width)."""

    kernel: tuple[int, int]
    in_channels: int
    out_channels: int
    groups: int
    bias: bool


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer.

    Attributes:
        name: its place in the model, such as ``linear1``.
        kind: its class, such as ``Linear``.
        output_shape: of one example, without the batch; of the first output, and of the last call, if there are
            several. None if the layer was not called, or gives no tensor.
        parameters: how many it holds itself; those it shares are counted where they come first.
        trainable_parameters: how many of them are not frozen.
        macs: multiply-accumulates of its matrix products and convolutions for one example, over all calls.
        output_bytes: of what it gives for one example, in float32, over all calls; 0 where that is its input's memory,
            as for a flattened map or a ReLU in place.
        receptive_field: how many rows and columns of the image one element of the output depends on, not cut off at its
            edges (`assay.models.receptive_field`); ``whole`` if on all, None where unknown. None for both if inputs
            are no images.
        stride: by how many rows and columns of the image neighbours of the output are apart; None where it has no
            rows and columns, or unknown.
        convolution: of an ``nn.Conv2d``, what it is made of.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    trainable_parameters: int
    macs: int
    output_bytes: int
    receptive_field: tuple[Reach, Reach] | None = None
    stride: tuple[int | None, int | None] | None = None
    convolution: Convolution | None = None

    @property
    def label(self) -> str:
        """Its class, of a convolution with its kernel: ``Conv2d 5×5``."""
        made = self.convolution
        if made is None:
            return self.kind
        kernel = "×".join(map(str, made.kernel))
        return f"{self.kind} {kernel}" + (f" in {made.groups} groups" if made.groups > 1 else "")


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The layers in the order of their first call, then those not called; the totals are sums over the rows.

    Attributes:
        input_shape: of one example.
        rows: the layers.
        blocks: the modules that hold others, each with the sums over its rows, in the order of the model.
        parameters: of the model.
        trainable_parameters: how many of them are not frozen.
        macs: multiply-accumulates for one example.
        output_bytes: sum over the rows.
        training_bytes: what the forward pass keeps for the backward pass, for one more example in the batch, in
            float32: the layers' inputs and outputs that gradients need, each once. None if the model could not be run
            in training mode without data.
    """

    input_shape: tuple[int, ...]
    rows: tuple[LayerRow, ...]
    blocks: tuple[LayerRow, ...]
    parameters: int
    trainable_parameters: int
    macs: int
    output_bytes: int
    training_bytes: int | None

    @property
    def largest_window(self) -> tuple[int, int] | None:
        """Rows and columns of the largest receptive field that is not the whole image; None if none is known."""
        fields = [row.receptive_field for row in (*self.rows, *self.blocks) if row.receptive_field is not None]
        known = [(rows, columns) for rows, columns in fields if isinstance(rows, int) and isinstance(columns, int)]
        return max(known, key=lambda field: field[0] * field[1], default=None)


def dissect(model: nn.Module, input_shape: tuple[int, ...]) -> Anatomy:
    """The layer table of any module that takes one tensor.

    A row is a module without modules inside, or one that holds parameters or computes products of its own. Costs are
    those `torch.utils.flop_counter` knows (products, convolutions, attention), halved; element-wise work is left out.

    What is run is a copy without data, on torch's device ``meta``, which takes neither memory nor the time of the
    products. A model that cannot be run so (its way depends on values, say) is run itself; its receptive fields are
    then unknown.

    Args:
        model: left as it was.
        input_shape: of one example, (C, H, W) or (D,).

    Raises:
        Exception: whatever the model raises for such an input.
    """
    empty = without_data(model)
    training_bytes = None
    if empty is not None:
        training_bytes = training_bytes_of(empty, input_shape)
        try:
            return _table(empty, input_shape, _run_without_data(empty, input_shape), training_bytes)
        except Exception:  # noqa: BLE001 - whatever it is that cannot be done without data can perhaps be done with them
            pass
    return _table(model, input_shape, _run(model, example_for(model, (1, *input_shape)), sights=False), training_bytes)


def folded(anatomy: Anatomy, depth: int) -> tuple[LayerRow, ...]:
    """The rows of a table in which blocks deeper than so many parts of a name are summed up: ``layer1`` for all of
    ``layer1.0.conv1``, ``layer1.0.bn1``, …"""
    blocks = {block.name: block for block in anatomy.blocks}
    found: dict[str, LayerRow] = {}
    for row in anatomy.rows:
        name = ".".join(row.name.split(".")[:depth])
        found.setdefault(name, blocks.get(name, row))
    return tuple(found.values())


# --- running ---------------------------------------------------------------------------------------------------------


@dataclass
class _Tally:
    output_shape: tuple[int, ...] | None = None
    macs: int = 0
    output_bytes: int = 0
    receptive_field: tuple[Reach, Reach] | None = None
    stride: tuple[int | None, int | None] | None = None


def _run_without_data(model: nn.Module, input_shape: tuple[int, ...]) -> dict[nn.Module, _Tally]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they would come again with data
        example = example_for(model, (1, *input_shape), torch.device("meta"))
        return _run(model, example, sights=len(input_shape) == 3)


def _run(model: nn.Module, example: Tensor, *, sights: bool) -> dict[nn.Module, _Tally]:
    """Call the model once and tally every module it calls, in the order of first call.

    Gradients stay on and attention is computed by plain products: torch's fused paths hide from the counter, which of
    them depends on its version.
    """
    constants = [*model.parameters(), *model.buffers()]
    tracer = SightTracer(example, constants) if sights else None
    counter = FlopCounterMode(display=False)
    watch = _Watch(counter, tracer, images=example.dim() == 4)
    with ExitStack() as stack:
        stack.enter_context(in_mode(model, training=False))
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(watch.enter).remove)
            stack.callback(module.register_forward_hook(watch.leave).remove)
        stack.enter_context(plain_attention())
        with torch.enable_grad(), tracer or nullcontext(), counter, example.device:
            model(example)
    return watch.tallies


class _Watch:
    """What hooks on all modules take down."""

    def __init__(self, counter: FlopCounterMode, tracer: SightTracer | None, *, images: bool) -> None:
        self.tallies: dict[nn.Module, _Tally] = {}
        self._counter, self._tracer, self._images = counter, tracer, images
        self._open: list[tuple[int, int]] = []  # per call under way: operations before it, operations of calls inside

    def enter(self, module: nn.Module, _: Any) -> None:
        self.tallies.setdefault(module, _Tally())
        self._open.append((self._counter.get_total_flops(), 0))

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        before, inside = self._open.pop()
        spent = self._counter.get_total_flops() - before
        tally = self.tallies[module]
        tally.macs += (spent - inside) // 2
        if self._open:
            outer_before, outer_inside = self._open[-1]
            self._open[-1] = (outer_before, outer_inside + spent)
        given = _first_tensor(output)
        tally.output_shape = None if given is None else tuple(given.shape[1:])
        taken = [address(tensor) for tensor in inputs if isinstance(tensor, Tensor)]
        if given is not None and address(given) not in taken:
            tally.output_bytes += math.prod(given.shape) * FLOAT32_BYTES
        if self._images:
            tally.receptive_field, tally.stride = _seen(self._tracer, given)


def _seen(
    tracer: SightTracer | None, given: Tensor | None
) -> tuple[tuple[Reach, Reach], tuple[int | None, int | None]]:
    sight = tracer.sight(given) if tracer is not None and given is not None else None
    if sight is None:
        return (None, None), (None, None)
    (rows, down), (columns, across) = reach(sight, 0), reach(sight, 1)
    return (rows, columns), (down, across)


def _first_tensor(output: Any) -> Tensor | None:
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


# --- the table -------------------------------------------------------------------------------------------------------


def _table(
    model: nn.Module, input_shape: tuple[int, ...], tallies: dict[nn.Module, _Tally], training_bytes: int | None
) -> Anatomy:
    own = _own_parameters(model)
    names = {module: name or ROOT_NAME for name, module in model.named_modules()}
    uncalled = [module for module in model.modules() if module not in tallies]
    rows = tuple(
        _row(names[module], module, tallies.get(module, _Tally()), own[module])
        for module in [*tallies, *uncalled]
        if sum(own[module]) or (module in tallies and (tallies[module].macs or _is_leaf(module)))
    )
    return Anatomy(
        input_shape=input_shape,
        rows=rows,
        blocks=tuple(
            _block(names[module], module, tallies.get(module, _Tally()), rows)
            for module in model.modules()
            if module is not model and not _is_leaf(module)
        ),
        parameters=sum(row.parameters for row in rows),
        trainable_parameters=sum(row.trainable_parameters for row in rows),
        macs=sum(row.macs for row in rows),
        output_bytes=sum(row.output_bytes for row in rows),
        training_bytes=training_bytes,
    )


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _row(name: str, module: nn.Module, tally: _Tally, own: tuple[int, int]) -> LayerRow:
    trainable, frozen = own
    return LayerRow(
        name=name,
        kind=type(module).__name__,
        output_shape=tally.output_shape,
        parameters=trainable + frozen,
        trainable_parameters=trainable,
        macs=tally.macs,
        output_bytes=tally.output_bytes,
        receptive_field=tally.receptive_field,
        stride=tally.stride,
        convolution=_convolution(module) if isinstance(module, nn.Conv2d) else None,
    )


def _convolution(layer: nn.Conv2d) -> Convolution:
    height, width = layer.kernel_size
    return Convolution(
        kernel=(height, width),
        in_channels=layer.in_channels,
        out_channels=layer.out_channels,
        groups=layer.groups,
        bias=layer.bias is not None,
    )


def _block(name: str, module: nn.Module, tally: _Tally, rows: tuple[LayerRow, ...]) -> LayerRow:
    inside = [row for row in rows if row.name == name or row.name.startswith(f"{name}.")]
    return LayerRow(
        name=name,
        kind=type(module).__name__,
        output_shape=tally.output_shape,
        parameters=sum(row.parameters for row in inside),
        trainable_parameters=sum(row.trainable_parameters for row in inside),
        macs=sum(row.macs for row in inside),
        output_bytes=sum(row.output_bytes for row in inside),
        receptive_field=tally.receptive_field,
        stride=tally.stride,
    )


def _own_parameters(model: nn.Module) -> dict[nn.Module, tuple[int, int]]:
    """Parameters each module holds itself, trainable and frozen. One that several hold is counted at the first."""
    seen: set[nn.Parameter] = set()
    counts = {}
    for module in model.modules():
        fresh = [parameter for parameter in module.parameters(recurse=False) if parameter not in seen]
        seen.update(fresh)
        trainable = sum(parameter.numel() for parameter in fresh if parameter.requires_grad)
        counts[module] = (trainable, sum(parameter.numel() for parameter in fresh) - trainable)
    return counts
