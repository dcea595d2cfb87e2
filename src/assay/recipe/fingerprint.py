"""The name of a run: a hash of everything that decides its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from assay.recipe.schema import NotHashed, Recipe, Section

NUMERICS = 2
"""Raised when a change of assay alters training results or a default, so that old runs do not pass for new ones."""

FINGERPRINT_LENGTH = 32


def fingerprint(
    recipe: Recipe, data_fingerprint: str, sources: Mapping[str, str], *, weights: str | None = None
) -> str:
    """Hash a recipe with what it stands on.

    Fields at their default are left out, so that a field added later changes no fingerprint of an old recipe; so are
    those that say where data and weights lie, for the data fingerprint, and the weights' hash, stand for what lies
    there.

    Args:
        recipe: the recipe, with its seed.
        data_fingerprint: what `assay.data.load.source_fingerprint` says of its data.
        sources: source hash of each class of the user's own, by dotted path.
        weights: SHA-256 of the file of weights it starts from, if it does.

    Returns:
        32 hexadecimal digits.
    """
    content = {
        "numerics": NUMERICS,
        "recipe": _deciding_fields(recipe),
        "seed": recipe.seed,
        "data": data_fingerprint,
        "sources": dict(sources),
    }
    if weights is not None:
        content["weights"] = weights
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:FINGERPRINT_LENGTH]


def _deciding_fields(recipe: Recipe) -> dict[str, Any]:
    fields = recipe.model_dump(mode="json", exclude_defaults=True)
    for key, section in recipe:
        if not isinstance(section, Section) or key not in fields:
            continue
        for name, field in type(section).model_fields.items():
            if NotHashed in field.metadata:
                fields[key].pop(name, None)
        if not fields[key]:
            del fields[key]
    factors = fields.get("optimizer", {}).get("lr_factors")
    if factors:  # the first pattern that fits counts, so their order decides numbers, which a sorted object would lose
        fields["optimizer"]["lr_factors"] = list(factors.items())
    return fields
