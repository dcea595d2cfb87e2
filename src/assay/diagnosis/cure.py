"""How a finding's cure is tried: as words for the command line, and as a study that would tell whether it helps."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from assay.diagnosis.finding import Finding
from assay.recipe.reading import dump
from assay.recipe.schema import Recipe


def set_words(finding: Finding, *, base: bool) -> tuple[str, ...]:
    """What to add to a command line: ``--set optimizer.lr=0.01``; none where no key of a recipe does it.

    Args:
        finding: whose changes.
        base: whether the file is a study, in which a recipe's keys stand below ``base``.
    """
    before = "base." if base else ""
    return tuple(
        word
        for key, value in finding.changes.items()
        for word in ("--set", shlex.quote(f"{before}{key}={_written(value)}"))
    )


def study_of_cure(finding: Finding, recipe: Recipe) -> str | None:
    """A study file that compares the recipe as it is with the one that is changed; None without changes."""
    if not finding.changes:
        return None
    content: dict[str, Any] = {
        "question": f"{finding.title}: does {_sentence(finding.changes)} help?",
        "base": recipe.model_dump(mode="json", exclude_defaults=True, exclude={"seed"}),
        "arms": {"as it is": {}, "changed": dict(finding.changes)},
        "metric": "val_accuracy",
        "margin": {"val_accuracy": 0.005},
        "seeds": {"at_least": 3, "at_most": 12},
        "claims": [{"arm": "changed", "beats": "as it is"}],
    }
    return dump(content)


def _sentence(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_written(value)}" for key, value in changes.items())


def _written(value: Any) -> str:
    """A value as YAML reads it in a flow."""
    return json.dumps(value) if isinstance(value, str | bool | list | tuple | dict | None) else f"{value:g}"
