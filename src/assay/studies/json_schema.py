"""The JSON Schema of study files, for editors that complete and check YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from assay.metrics.catalogue import CATALOGUE
from assay.recipe.problems import models_in
from assay.recipe.schema import Recipe, default_variants
from assay.studies.design import Study

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ARM_KEYS: dict[str, Any] = {
    "extends": {"type": "string", "description": "Arm of this study to start from."},
    "seeds_from": {"type": "integer", "minimum": 0, "description": "First seed of this arm's own seeds."},
}
_OPTIONS: dict[str, Any] = {r"^(data|model)\.options(\.|$)": {}}


def study_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a study file: pydantic's, with recipe keys spelled out where they may stand."""
    schema = Study.model_json_schema(by_alias=True)
    recipe = Recipe.model_json_schema()
    definitions = {**schema.pop("$defs", {}), **recipe.pop("$defs", {})}
    sections = {name: section for name, section in recipe["properties"].items() if name != "seed"}
    keys = {key: {"description": text} if text else {} for key, text in _dotted_keys(Recipe, "")}
    keys = {key: value for key, value in keys.items() if key != "seed"}
    for section in default_variants():
        default = type(Recipe.model_fields[section].default).__name__
        definitions[default]["required"] = []  # a section without a name means its default variant
    properties = schema["properties"]
    changes: dict[str, Any] = {
        "type": "object",
        "properties": {**keys, **sections},
        "patternProperties": _OPTIONS,
        "additionalProperties": False,
    }
    properties["base"] |= changes
    arm = {**changes, "type": ["object", "null"], "properties": {**_ARM_KEYS, **changes["properties"]}}
    properties["arms"]["additionalProperties"] = arm
    properties["leave_one_out"]["additionalProperties"] = changes
    properties["grid"]["properties"] = {key: {"type": "array", "minItems": 1, **value} for key, value in keys.items()}
    properties["seeds"] = {"anyOf": [{"type": "integer", "minimum": 1}, properties["seeds"]]}
    properties["metric"] |= {"examples": list(CATALOGUE)}
    properties["margin"]["properties"] = {
        name: {"type": "number", "exclusiveMinimum": 0, "description": metric.meaning}
        for name, metric in CATALOGUE.items()
    }
    properties["profiles"] = {
        "type": "object",
        "description": "Named sets of changes, by dotted keys in this file; --profile NAME applies one.",
        "additionalProperties": {"type": "object", "minProperties": 1},
    }
    return {"$schema": DIALECT, **schema, "title": "assay study", "$defs": definitions}


def _dotted_keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        key = prefix + name
        yield key, field.description or ""
        for section in models_in(field.annotation):
            yield from _dotted_keys(section, key + ".")
