"""Which of a network's parameters training leaves as they are."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from assay.errors import InvalidValueError
from assay.models.heads import head_of
from assay.models.layers import NORM_LAYERS
from assay.models.patterns import fits
from assay.recipe.schema import Freeze

HEAD = "head"
"""In ``freeze.all_but``: the layer that gives the scores, whatever its name."""


def freeze(model: nn.Module, section: Freeze, *, trains: bool = True) -> None:
    """Freeze parameters of a network as a recipe says; those it does not name stay as they are.

    A pattern freezes whatever it fits, a layer with all inside it. ``depth`` counts layers with weights (linear ones,
    convolutions, embeddings) in the order in which the network's constructor made them; what stands before the first
    of them, and between two, such as normalisation and class tokens, goes with the one before.

    Args:
        model: the network.
        section: the recipe's freeze section.
        trains: whether there will be training, and so must be something left to train.

    Raises:
        InvalidValueError: a pattern fits nothing, there are fewer layers than ``depth``, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    frozen = _of_patterns(parameters, section.layers, "layers")
    if section.all_but:
        patterns = [head_of(model) if pattern == HEAD else pattern for pattern in section.all_but]
        frozen |= set(parameters) - _of_patterns(parameters, patterns, "all_but")
    if section.depth:
        frozen |= _first_layers(model, section.depth)
    for name in frozen:
        parameters[name].requires_grad_(False)
    if trains and frozen and not any(parameter.requires_grad for parameter in parameters.values()):
        key = next(key for key in ("layers", "all_but", "depth") if getattr(section, key))
        raise InvalidValueError(
            ("freeze", key),
            f"must leave something to train, and freezes all {len(parameters)} parameters of {type(model).__name__}.",
            "Freeze fewer layers, or set train.epochs to 0 to measure the network as it is.",
        )


def _of_patterns(parameters: Iterable[str], patterns: Iterable[str], key: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        fitting = {name for name in parameters if fits(name, pattern)}
        if not fitting:
            raise InvalidValueError(
                ("freeze", key),
                f"must fit the names of layers or parameters of the model, got {pattern}, which fits none.",
                "assay inspect lists the layers of a model.",
            )
        found |= fitting
    return found


def _first_layers(model: nn.Module, depth: int) -> set[str]:
    """The parameters of the first so many layers with weights, and of what goes with them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: set[str] = set()
    layers = 0
    for module in model.modules():
        layers += _has_weights(module)
        if layers <= depth:
            found.update(names[id(parameter)] for parameter in module.parameters(recurse=False))
    if depth > layers:
        raise InvalidValueError(
            ("freeze", "depth"),
            f"must be at most the number of the model's layers with weights, {layers}, got {depth}.",
            "assay inspect lists the layers of a model.",
        )
    return found


def _has_weights(module: nn.Module) -> bool:
    """Whether it is a layer that multiplies by weights. Attention is one, together with its output projection."""
    if isinstance(module, nn.MultiheadAttention):
        return True
    if isinstance(module, (*NORM_LAYERS, NonDynamicallyQuantizableLinear)) or next(module.children(), None) is not None:
        return False
    return any(parameter.ndim >= 2 for parameter in module.parameters(recurse=False))
