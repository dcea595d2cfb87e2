"""The name of a run: a hash of everything that decides its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from assay.recipe.schema import Recipe

NUMERICS = 1
"""Raised when a change of assay alters training results or a default, so that old runs do not pass for new ones."""

FINGERPRINT_LENGTH = 32


def fingerprint(recipe: Recipe, data_fingerprint: str, sources: Mapping[str, str]) -> str:
    """Hash a recipe with what it stands on.

    Fields at their default are left out, so that a field added later changes no fingerprint of an old recipe.

    Args:
        recipe: the recipe, with its seed.
        data_fingerprint: what `assay.data.load.source_fingerprint` says of its data.
        sources: source hash of each class of the user's own, by dotted path.

    Returns:
        32 hexadecimal digits.
    """
    content = {
        "numerics": NUMERICS,
        "recipe": recipe.model_dump(mode="json", exclude_defaults=True),
        "seed": recipe.seed,
        "data": data_fingerprint,
        "sources": dict(sources),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:FINGERPRINT_LENGTH]
