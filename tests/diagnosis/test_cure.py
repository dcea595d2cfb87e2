"""A cure can be tried: as words for the command line, and as a study."""

import shlex

import pytest

import assay
from assay.diagnosis.cure import set_words, study_of_cure
from assay.diagnosis.finding import Finding
from assay.recipe.schema import Recipe

RECIPE = {
    "data": {"source": "digits"},
    "model": {"name": "mlp", "widths": [32]},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "loss": {"label_smoothing": 0.1},
    "train": {"epochs": 3},
}


def finding(**changes) -> Finding:
    return Finding(
        rule="overfitting",
        severity="warning",
        title="The model overfits: 9.1 points",
        seen="Seen.",
        why="Why.",
        cause="Cause.",
        cure="Cure.",
        changes={key.replace("__", "."): value for key, value in changes.items()},
    )


CHANGES = [
    {"model__dropout": 0.3},
    {"optimizer__lr": 1e-7},
    {"optimizer__lr": 0.00125, "train__epochs": 40},
    {"schedule": {"name": "cosine"}},
    {"train__keep": "best"},
    {"augment__horizontal_flip": 0.5},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_the_study_compares_the_recipe_with_the_changed_one(tmp_path, changes):
    recipe = Recipe.model_validate(RECIPE)
    text = study_of_cure(finding(**changes), recipe)
    assert text is not None
    (tmp_path / "cure.yaml").write_text(text)
    study = assay.load(tmp_path / "cure.yaml")
    as_it_is, _ = study.arms
    assert as_it_is.recipe == recipe
    (claim,) = study.comparisons
    assert (claim.arm, claim.than, claim.kind) == ("changed", "as it is", "beats")
    assert study.question is not None
    assert study.question.startswith("The model overfits: 9.1 points: does ")


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("base", [False, True])
def test_the_words_change_the_file_as_the_study_does(tmp_path, changes, base):
    one = finding(**changes)
    recipe = Recipe.model_validate(RECIPE)
    (tmp_path / "study.yaml").write_text(study_of_cure(one, recipe))
    changed = assay.load(tmp_path / "study.yaml").arm("changed").recipe
    import json

    content = {"base": RECIPE, "arms": {"only": {}}, "seeds": 1} if base else RECIPE
    (tmp_path / "file.yaml").write_text(json.dumps(content))
    words = shlex.split(" ".join(set_words(one, base=base)))
    assert words[::2] == ["--set"] * len(changes)
    assert assay.load(tmp_path / "file.yaml", words[1::2]).arms[0].recipe == changed


def test_without_changes_there_is_nothing_to_try():
    assert set_words(finding(), base=True) == ()
    assert study_of_cure(finding(), Recipe.model_validate(RECIPE)) is None
