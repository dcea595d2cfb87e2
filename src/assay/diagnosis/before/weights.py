"""Initial weights: whether there are any to train, and whether they differ from one another."""

from __future__ import annotations

from torch import Tensor, nn

from assay.diagnosis.before.bench import Bench
from assay.diagnosis.finding import Finding
from assay.models.layers import NORM_LAYERS
from assay.recipe.schema import DefaultInit


def nothing_to_train(bench: Bench) -> list[Finding]:
    """A network of which everything is frozen."""
    parameters = list(bench.network.parameters())
    if any(parameter.requires_grad for parameter in parameters):
        return []
    by_recipe = bench.recipe.freeze.active
    return [
        Finding(
            rule="frozen_everything",
            severity="severe",
            title="Nothing of the network is trained",
            seen=f"All {len(parameters)} parameter tensors of the network ({sum(p.numel() for p in parameters):,} "
            "values) are frozen.",
            why="No step changes anything, so the network stays as it starts; assay run refuses it.",
            cause="The freeze section names every layer." if by_recipe else "The class sets requires_grad to False.",
            cure="Freeze all but the head: freeze.all_but [head]."
            if by_recipe
            else "Leave requires_grad alone at least for the last layer.",
            changes={"freeze": {"all_but": ["head"]}} if by_recipe else {},
        )
    ]


def equal_units(bench: Bench) -> list[Finding]:
    """Layers of which every unit starts with the same weights: all of them, or all but one.

    A unit's gradient follows its own incoming and outgoing weights, so two units that are equal in both stay equal. One
    layer of equal rows between layers of different ones is no harm, and a last layer of zeros is usual.
    """
    matrices = _matrices(bench.network)
    equal = [name for name, weight in matrices.items() if _rows_equal(weight)]
    hidden = list(matrices)[:-1]
    if len(matrices) < 2 or not set(hidden) <= set(equal):
        return []
    zero = [name for name in equal if not bool(matrices[name].any())]
    what = "zero" if len(zero) == len(equal) else "the same for every unit"
    drawn = isinstance(bench.recipe.init, DefaultInit)
    return [
        Finding(
            rule="equal_units",
            severity="severe",
            title=f"All hidden weights start at {what}" if zero else f"All hidden weights start {what}",
            seen=f"In {len(equal)} of {len(matrices)} layers with weights every unit has the same weights: "
            f"{', '.join(equal[:5])}{', …' if len(equal) > 5 else ''}.",
            why="Units that start equal get equal gradients and stay equal: each layer is worth a single unit, and "
            "with zeros often nothing moves at all.",
            cause="The weights are set to a constant after they were drawn." if drawn else "init is of scale 0.",
            cure="Draw the weights at random: init default, or kaiming for ReLU.",
            changes={} if drawn else {"init": {"name": "default"}},
        )
    ]


def _matrices(model: nn.Module) -> dict[str, Tensor]:
    """Weights of layers with several units, normalisation apart, in the model's order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: parameter.detach()
        for layer in model.modules()
        if not isinstance(layer, NORM_LAYERS)
        for parameter in layer.parameters(recurse=False)
        if parameter.ndim >= 2 and parameter.shape[0] > 1 and id(parameter) in names
    }


def _rows_equal(weight: Tensor) -> bool:
    return bool((weight == weight[:1]).all())
