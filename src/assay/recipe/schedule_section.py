"""The ``schedule`` section of a recipe: the learning rate over training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from assay.recipe.section import Section

Watched = Literal["val_loss", "val_accuracy"]
"""What of an epoch may be watched, to lower the rate, to stop, or to keep the best weights."""


class _Schedule(Section):
    warmup_epochs: Annotated[float, Field(ge=0.0, le=10_000.0)] = 0.0
    """Epochs over which the rate first rises linearly from near zero, fewer than ``train.epochs``; the schedule proper
    then spans the rest."""


class ConstantSchedule(_Schedule):
    """The optimizer's rate throughout."""

    name: Literal["constant"]


class StepSchedule(_Schedule):
    """Multiply the rate by ``factor`` every ``every`` epochs."""

    name: Literal["step"]
    every: Annotated[float, Field(gt=0.0, le=10_000.0)] = 10.0
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1


class ExponentialSchedule(_Schedule):
    """Multiply the rate by ``factor`` every epoch, smoothly step by step."""

    name: Literal["exponential"]
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95


class CosineSchedule(_Schedule):
    """Half a cosine from the rate down to ``end`` times it (Loshchilov and Hutter 2016, arXiv:1608.03983)."""

    name: Literal["cosine"]
    end: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class LinearSchedule(_Schedule):
    """A straight line from the rate down to ``end`` times it."""

    name: Literal["linear"]
    end: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class OneCycleSchedule(Section):
    """Up from ``start`` times the rate to the rate and down to ``end`` times it, in half cosines (Smith 2017)."""

    name: Literal["one_cycle"]
    peak: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Share of training at which the rate is highest."""
    start: Annotated[float, Field(ge=0.0, le=1.0)] = 0.04
    end: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0001


class PlateauSchedule(_Schedule):
    """Multiply the rate by ``factor`` each time ``watch`` has not improved for ``patience`` measurements."""

    name: Literal["plateau"]
    watch: Watched = "val_loss"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    patience: Annotated[int, Field(ge=1, le=100_000)] = 5
    min_improvement: Annotated[float, Field(ge=0.0, le=100.0)] = 1e-4
    """Least change for the better that counts, in nats or as a fraction."""
    lowest: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """The factor on the rate never falls below this."""


Schedule = Annotated[
    ConstantSchedule
    | StepSchedule
    | ExponentialSchedule
    | CosineSchedule
    | LinearSchedule
    | OneCycleSchedule
    | PlateauSchedule,
    Field(discriminator="name"),
]
