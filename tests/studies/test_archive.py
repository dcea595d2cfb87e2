"""Studies kept in a store: found again, rebuilt, and damage named."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.errors import InputError, StoreError
from assay.studies.archive import RUNS_FILE, STUDY_FILE, keep_fingerprints, keep_study, kept_results, kept_study
from assay.studies.design import Study
from assay.studies.store.folder import FolderStore
from assay.testing.trials import made_up_fingerprint, made_up_run

BASE = {"data": {"source": "digits"}, "model": {"name": "mlp"}}


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def study(**keys) -> Study:
    whole = {"name": "kept", "base": BASE, "arms": {"a": {}, "b": {"model.dropout": 0.1}}, **keys}
    return Study.model_validate({**whole, "claims": [{"arm": "a", "beats": "b"}]})


def test_results_are_rebuilt_from_what_was_kept(store):
    made = study(seeds=3)
    keep_study(made, store)
    runs = {arm.name: [made_up_run(arm.recipe_at(index)) for index in range(3)] for arm in made.arms}
    for arm_runs in runs.values():
        for run in arm_runs:
            store.add(run)
    names = {arm.name: {i: made_up_fingerprint(arm.recipe_at(i)) for i in range(4)} for arm in made.arms}
    keep_fingerprints(made, names, store)
    results = kept_results("kept", store)
    assert results.study.resolved() == made.resolved()
    assert results.fingerprints == names
    assert {arm: sorted(by_seed) for arm, by_seed in results.runs.items()} == {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert [claim.n for claim in results.claims] == [3]


def test_keeping_a_study_again_forgets_no_run(store):
    keep_study(study(), store)
    keep_fingerprints(study(), {"a": {0: "f" * 32}, "b": {}}, store)
    keep_study(study(question="Now with a question"), store)
    assert kept_results("kept", store).fingerprints["a"] == {0: "f" * 32}
    assert kept_study("kept", store).question == "Now with a question"


def test_a_name_belongs_to_one_file(store, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("one study")
    second.write_text("another study")
    keep_study(study().read_from(str(first)), store)
    with pytest.raises(
        InputError, match=r"study name 'kept' is taken in this store by .*first\.yaml\. Give one of the two"
    ):
        keep_study(study().read_from(str(second)), store)
    second.write_text("one study")  # a copy is the same study
    keep_study(study().read_from(str(second)), store)
    second.write_text("changed")
    Path(first).unlink()
    keep_study(study().read_from(str(second)), store)


def test_a_study_that_is_not_there_is_answered_with_the_nearest(store):
    with pytest.raises(InputError, match=r"holds no study 'kep'\. It holds no study yet"):
        kept_study("kep", store)
    keep_study(study(), store)
    with pytest.raises(InputError, match=r"holds no study 'kep'\. Did you mean .kept"):
        kept_study("kep", store)


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "\x00",
        '{"source": 4}',
        '{"fingerprints": 5}',
        '{"fingerprints": {"plain": 3}}',
        '{"fingerprints": {"plain": {"x": "aa"}}}',
        '{"fingerprints": {"plain": {"0": 7}}}',
        '{"fingerprints": {"plain": {"0": "../.."}}}',
    ],
)
def test_damage_is_named_with_what_to_do(store, damage):
    keep_study(study(), store)
    (store.study_folder("kept") / RUNS_FILE).write_text(damage)
    with pytest.raises(StoreError, match=r"runs.json of study 'kept' is damaged. Remove it and run the study's file"):
        kept_results("kept", store)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("", "study.yaml of study 'kept' cannot be used: must be a mapping, got None."),
        ("base: [\n", "study.yaml of study 'kept' cannot be used: study.yaml, line 2: is not valid YAML"),
        ("name: kept", "study.yaml of study 'kept' cannot be used: base.data is missing"),
        (None, "study.yaml of study 'kept' is missing."),
        ("name: other\n", "study.yaml of study 'kept' is of study 'other'."),
    ],
)
def test_a_study_file_that_cannot_be_used_is_named_with_what_to_do(store, damage, message):
    keep_study(study(), store)
    path = store.study_folder("kept") / STUDY_FILE
    text = path.read_text()
    if damage is None:
        path.unlink()
    else:
        path.write_text(text.replace("name: kept\n", damage) if damage.startswith("name: other") else damage)
    with pytest.raises(StoreError) as caught:
        kept_results("kept", store)
    assert message in str(caught.value)
    assert str(caught.value).endswith("Run the study's own file again to have it written anew; runs are not lost.")
    assert len(str(caught.value).splitlines()) <= 5
    keep_study(study(), store)
    assert kept_results("kept", store).study.name == "kept"
