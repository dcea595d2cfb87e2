"""The learning rate against what a short sweep finds, and against some steps at the rate itself.

A sweep's rates are those of ``optimizer.lr`` for its own optimizer, so what is too high or too low is counted in
orders of magnitude from there, whichever optimizer it is. The loss at the recipe's own rate has the last word on a rate
that is too high: one that is reached after a warm-up may be beyond what a sweep bears.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

import numpy as np

from assay.data.batches import batch_bounds, training_batches
from assay.data.survey import Step
from assay.diagnosis.before.bench import Bench
from assay.diagnosis.before.memorise import ramp_steps
from assay.diagnosis.finding import Chart, Finding, Series, Severity
from assay.recipe.schema import MuonOptimizer, Recipe
from assay.training.engines.choose import build_engine
from assay.training.network import Network
from assay.training.optimizers import scaled_rate
from assay.training.rate_finder import RateSweep, sweeping
from assay.training.schedules import FixedSchedule

SECONDS = 3.0
MOST_STEPS, FEWEST_STEPS = 80, 40
SMALLEST_BATCH = 16
LOWEST, HIGHEST = 1e-6, 10.0
TOO_HIGH = 10.0
"""Times the suggestion, which is a tenth of the rate at the lowest loss: beyond that the sweep's loss rose."""
LITTLE = 0.5
"""Of what the loss fell in the sweep, of which few steps are at a good rate: as many at one good rate do better."""
TOO_LOW, FAR_TOO_LOW = 1 / 100, 1 / 300


@dataclass(frozen=True, kw_only=True, eq=False)
class RateEvidence:
    """A sweep, and the losses at the recipe's own rate; with how much smaller their batches are than its own."""

    sweep: RateSweep
    own: tuple[float, ...]
    slack: float


def trying_rates(bench: Bench) -> Generator[Step, None, RateEvidence]:
    """Sweep once, then take as many steps at the recipe's own rate, on batches that can be afforded."""
    recipe = bench.recipe
    total = bench.affordable(SECONDS)
    batch = max(SMALLEST_BATCH, min(recipe.train.batch_size, total // MOST_STEPS))
    batch = min(batch, recipe.train.batch_size)
    steps = max(FEWEST_STEPS, min(MOST_STEPS, total // batch))
    smaller = _with_batches_of(recipe, batch)
    sweep = yield from sweeping(smaller, 1, steps=steps, lowest=LOWEST, highest=HIGHEST, device=str(bench.device))
    own = yield from _at_own_rate(bench, smaller, steps)
    return RateEvidence(sweep=sweep, own=own, slack=recipe.train.batch_size / batch)


def _with_batches_of(recipe: Recipe, batch: int) -> Recipe:
    """The recipe with other batches, at the rate of its own, whatever rule made that."""
    train = recipe.train.model_copy(
        update={"batch_size": batch, "epochs": max(1, recipe.train.epochs), "smaller_first": ()}
    )
    section = recipe.optimizer
    scale = scaled_rate(section, recipe.train.batch_size) / section.lr
    rates = {"lr": section.lr * scale}
    if isinstance(section, MuonOptimizer):
        rates["sgd_lr"] = section.sgd_lr * scale
    optimizer = section.model_copy(update={"lr_scaling": "none", **rates})
    return recipe.model_copy(update={"train": train, "optimizer": optimizer})


def _at_own_rate(bench: Bench, recipe: Recipe, steps: int) -> Generator[Step, None, tuple[float, ...]]:
    """Losses of the first steps at the peak of the recipe's schedule."""
    rate, ramp = recipe.optimizer.lr, ramp_steps(bench, steps)
    schedule = FixedSchedule(lambda step: rate * min(1.0, (step + 1) / (ramp + 1)))
    network = Network(model=copy.deepcopy(bench.network))
    engine = build_engine(recipe, bench.data, bench.device, network, schedule)
    train = bench.data.splits["train"]
    per_epoch = len(batch_bounds(len(train), recipe.train.batch_size))
    batches = training_batches(
        train,
        recipe.augment,
        classes=bench.classes,
        batch_size=recipe.train.batch_size,
        epochs=-(-steps // per_epoch),
        seed=recipe.seed,
    )
    losses = []
    for record in islice(engine.steps(batches), steps):
        losses.append(record.loss)
        yield Step(doing="the recipe's own rate", done=len(losses), total=steps)
    return tuple(losses)


def learning_rate(bench: Bench, found: RateEvidence) -> list[Finding]:
    """A rate that is orders of magnitude away from what the sweep finds."""
    suggestion = found.sweep.suggestion
    if suggestion is None:
        return []
    rate = scaled_rate(bench.recipe.optimizer, bench.recipe.train.batch_size)
    times, gained = rate / suggestion, _gained(found)
    if math.isnan(gained) or (times > TOO_HIGH * found.slack and gained < 1.0):
        grave = math.isnan(gained) or gained < LITTLE
        return [_too_high(bench, found, rate, suggestion, "severe" if grave else "warning")]
    if times < TOO_LOW:
        return [_too_low(bench, found, rate, suggestion, "severe" if times < FAR_TOO_LOW else "warning")]
    return []


def _gained(found: RateEvidence) -> float:
    """How far the loss fell at the recipe's own rate, as a share of how far it fell in the sweep; not-a-number if it
    was not finite in the end."""
    own, lowest = found.own, float(np.nanmin(found.sweep.mean_T))
    if not all(map(math.isfinite, own)):
        return math.nan
    return (own[0] - fmean(own[-max(3, len(own) // 10) :])) / max(own[0] - lowest, 1e-12)


def _too_high(bench: Bench, found: RateEvidence, rate: float, suggestion: float, severity: Severity) -> Finding:
    own = found.own
    how = (
        f"went from {own[0]:.3g} to {own[-1]:.3g} in {len(own)} steps"
        if math.isfinite(own[-1])
        else f"was no longer finite after {len(own)} steps"
    )
    return Finding(
        rule="learning_rate",
        severity=severity,
        title="The learning rate is far too high" if severity == "severe" else "The learning rate is high",
        seen=f"At the recipe's rate of {rate:.2g} the loss {how}. In a sweep it was lowest at "
        f"{10 * suggestion:.2g}, so that {suggestion:.2g} is suggested: {rate / suggestion:,.0f} times less.",
        why="Steps so long overshoot: the loss explodes, or units die and the network answers the same to everything.",
        cause="A rate made for another optimizer, another batch size or other inputs.",
        cure=f"Lower the rate: optimizer.lr {_own_rate(bench, suggestion):g}.",
        changes=_changes(bench, suggestion),
        chart=_chart(found, rate),
    )


def _too_low(bench: Bench, found: RateEvidence, rate: float, suggestion: float, severity: Severity) -> Finding:
    own = found.own
    return Finding(
        rule="learning_rate",
        severity=severity,
        title="The learning rate is far too low",
        seen=f"At the recipe's rate of {rate:.2g} the loss went from {own[0]:.3g} to {own[-1]:.3g} in {len(own)} "
        f"steps. A sweep suggests {suggestion:.2g}, {suggestion / rate:,.0f} times as much, with the loss lowest at "
        f"{10 * suggestion:.2g}.",
        why="The network would need that many times the epochs to learn as much.",
        cause="A rate made for another optimizer, or for weights that were trained before.",
        cure=f"Raise the rate: optimizer.lr {_own_rate(bench, suggestion):g}.",
        changes=_changes(bench, suggestion),
        chart=_chart(found, rate),
    )


def _own_rate(bench: Bench, suggestion: float) -> float:
    """What the file has to say, before the rule of scaling, for batches to be trained at this rate; to two digits."""
    section = bench.recipe.optimizer
    return float(f"{suggestion * section.lr / scaled_rate(section, bench.recipe.train.batch_size):.1e}")


def _changes(bench: Bench, suggestion: float) -> dict[str, float]:
    section, rate = bench.recipe.optimizer, _own_rate(bench, suggestion)
    changes = {"optimizer.lr": rate}
    if isinstance(section, MuonOptimizer):
        changes["optimizer.sgd_lr"] = float(f"{section.sgd_lr / section.lr * rate:.1e}")
    return changes


def _chart(found: RateEvidence, rate: float) -> Chart:
    mean_T = found.sweep.mean_T
    sweep = Series(name="sweep", x=tuple(found.sweep.rates_T.tolist()), y=tuple(mean_T.tolist()))
    return Chart(x="learning rate", y="loss", series=(sweep,), mark=rate)
