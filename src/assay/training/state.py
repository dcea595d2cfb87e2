"""What of a training under way has to be kept, so that it goes on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class State:
    """Tensors by name, and plain JSON data beside them. Tensors may be the live ones: whoever keeps them copies."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def joined(parts: Mapping[str, State]) -> State:
    """Several states as one; `part` takes it apart again. Names of parts hold no ``/``."""
    return State(
        tensors={f"{name}/{key}": tensor for name, state in parts.items() for key, tensor in state.tensors.items()},
        facts={name: dict(state.facts) for name, state in parts.items()},
    )


def part(state: State, name: str) -> State:
    """The part of that name of a joined state; empty if it has none."""
    begin = f"{name}/"
    return State(
        tensors={key.removeprefix(begin): value for key, value in state.tensors.items() if key.startswith(begin)},
        facts=state.facts.get(name, {}),
    )
