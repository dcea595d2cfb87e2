"""Every lab runs: cut short for the test suite, through the Python API, on the real data."""

from __future__ import annotations

from pathlib import Path

import pytest

import assay
from assay.data.load import source_fingerprint
from assay.data.weight_files import weight_file
from assay.errors import DataError

LABS = Path(__file__).parents[1] / "labs"
SHORT = ["seeds=3", "base.train.epochs=3"]
LARGE_LAB = 9
"""Runs."""
SHORTER = ["seeds=3", "base.train.epochs=1", "base.data.fraction=0.01"]
"""For labs on data sets of tens of thousands of images, whose smoke profile takes minutes."""


def short_study(file):
    """The lab cut short, or a skip that says which data or weights it lacks."""
    study = assay.load(file, SHORT)
    if study.arms[0].recipe.data.source in ("digits", "circles"):
        return study
    try:
        for arm in study.arms:
            source_fingerprint(arm.recipe.data)
            if arm.recipe.pretrained.weights is not None:
                weight_file(arm.recipe.pretrained.weights, arm.recipe.model.name)
    except DataError as error:
        pytest.skip(f"set ASSAY_DATA to where the data are: {str(error).splitlines()[0]}")
    return assay.load(file, SHORTER, profile="smoke")


def has_an_interval(claim):
    """An effect strictly inside its interval; where one rounding error is what is asked about, it may have no width."""
    if claim.comparison.margin is not None and claim.comparison.margin <= 1e-10:
        return claim.low <= claim.effect <= claim.high
    return claim.low < claim.effect < claim.high


@pytest.mark.parametrize("file", sorted(LABS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_lab_trains_every_arm_and_judges_every_claim(file, tmp_path):
    study = short_study(file)
    # Workers take some seconds to start, and pay where as many runs evaluate tens of thousands of images.
    many = len(study.arms) * 3 >= LARGE_LAB and study.arms[0].recipe.data.source not in ("digits", "circles")
    results = assay.run(study, store=tmp_path, executor="processes" if many else "inline", device="cpu")
    assert {arm: sorted(runs) for arm, runs in results.runs.items()} == {
        arm.name: [arm.first_seed, arm.first_seed + 1, arm.first_seed + 2] for arm in study.arms
    }
    assert results.failed == 0
    assert [claim.comparison for claim in results.claims] == list(study.comparisons)
    assert all(claim.n == 3 and has_an_interval(claim) for claim in results.claims)
    page = assay.report(results)  # beside the runs, in the store they were kept in
    assert page == tmp_path / "studies" / study.name / "report.html"
    assert page.stat().st_size > 50_000


def test_one_recipe_under_other_seeds_is_found_to_be_no_different(tmp_path):
    study = assay.load(LABS / "digits" / "same_recipe_twice.yaml", ["seeds.at_most=5"])
    results = assay.run(study, store=tmp_path, executor="inline", device="cpu")
    assert {claim.verdict for claim in results.claims} <= {"undecided", "no difference that matters"}
    assert all(claim.correlation is None for claim in results.claims)  # own seeds: nothing pairs them


def test_the_same_study_made_in_python_asks_for_the_same_runs(tmp_path):
    file = assay.load(LABS / "digits" / "dropout.yaml", SHORT)
    made = assay.Study(
        question="Does dropout help?",
        base={
            "data": {"source": "digits"},
            "model": {"name": "mlp", "widths": [256, 256]},
            "train": {"epochs": 3},
        },
        arms={"plain": {}, "wet": {"model.dropout": 0.5}},
        seeds={"at_least": 1, "at_most": 1},
    )
    assert made.arm("wet").recipe == file.arm("dropout 0.5").recipe
    results = assay.run(made, store=tmp_path, executor="inline", device="cpu")
    again = assay.run(made, store=tmp_path, executor="inline", device="cpu")
    assert results.fingerprints == again.fingerprints
    assert results.runs["wet"][0].record == again.runs["wet"][0].record


def test_a_single_recipe_runs_from_python(tmp_path):
    recipe = assay.Recipe.model_validate(
        {"data": {"source": "circles"}, "model": {"name": "mlp", "widths": [8]}, "train": {"epochs": 1}, "seed": 5}
    )
    results = assay.run(recipe, store=tmp_path, executor="inline", device="cpu")
    assert results.runs["run"][5].record.recipe == recipe.resolved()
