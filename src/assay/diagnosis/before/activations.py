"""Activations of the untrained network: units that never fire, and units that are saturated.

Operations are watched where torch hands them to a dispatch mode, so that functional calls are seen as well as layers.

Shape key: B examples in a batch, U units or channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from assay.diagnosis.before.bench import Bench
from assay.diagnosis.before.scores import examples_to_measure
from assay.diagnosis.finding import Chart, Finding, Series, Severity
from assay.recipe.schema import DefaultInit

DEAD, ALL_DEAD = 0.5, 0.95
"""Share of a layer's units that are 0 for every example (SageMaker Debugger: half)."""
SATURATED, ALL_SATURATED = 0.5, 0.95
"""Share of a layer's values so near a bound that less than a twentieth of the gradient passes."""
_KINDS = {"relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh"}
_TANH_BOUND = 0.975
_SIGMOID_BOUND = 0.0125
"""Derivatives there: 0.05 of tanh's 1, and 0.0123 of sigmoid's 0.25."""


@dataclass(frozen=True, kw_only=True)
class Activation:
    """One call of an activation.

    Attributes:
        layer: the module in which it was called.
        kind: ``relu``, ``sigmoid`` or ``tanh``.
        units: how many units, or channels.
        idle: share of them that never fire, of ReLU; share of values that are saturated, of the others.
    """

    layer: str
    kind: str
    units: int
    idle: float


class ActivationTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which the activations of a model are measured as they are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[Activation] = []
        self._inside: list[str] = []

    @contextmanager
    def naming(self, model: nn.Module) -> Iterator[None]:
        """Within this, calls are told by the innermost module of the model they are made in."""
        names = {module: name or "the network" for name, module in model.named_modules()}
        hooks = []
        for module in names:
            hooks.append(module.register_forward_pre_hook(lambda module, _: self._inside.append(names[module])))
            hooks.append(module.register_forward_hook(lambda *_: self._inside.pop() and None))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = getattr(func, "overloadpacket", None)
        kind = _KINDS.get("" if packet is None else packet.__name__.removesuffix("_"))
        if kind is not None and isinstance(result, Tensor) and result.ndim >= 2:
            layer = self._inside[-1] if self._inside else "the network"
            self.seen.append(_measured(layer, kind, result.detach()))
        return result


def _measured(layer: str, kind: str, result: Tensor) -> Activation:
    axis = result.ndim - 1 if result.ndim == 3 else 1  # (B, T, U) of transformers; else (B, U) or (B, U, H, W)
    if kind == "relu":
        fires_U = (result > 0).transpose(0, axis).flatten(1).any(dim=1)
        idle = 1.0 - float(fires_U.double().mean())
    elif kind == "tanh":
        idle = float((result.abs() > _TANH_BOUND).double().mean())
    else:
        idle = float(((result < _SIGMOID_BOUND) | (result > 1.0 - _SIGMOID_BOUND)).double().mean())
    return Activation(layer=layer, kind=kind, units=int(result.shape[axis]), idle=idle)


def traced(bench: Bench) -> tuple[Activation, ...]:
    """Every activation of the untrained network on some training examples, in training mode without dropout."""
    x_B, _ = bench.few(examples_to_measure(bench))
    model, arithmetic, tracer = bench.fresh(), bench.arithmetic(), ActivationTracer()
    with torch.no_grad(), tracer.naming(model), tracer:
        arithmetic.scores(model, x_B)
    return tuple(tracer.seen)


def idle_units(bench: Bench, seen: tuple[Activation, ...]) -> list[Finding]:
    """Layers of which most units never fire, or are saturated, before the first step."""
    relus = [one for one in seen if one.kind == "relu"]
    others = [one for one in seen if one.kind != "relu"]
    findings = []
    if any(one.idle > DEAD for one in relus):
        findings.append(_dead(bench, relus))
    if any(one.idle > SATURATED for one in others):
        findings.append(_saturated(bench, others))
    return findings


def _dead(bench: Bench, relus: list[Activation]) -> Finding:
    worst = max(relus, key=lambda one: one.idle)
    severity: Severity = "severe" if worst.idle > ALL_DEAD else "warning"
    return Finding(
        rule="dead_units",
        severity=severity,
        title="Most units of a layer never fire",
        seen=f"Before training, {worst.idle:.0%} of the {worst.units} units of {worst.layer} are 0 for every one of "
        f"{examples_to_measure(bench)} training examples; so are more than half in {_above(relus, DEAD)}.",
        why="No gradient passes a ReLU that never fires, so such units learn nothing.",
        cause="Biases that are far below 0, weights far too large or too small, or inputs off scale.",
        cure="Draw the weights at the scale made for ReLU: init kaiming.",
        changes=_drawn(bench, {"name": "kaiming"}),
        chart=_chart("share of dead units", relus),
    )


def _saturated(bench: Bench, others: list[Activation]) -> Finding:
    worst = max(others, key=lambda one: one.idle)
    severity: Severity = "severe" if worst.idle > ALL_SATURATED else "warning"
    return Finding(
        rule="saturated_units",
        severity=severity,
        title="Most units of a layer are saturated",
        seen=f"Before training, {worst.idle:.0%} of the {worst.kind} values in {worst.layer} are so near a bound that "
        f"less than a twentieth of the gradient passes; so are more than half in {_above(others, SATURATED)}.",
        why="Gradients shrink at every such layer, and the layers before it hardly learn.",
        cause="Weights that are too large for this activation, or inputs off scale.",
        cure="Draw the weights at the scale made for it: init xavier.",
        changes=_drawn(bench, {"name": "xavier"}),
        chart=_chart("share of saturated values", others),
    )


def _above(seen: list[Activation], share: float) -> str:
    many = sum(one.idle > share for one in seen)
    return f"{many} of {len(seen)} such layers"


def _drawn(bench: Bench, init: dict[str, str]) -> dict[str, Any]:
    """The change to other initial weights, where the present ones were asked for."""
    return {} if isinstance(bench.recipe.init, DefaultInit) else {"init": init}


def _chart(what: str, seen: list[Activation]) -> Chart:
    x = tuple(float(number) for number in range(1, len(seen) + 1))
    return Chart(x="layer", y=what, series=(Series(name=what, x=x, y=tuple(one.idle for one in seen)),))
