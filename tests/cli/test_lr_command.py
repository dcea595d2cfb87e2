"""`assay lr`: what it prints, and whether the line it prints does what it says."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import assay
from assay.cli import cli
from assay.cli.lr import chart, described, rounded
from assay.training.rate_finder import RateSweep

STUDY = """\
question: Which rate?
base:
  data: {source: digits}
  model: {name: mlp, widths: [32]}
  optimizer: {name: sgd, momentum: 0.9}
  train: {epochs: 1, batch_size: 64}
arms:
  plain: {}
  wide: {model.widths: [64]}
  adam: {optimizer: {name: adam}}
  adam, large batches: {extends: adam, train.batch_size: 256}
  muon: {optimizer: {name: muon, lr: 0.02, sgd_lr: 0.1}, model.widths: [16, 16]}
  machine: {model: {name: svm, kernel: linear}}
seeds: 3
"""
RECIPE = """\
data: {source: digits}
model: {name: mlp, widths: [32]}
"""
QUICK = ("--seeds", "2", "--steps", "40", "--lowest", "1e-4")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def lr(*words: str, code: int = 0) -> str:
    ended = CliRunner().invoke(cli, ["lr", *words], catch_exceptions=code != 0)
    assert (ended.exit_code == 0) == (code == 0), ended.output
    return ended.stdout if code == 0 else str(ended.exception)


def test_it_prints_a_chart_a_suggestion_and_the_words_to_use_it(files):
    lines = lr(str(files / "study.yaml"), *QUICK).splitlines()
    assert lines[0] == "study: plain, batches of 64"
    assert any("█" in line for line in lines)
    assert any(line.strip() == "▲" for line in lines)
    assert lines[-3].startswith("Suggested: ")
    assert lines[-2].startswith("Each alone would suggest ")
    assert lines[-1].startswith("To use it:  --set base.optimizer.lr=0.")


@pytest.mark.parametrize(
    ("arm", "before"),
    [
        ("plain", "base."),
        ("wide", "base."),
        ("adam", "arms.adam."),
        ("adam, large batches", "arms.adam, large batches."),
        ("muon", "arms.muon."),
    ],
)
def test_the_words_give_the_arm_that_rate_and_change_nothing_else_of_it(files, arm, before):
    file = files / "study.yaml"
    found = json.loads(lr(str(file), "--arm", arm, "--json", *QUICK))
    assert found["arm"] == arm
    assert found["set"][0].startswith(f"{before}optimizer.lr=")
    was, changed = assay.load(file).arm(arm).recipe, assay.load(file, found["set"]).arm(arm).recipe
    assert changed.optimizer.lr == rounded(found["suggestion"])
    if arm == "muon":
        assert changed.optimizer.sgd_lr == pytest.approx(5 * changed.optimizer.lr, rel=0.06)
        was = was.model_copy(
            update={"optimizer": was.optimizer.model_copy(update={"sgd_lr": changed.optimizer.sgd_lr})}
        )
    optimizer = was.optimizer.model_copy(update={"lr": changed.optimizer.lr})
    assert was.model_copy(update={"optimizer": optimizer}) == changed


def test_a_file_with_a_single_recipe_has_no_base(files):
    found = json.loads(lr(str(files / "recipe.yaml"), "--json", *QUICK))
    (words,) = found["set"]
    assert words == f"optimizer.lr={rounded(found['suggestion']):g}"
    assert len(found["losses"]) == 2
    assert len(found["rates"]) == len(found["mean"]) == 40


def test_values_set_come_first_and_where_no_word_can_set_the_rate_none_is_offered(files, tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(STUDY.partition("arms:")[0] + "grid: {optimizer.lr: [0.1, 0.2]}\nseeds: 3\n")
    found = json.loads(lr(str(file), "--json", "--set", "base.train.batch_size=128", *QUICK))
    assert found["set"] == []
    assert found["suggestion"] > 0
    plain = json.loads(lr(str(file), "--json", *QUICK))
    assert plain["losses"][0][0] != found["losses"][0][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arm", "machine"], "svm is fitted at once, and so has no learning rate to look for."),
        (["--arm", "plan"], 'Did you mean "plain"?'),
        (
            ["--lowest", "1", "--highest", "0.5"],
            "--lowest must be less than --highest, and that finite, got 1 and 0.5.",
        ),
        (["--highest", "inf"], "--lowest must be less than --highest, and that finite, got 1e-06 and inf."),
    ],
)
def test_mistakes_are_explained(files, words, message):
    assert message in lr(str(files / "study.yaml"), *words, code=2)


def test_asking_for_help_loads_no_torch(tmp_path):
    script = (
        "import sys; sys.argv = ['assay', 'lr', '--help']\n"
        "from assay.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'sklearn', 'scipy.stats') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Suggest a learning rate" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "[]"


def sweep_of(losses_T, **keys) -> RateSweep:
    losses_T = np.array(losses_T, dtype=float)
    rates_T = np.geomspace(1e-3, 1.0, len(losses_T))
    return RateSweep(rates_T=rates_T, losses_ST=losses_T[None], seeds=(0,), overrides_per_rate={})


def test_sweeps_that_agree_are_told_as_one_rate():
    falling = sweep_of(np.concatenate([np.full(30, 2.0), np.linspace(2.0, 0.2, 30), np.linspace(0.2, 3.0, 30)]))
    assert f"\nEach alone would suggest {rounded(falling.suggestion):g}. The loss " in described(falling)


def test_the_chart_is_higher_where_the_loss_is_and_marks_the_suggestion():
    falling = sweep_of(np.concatenate([np.full(30, 2.0), np.linspace(2.0, 0.2, 30), np.linspace(0.2, 3.0, 30)]))
    lines = chart(falling, width=60, height=6)
    rows, axis, mark, labels = lines[:6], lines[6], lines[7], lines[8]

    def filled(column: int) -> int:
        return sum(row[10 + column] != " " for row in rows)

    assert filled(2) > filled(30) > filled(38)
    assert axis.count("┴") == 4
    assert labels.split() == ["0.001", "0.01", "0.1", "1"]
    column = round((np.log10(falling.suggestion) + 3) / 3 * 59)
    assert mark == " " * (10 + column) + "▲"


def test_few_steps_fill_the_chart_without_gaps():
    rows = chart(sweep_of(np.linspace(2.0, 1.0, 12)), width=40, height=4)[:4]
    assert " " not in rows[-1][10:50]


def test_where_nothing_is_learnt_that_is_said():
    assert described(sweep_of(np.full(20, 2.3))) == (
        "The loss hardly fell at any rate from 0.001 to 1, so none is suggested. Try more --steps, or other bounds."
    )
    assert chart(sweep_of(np.full(20, np.nan))) == ["The loss exploded at the first step."]


def test_a_small_fall_is_said_to_be_one():
    losses_T = np.concatenate([np.full(20, 2.3), np.linspace(2.3, 2.2, 20), np.linspace(2.2, 90.0, 10)])
    assert "It fell by 3.6% only: with more --steps the sweeps would tell more." in described(sweep_of(losses_T))


def test_a_loss_still_falling_at_the_end_asks_for_higher_rates():
    text = described(sweep_of(np.concatenate([np.full(10, 2.0), np.linspace(2.0, 1.0, 40)])))
    assert text.startswith("Suggested: 0.1, a tenth of the rate at which the mean loss of 1 sweep was lowest.")
    assert text.endswith("lowest near the highest rate: with a greater --highest the suggestion may turn out higher.")
