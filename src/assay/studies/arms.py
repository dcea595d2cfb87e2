"""The arms of a study: what each one trains, and which seeds it gets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assay.errors import InvalidValueError, KeyPath, did_you_mean, shown
from assay.recipe.overrides import Draft
from assay.recipe.schema import Recipe

MAX_ARMS = 1_000
FULL_ARM = "full"
"""The arm of ``leave_one_out`` that leaves nothing out."""


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


Changes = Mapping[str, Any]


def expand_arms(
    base: Changes,
    own: Mapping[str, Changes | None],
    grid: Mapping[str, list[Any]],
    leave_one_out: Mapping[str, Changes],
    *,
    at_most: int,
) -> tuple[Arm, ...]:
    """Every arm of a study in the order own, grid, leave-one-out, each with its recipe validated.

    Args:
        base: recipe sections common to all arms.
        own: name to changes, with ``extends`` and ``seeds_from`` among them.
        grid: dotted key to the values it takes.
        leave_one_out: ingredient to the changes that take it out.
        at_most: seeds an arm may get.

    Raises:
        InvalidValueError: a key or value breaks a rule, names clash, or two arms would be the same runs.
    """
    expansion = _Expansion(base, own, at_most)
    everything = [*(changes or {} for changes in own.values()), grid, *leave_one_out.values()]
    expansion.require_sections({key.partition(".")[0] for changes in everything for key in changes})
    for name in own:
        changes, first_seed = expansion.own_changes(name, ())
        expansion.add(name, changes, first_seed, ("arms", name))
    if grid:
        expansion.add_grid(grid)
    if leave_one_out:
        expansion.add(FULL_ARM, [], 0, ("leave_one_out",))
        for ingredient, changes_out in leave_one_out.items():
            where = ("leave_one_out", ingredient)
            _check_arm_name(ingredient, where)
            expansion.add(without(ingredient), [(changes_out, where)], 0, where)
    arms = tuple(expansion.found.values())
    if not arms:
        raise InvalidValueError(("arms",), "is missing: a study needs at least one arm, a grid, or leave_one_out.")
    _check_distinct(arms, expansion.origins, at_most)
    return arms


def without(ingredient: str) -> str:
    """The name of the arm that leaves one ingredient out."""
    return f"without {ingredient}"


class _Expansion:
    """The arms found so far, and what they are made of."""

    def __init__(self, base: Changes, own: Mapping[str, Changes | None], at_most: int) -> None:
        self.base = Draft()
        self.base.apply(base, ("base",))
        self.own = own
        self.at_most = at_most
        self.found: dict[str, Arm] = {}
        self.origins: dict[str, KeyPath] = {}
        """Where in the study each arm was written."""

    def require_sections(self, changed: set[str]) -> None:
        """Say once that data or model is missing everywhere, instead of for the first arm."""
        for section in ("data", "model"):
            if section not in changed and section not in self.base.data:
                raise InvalidValueError(
                    ("base", section), "is missing; it has no default.", "See `assay schema` for the keys."
                )

    def own_changes(self, name: str, seen: tuple[str, ...]) -> tuple[list[tuple[Mapping[str, Any], KeyPath]], int]:
        """The changes of an arm and of those it extends, oldest first, and its first seed."""
        written = dict(self.own[name] or {})
        where = ("arms", name)
        parent = written.pop("extends", None)
        first_seed = written.pop("seeds_from", None)
        inherited: list[tuple[Mapping[str, Any], KeyPath]] = []
        inherited_seed = 0
        if parent is not None:
            if not isinstance(parent, str) or parent not in self.own:
                raise InvalidValueError(
                    (*where, "extends"),
                    f"names no arm of arms:, got {shown(parent)}.",
                    did_you_mean(parent, self.own),
                )
            if parent in (*seen, name):
                circle = " -> ".join([*seen, name, parent])
                raise InvalidValueError(
                    (*where, "extends"), f"goes in a circle: {circle[:200]}.", "Let one of them extend nothing."
                )
            inherited, inherited_seed = self.own_changes(parent, (*seen, name))
        if first_seed is None:
            first_seed = inherited_seed
        limit = 2**32 - self.at_most
        if type(first_seed) is not int or not 0 <= first_seed <= limit:
            raise InvalidValueError(
                (*where, "seeds_from"), f"must be a whole number from 0 to {limit:,}, got {shown(first_seed)}."
            )
        return [*inherited, (written, where)], first_seed

    def add_grid(self, grid: Mapping[str, list[Any]]) -> None:
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
            self.add(name, [(changes, ("grid",))], 0, ("grid",))

    def add(self, name: str, changes: list[tuple[Mapping[str, Any], KeyPath]], first_seed: int, where: KeyPath) -> None:
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
            origin = draft.origin(error.path)
            unknown = len(error.path) == 1 and error.path[0] not in Recipe.model_fields
            hint = did_you_mean(error.path[0], _keys_at(origin)) if unknown else error.hint
            raise InvalidValueError(origin, error.problem, hint, error.more) from None
        self.origins[name] = where
        self.found[name] = Arm(name=name, recipe=recipe, first_seed=first_seed, changes=merged)


def _keys_at(origin: KeyPath) -> list[str]:
    """The keys that may stand where a change was written."""
    own = ["extends", "seeds_from"] if origin[0] == "arms" else []
    return [*own, *(section for section in Recipe.model_fields if section != "seed")]


def _check_arm_name(name: str, where: KeyPath) -> None:
    if not name or name != name.strip() or len(name) > 300 or not name.isprintable():
        raise InvalidValueError(
            where, f"must have a name of 1 to 300 printable characters without blanks at its ends, got {shown(name)}."
        )


def value_text(value: Any) -> str:
    """A value as it stands in an arm's name: ``0.01``, ``relu``, ``{"name": "adam"}``."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _check_distinct(arms: tuple[Arm, ...], origins: Mapping[str, KeyPath], at_most: int) -> None:
    first_of: dict[str, list[Arm]] = {}
    for arm in arms:
        twins = first_of.setdefault(json.dumps(arm.recipe.at_seed(0).resolved(), sort_keys=True), [])
        for twin in twins:
            if abs(twin.first_seed - arm.first_seed) < at_most:
                where = origins[arm.name]
                own_seeds = f", or give it own seeds: seeds_from: {twin.first_seed + max(1000, at_most)}"
                raise InvalidValueError(
                    where,
                    f"{'' if where[-1] == arm.name else f'makes arm {arm.name!r}, which '}"
                    f"is the same recipe as arm {twin.name!r} with the same seeds, so there is nothing to compare.",
                    f"Change a key{own_seeds if where[0] == 'arms' else ''}.",
                )
        twins.append(arm)
