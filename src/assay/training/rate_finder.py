"""A learning rate from short sweeps, in which it grows at each step until the loss explodes (Smith 2015,
arXiv:1506.01186).

Suggested is a tenth of the rate at which the loss was lowest: there the sweep is about to explode, and a rate that
serves for some steps need not serve for all. Where the loss fell most steeply is an upper bound worth trying. One sweep
depends on the batches it happened to draw; so there are several, each with its own seed, and what each would suggest
alone is told. The rates are those of ``optimizer.lr``: what ``lr_scaling`` and ``lr_factors`` make of
them applies in a sweep as in a run.

Shape key: S seeds, T steps.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.batches import batch_bounds, training_batches
from assay.data.survey import Step
from assay.errors import InputError, InvalidValueError
from assay.recipe.schema import FittedAtOnce, MuonOptimizer, Recipe
from assay.training.engines.choose import build_engine
from assay.training.isolation import isolated, torch_device
from assay.training.network import build_network
from assay.training.optimizers import scaled_rate
from assay.training.prepare import prepare_data
from assay.training.schedules import FixedSchedule

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 100
SEEDS = 3

_SMOOTHING = 0.8
"""Of the moving average: at 14 steps per decade it trails by a third of one."""
_EXPLODED = 4.0
"""Times the lowest loss so far: where a sweep ends."""
_FALL_IN_DEVIATIONS = 10.0
"""Of the smoothed loss: by how many it must fall for a rate to be suggested. Noise alone spans about six."""
_LEAST_FALL = 0.001
"""Share of the initial loss by which it must fall, too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RateSweep:
    """What sweeps of one recipe showed.

    Attributes:
        rates_T: ``optimizer.lr`` at each step.
        losses_ST: of the batch at each step, in nats; not-a-number from where a sweep had ended.
        seeds: of each sweep.
        overrides_per_rate: ``optimizer`` keys that go with the rate, as multiples of it: ``sgd_lr`` of Muon.
    """

    rates_T: NDArray[np.float64]
    losses_ST: NDArray[np.float64]
    seeds: tuple[int, ...]
    overrides_per_rate: dict[str, float]

    @property
    def smoothed_ST(self) -> NDArray[np.float64]:
        """Losses as moving averages, each until its sweep explodes, then not-a-number."""
        return np.stack([_until_it_explodes(smoothed(losses_T)) for losses_T in self.losses_ST])

    @property
    def mean_T(self) -> NDArray[np.float64]:
        """The mean over seeds, for as long as none has exploded."""
        mean_T: NDArray[np.float64] = self.smoothed_ST.mean(axis=0)
        return mean_T

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate at which the mean loss is lowest; None if it hardly falls at any."""
        return self._tenth_of_lowest(self.losses_ST.mean(axis=0), self.mean_T)

    @property
    def suggestions(self) -> tuple[float | None, ...]:
        """The same of each seed's sweep alone."""
        return tuple(map(self._tenth_of_lowest, self.losses_ST, self.smoothed_ST))

    @property
    def steepest(self) -> float | None:
        """The rate at which the mean loss falls most steeply; None if it hardly falls at any."""
        if self.suggestion is None:
            return None
        falling_T = self.mean_T[: int(np.nanargmin(self.mean_T)) + 1]
        return float(self.rates_T[np.gradient(falling_T).argmin()])

    @property
    def fall(self) -> float:
        """The share of its first value by which the mean loss falls."""
        return float(1.0 - np.nanmin(self.mean_T) / self.mean_T[0]) if np.isfinite(self.mean_T[0]) else 0.0

    @property
    def bounded(self) -> bool:
        """Whether the mean loss is lowest well below the highest rate, by a factor of three: else it might be lower
        beyond."""
        if not np.isfinite(self.mean_T).any():
            return True
        return bool(self.rates_T[np.nanargmin(self.mean_T)] < self.rates_T[-1] / 3.0)

    def _tenth_of_lowest(self, losses_T: NDArray[np.float64], smoothed_T: NDArray[np.float64]) -> float | None:
        known = int(np.isfinite(smoothed_T).sum())
        if known < 3:
            return None
        lowest = int(np.nanargmin(smoothed_T))
        fall = smoothed_T[: lowest + 1].max() - smoothed_T[lowest]
        # Differences of neighbours tell noise from trend, and their median minds no explosion.
        noise = 1.4826 * np.median(np.abs(np.diff(losses_T[:known]))) / np.sqrt(2.0)
        deviation = noise * np.sqrt((1.0 - _SMOOTHING) / (1.0 + _SMOOTHING))
        if lowest < 2 or fall <= max(_FALL_IN_DEVIATIONS * deviation, _LEAST_FALL * smoothed_T[0]):
            return None
        return float(self.rates_T[lowest]) / 10.0

    def to_json(self) -> dict[str, Any]:
        """Plain data; missing values are None."""
        return {
            "suggestion": self.suggestion,
            "suggestions": list(self.suggestions),
            "steepest": self.steepest,
            "fall": self.fall,
            "bounded": self.bounded,
            "seeds": list(self.seeds),
            "rates": self.rates_T.tolist(),
            "losses": [[float(x) if np.isfinite(x) else None for x in losses_T] for losses_T in self.losses_ST],
            "mean": [float(x) if np.isfinite(x) else None for x in self.mean_T],
        }


def sweeping(
    recipe: Recipe,
    seeds: int = SEEDS,
    *,
    steps: int = STEPS,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    device: str = "cpu",
) -> Generator[Step, None, RateSweep]:
    """Sweep the learning rate of a recipe, telling how far it is.

    Each sweep starts from the recipe's initial weights and takes its batches, augmented, of full size, with its
    optimizer, loss and penalties, but not its schedule. The rate at step t of T is lowest·(highest/lowest)^(t/(T − 1)).

    Args:
        recipe: what is to be trained; ``optimizer.lr``, ``schedule`` and ``train.epochs`` do not matter. Its precision
            must be settled.
        seeds: how many sweeps, from the recipe's seed on.
        steps: of one sweep, at most.
        lowest: the rate of the first step.
        highest: the rate of the last step.
        device: a torch device.

    Raises:
        InputError: the recipe does not fit its data or its model, has no learning rate, or the sweep none between
            ``lowest`` and ``highest``.
    """
    if isinstance(recipe.model, FittedAtOnce):
        raise InvalidValueError(
            ("model", "name"), f"{recipe.model.name} is fitted at once, and so has no learning rate to look for."
        )
    if not 0.0 < lowest < highest < float("inf") or steps < 10 or seeds < 1:
        raise InputError(
            "A sweep needs rates with 0 < lowest < highest, at least 10 steps and at least 1 seed, got "
            f"{lowest:g} to {highest:g}, {steps} steps and {seeds} seeds."
        )
    optimizer = recipe.optimizer
    rates_T = np.geomspace(lowest, highest, steps)
    losses_ST = np.full((seeds, steps), np.nan)
    for row in range(seeds):
        with closing(_swept(recipe.at_seed(recipe.seed + row), rates_T, device)) as sweep:
            for step, loss in enumerate(sweep):
                losses_ST[row, step] = loss
                yield Step(doing="sweeping", done=row * steps + step + 1, total=seeds * steps)
                if np.isnan(_until_it_explodes(smoothed(losses_ST[row, : step + 1]))[-1]):
                    break
    return RateSweep(
        rates_T=rates_T,
        losses_ST=losses_ST,
        seeds=tuple(range(recipe.seed, recipe.seed + seeds)),
        overrides_per_rate={"sgd_lr": optimizer.sgd_lr / optimizer.lr} if isinstance(optimizer, MuonOptimizer) else {},
    )


def smoothed(losses_T: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponential moving average, corrected for its start at 0 as Adam corrects its own."""
    average, found = 0.0, np.empty(len(losses_T))
    for step, loss in enumerate(losses_T.tolist()):
        average = _SMOOTHING * average + (1.0 - _SMOOTHING) * loss
        found[step] = average / (1.0 - _SMOOTHING ** (step + 1))
    return found


def _until_it_explodes(smoothed_T: NDArray[np.float64]) -> NDArray[np.float64]:
    lowest_T = np.fmin.accumulate(smoothed_T)
    with np.errstate(invalid="ignore"):
        exploded = np.flatnonzero(~(smoothed_T <= _EXPLODED * lowest_T))
    until = smoothed_T.copy()
    if exploded.size:
        until[exploded[0] :] = np.nan
    return until


def _swept(recipe: Recipe, rates_T: NDArray[np.float64], device: str) -> Generator[float, None, None]:
    """The loss at each rate, one after the other; the process is as it was once this is closed."""
    trains = recipe.train.model_copy(update={"epochs": max(1, recipe.train.epochs), "smaller_first": ()})
    recipe = recipe.model_copy(update={"train": trains})
    where = torch_device("cpu" if recipe.train.engine == "numpy" else device)
    scale = scaled_rate(recipe.optimizer, recipe.train.batch_size) / recipe.optimizer.lr
    schedule = FixedSchedule(lambda step: float(rates_T[step]) * scale)
    with isolated(threads=recipe.train.threads, seed=recipe.seed, device=where):
        data = prepare_data(recipe, where)
        engine = build_engine(recipe, data, where, build_network(recipe, data), schedule)
        train_data = data.splits["train"]
        per_epoch = len(batch_bounds(len(train_data), recipe.train.batch_size))
        batches = training_batches(
            train_data,
            recipe.augment,
            classes=len(data.classes),
            batch_size=recipe.train.batch_size,
            epochs=-(-len(rates_T) // per_epoch),
            seed=recipe.seed,
        )
        for record in islice(engine.steps(batches), len(rates_T)):
            yield record.loss
