"""Running a module for what it does and not for what it gives: without data, without leaving a trace."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

FLOAT32_BYTES = 4


def without_data(model: nn.Module) -> nn.Module | None:
    """A copy on torch's device ``meta``; None of a model that cannot be copied."""
    in_place_of: dict[int, Any] = {}
    try:
        for parameter in model.parameters():
            there = torch.empty_like(parameter, device="meta", requires_grad=False)
            in_place_of[id(parameter)] = nn.Parameter(there, requires_grad=parameter.requires_grad)
        for buffer in model.buffers():
            in_place_of[id(buffer)] = torch.empty_like(buffer, device="meta")
        return copy.deepcopy(model, in_place_of)
    except Exception:  # noqa: BLE001 - a user's module may hold anything
        return None


def example_for(model: nn.Module, shape: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """Zeros of the model's type, where its parameters are if no place is given."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return torch.zeros(shape, device=device)
    return torch.zeros(shape, dtype=parameter.dtype, device=device or parameter.device)


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Every module in training or in evaluation mode, and afterwards as it was."""
    was_training = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in was_training.items():
            module.training = mode


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention is computed by products that can be watched one by one."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def training_bytes_of(model: nn.Module, input_shape: tuple[int, ...]) -> int | None:
    """What one more example in a batch makes autograd keep, each tensor once, in float32.

    It is the difference between batches of four and of two, so that what does not depend on the batch falls out.

    Args:
        model: one of `without_data`.
        input_shape: of one example.

    Returns:
        The bytes; None of a model that cannot be run in training mode without data.
    """
    try:
        few, many = (_kept_bytes(model, (batch, *input_shape)) for batch in (2, 4))
    except Exception:  # noqa: BLE001 - a user's module may raise anything
        return None
    return (many - few) // 2


def _kept_bytes(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Memory of the tensors that autograd keeps, but for the model's own, in float32."""
    own = {address(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[Any, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        if tensor.is_floating_point():
            size = size // tensor.element_size() * FLOAT32_BYTES
        kept[address(tensor)] = (storage, size)  # held on to, so that no other gets its address
        return tensor

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(in_mode(model, training=True))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        example = example_for(model, shape, torch.device("meta"))
        with torch.enable_grad(), example.device:
            output = model(example)
    del output  # it held what was kept until now
    return sum(size for place, (_, size) in kept.items() if place not in own)


def address(tensor: Tensor) -> int:
    """Of a tensor's memory, whether there is any or not."""
    return int(tensor.untyped_storage()._cdata)
