"""torch's optimizers, from the optimizer section of a recipe.

SGD with momentum (Polyak 1964) and its Nesterov form (Sutskever et al. 2013), RMSProp (Tieleman and Hinton 2012), Adam
(Kingma and Ba 2014, arXiv:1412.6980), AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101). The tests write out the
equations of each. torch's RMSProp and Adam add epsilon outside the square root.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from torch import nn, optim
from torch.nn.utils.parametrize import ParametrizationList

from assay.errors import InvalidValueError
from assay.models.layers import NORM_LAYERS
from assay.models.patterns import fits
from assay.recipe.schema import AdamOptimizer, AdamWOptimizer, MuonOptimizer, Optimizer, RmspropOptimizer, SgdOptimizer
from assay.training.muon import Muon
from assay.training.penalties import penalised_weights


def build_optimizer(section: Optimizer, model: nn.Module, *, trains: bool = True) -> optim.Optimizer:
    """The optimizer of a model's trainable parameters, those with one factor on the rate in one group. One that has
    none gets an idle optimizer where it is not to be trained.

    SGD, Adam and AdamW take torch's fused step, which adds in the same order each time and on the CPU is the fastest
    (measured on 85,000 parameters: Adam 0.10 ms against 0.26 and 0.31 ms, SGD 0.033 against 0.040 and 0.047 ms).
    AdamW decays the weights that L1 and L2 penalise, not biases and normalisation parameters, so that the ways of
    decaying weights can be compared.

    Raises:
        InvalidValueError: the model has nothing to train, or nothing that Muon makes orthogonal, or a pattern of
            ``lr_factors`` fits no parameter of it.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        if not trains:
            return optim.SGD([{"params": []}], lr=section.lr)
        raise InvalidValueError(("model", "name"), f"must have parameters to train; {type(model).__name__} has none.")
    if isinstance(section, MuonOptimizer):
        return _muon(section, model, trains=trains)
    decayed = set(map(id, penalised_weights(model)))
    decay = section.weight_decay if isinstance(section, AdamWOptimizer) else None

    def settings(_: str, parameter: nn.Parameter) -> dict[str, Any]:
        return {} if decay is None else {"weight_decay": decay if id(parameter) in decayed else 0.0}

    groups = parameter_groups(section, model, settings)
    if isinstance(section, SgdOptimizer):
        return optim.SGD(groups, lr=section.lr, momentum=section.momentum, nesterov=section.nesterov, fused=True)
    if isinstance(section, RmspropOptimizer):
        return optim.RMSprop(groups, lr=section.lr, alpha=section.alpha, eps=section.epsilon, momentum=section.momentum)
    betas = (section.beta1, section.beta2)
    if isinstance(section, AdamOptimizer):
        return optim.Adam(groups, lr=section.lr, betas=betas, eps=section.epsilon, fused=True)
    return optim.AdamW(groups, lr=section.lr, betas=betas, eps=section.epsilon, fused=True)


def scaled_rate(section: Optimizer, batch_size: int) -> float:
    """The optimizer's rate for batches of this size, by its rule of scaling."""
    share = batch_size / section.lr_batch_size
    match section.lr_scaling:
        case "none":
            return section.lr
        case "linear":
            return section.lr * share
        case "square_root":
            return section.lr * math.sqrt(share)


def parameter_groups(
    section: Optimizer, model: nn.Module, settings: Callable[[str, nn.Parameter], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The trainable parameters in groups of one ``lr_factor`` and equal settings, in the order of the model.

    Raises:
        InvalidValueError: a pattern fits no trainable parameter, or none that an earlier one does not fit.
    """
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    first_fits: set[str] = set()
    later_fits: dict[str, str] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        own = dict(settings(name, parameter))
        fitting = [pattern for pattern in section.lr_factors if fits(name, pattern)]
        first_fits.update(fitting[:1])
        later_fits.update((pattern, fitting[0]) for pattern in fitting[1:])
        factor = section.lr_factors[fitting[0]] if fitting else 1.0
        own["lr_factor"] = factor * own.get("lr_factor", 1.0)
        group = groups.setdefault(tuple(sorted(own.items())), {"params": [], **own})
        group["params"].append(parameter)
    _refuse_factors_without_effect(section.lr_factors, model, first_fits, later_fits)
    return list(groups.values())


def _refuse_factors_without_effect(
    patterns: Iterable[str], model: nn.Module, first_fits: Container[str], later_fits: Mapping[str, str]
) -> None:
    for pattern in patterns:
        if pattern in first_fits:
            continue
        where = ("optimizer", "lr_factors", pattern)
        if pattern not in later_fits:
            found, hint = "none", "assay inspect lists the layers of a model."
            if any(fits(name, pattern) for name, _ in model.named_parameters()):
                found, hint = "frozen ones alone", "Leave it out, or freeze less."
            raise InvalidValueError(where, f"must fit the name of a parameter that is trained, and fits {found}.", hint)
        raise InvalidValueError(
            where,
            f"has no effect: whatever it fits, {later_fits[pattern]!r} or another before it fits first.",
            "Put it before that.",
        )


def _muon(section: MuonOptimizer, model: nn.Module, *, trains: bool) -> Muon:
    """Filters and hidden matrices are made orthogonal; not the first layer with weights, frozen or not, nor the last,
    nor normalisation, nor what is held by a module of layers: class tokens, positions, scales of branches."""
    matrices = [
        parameter
        for layer in model.modules()
        if not isinstance(layer, NORM_LAYERS) and _multiplies(layer)
        for name, parameter in layer.named_parameters(recurse=False)
        if parameter.ndim >= 2 and not name.startswith("bias")
    ]
    hidden = set(map(id, matrices[1:-1]))
    if trains and not any(matrix.requires_grad for matrix in matrices[1:-1]):
        raise InvalidValueError(
            ("optimizer", "name"),
            f"muon needs layers with weights between the first and the last, and {type(model).__name__} trains none.",
            "Choose sgd, which is what muon is for all others, or a deeper model.",
        )

    def settings(_: str, parameter: nn.Parameter) -> dict[str, Any]:
        if id(parameter) in hidden:
            return {"orthogonal": True}
        return {"orthogonal": False, "lr_factor": section.sgd_lr / section.lr}

    return Muon(
        parameter_groups(section, model, settings),
        lr=section.lr,
        momentum=section.momentum,
        sgd_momentum=section.sgd_momentum,
        newton_schulz_steps=section.newton_schulz_steps,
        unit_filters=section.unit_filters,
    )


def _multiplies(layer: nn.Module) -> bool:
    """Whether what it holds are a layer's weights: attention and parametrised layers keep theirs beside modules."""
    return next(layer.children(), None) is None or isinstance(layer, nn.MultiheadAttention | ParametrizationList)
