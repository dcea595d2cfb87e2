"""What a run keeps for a closer look at its model: mistakes, filters, weights, and where it looks in an image.

All of it is made when everything is measured, and changes none of the run's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from assay.metrics.weight_statistics import WEIGHTS, near_zero_share, weight_statistics, weights_written
from assay.models.layers import NORM_LAYERS
from assay.records import Array, Predictions
from assay.training.class_activation import class_activation_files
from assay.training.engines.engine import Engine
from assay.training.filters import filters_file
from assay.training.mistakes import mistakes_files
from assay.training.network import Network
from assay.training.prepare import PreparedData


@dataclass(frozen=True, kw_only=True)
class Look:
    """Files by name, and the metric that comes with them."""

    files: Mapping[str, bytes]
    near_zero_weights: float | None


def closer_look(
    data: PreparedData,
    on_test: Predictions,
    weights: Mapping[str, Array],
    network: Network | None,
    engine: Engine | None,
    *,
    probabilistic: bool,
) -> Look:
    """Look at what a run came to.

    Args:
        data: of the run.
        on_test: what its model says of the test split.
        weights: those that are kept.
        network: whose layers tell what the weights belong to; None for a model that was fitted at once.
        engine: which trained it, if it is a network.
        probabilistic: whether the model gives probabilities, and not only decisions.
    """
    model = None if network is None else network.model
    statistics = weight_statistics(weight_tensors(model, weights))
    files = {
        **mistakes_files(on_test, data.splits["test"], probabilistic=probabilistic),
        **({WEIGHTS: weights_written(statistics)} if statistics else {}),
        **({} if model is None else filters_file(model, weights)),
        **class_activation_files(engine, on_test, data),
    }
    return Look(files=files, near_zero_weights=near_zero_share(statistics))


def weight_tensors(model: nn.Module | None, weights: Mapping[str, Array]) -> Mapping[str, Array]:
    """The tensors with two dimensions or more outside normalisation layers, frozen ones too; of a model fitted at once
    its coefficients, which an RBF machine does not have."""
    if model is None:
        return {name: weights[name] for name in ("coefficients",) if name in weights}
    names = {
        id(parameter): f"{at}.{name}" if at else name
        for at, layer in model.named_modules()
        if not isinstance(layer, NORM_LAYERS)
        for name, parameter in layer.named_parameters(recurse=False)
        if parameter.ndim >= 2
    }
    return {name: weights[name] for name in names.values() if name in weights}
