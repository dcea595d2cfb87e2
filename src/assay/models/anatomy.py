"""A network's layer table: what each layer gives, holds and costs, found by running one example through it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROOT_NAME = "(model)"
"""The row of what the outermost module holds or computes itself, outside its layers."""


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer.

    Attributes:
        name: its place in the model, such as ``linear1``.
        kind: its class, such as ``Linear``.
        output_shape: of one example, without the batch; of the first output, and of the last call, if there are
            several. None if the layer was not called, or gives no tensor.
        parameters: how many it holds itself; those it shares are counted where they come first.
        macs: multiply-accumulates of its matrix products and convolutions for one example, over all calls.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The layers in the order of their first call, then those not called; the totals are sums over the rows."""

    rows: tuple[LayerRow, ...]
    parameters: int
    trainable_parameters: int
    macs: int


@dataclass
class _Tally:
    output_shape: tuple[int, ...] | None = None
    macs: int = 0


def dissect(model: nn.Module, input_shape: tuple[int, ...]) -> Anatomy:
    """The layer table of any module that takes one tensor.

    A row is a module without modules inside, or one that holds parameters or computes products of its own. Costs are
    those `torch.utils.flop_counter` knows (products, convolutions, attention), halved; element-wise work is left out.

    Args:
        model: on the CPU; left as it was.
        input_shape: of one example, (C, H, W) or (D,).
    """
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    example = torch.zeros(1, *input_shape, dtype=parameter.dtype if parameter is not None else torch.float32)
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        tallies = _run(model, example)
    finally:
        for module, training in was_training.items():
            module.training = training
    own = _own_parameters(model)
    names = {module: name for name, module in model.named_modules()}
    uncalled = [module for module in model.modules() if module not in tallies]
    rows = tuple(
        LayerRow(
            name=names[module] or ROOT_NAME,
            kind=type(module).__name__,
            output_shape=tallies.get(module, _Tally()).output_shape,
            parameters=own[module],
            macs=tallies.get(module, _Tally()).macs,
        )
        for module in [*tallies, *uncalled]
        if own[module] or (module in tallies and (tallies[module].macs or next(module.children(), None) is None))
    )
    return Anatomy(
        rows=rows,
        parameters=sum(p.numel() for p in model.parameters()),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=sum(row.macs for row in rows),
    )


def _own_parameters(model: nn.Module) -> dict[nn.Module, int]:
    """Parameters each module holds itself. One that several hold is counted at the first."""
    seen: set[nn.Parameter] = set()
    counts = {}
    for module in model.modules():
        fresh = [parameter for parameter in module.parameters(recurse=False) if parameter not in seen]
        seen.update(fresh)
        counts[module] = sum(parameter.numel() for parameter in fresh)
    return counts


def _run(model: nn.Module, example: Tensor) -> dict[nn.Module, _Tally]:
    """Call the model once and tally every module it calls, in the order of first call.

    Gradients stay on and attention is computed by plain products: torch's fused paths hide from the counter, which of
    them depends on its version.
    """
    counter = FlopCounterMode(display=False)
    tallies: dict[nn.Module, _Tally] = {}
    open_calls: list[tuple[int, int]] = []  # per call under way: operations before it, operations of calls inside it

    def enter(module: nn.Module, _: Any) -> None:
        tallies.setdefault(module, _Tally())
        open_calls.append((counter.get_total_flops(), 0))

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        before, inside = open_calls.pop()
        spent = counter.get_total_flops() - before
        tallies[module].macs += (spent - inside) // 2
        tallies[module].output_shape = _shape_of(output)
        if open_calls:
            outer_before, outer_inside = open_calls[-1]
            open_calls[-1] = (outer_before, outer_inside + spent)

    with ExitStack() as stack:
        removers: list[Callable[[], None]] = []
        for module in model.modules():
            removers.append(module.register_forward_pre_hook(enter).remove)
            removers.append(module.register_forward_hook(leave).remove)
        for remove in removers:
            stack.callback(remove)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model(example)
    return tallies


def _shape_of(output: Any) -> tuple[int, ...] | None:
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else None
