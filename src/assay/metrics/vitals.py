"""What was watched while a network trained, and the file in which a run keeps it: ``vitals.json``.

It is for diagnosis alone: no number of a run depends on it.

Shape key: S sampled steps, L weight tensors, T stretches of steps, A nonlinearities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import FiniteFloat, TypeAdapter

from assay.metrics.kept_json import Count, Share, read_json

VITALS = "vitals.json"
"""The artefact that a run keeps."""

Nonlinearity = Literal["rectifier", "saturating", "other"]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Some steps in a row, the first of which is ``step``. A loss or norm that is not finite is None."""

    step: Count
    steps: Count
    loss: FiniteFloat | None
    """Their mean."""
    highest_loss: FiniteFloat | None
    gradient_norm: FiniteFloat | None
    highest_gradient_norm: FiniteFloat | None


@dataclass(frozen=True, kw_only=True)
class WeightSample:
    """The weight tensors (biases and normalisation apart) at one step, in the order of `Vitals.weights`: root mean
    squares of their gradient, of their values before the step, and of what the step changed. None is not finite."""

    step: Count
    gradient_L: tuple[FiniteFloat | None, ...]
    weight_L: tuple[FiniteFloat | None, ...]
    update_L: tuple[FiniteFloat | None, ...]


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What comes out of one nonlinearity for some training examples, in evaluation mode.

    A unit is a channel of a map, or a feature. ``dead`` is the share of units that are 0 or less for all examples
    everywhere, of a rectifier; ``active`` the share of outputs above 0; ``saturated`` that of outputs where the slope
    is below a tenth of the steepest, of sigmoid and tanh.
    """

    layer: str
    """Dotted name of the module that it belongs to, with its number there if there are several."""
    operation: str
    kind: Nonlinearity
    units: Count
    dead: Share
    active: Share
    saturated: Share
    mean: FiniteFloat | None
    deviation: FiniteFloat | None


@dataclass(frozen=True, kw_only=True)
class ActivitySample:
    """All nonlinearities after an epoch, in the order they are computed; epoch 0 is before the first step."""

    epoch: Count
    examples: Count
    layers: tuple[Activity, ...]


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """Of one training."""

    steps_per_epoch: Count
    stretches: tuple[Stretch, ...]
    weights: tuple[str, ...]
    samples: tuple[WeightSample, ...]
    activity: tuple[ActivitySample, ...]


_VITALS: TypeAdapter[Vitals] = TypeAdapter(Vitals)


def vitals_written(vitals: Vitals) -> bytes:
    """The file."""
    return _VITALS.dump_json(vitals)


def vitals_read(content: bytes) -> Vitals:
    """What `vitals_written` gave.

    Raises:
        StoreError: the file is damaged; the message begins with a verb, for the caller to name the file.
    """
    return read_json(_VITALS, content)
