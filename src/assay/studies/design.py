"""What a study asks: its arms, its seeds, its claims.

A `Study` is written as a base recipe and what each arm changes of it. It is expanded and checked as a whole when it is
made: whatever is wrong is said before anything runs.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_validator,
)

from assay.errors import InputError, InvalidValueError, KeyPath, did_you_mean, shown
from assay.metrics.catalogue import Metric, metric_named
from assay.recipe.overrides import Draft
from assay.recipe.problems import invalid_value
from assay.recipe.schema import Recipe, Section
from assay.studies.claims import ClaimKind, Comparison
from assay.studies.looks import is_look, nearest_look

MAX_ARMS = 1_000
MAX_CLAIMS = 1_000
FULL_ARM = "full"


class Seeds(Section):
    """How many seeds each arm gets: at least the first look's, at most the last one's."""

    at_least: Annotated[int, Field(ge=1, le=10_000)] = 3
    """Seeds before the first look at the claims."""
    at_most: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Seeds at which to stop even if a claim is undecided. May be raised later without breaking any promise."""


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


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training that the study compares with others."""

    name: str
    recipe: Recipe
    """The resolved recipe, at the arm's first seed."""
    first_seed: int
    changes: Mapping[str, Any]
    """Dotted recipe keys this arm sets on top of the base."""

    def recipe_at(self, index: int) -> Recipe:
        """The recipe of the arm's run number ``index``, from 0."""
        return self.recipe.at_seed(self.first_seed + index)


class Study(BaseModel):
    """A question, the arms that answer it, and the claims to be judged.

    Args:
        question: what is asked, in a sentence; the report's title.
        name: a slug naming the study in the store; by default made from the question, or from the file's place.
        base: recipe sections common to all arms.
        arms: what each arm changes, as dotted keys; ``extends`` names an arm to start from, ``seeds_from``
            gives own seeds.
        grid: factors to cross; one arm for every combination.
        leave_one_out: named changes, each of which takes one ingredient out of the base.
        seeds: how many; one number means exactly that many.
        margin: for each metric the largest effect that does not matter.
        metric: what claims are about when they do not say.
        claims: what is to be judged.

    Raises:
        InvalidValueError: something breaks a rule; the message names key, rule, value and the nearest valid name.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        populate_by_name=False,
        use_attribute_docstrings=True,
    )

    question: Annotated[str, Field(max_length=1000)] = ""
    name: Annotated[str, Field(max_length=100)] = ""
    base: dict[str, Any] = {}
    arm_changes: dict[str, dict[str, Any] | None] = Field(default={}, alias="arms")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    leave_one_out: dict[str, dict[str, Any]] = {}
    seeds: Seeds = Seeds()
    margin: dict[str, Annotated[float, Field(gt=0.0, le=1e9)]] = {}
    metric: str = "val_accuracy"
    claims: Annotated[list[Claim], Field(max_length=MAX_CLAIMS)] = []

    _arms: tuple[Arm, ...] = PrivateAttr(default=())
    _comparisons: tuple[Comparison, ...] = PrivateAttr(default=())
    _source: str | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Study:
        if isinstance(data, dict) and type(data.get("seeds")) is int:
            data = {**data, "seeds": {"at_least": data["seeds"], "at_most": data["seeds"]}}
        try:
            study: Study = handler(data)
        except ValidationError as error:
            raise invalid_value((), error=error, schema=cls) from None
        return study

    @model_validator(mode="after")
    def _expand(self) -> Study:
        if not self.name:
            object.__setattr__(self, "name", slug(self.question[:60]) or "study")  # frozen for everyone else
        elif self.name != slug(self.name):
            raise InvalidValueError(
                ("name",), f"must be a slug, got {shown(self.name)}.", f'Try "{slug(self.name) or "my-study"}".'
            )
        _check_seeds(self.seeds)
        self._arms = _Expansion(self).arms()
        _check_distinct(self._arms, self.seeds.at_most)
        self._comparisons = _Claims(self).comparisons()
        return self

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Every arm, expanded, in the order declared: own arms, grid, leave-one-out."""
        return self._arms

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every claim, expanded, in the order declared; those of leave_one_out first."""
        return self._comparisons

    @property
    def times_runs(self) -> bool:
        """Whether a claim is about time, so that runs must not disturb each other."""
        return any(comparison.metric.timing for comparison in self.comparisons)

    @property
    def source(self) -> str | None:
        """The file the study was read from; None for one made in Python."""
        return self._source

    def read_from(self, source: str | None) -> Study:
        """The same study, with the file it was read from."""
        twin = self.model_copy()
        twin._source = source
        return twin

    def arm(self, name: str) -> Arm:
        """The arm of that name.

        Raises:
            InputError: there is none.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise InputError(
            f"study {self.name} has no arm {name!r}. {did_you_mean(name, [arm.name for arm in self.arms])}"
        )

    def resolved(self) -> dict[str, Any]:
        """The study as plain data that makes the same study again; saved beside its report."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"name": self.name, **data}


def single_run(recipe: Recipe, name: str) -> Study:
    """One recipe at its own seed, as a study of one arm and one run."""
    data = recipe.model_dump(mode="json", exclude_defaults=True)
    data.pop("seed", None)
    return Study(name=name, base=data, arms={"run": {"seeds_from": recipe.seed}}, seeds=Seeds(at_least=1, at_most=1))


def slug(text: str) -> str:
    """Lower-case letters and digits of any script, joined by hyphens: ``Digits/Dropout`` gives ``digits-dropout``."""
    return re.sub(r"[\W_]+", "-", text.lower()).strip("-")[:100].strip("-")


def _check_seeds(seeds: Seeds) -> None:
    for key in ("at_least", "at_most"):
        count = getattr(seeds, key)
        if count > 2 and not is_look(count):
            raise InvalidValueError(
                ("seeds", key),
                f"must be 1, 2, or a count at which claims are looked at (3, 5, 8, 12, 20, 32, 50, …), got {count}.",
                f"Nearest: {nearest_look(count)}.",
            )
    if seeds.at_least > seeds.at_most:
        raise InvalidValueError(
            ("seeds", "at_least"),
            f"must not exceed seeds.at_most, got {seeds.at_least} and {seeds.at_most}.",
            "Set both.",
        )


class _Expansion:
    """Makes arms out of ``base``, ``arms``, ``grid`` and ``leave_one_out``."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.base = Draft()
        self.base.apply(study.base, ("base",))
        self.found: dict[str, Arm] = {}

    def arms(self) -> tuple[Arm, ...]:
        study = self.study
        for section in ("data", "model"):
            if (
                not any(section in _sections(changes) for changes in self._all_changes())
                and section not in self.base.data
            ):
                raise InvalidValueError(
                    ("base", section), "is missing; it has no default.", "See `assay schema` for the keys."
                )
        for name in study.arm_changes:
            changes, first_seed = self._own_changes(name, ())
            self._add(name, changes, first_seed, ("arms", name))
        if study.grid:
            self._add_grid(study.grid)
        if study.leave_one_out:
            self._add(FULL_ARM, [], 0, ("leave_one_out",))
            for ingredient, changes_out in study.leave_one_out.items():
                where = ("leave_one_out", ingredient)
                self._add(f"without {ingredient}", [(changes_out, where)], 0, where)
        if not self.found:
            raise InvalidValueError(("arms",), "is missing: a study needs at least one arm, a grid, or leave_one_out.")
        return tuple(self.found.values())

    def _all_changes(self) -> list[Mapping[str, Any]]:
        study = self.study
        return [*(changes or {} for changes in study.arm_changes.values()), study.grid, *study.leave_one_out.values()]

    def _own_changes(self, name: str, seen: tuple[str, ...]) -> tuple[list[tuple[Mapping[str, Any], KeyPath]], int]:
        """The changes of an arm and of those it extends, oldest first, and its first seed."""
        written = dict(self.study.arm_changes[name] or {})
        where = ("arms", name)
        parent = written.pop("extends", None)
        first_seed = written.pop("seeds_from", None)
        inherited: list[tuple[Mapping[str, Any], KeyPath]] = []
        inherited_seed = 0
        if parent is not None:
            if not isinstance(parent, str) or parent not in self.study.arm_changes:
                raise InvalidValueError(
                    (*where, "extends"),
                    f"names no arm of arms:, got {shown(parent)}.",
                    did_you_mean(parent, self.study.arm_changes),
                )
            if parent in (*seen, name):
                circle = " -> ".join([*seen, name, parent])
                raise InvalidValueError(
                    (*where, "extends"), f"goes in a circle: {circle[:200]}.", "Let one of them extend nothing."
                )
            inherited, inherited_seed = self._own_changes(parent, (*seen, name))
        if first_seed is None:
            first_seed = inherited_seed
        limit = 2**32 - self.study.seeds.at_most
        if type(first_seed) is not int or not 0 <= first_seed <= limit:
            raise InvalidValueError(
                (*where, "seeds_from"), f"must be a whole number from 0 to {limit:,}, got {shown(first_seed)}."
            )
        return [*inherited, (written, where)], first_seed

    def _add_grid(self, grid: Mapping[str, list[Any]]) -> None:
        size = 1
        for values in grid.values():
            size *= len(values)
        if size > MAX_ARMS:
            raise InvalidValueError(
                ("grid",), f"must make at most {MAX_ARMS:,} arms, got {size:,}.", "Split the study."
            )
        for combination in itertools.product(*(enumerate(values) for values in grid.values())):
            changes = {key: value for key, (_, value) in zip(grid, combination, strict=True)}
            name = ", ".join(f"{key}={value_text(value)}" for key, value in changes.items())
            self._add(name, [(changes, ("grid",))], 0, ("grid",))

    def _add(
        self, name: str, changes: list[tuple[Mapping[str, Any], KeyPath]], first_seed: int, where: KeyPath
    ) -> None:
        _check_arm_name(name, where)
        if name in self.found:
            raise InvalidValueError(
                where, f"makes an arm {name!r} that exists already.", "Give one of them another name."
            )
        if len(self.found) >= MAX_ARMS:
            raise InvalidValueError(where[:1], f"must make at most {MAX_ARMS:,} arms.", "Split the study.")
        draft = self.base.copy()
        merged: dict[str, Any] = {}
        for overrides, origin in changes:
            draft.apply(overrides, origin)
            for key in [key for key in merged if any(key.startswith(new + ".") for new in overrides)]:
                del merged[key]
            merged.update(overrides)
        if "seed" in draft.data:
            raise InvalidValueError(
                draft.origin(("seed",)),
                "does not belong in a study: seeds are its repeats.",
                "Use seeds: or seeds_from:.",
            )
        try:
            recipe = Recipe.model_validate({**draft.data, "seed": first_seed})
        except InvalidValueError as error:
            raise InvalidValueError(draft.origin(error.path), error.problem, error.hint, error.more) from None
        self.found[name] = Arm(name=name, recipe=recipe, first_seed=first_seed, changes=merged)


def _sections(changes: Mapping[str, Any]) -> set[str]:
    return {key.partition(".")[0] for key in changes}


def _check_arm_name(name: str, where: KeyPath) -> None:
    if not name.strip() or len(name) > 300 or not name.isprintable():
        raise InvalidValueError(where, f"must have a name of 1 to 300 printable characters, got {shown(name)}.")


def value_text(value: Any) -> str:
    """A value as it stands in an arm's name: ``0.01``, ``relu``, ``{"name": "adam"}``."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _check_distinct(arms: tuple[Arm, ...], at_most: int) -> None:
    first_of: dict[str, list[Arm]] = {}
    for arm in arms:
        twins = first_of.setdefault(json.dumps(arm.recipe.at_seed(0).resolved(), sort_keys=True), [])
        for twin in twins:
            if abs(twin.first_seed - arm.first_seed) < at_most:
                raise InvalidValueError(
                    ("arms", arm.name),
                    f"is the same recipe as arm {twin.name!r} with the same seeds, so there is nothing to compare.",
                    f"Change a key, or give it own seeds: seeds_from: {twin.first_seed + max(1000, at_most)}.",
                )
        twins.append(arm)


class _Claims:
    """Makes comparisons out of ``claims`` and ``leave_one_out``."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.names = [arm.name for arm in study.arms]
        self.seen: dict[tuple[object, ...], KeyPath] = {}

    def comparisons(self) -> tuple[Comparison, ...]:
        study = self.study
        for key in study.margin:
            self._metric(key, ("margin", key))
        default = self._metric(study.metric, ("metric",))
        found = [
            self._comparison({FULL_ARM: 1.0, f"without {out}": -1.0}, "beats", default, ("leave_one_out", out))
            for out in study.leave_one_out
        ]
        for position, claim in enumerate(study.claims):
            found += self._of_claim(claim, ("claims", position))
        if len(found) > MAX_CLAIMS:
            raise InvalidValueError(("claims",), f"must be at most {MAX_CLAIMS:,} claims, got {len(found):,}.")
        return tuple(found)

    def _of_claim(self, claim: Claim, where: KeyPath) -> list[Comparison]:
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
        metric = self._metric(claim.metric or self.study.metric, (*where, "metric"))
        if claim.contrast is not None:
            if than != 0 or isinstance(than, bool):
                raise InvalidValueError(
                    (*where, kind), f"must be 0 for a contrast, got {shown(than)}.", f"Write {kind}: 0."
                )
            self._check_contrast(claim.contrast, (*where, "contrast"))
            return [self._comparison(claim.contrast, kind, metric, where)]
        arm = self._arm(claim.arm, (*where, "arm"))
        others = than if isinstance(than, list) else [than]
        found = []
        for position, other in enumerate(others):
            place = (*where, kind, position) if isinstance(than, list) else (*where, kind)
            if self._arm(other, place) == arm:
                raise InvalidValueError(place, f"compares arm {arm!r} with itself.", "Name another arm.")
            found.append(self._comparison({arm: 1.0, str(other): -1.0}, kind, metric, place))
        return found

    def _comparison(self, weights: Mapping[str, float], kind: ClaimKind, metric: Metric, where: KeyPath) -> Comparison:
        margin = self.study.margin.get(metric.name, self.study.margin.get(metric.name.partition("@")[0]))
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
            epochs = self.study.arm(name).recipe.train.epochs
            if metric.epoch is not None and metric.epoch > epochs:
                raise InvalidValueError(where, f"asks for {metric.name}, but arm {name!r} trains {epochs} epochs.")
        plain = sorted(weights.values()) == [-1.0, 1.0] and next(iter(weights.values())) == 1.0
        arm, than = tuple(weights) if plain else (contrast_text(weights), "0")
        return Comparison(weights=weights, arm=arm, than=than, kind=kind, metric=metric, margin=margin)

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
        if not isinstance(name, str) or name not in self.names:
            raise InvalidValueError(where, f"names no arm, got {shown(name)}.", did_you_mean(name, self.names))
        return name

    def _metric(self, name: str, where: KeyPath) -> Metric:
        try:
            return metric_named(name)
        except InputError as error:
            problem, _, hint = str(error).partition(". ")
            raise InvalidValueError(where, problem + ".", hint) from None


def contrast_text(weights: Mapping[str, float]) -> str:
    """A contrast as people read it: ``both − 0.5 · flip − 0.5 · crop``."""
    text = ""
    for name, weight in weights.items():
        sign = ("−" if weight < 0 else "") if not text else (" − " if weight < 0 else " + ")
        factor = "" if abs(weight) == 1 else f"{abs(weight):g} · "
        text += f"{sign}{factor}{name}"
    return text
