"""Profiles: named sets of changes in a study file, applied before --set."""

from __future__ import annotations

import json

import jsonschema
import pytest
from click.testing import CliRunner

import assay
from assay.cli import cli
from assay.errors import InputError, StudyFileError
from assay.studies.json_schema import study_schema

STUDY = """\
question: Does width help?
base:
  data: {source: digits}
  model: {name: mlp, widths: [8]}
  train: {epochs: 40}
arms:
  plain: {}
  wide: {model.widths: [64]}
seeds: 8
profiles:
  smoke: {base.train.epochs: 2, seeds.at_least: 3, seeds.at_most: 3, arms.wide.model.widths: [16]}
  long: {base.train: {epochs: 400}}
"""


def study_file(tmp_path, text=STUDY):
    file = tmp_path / "width.yaml"
    file.write_text(text)
    return file


def test_without_a_profile_the_file_means_what_it_says(tmp_path):
    study = assay.load(study_file(tmp_path))
    assert study.name == "width"
    assert study.arms[0].recipe.train.epochs == 40
    assert study.seeds.at_most == 8


def test_a_profile_changes_base_arms_and_seeds_and_is_another_study(tmp_path):
    study = assay.load(study_file(tmp_path), profile="smoke")
    assert study.name == "width-smoke"
    assert [arm.recipe.train.epochs for arm in study.arms] == [2, 2]
    assert study.arm("wide").recipe.model.widths == (16,)
    assert (study.seeds.at_least, study.seeds.at_most) == (3, 3)
    assert assay.load(study_file(tmp_path), profile="long").arms[0].recipe.train.epochs == 400


def test_set_wins_over_a_profile(tmp_path):
    study = assay.load(study_file(tmp_path), ["base.train.epochs=1"], profile="smoke")
    assert study.arms[0].recipe.train.epochs == 1
    assert study.seeds.at_most == 3


def test_a_name_of_the_files_own_gets_the_profile_too(tmp_path):
    study = assay.load(study_file(tmp_path, STUDY + "name: my-study\n"), profile="smoke")
    assert study.name == "my-study-smoke"


def test_a_single_recipe_has_profiles_as_well(tmp_path):
    recipe = "data: {source: digits}\nmodel: {name: mlp}\ntrain: {epochs: 9}\n"
    text = recipe + "profiles: {smoke: {train.epochs: 1, seed: 4}}\n"
    study = assay.load(study_file(tmp_path, text), profile="smoke")
    assert study.arms[0].recipe.train.epochs == 1
    assert study.arms[0].first_seed == 4
    assert assay.load(study_file(tmp_path, text)).arms[0].recipe.train.epochs == 9


def test_an_unknown_profile_is_named_with_the_nearest(tmp_path):
    file = study_file(tmp_path)
    with pytest.raises(InputError) as error:
        assay.load(file, profile="smok")
    assert str(error.value) == f"{file}: has no profile 'smok'. Did you mean \"smoke\"?"
    with pytest.raises(InputError, match=r"has no profile 'smoke'\. It has none\."):
        assay.load(study_file(tmp_path, STUDY.partition("profiles:")[0]), profile="smoke")


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        (
            "profiles: 3\n",
            "line 10: profiles must name sets of changes, such as {smoke: {base.train.epochs: 1}}, got 3.",
        ),
        ("profiles: {smoke: 3}\n", "got 3 for smoke."),
        ("profiles: {smoke: {}}\n", "got {} for smoke."),
        ("profiles: {Smoke Test: {seeds: 3}}\n", "must be a name of up to 30 lower-case letters, digits and hyphens."),
    ],
)
def test_malformed_profiles_are_refused_even_when_not_asked_for(tmp_path, profiles, message):
    with pytest.raises(StudyFileError) as error:
        assay.load(study_file(tmp_path, STUDY.partition("profiles:")[0] + profiles))
    assert message in str(error.value)


def test_a_bad_value_in_a_profile_is_found_where_it_stands(tmp_path):
    file = study_file(tmp_path, STUDY.replace("base.train.epochs: 2", "base.train.epochs: -1"))
    assay.load(file)  # not applied
    with pytest.raises(StudyFileError) as error:
        assay.load(file, profile="smoke")
    assert str(error.value) == f"{file}, line 11, profiles.smoke: base.train.epochs must be at least 0, got -1."


def test_a_key_that_leads_nowhere_is_found(tmp_path):
    file = study_file(tmp_path, STUDY.replace("arms.wide.model", "arms.wid.model"))
    with pytest.raises(InputError, match=r"line 11, profiles.smoke: there is no arm 'wid'. Did you mean \"wide\"?"):
        assay.load(file, profile="smoke")


def test_the_schema_knows_profiles(tmp_path):
    schema = study_schema()
    good = {"base": {"data": {"source": "digits"}, "model": {"name": "mlp"}}, "profiles": {"smoke": {"seeds": 3}}}
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, "profiles": {"smoke": 3}}, schema)


def test_run_takes_a_profile(tmp_path):
    arguments = ["run", str(study_file(tmp_path)), "--profile", "smoke", "--set", "seeds.at_most=3"]
    result = CliRunner().invoke(cli, [*arguments, "--store", str(tmp_path / "store"), "--executor", "inline", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["study"] == "width-smoke"
