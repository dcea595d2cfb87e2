"""L1 and L2 penalties on weights, added as gradients; biases and normalisation parameters are left alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from assay.models.layers import NORM_LAYERS


def penalised_weights(model: nn.Module) -> list[nn.Parameter]:
    """The trainable parameters with two dimensions or more outside normalisation layers, each once."""
    weights: dict[int, nn.Parameter] = {}
    for layer in model.modules():
        if not isinstance(layer, NORM_LAYERS):
            for parameter in layer.parameters(recurse=False):
                if parameter.ndim >= 2 and parameter.requires_grad:
                    weights[id(parameter)] = parameter
    return list(weights.values())


class Penalty:
    """l1·Σ|w| + l2/2·Σw², as what it adds to the gradient: l1·sign(w) + l2·w, with sign(0) = 0.

    Adding the gradient itself gives what differentiating the sum would, without building its graph at every step.
    """

    def __init__(self, model: nn.Module, *, l1: float, l2: float) -> None:
        self._l1 = l1
        self._l2 = l2
        self._weights: list[Tensor] = [*penalised_weights(model)] if l1 or l2 else []

    def add_gradient(self) -> None:
        """Add to the gradients in place; a weight the loss did not reach counts as having gradient 0."""
        if not self._weights:
            return
        with torch.no_grad():
            gradients = [_gradient(weight) for weight in self._weights]
            if self._l2:
                torch._foreach_add_(gradients, self._weights, alpha=self._l2)
            if self._l1:
                torch._foreach_add_(gradients, torch._foreach_sign(self._weights), alpha=self._l1)


def _gradient(weight: Tensor) -> Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad
