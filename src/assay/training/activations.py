"""What comes out of a network's nonlinearities: every call of one is watched, whether a module makes it or a function.

Shape key: B examples, U units (channels of a map, or features), P places of a map.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from assay.metrics.vitals import Activity, Nonlinearity

_KINDS: dict[str, Nonlinearity] = {
    "relu": "rectifier",
    "threshold": "rectifier",
    "hardtanh": "rectifier",  # of which ReLU6 is one; told from others by its lower end
    "leaky_relu": "other",
    "elu": "other",
    "gelu": "other",
    "silu": "other",
    "mish": "other",
    "softplus": "other",
    "hardswish": "other",
    "prelu": "other",
    "_prelu_kernel": "other",
    "sigmoid": "saturating",
    "tanh": "saturating",
}
"""Operations of torch, by what can go wrong with them."""

_LEAST_SLOPE = 0.1
"""Of the steepest: below it an output is saturated."""


class ActivationTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which the nonlinearities of one forward pass are measured, in the order they are computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Activity] = []
        self._inside: list[str] = [""]
        self._calls: Counter[str] = Counter()

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Within this, operations are attributed to the modules of a model."""
        hooks = []
        for name, module in model.named_modules():

            def enter(_: nn.Module, __: Any, name: str = name) -> None:
                self._inside.append(name)

            def leave(_: nn.Module, __: Any, ___: Any) -> None:
                self._inside.pop()

            hooks.append(module.register_forward_pre_hook(enter))
            hooks.append(module.register_forward_hook(leave, always_call=True))
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        operation = name if name in _KINDS else name.removesuffix("_")
        kind = _KINDS.get(operation)
        if kind is not None and isinstance(result, Tensor) and result.ndim >= 2:
            if operation == "hardtanh" and float(args[1] if len(args) > 1 else -1.0) != 0.0:
                kind = "saturating"
            self.found.append(self._measured(operation, kind, result))
        return result

    def _measured(self, operation: str, kind: Nonlinearity, result: Tensor) -> Activity:
        layer = self._inside[-1]
        self._calls[layer] += 1
        if self._calls[layer] > 1:
            layer = f"{layer}#{self._calls[layer]}"
        output = result.detach().float()
        unit_axis = 1 if output.ndim == 4 else output.ndim - 1
        units, values = output.shape[unit_axis], max(1, output.numel())
        others = [axis for axis in range(output.ndim) if axis != unit_axis]
        mean = float(output.mean())
        # Not torch.std, which takes ten times as long; and not a difference of squares, which is less exact.
        deviation = float(torch.linalg.vector_norm(output - mean)) / math.sqrt(values)
        return Activity(
            layer=layer,
            operation=operation,
            kind=kind,
            units=units,
            dead=_share(~(output.amax(others) > 0)) if kind == "rectifier" else 0.0,
            active=_share(output > 0),
            saturated=_share(_saturated(operation, output)) if kind == "saturating" else 0.0,
            mean=_finite(mean),
            deviation=_finite(deviation),
        )


def activity_of(model: nn.Module, forward: Any) -> tuple[Activity, ...]:
    """The nonlinearities of one forward pass.

    Args:
        model: whose modules give them their names.
        forward: makes the pass, in whatever mode the model is to be.
    """
    tracer = ActivationTracer()
    with tracer.watching(model):
        forward()
    return tuple(tracer.found)


def _share(condition: Tensor) -> float:
    return float(f"{int(torch.count_nonzero(condition)) / max(1, condition.numel()):.6g}")


def _saturated(operation: str, output: Tensor) -> Tensor:
    """Where the slope, which follows from the output, is less than a tenth of the steepest; what is not a number is."""
    if operation == "sigmoid":
        slope = 4.0 * output * (1.0 - output)
    elif operation == "tanh":
        slope = 1.0 - output * output
    else:
        slope = (output.abs() < 1.0).float()
    return ~(slope >= _LEAST_SLOPE)


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
