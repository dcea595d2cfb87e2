"""What sections of a recipe are made of: their base, and types that several of them share."""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints
from pydantic_core import PydanticCustomError

OWN, TORCHVISION = "user", "torchvision"
"""Tags of the variants whose names are not fixed."""

DOTTED_PATH = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
TORCHVISION_NAME = r"^torchvision:[a-z][a-z0-9_]*$"
LAYER_PATTERN = r"^[\w.*?\[\]!\-]+$"
FOREIGN_PACKAGES = frozenset(sys.stdlib_module_names) | {"__main__", "assay", "torch", "numpy", "pip", "setuptools"}
"""Packages whose classes are not the user's own: a dotted path that leads into them is refused unread."""


def _own(path: str) -> str:
    if path.partition(".")[0].partition(":")[0] in FOREIGN_PACKAGES:
        raise PydanticCustomError("foreign_path", "leads into a package that is not yours")
    return path


DottedPath = Annotated[
    str,
    StringConstraints(pattern=DOTTED_PATH, max_length=200),
    AfterValidator(_own),
    Field(json_schema_extra={"not": {"pattern": f"^{TORCHVISION}:"}}),  # of two variants an editor would take neither
]


def _plain(value: Any) -> Any:
    """Refuse what JSON cannot hold, so that every recipe can be saved and hashed."""
    if isinstance(value, dict):
        for item in value.values():
            _plain(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _plain(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "must be finite")
    elif not isinstance(value, str | int | float | None):
        raise PydanticCustomError("plain_value", "must be plain data")
    return value


Options = Annotated[dict[str, Any], Field(max_length=100), BeforeValidator(_plain)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1000.0)]


class _NotHashed:
    """Marks a field that says where something lies: it decides no number, so a fingerprint leaves it out."""


NotHashed = _NotHashed()
Place = Annotated[str, Field(min_length=1, max_length=4096), NotHashed]
LayerPattern = Annotated[str, StringConstraints(pattern=LAYER_PATTERN, max_length=200)]
"""Matches names of layers and parameters as a shell matches names of files."""


class Section(BaseModel):
    """A part of a recipe: frozen, strict about types, closed to unknown keys."""

    variant: ClassVar[str] = OWN
    """The tag of a section with a free name among its variants; of others it is their name."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def variant_of(key: str) -> Discriminator:
    """Tells the variants of a section apart by this key; a dotted path is the user's own."""

    def variant(value: Any) -> str | None:
        name = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
        if not isinstance(name, str):
            return None
        if name.startswith(f"{TORCHVISION}:"):
            return TORCHVISION
        return OWN if ":" in name else name

    return Discriminator(variant, custom_error_type=f"variant_{key}", custom_error_message="unknown variant")
