"""The claims of a study as they are declared, and what they mean for its arms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated

from pydantic import Field

from assay.errors import InputError, InvalidValueError, KeyPath, did_you_mean, shown
from assay.metrics.catalogue import Metric, metric_named
from assay.recipe.schema import FittedAtOnce, Recipe, Section, SvmModel
from assay.studies.arms import FULL_ARM, Arm, without
from assay.studies.claims import ClaimKind, Comparison

MAX_CLAIMS = 1_000


class Claim(Section):
    """One claim. Either ``arm`` with ``beats`` or ``matches``, or a ``contrast`` of arms that beats or matches 0."""

    arm: str | None = None
    beats: str | int | Annotated[list[str], Field(min_length=1, strict=False)] | None = None
    """The arm or arms that ``arm`` is better than; 0 for a contrast."""
    matches: str | int | Annotated[list[str], Field(min_length=1, strict=False)] | None = None
    """The arm or arms from which ``arm`` differs by less than the margin; 0 for a contrast."""
    contrast: dict[str, Annotated[float, Field(ge=-1000.0, le=1000.0)]] | None = None
    """Weight of each arm; the weights sum to zero."""
    metric: str | None = None
    """The metric claimed about; the study's ``metric`` by default."""


def expand_claims(
    claims: Sequence[Claim],
    left_out: Iterable[str],
    arms: Sequence[Arm],
    *,
    margin: Mapping[str, float],
    metric: str,
) -> tuple[Comparison, ...]:
    """Every claim of a study as a comparison: that each ingredient left out had helped, then those declared.

    Args:
        claims: as declared.
        left_out: the ingredients of ``leave_one_out``.
        arms: all arms of the study.
        margin: metric to the largest effect that does not matter.
        metric: what claims are about when they do not say.

    Raises:
        InvalidValueError: a claim names no arm or metric, lacks a margin, or repeats another.
    """
    expansion = _Expansion(arms, margin)
    for key in margin:
        expansion.metric(key, ("margin", key))
    default = expansion.metric(metric, ("metric",))
    found = [
        expansion.comparison({FULL_ARM: 1.0, without(out): -1.0}, "beats", default, ("leave_one_out", out))
        for out in left_out
    ]
    for position, claim in enumerate(claims):
        found += expansion.of_claim(claim, default, ("claims", position))
    if len(found) > MAX_CLAIMS:
        raise InvalidValueError(("claims",), f"must be at most {MAX_CLAIMS:,} claims, got {len(found):,}.")
    return tuple(found)


class _Expansion:
    """What claims may be about, and which have been made."""

    def __init__(self, arms: Sequence[Arm], margin: Mapping[str, float]) -> None:
        self.arms = {arm.name: arm for arm in arms}
        self.margin = margin
        self.seen: dict[tuple[object, ...], KeyPath] = {}

    def of_claim(self, claim: Claim, default: Metric, where: KeyPath) -> list[Comparison]:
        if (claim.beats is None) == (claim.matches is None):
            raise InvalidValueError(
                where, "needs either 'beats' or 'matches', and not both.", "Example: {arm: a, beats: b}"
            )
        if (claim.arm is None) == (claim.contrast is None):
            raise InvalidValueError(
                where, "needs either 'arm' or 'contrast', and not both.", "Example: {arm: a, beats: b}"
            )
        kind: ClaimKind = "beats" if claim.beats is not None else "matches"
        than = claim.beats if claim.beats is not None else claim.matches
        metric = self.metric(claim.metric, (*where, "metric")) if claim.metric is not None else default
        if claim.contrast is not None:
            if than != 0 or isinstance(than, bool):
                raise InvalidValueError(
                    (*where, kind), f"must be 0 for a contrast, got {shown(than)}.", f"Write {kind}: 0."
                )
            self._check_contrast(claim.contrast, (*where, "contrast"))
            return [self.comparison(claim.contrast, kind, metric, where)]
        arm = self._arm(claim.arm, (*where, "arm"))
        others = than if isinstance(than, list) else [than]
        found = []
        for position, other in enumerate(others):
            place = (*where, kind, position) if isinstance(than, list) else (*where, kind)
            if self._arm(other, place) == arm:
                raise InvalidValueError(place, f"compares arm {arm!r} with itself.", "Name another arm.")
            found.append(self.comparison({arm: 1.0, str(other): -1.0}, kind, metric, place))
        return found

    def comparison(self, weights: Mapping[str, float], kind: ClaimKind, metric: Metric, where: KeyPath) -> Comparison:
        margin = self.margin.get(metric.name, self.margin.get(metric.name.partition("@")[0]))
        if kind == "matches" and margin is None:
            raise InvalidValueError(
                where,
                f"claims that nothing that matters changes, so it needs a margin for {metric.name}.",
                f"Add for example margin: {{{metric.name}: 0.01}}.",
            )
        same = (tuple(sorted(weights.items())), metric.name, kind)
        if same in self.seen:
            raise InvalidValueError(
                where, "repeats an earlier claim, which would only widen every interval.", "Remove one."
            )
        self.seen[same] = where
        for name in weights:
            self._check_epoch(metric, name, where)
            recipe = self.arms[name].recipe
            if metric.needs is not None and not metric.recorded_with(recipe):
                value = json.dumps(attrgetter(metric.needs)(recipe))
                raise InvalidValueError(
                    where,
                    f"asks for {metric.name}, which needs {metric.needs}, and arm {name!r} has {value}.",
                    f"Set {metric.needs} in the base, so that every arm has it.",
                )
        plain = sorted(weights.values()) == [-1.0, 1.0]
        arm, than = sorted(weights, key=lambda name: -weights[name]) if plain else (contrast_text(weights), "0")
        return Comparison(weights=weights, arm=arm, than=than, kind=kind, metric=metric, margin=margin)

    def _check_epoch(self, metric: Metric, name: str, where: KeyPath) -> None:
        if metric.epoch is None:
            return
        recipe = self.arms[name].recipe
        if isinstance(recipe.model, FittedAtOnce):
            raise InvalidValueError(
                where,
                f"asks for {metric.name}, but arm {name!r} is {recipe.model.name}, which is fitted at once and has no "
                "epochs.",
                _instead_of_epoch(metric, recipe.model),
            )
        if metric.epoch > recipe.train.epochs:
            raise InvalidValueError(
                where, f"asks for {metric.name}, but arm {name!r} trains {recipe.train.epochs} epochs."
            )
        measured = _measured_epochs(recipe)
        if metric.measured and metric.epoch not in measured:
            near = [
                max((e for e in measured if e < metric.epoch), default=0),
                min(e for e in measured if e > metric.epoch),
            ]
            raise InvalidValueError(
                where,
                f"asks for {metric.name}, but arm {name!r} is measured every {recipe.evaluate.every} epochs and after "
                "its last.",
                f"Ask for epoch {' or '.join(str(epoch) for epoch in near if epoch)}, or set evaluate.every to 1.",
            )

    def _check_contrast(self, weights: Mapping[str, float], where: KeyPath) -> None:
        for name, weight in weights.items():
            self._arm(name, (*where, name))
            if weight == 0.0:
                raise InvalidValueError((*where, name), "must not be 0; leave the arm out.")
        if len(weights) < 2 or abs(sum(weights.values())) > 1e-9 * max(map(abs, weights.values())):
            raise InvalidValueError(
                where,
                f"must weigh at least two arms, with weights that sum to 0, got {shown(dict(weights))}.",
                "Example: {a: 1, b: -0.5, c: -0.5}",
            )

    def _arm(self, name: object, where: KeyPath) -> str:
        if not isinstance(name, str) or name not in self.arms:
            raise InvalidValueError(where, f"names no arm, got {shown(name)}.", did_you_mean(name, self.arms))
        return name

    def metric(self, name: str, where: KeyPath) -> Metric:
        try:
            return metric_named(name)
        except InputError as error:
            problem, _, hint = str(error).partition(". ")
            raise InvalidValueError(where, problem + ".", hint) from None


def _measured_epochs(recipe: Recipe) -> set[int]:
    return {*range(recipe.evaluate.every, recipe.train.epochs + 1, recipe.evaluate.every), recipe.train.epochs}


def _instead_of_epoch(metric: Metric, model: FittedAtOnce) -> str:
    """What to claim where one arm has no epochs: not what it does not have either, such as the losses of a machine."""
    plain = metric.name.partition("@")[0]
    kept = ("val_accuracy", "train_accuracy") if isinstance(model, SvmModel) else _WITHOUT_EPOCHS
    if plain in kept:
        return f"Claim {plain}, which other arms have after their last epoch."
    return "Claim a metric that every arm has, such as val_accuracy."


_WITHOUT_EPOCHS = ("val_accuracy", "train_accuracy", "val_loss", "train_loss")


def contrast_text(weights: Mapping[str, float]) -> str:
    """A contrast as people read it: ``both − 0.5 · flip − 0.5 · crop``."""
    text = ""
    for name, weight in weights.items():
        sign = ("−" if weight < 0 else "") if not text else (" − " if weight < 0 else " + ")
        factor = "" if abs(weight) == 1 else f"{abs(weight):g} · "
        text += f"{sign}{factor}{name}"
    return text
