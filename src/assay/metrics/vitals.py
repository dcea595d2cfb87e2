"""What was watched while a network trained, and the file in which a run keeps it: ``vitals.json``.

It is for diagnosis alone: no number of a run depends on it.

Shape key: S sampled steps, L weight tensors, T stretches of steps, A nonlinearities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import FiniteFloat, TypeAdapter

from assay.errors import StoreError
from assay.metrics.kept_json import Count, Share, read_json
from assay.records import Array

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
_MOST_BYTES = 20_000_000


def vitals_written(vitals: Vitals) -> bytes:
    """The file."""
    return _VITALS.dump_json(vitals)


def vitals_read(content: bytes) -> Vitals:
    """What `vitals_written` gave.

    Raises:
        StoreError: the file is damaged; the message begins with a verb, for the caller to name the file.
    """
    vitals = read_json(_VITALS, content, most_bytes=_MOST_BYTES)
    for sample in vitals.samples:
        for values_L in (sample.gradient_L, sample.weight_L, sample.update_L):
            if len(values_L) != len(vitals.weights):
                raise StoreError(f"is damaged at step {sample.step}: {len(values_L)} values of {len(vitals.weights)}.")
    return vitals


def gradients_of(vitals: Vitals) -> Array:
    """Root mean square of each weight tensor's gradient, (S, L); not-a-number where it was not finite."""
    return _table([one.gradient_L for one in vitals.samples], len(vitals.weights))


def update_ratios_of(vitals: Vitals) -> Array:
    """What a step changed of each weight tensor, relative to it, (S, L); not-a-number where either was not finite, or
    the tensor 0."""
    update_SL = _table([one.update_L for one in vitals.samples], len(vitals.weights))
    weight_SL = _table([one.weight_L for one in vitals.samples], len(vitals.weights))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_SL = update_SL / weight_SL
    ratio_SL[~np.isfinite(ratio_SL)] = math.nan
    return ratio_SL


def update_ratio_by_epoch(vitals: Vitals, epochs: int) -> Array:
    """The median of the tensors' ratios of update to weights, averaged over the samples of each epoch from 1 on;
    not-a-number where none was taken."""
    ratio_SL = update_ratios_of(vitals)
    values_E: list[list[float]] = [[] for _ in range(epochs)]
    for sample, ratio_L in zip(vitals.samples, ratio_SL, strict=True):
        epoch = sample.step // max(1, vitals.steps_per_epoch)
        known_L = ratio_L[np.isfinite(ratio_L)]
        if known_L.size and epoch < epochs:
            values_E[epoch].append(float(np.median(known_L)))
    return np.array([float(np.mean(values)) if values else math.nan for values in values_E])


def _table(rows: Sequence[tuple[float | None, ...]], columns: int) -> Array:
    table = [[math.nan if value is None else value for value in row] for row in rows]
    return np.array(table, dtype=np.float64).reshape(len(rows), columns)
