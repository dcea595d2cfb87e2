"""Turns what pydantic found wrong into one message naming the key, the rule, the value and the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from assay.errors import InvalidValueError, did_you_mean, shown
from assay.recipe.section import DOTTED_PATH, LAYER_PATTERN, OWN, TORCHVISION, TORCHVISION_NAME

_VARIANT_ERRORS = ("variant_name", "variant_source", "union_tag_invalid", "union_tag_not_found")


def invalid_value(
    path: Sequence[str | int],
    problem: str = "",
    hint: str = "",
    *,
    error: ValidationError | None = None,
    schema: type[BaseModel] | None = None,
) -> InvalidValueError:
    """An `InvalidValueError` for one problem, or for the first problem of a pydantic error below ``path``."""
    if error is None:
        return InvalidValueError(path, problem, hint)
    details = error.errors(include_url=False)
    first = details[0]
    where, variants = _plain_path(first["loc"], schema)
    text, hint = _explain(first, variants)
    return InvalidValueError((*path, *where), text, hint, more=len(details) - 1)


def _plain_path(
    loc: tuple[int | str, ...], schema: type[BaseModel] | None
) -> tuple[tuple[str | int, ...], list[type[BaseModel]]]:
    """Drop the variant tags pydantic puts into a location, and say which models stand at its end (or its parent)."""
    path: list[str | int] = []
    models: list[type[BaseModel]] = [schema] if schema else []
    for part in loc:
        if any(part in _tags(model) for model in models) and len(models) > 1:
            models = [model for model in models if part in _tags(model)]
            continue
        path.append(part)
        fields = [
            field for model in models for name, field in model.model_fields.items() if part in (name, field.alias)
        ]
        if fields:
            models = [found for field in fields for found in models_in(field.annotation)]
    return tuple(path), models


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models an annotation is made of, those of all variants in turn."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def variant_key(model: type[BaseModel]) -> str | None:
    """The key that tells a variant from its siblings: ``name``, or ``source`` for data."""
    return next((key for key in ("source", "name") if key in model.model_fields), None)


def _tags(model: type[BaseModel]) -> tuple[object, ...]:
    key = variant_key(model)
    return (get_args(model.model_fields[key].annotation) or (getattr(model, "variant", OWN),)) if key else ()


def _explain(detail: ErrorDetails, models: list[type[BaseModel]]) -> tuple[str, str]:
    kind, value, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    got = f", got {shown(value)}."
    if kind == "extra_forbidden":
        names = [field.alias or name for model in models for name, field in model.model_fields.items()]
        wrong = detail["loc"][-1]
        variants = [str(tag) for model in models for tag in _tags(model)]
        of_what = f" of {variants[0]}" if len(variants) == 1 and variants != [OWN] else ""
        return f"is not a known key{of_what}.", did_you_mean(wrong, names)
    if kind == "missing":
        return "is missing; it has no default.", ""
    if kind in _VARIANT_ERRORS:
        key = "source" if any(variant_key(model) == "source" for model in models) else "name"
        tags = [str(tag) for model in models for tag in _tags(model)]
        names = [tag for tag in tags if tag not in (OWN, TORCHVISION)]
        valid = f"Valid {key}s: {', '.join(names)}.{_free_names(tags)}"
        chosen = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, dict):
            return f"must be a mapping with the key {key!r}{got}", valid
        if chosen is None:
            return f"needs the key {key!r} to say which one is meant.", valid
        return f"has an unknown {key}, got {shown(chosen)}.", did_you_mean(chosen, names) + _free_names(tags)
    if kind in ("literal_error", "enum"):
        names = [text.strip().strip("'") for text in str(context.get("expected", "")).replace(" or ", ",").split(",")]
        return f"must be one of {', '.join(names)}{got}", did_you_mean(value, names) if isinstance(value, str) else ""
    rule = _RULES.get(kind)
    if rule:
        return f"{rule(context)}{got}", _hint(kind, value, models)
    return f"is not valid: {detail['msg']}{got}", ""


def _free_names(tags: Sequence[str]) -> str:
    """How to write what has no fixed name among these variants."""
    if OWN not in tags:
        return ""
    classifier = " A classifier of torchvision is written torchvision:resnet18." if TORCHVISION in tags else ""
    return f" A class of your own is written package.module:Class.{classifier}"


def _hint(kind: str, value: object, models: list[type[BaseModel]]) -> str:
    """What to write instead of a text that stands where a number or a section belongs."""
    if not isinstance(value, str):
        return ""
    if kind in _NUMBER_TYPES and _is_number(value):
        return "A number was written as text; remove the quotes."
    if kind in ("list_type", "tuple_type") and re.fullmatch(r"[\w.*?-]{1,60}", value):
        return f"Write [{value}]." if value[0] != "*" else f'Write ["{value}"].'
    if kind in _SECTION_TYPES and any(value in _tags(model) for model in models):
        return f"Write {{{variant_key(models[0])}: {value}}}."
    return ""


_SECTION_TYPES = ("model_type", "model_attributes_type", "dict_type")
_NUMBER_TYPES = ("int_type", "float_type", "int_parsing", "float_parsing", "kernel_width")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_PATTERNS = {
    DOTTED_PATH: "must be a dotted path like package.module:Name",
    TORCHVISION_NAME: "must be torchvision: and a classifier's name there, like torchvision:resnet18",
    LAYER_PATTERN: "must be a name of layers or parameters, or a pattern of some, like features.*",
}

_RULES: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda c: f"must be greater than {c['gt']:g}",
    "greater_than_equal": lambda c: (
        f"must be at least {c['ge']:,g}" if c["ge"] < 1e6 else f"must be at least {c['ge']:,}"
    ),
    "less_than": lambda c: f"must be less than {c['lt']:,}",
    "less_than_equal": lambda c: f"must be at most {c['le']:,}",
    "int_type": lambda c: "must be a whole number",
    "int_from_float": lambda c: "must be a whole number",
    "float_type": lambda c: "must be a number",
    "plain_value": lambda c: "must be plain data: text, numbers, true, false, null, lists and mappings",
    "finite_number": lambda c: "must be a finite number",
    "bool_type": lambda c: "must be true or false",
    "string_type": lambda c: "must be text",
    "string_pattern_mismatch": lambda c: _PATTERNS[c["pattern"]],
    "foreign_path": lambda c: "must name a class in a module of your own, not in the standard library or in assay's",
    "string_too_long": lambda c: f"must have at most {c['max_length']} characters",
    "string_too_short": lambda c: (
        "must not be empty" if c["min_length"] == 1 else f"must have at least {c['min_length']} characters"
    ),
    "size": lambda c: "must be one whole number, or [height, width], from 1 to 4,096",
    "kernel_width": lambda c: "must be scale, or a number above 0 and at most 1,000,000,000",
    "list_type": lambda c: "must be a list",
    "tuple_type": lambda c: "must be a list",
    "dict_type": lambda c: "must be a mapping",
    "model_type": lambda c: "must be a mapping",
    "model_attributes_type": lambda c: "must be a mapping",
    "too_long": lambda c: f"must have at most {c['max_length']} entries",
    "too_short": lambda c: f"must have at least {c['min_length']} entries",
}
