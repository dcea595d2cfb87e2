"""The JSON Schema accepts what assay accepts and marks ordinary mistakes."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from assay.recipe.reading import read_document
from assay.studies.json_schema import study_schema

LABS = sorted((Path(__file__).parents[2] / "labs").rglob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", LABS, ids=lambda path: path.stem)
def test_every_lab_is_valid(validator, file):
    assert [error.message for error in validator.iter_errors(read_document(file).data)] == []


@pytest.mark.parametrize(
    "mistake",
    [
        {"armss": {}},
        {"arms": {"a": {"model.dropuot": 0.1}}},
        {"base": {"train": {"epochs": -1}}},
        {"base": {"model": {"name": "mlp", "dropuot": 0.1}}},
        {"seeds": "many"},
        {"margin": {"val_accuracy": 0}},
        {"claims": [{"arm": 3}]},
    ],
    ids=str,
)
def test_mistakes_are_marked(validator, mistake):
    assert list(validator.iter_errors(mistake))


def test_numbers_of_seeds_and_own_options_are_allowed(validator):
    study = {
        "seeds": 5,
        "base": {"loss": {"label_smoothing": 0.1}, "optimizer": {"lr": 1}},
        "arms": {"a": {"model.options.width": 3, "extends": "b"}, "b": None},
    }
    assert not list(validator.iter_errors(study))
