"""States of torch's own objects: everything that a module or an optimizer carries from one step to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from assay.training.packing import PLAIN, packed_attributes, poured, restore_attributes
from assay.training.state import State

_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}


def module_state(model: nn.Module) -> State:
    """Parameters, which of them take no gradient, buffers (those that `state_dict` leaves out too), and the other
    attributes of every module in it."""
    tensors: dict[str, Tensor] = {f"parameters:{name}": tensor for name, tensor in model.named_parameters()}
    tensors |= {f"buffers:{name}": tensor for name, tensor in model.named_buffers()}
    attributes = attributes_state(model)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    return State(tensors={**tensors, **attributes.tensors}, facts={**attributes.facts, "frozen": frozen})


def attributes_state(model: nn.Module) -> State:
    """The attributes of every module in a model that are neither parameters nor buffers nor modules.

    Those are kept that `assay.training.packing` knows. Whatever else an attribute is, it is taken for something that
    training does not change.
    """
    tensors: dict[str, Tensor] = {}
    attributes = {
        name: packed_attributes(module, f"attributes:{name}", tensors, but=_OF_EVERY_MODULE)
        for name, module in model.named_modules()
    }
    return State(tensors=tensors, facts={"attributes": attributes})


def restore_module(model: nn.Module, state: State) -> None:
    """Put a module of the same making into that state.

    Raises:
        ValueError: the state is of another module.
    """
    fill(dict(model.named_parameters()), _of_kind(state, "parameters"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in state.facts["frozen"])
    for name, saved in _of_kind(state, "buffers").items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if leaf not in module._buffers:
            raise ValueError(f"there is no buffer {name}")
        module._buffers[leaf] = poured(module._buffers[leaf], saved)
    restore_module_attributes(model, state)


def restore_module_attributes(model: nn.Module, state: State) -> None:
    """Put the attributes back that `attributes_state` kept."""
    modules = dict(model.named_modules())
    for name, attributes in state.facts["attributes"].items():
        restore_attributes(modules[name], attributes, state.tensors)


def fill(live: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Copy values into tensors of the same names, shapes and types, whose places in memory stay.

    Raises:
        ValueError: a name, a shape or a type differs.
    """
    if live.keys() != saved.keys():
        raise ValueError(f"the names differ: {', '.join(sorted(live.keys() ^ saved.keys())[:5])}")
    with torch.no_grad():
        for name, tensor in live.items():
            if (tensor.shape, tensor.dtype) != (saved[name].shape, saved[name].dtype):
                raise ValueError(f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)} here")
            tensor.copy_(saved[name])


def optimizer_state(optimizer: Optimizer) -> State:
    """What the optimizer remembers of each parameter. Its options are the recipe's, and rates are set at each step."""
    tensors: dict[str, Tensor] = {}
    plain: list[dict[str, Any]] = []
    for place, parameter in enumerate(_parameters(optimizer)):
        own = optimizer.state.get(parameter, {})
        tensors |= {f"{place}:{key}": value for key, value in own.items() if isinstance(value, Tensor)}
        plain.append({key: value for key, value in own.items() if isinstance(value, PLAIN)})
    return State(tensors=tensors, facts={"plain": plain})


def restore_optimizer(optimizer: Optimizer, state: State) -> None:
    """Put an optimizer of the same parameters into that state.

    Raises:
        ValueError: the state is of another optimizer.
    """
    parameters = _parameters(optimizer)
    plain = state.facts["plain"]
    if len(plain) != len(parameters):
        raise ValueError(f"there are {len(parameters)} parameters to optimise, not {len(plain)}")
    optimizer.state.clear()
    for place, (parameter, own) in enumerate(zip(parameters, plain, strict=True)):
        remembered = dict(own) | _of_kind(state, str(place))
        if remembered:
            optimizer.state[parameter] = remembered


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _of_kind(state: State, kind: str) -> dict[str, Tensor]:
    begin = f"{kind}:"
    return {name.removeprefix(begin): value for name, value in state.tensors.items() if name.startswith(begin)}
