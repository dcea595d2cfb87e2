"""What a study asks: its arms, its seeds, its claims.

A `Study` is written as a base recipe and what each arm changes of it. It is expanded and checked as a whole when it is
made: whatever is wrong is said before anything runs.
"""

from __future__ import annotations

import re
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

from assay.errors import InputError, InvalidValueError, did_you_mean, shown
from assay.recipe.problems import invalid_value
from assay.recipe.schema import Recipe, Section
from assay.studies.arms import Arm, expand_arms
from assay.studies.claims import Comparison
from assay.studies.declared import MAX_CLAIMS, Claim, expand_claims
from assay.studies.looks import is_look, nearest_look
from assay.studies.store.disk import is_device_name

_NAME_LETTERS = 100
_SLUG_BYTES = 200
"""File systems take names of 255 bytes, and a letter may take four."""


class Seeds(Section):
    """How many seeds each arm gets: at least the first look's, at most the last one's."""

    at_least: Annotated[int, Field(ge=1, le=10_000)] = 3
    """Seeds before the first look at the claims."""
    at_most: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Seeds at which to stop even if a claim is undecided. May be raised later without breaking any promise."""


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
    name: Annotated[str, Field(max_length=_NAME_LETTERS)] = ""
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
        elif isinstance(data, dict) and not isinstance(data.get("seeds", {}), dict | Seeds):
            raise InvalidValueError(
                ("seeds",), f"must be a whole number or {{at_least: 3, at_most: 20}}, got {shown(data['seeds'])}."
            )
        try:
            study: Study = handler(data)
        except ValidationError as error:
            raise invalid_value((), error=error, schema=cls) from None
        return study

    @model_validator(mode="after")
    def _expand(self) -> Study:
        if not self.name:
            object.__setattr__(self, "name", study_slug(self.question[:60]))  # frozen for everyone else
        elif self.name != slug(self.name):
            raise InvalidValueError(
                ("name",), f"must be a slug, got {shown(self.name)}.", f'Try "{slug(self.name) or "my-study"}".'
            )
        elif is_device_name(self.name):
            raise InvalidValueError(
                ("name",), f"must be no device name of Windows, got {shown(self.name)}.", f'Try "study-{self.name}".'
            )
        _check_seeds(self.seeds)
        self._arms = expand_arms(self.base, self.arm_changes, self.grid, self.leave_one_out, at_most=self.seeds.at_most)
        self._comparisons = expand_claims(
            self.claims, self.leave_one_out, self._arms, margin=self.margin, metric=self.metric
        )
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
    words = re.sub(r"[\W_]+", "-", text.lower()).strip("-")
    return words.encode()[:_SLUG_BYTES].decode(errors="ignore").strip("-")


def study_slug(text: str) -> str:
    """A study's name made from a text: its slug, short enough, and no name that Windows gives to a device."""
    name = slug(slug(text)[:_NAME_LETTERS]) or "study"
    return f"study-{name}" if is_device_name(name) else name


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
