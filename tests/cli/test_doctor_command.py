"""`assay doctor` on recipes: what it prints, and whether the words it prints do what they say."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from assay.api import load
from assay.cli import cli
from assay.cli.findings import drawn, finding_to_json
from assay.diagnosis.finding import Chart, Finding, Series

STUDY = """\
question: Which rate?
base:
  data: {source: digits}
  model: {name: mlp, widths: [32]}
  optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
arms:
  plain: {}
  slow: {optimizer.lr: 5e-5}
profiles:
  zero: {base.init: {name: normal, scale: 0.0}}
seeds: 3
"""
SLOW_RECIPE = """\
data: {source: digits}
model: {name: mlp, widths: [32]}
optimizer: {name: sgd, lr: 5e-5, momentum: 0.9}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "slow.yaml").write_text(SLOW_RECIPE)
    return tmp_path


def doctor(*words: str, code: int = 0) -> str:
    ended = CliRunner().invoke(cli, ["doctor", *words], catch_exceptions=code != 0)
    assert (ended.exit_code == 0) == (code == 0), ended.output
    return ended.stdout if code == 0 else str(ended.exception)


def test_where_nothing_is_found_it_says_what_was_checked(files):
    lines = doctor(str(files / "study.yaml")).splitlines()
    assert lines[0] == "study: plain, the first of 2 arms; --arm chooses another"
    assert lines[1] == "Nothing found. Checked, and in order:"
    assert "  ✓ a handful of examples can be learned by heart" in lines
    assert sorted(path.name for path in files.iterdir()) == ["slow.yaml", "study.yaml"]


def test_a_finding_is_told_with_its_evidence_a_drawing_and_words_that_cure_it(files):
    text = doctor(str(files / "slow.yaml"))
    assert "✗ severe  The learning rate is far too low  (learning_rate)" in text
    for part in ("  seen   At the recipe's rate of 5e-05 the loss went from ", "  why    ", "  cause  ", "  cure   "):
        assert part in text
    assert "loss over learning rate: " in text
    assert text.splitlines()[-1].startswith("1 finding: 1 severe. ")
    (line,) = [line for line in text.splitlines() if line.strip().startswith("--set")]
    assert doctor(str(files / "slow.yaml"), *line.split()).splitlines()[1].startswith("Nothing found.")


def test_json_ends_in_one_object(files):
    found = json.loads(doctor(str(files / "slow.yaml"), "--json").splitlines()[-1])
    assert (found["study"], found["arm"]) == ("slow", "run")
    (finding,) = found["findings"]
    assert (finding["rule"], finding["severity"]) == ("learning_rate", "severe")
    assert finding["set"] == ["--set", f"optimizer.lr={finding['changes']['optimizer.lr']:g}"]
    assert {"learning_rate", "softmax_twice", "split_leak"} <= set(found["checked"])


def test_arms_and_profiles_are_chosen_and_words_name_keys_of_the_base(files):
    found = json.loads(doctor(str(files / "study.yaml"), "--profile", "zero", "--json").splitlines()[-1])
    of_zeros = next(finding for finding in found["findings"] if finding["rule"] == "equal_units")
    assert of_zeros["set"] == ["--set", """'base.init={"name": "default"}'"""]
    slow = json.loads(doctor(str(files / "study.yaml"), "--arm", "slow", "--json").splitlines()[-1])
    (finding,) = slow["findings"]
    assert finding["rule"] == "learning_rate"
    assert finding["set"] == []  # the arm sets the rate itself, so that no word for the base reaches it


def test_a_cure_becomes_a_study(files):
    text = doctor(str(files / "slow.yaml"), "--study-of", "learning_rate")
    (files / "cure.yaml").write_text(text)
    study = load(files / "cure.yaml")
    assert [arm.name for arm in study.arms] == ["as it is", "changed"]
    assert study.arm("as it is").recipe == load(files / "slow.yaml").arms[0].recipe
    assert study.arm("changed").recipe.optimizer.lr > 1e-3


@pytest.mark.parametrize(("words", "message"), [
    (("{files}/slow.yaml", "--study-of", "learning_rat"), 'got \'learning_rat\'. Did you mean "learning_rate"?'),
    (("{files}/study.yaml", "--study-of", "inputs"), "got 'inputs'. Nothing was found."),
    (("{files}/none.yaml",), "none.yaml"),
    (("a1b2c3",), "the store holds no run 'a1b2c3'"),
    (("{files}/study.yaml", "--arm", "fast"), "fast"),
], ids=str)  # fmt: skip
def test_bad_input_is_said(files, words, message):
    assert message in doctor(*(word.format(files=files) for word in words), code=2)


# --- drawings ---------------------------------------------------------------------------------------------------------


def a_chart(*rows: tuple[float, ...], log: bool = False) -> Chart:
    series = tuple(Series(name="a" * (at + 1), x=tuple(map(float, range(len(y)))), y=y) for at, y in enumerate(rows))
    return Chart(x="step", y="loss", series=series, log=log)


def test_series_are_drawn_on_one_scale_and_gaps_stay_gaps():
    nan = float("nan")
    assert drawn(a_chart((0.0, 7.0, nan, 3.5), (7.0, 7.0, 0.0, 0.0))) == [
        "a  ▁█ ▅",
        "aa ██▁▁",
        "   loss over step: 0 to 7",
    ]
    assert drawn(a_chart((1.0, 10.0, 100.0, 0.0), log=True))[0] == "a ▁▅█ "
    assert drawn(a_chart((1.0, 100.0), log=True))[-1].endswith("1 to 100, log scale")
    assert drawn(a_chart((nan, float("inf")))) == []
    assert drawn(a_chart((2.0, 2.0)))[0] == "a ▁▁"
    assert len(drawn(a_chart(tuple(map(float, range(1000)))))[0]) == len("a ") + 60


def test_json_of_a_finding_holds_no_number_that_json_lacks():
    finding = Finding(
        rule="r", severity="note", title="t", seen="s.", why="w.", cause="c.", cure="u.",
        chart=a_chart((float("nan"), 1.0, float("inf"))),
    )  # fmt: skip
    found = json.loads(json.dumps(finding_to_json(finding, ()), allow_nan=False))
    assert found["chart"]["series"][0]["y"] == [None, 1.0, None]
