"""Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks").

Momentum whose matrix G = UΣVᵀ is replaced by the nearest semi-orthogonal one, UVᵀ, before each step: every direction of
the weights moves alike. UVᵀ is approached by Newton–Schulz steps X ← aX + b(XXᵀ)X + c(XXᵀ)²X, whose coefficients, the
author's, are chosen for speed and leave the singular values between about 0.7 and 1.2. The step of a matrix with more
rows than columns is made larger by the root of their ratio, unless its filters are kept at unit norm.

torch.optim.Muon takes matrices only. This one takes filters too, and gives every other parameter SGD with Nesterov
momentum, so that one optimizer serves a whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon(Optimizer):
    """A step of it, or of SGD with Nesterov momentum, for each group by its ``orthogonal``."""

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        sgd_momentum: float,
        newton_schulz_steps: int,
        unit_filters: bool,
    ) -> None:
        """Args: as in the recipe's section; ``groups`` have ``params``, ``orthogonal`` and ``lr_factor``."""
        super().__init__(groups, {"lr": lr})
        self._momentum = momentum
        self._sgd_momentum = sgd_momentum
        self._newton_schulz_steps = newton_schulz_steps
        self._unit_filters = unit_filters

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self._momentum if group["orthogonal"] else self._sgd_momentum
                direction = self._nesterov(weight, momentum)
                if group["orthogonal"]:
                    self._orthogonal_step(weight, direction, group["lr"])
                else:
                    weight.sub_(direction, alpha=group["lr"])

    def _nesterov(self, weight: Tensor, momentum: float) -> Tensor:
        """g + μ·v, after v ← μ·v + g."""
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        velocity = state["momentum_buffer"].mul_(momentum).add_(weight.grad)
        return weight.grad.add(velocity, alpha=momentum)  # type: ignore[union-attr]

    def _orthogonal_step(self, weight: Tensor, direction: Tensor, lr: float) -> None:
        rows = len(weight)
        matrix = orthogonalised(direction.reshape(rows, -1), self._newton_schulz_steps)
        if self._unit_filters:
            weight.mul_(rows**0.5 / weight.norm().clamp_min(1e-12))
        else:
            matrix = matrix * max(1.0, rows / matrix.shape[1]) ** 0.5  # so that rectangular ones move values alike
        weight.sub_(matrix.view(weight.shape), alpha=lr)


def orthogonalised(matrix: Tensor, steps: int) -> Tensor:
    """About the nearest semi-orthogonal matrix, by so many Newton–Schulz steps in float32 or float64.

    Singular values below about a fiftieth of the matrix's norm would need more than five steps. A matrix of zeros
    stays one.
    """
    x = matrix if matrix.dtype == torch.float64 else matrix.float()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=_B, alpha=_C), x, beta=_A)
    return (x.T if tall else x).to(matrix.dtype)
