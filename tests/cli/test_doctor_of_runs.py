"""`assay doctor` on finished runs: what was planted is named, and it is told without torch or data."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import assay
from assay.cli import cli

STUDY = """\
question: What went wrong?
name: sick
base:
  data: {source: digits}
  model: {name: mlp, widths: [32, 32]}
  optimizer: {name: adam}
  train: {epochs: 12, batch_size: 64}
arms:
  sound: {}
  too low: {optimizer.lr: 1e-7}
  too high: {optimizer: {name: sgd, lr: 100.0, momentum: 0.9}}
seeds: 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    (place / "sick.yaml").write_text(STUDY)
    assay.run(assay.load(place / "sick.yaml"), store=place / "store", executor="inline")
    return place


def doctor(place, *words: str, code: int = 0) -> str:
    ended = CliRunner().invoke(cli, ["doctor", *words, "--store", str(place / "store")], catch_exceptions=code != 0)
    assert (ended.exit_code == 0) == (code == 0), ended.output
    return ended.stdout if code == 0 else str(ended.exception)


def found(place, run: str) -> dict[str, str]:
    told = json.loads(doctor(place, run, "--json"))["findings"]
    return {finding["rule"]: finding["severity"] for finding in told}


def test_a_sound_run_has_nothing_severe(place):
    assert "severe" not in found(place, "sick:sound:0").values()


def test_too_low_a_rate_is_named_with_words_that_raise_it(place):
    text = doctor(place, "sick:too low:0")
    assert "✗ severe  The learning rate 1e-07 is too low  (rate_too_low)" in text
    assert "--set base.optimizer.lr=1e-05" in text
    assert text.splitlines()[-1].endswith("rules were asked.")


def test_too_high_a_rate_is_named(place):
    assert {"diverged", "rate_too_high"} & found(place, "sick:too high:0").keys()


def test_the_study_of_a_cure_can_be_run(place, tmp_path):
    (tmp_path / "cure.yaml").write_text(doctor(place, "sick:too low:0", "--study-of", "rate_too_low"))
    study = assay.load(tmp_path / "cure.yaml")
    assert [arm.recipe.optimizer.lr for arm in study.arms] == [1e-7, 1e-5]


def test_runs_that_are_not_there_are_refused(place):
    assert "the store holds no run 'ffff'" in doctor(place, "ffff", code=2)
    told = doctor(place, "sick.yam", code=2)
    assert "there is no file 'sick.yam', nor can it be a run" in told
    assert "Did you mean" in doctor(place, "sick:sund:0", code=2)
    assert "it holds seeds 0" in doctor(place, "sick:sound:7", code=2).lower()


def test_it_needs_neither_torch_nor_data(place):
    script = (
        "import sys; from assay.cli import cli\n"
        f"cli(['doctor', 'sick:sound:0', '--store', {str(place / 'store')!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'sklearn', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
