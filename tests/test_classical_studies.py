"""Studies whose arms are networks and models fitted at once, from the file to the report."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import assay
from assay.recipe.reading import read_document
from assay.reports.curves import curves
from assay.reports.evidence import gather
from assay.studies.json_schema import study_schema
from assay.testing.comparing import differences

STUDY = """\
question: Does the network earn its keep?
base:
  data: {source: circles, points: 250, validation: 0.2}
  model: {name: mlp, widths: [16]}
  optimizer: {name: adam, lr: 0.03}
  train: {epochs: 12, batch_size: 10}
arms:
  mlp: {}
  svm linear: {model: {name: svm, kernel: linear}}
  svm rbf: {model: {name: svm}}
  logistic regression: {model: {name: logistic_regression}}
seeds: 3
margin: {test_accuracy: 0.2}
metric: test_accuracy
claims:
  - {arm: mlp, beats: [svm linear, logistic regression]}
  - {arm: svm rbf, beats: svm linear}
  - {arm: mlp, matches: svm rbf}
  - {arm: mlp, beats: svm rbf, metric: test_loss}
  - {arm: mlp, beats: logistic regression, metric: test_loss}
"""
SOURCES = {"circles": [], "digits": ["base.data={source: digits}", "base.train.batch_size=100"]}


@pytest.fixture(scope="module", params=list(SOURCES))
def finished(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "four.yaml").write_text(STUDY)
    study = assay.load(folder / "four.yaml", SOURCES[request.param])
    return request.param, assay.run(study, store=folder / "store", executor="inline", device="cpu")


def test_every_arm_has_its_runs_and_every_claim_a_verdict(finished):
    source, results = finished
    assert {arm: len(runs) for arm, runs in results.runs.items()} == dict.fromkeys(results.runs, 3)
    assert results.failed == 0
    verdicts = {str(claim.comparison): claim.verdict for claim in results.claims}
    if source == "circles":
        assert verdicts["mlp beats svm linear on test_accuracy"] == "helps"
        assert verdicts["svm rbf beats svm linear on test_accuracy"] == "helps"
    assert verdicts["mlp matches svm rbf on test_accuracy"] == "no difference that matters"
    assert verdicts["mlp beats svm rbf on test_loss"] == "undecided"
    no_loss, with_loss = results.claims[-2:]
    assert no_loss.stuck
    assert no_loss.notes[0].startswith("Stays undecided: test_loss is missing from svm rbf at seed 0, ")
    assert (no_loss.effect, with_loss.stuck, with_loss.n) == (None, False, 3)


def test_the_report_is_written_with_level_lines_and_empty_cells(finished):
    _, results = finished
    page = assay.report(results)
    html = page.read_text(encoding="utf-8")
    assert "Fitted at once, without epochs, and so drawn as level lines: svm linear, svm rbf, " in html
    with (page.parent / "tables" / "runs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["arm"] for row in rows if row["test_loss"] == ""} == {"svm linear", "svm rbf"}
    with (page.parent / "tables" / "history.csv").open(encoding="utf-8") as file:
        epochs = [row["arm"] for row in csv.DictReader(file)]
    assert {arm: epochs.count(arm) for arm in results.runs} == {
        "mlp": 36,
        "svm linear": 3,
        "svm rbf": 3,
        "logistic regression": 3,
    }


def test_what_is_fitted_at_once_is_level_over_the_epochs_of_the_others_and_has_no_rate(finished):
    _, results = finished
    evidence = gather(results)
    found = curves(evidence, [])
    for panel in found.panels:
        for curve in panel.curves:
            assert curve.epochs == tuple(range(1, 13))
            assert (len(set(curve.mean)) == 1) == (curve.arm != "mlp")
            assert curve.n == (3,) * 12
    accuracy = next(panel for panel in found.panels if panel.metric.name == "val_accuracy")
    means = {curve.arm: curve.mean[-1] for curve in accuracy.curves}
    for arm, runs in results.runs.items():
        assert means[arm] == pytest.approx(np.mean([run.record.metrics["val_accuracy"] for run in runs.values()]))
    by_name = {panel.metric.name: [curve.arm for curve in panel.curves] for panel in (*found.panels, *found.folded)}
    assert by_name["val_loss"] == ["mlp", "logistic regression"]
    assert by_name["lr"] == by_name["gradient_norm"] == ["mlp"]
    assert by_name["weight_norm"] == ["mlp", "svm linear", "logistic regression"]


def test_a_study_without_networks_draws_its_single_points(tmp_path):
    (tmp_path / "two.yaml").write_text(STUDY)
    study = assay.load(tmp_path / "two.yaml")
    without = assay.Study.model_validate(
        {
            "question": "None?",
            "base": study.base,
            "arms": {name: study.arm_changes[name] for name in ("svm linear", "svm rbf")},
            "seeds": 1,
        }
    )
    results = assay.run(without, store=tmp_path / "store", executor="inline")
    assert curves(gather(results), []).remarks == ()
    assert assay.report(results).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("finished", ["digits"], indirect=True)
def test_workers_give_what_this_process_gives_and_cached_runs_need_no_scikit_learn(finished, tmp_path):
    source, inline = finished
    again = assay.run(inline.study, store=tmp_path / "store", executor="processes", device="cpu", jobs=2)
    for arm, runs in inline.runs.items():
        for seed, run in runs.items():
            assert differences(run, again.runs[arm][seed]) == []
    file = Path(inline.study.source)
    code = (
        "import sys, assay\n"
        f"study = assay.load({str(file)!r}, {SOURCES[source]!r})\n"
        f"assert assay.run(study, store={inline.store!r}, device='cpu').failed == 0\n"
        "sys.exit('sklearn' in sys.modules or 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("arm", ["svm linear", "logistic regression"])
@pytest.mark.parametrize("where", ["claims", "metric"])
def test_an_epochs_metric_cannot_be_claimed_of_an_arm_without_epochs(tmp_path, arm, where):
    claims = STUDY.index("metric: test_accuracy")
    claim = f"  - {{arm: mlp, beats: {arm}{', metric: val_accuracy@5' if where == 'claims' else ''}}}\n"
    default = "metric: val_accuracy@5\n" if where == "metric" else ""
    (tmp_path / "study.yaml").write_text(f"{STUDY[:claims]}{default}claims:\n{claim}")
    with pytest.raises(assay.InputError) as caught:
        assay.load(tmp_path / "study.yaml")
    model = "svm" if arm == "svm linear" else "logistic_regression"
    assert (
        f"asks for val_accuracy@5, but arm {arm!r} is {model}, which is fitted at once and has no epochs.\n"
        "  Claim val_accuracy, which other arms have after their last epoch."
    ) in str(caught.value)


@pytest.mark.parametrize(
    ("arm", "metric", "hint"),
    [
        ("svm linear", "val_loss@2", "Claim a metric that every arm has, such as val_accuracy."),
        ("svm linear", "train_accuracy@2", "Claim train_accuracy, which other arms have after their last epoch."),
        ("logistic regression", "val_loss@2", "Claim val_loss, which other arms have after their last epoch."),
        ("logistic regression", "gradient_norm@2", "Claim a metric that every arm has, such as val_accuracy."),
    ],
)
def test_what_an_arm_lacks_after_its_last_epoch_too_is_not_suggested(tmp_path, arm, metric, hint):
    claims = STUDY.index("metric: test_accuracy")
    (tmp_path / "study.yaml").write_text(f"{STUDY[:claims]}claims:\n  - {{arm: mlp, beats: {arm}, metric: {metric}}}\n")
    with pytest.raises(assay.InputError) as caught:
        assay.load(tmp_path / "study.yaml")
    assert hint in str(caught.value)


def test_augmenting_for_all_arms_says_what_to_do_for_those_that_cannot(tmp_path):
    augmented = STUDY.replace("  train:", "  augment: {horizontal_flip: 0.5}\n  train:").replace(
        "{source: circles, points: 250, validation: 0.2}", "{source: digits}"
    )
    (tmp_path / "study.yaml").write_text(augmented)
    with pytest.raises(assay.InputError, match=r"augment needs a model trained in batches, and model\.name svm is"):
        assay.load(tmp_path / "study.yaml")


def test_editors_know_these_models(tmp_path):
    validator = jsonschema.Draft202012Validator(study_schema())
    (tmp_path / "study.yaml").write_text(STUDY)
    data = read_document(tmp_path / "study.yaml").data
    assert [error.message for error in validator.iter_errors(data)] == []
    for wrong in ({"name": "svm", "kernel": "poly"}, {"name": "svm", "C": 0}, {"name": "logistic_regression", "D": 1}):
        assert list(validator.iter_errors({**data, "base": {**data["base"], "model": wrong}}))


OWN = """\
import numpy as np
from assay.data.source import Examples

class Points:
    def fingerprint(self):
        return "1"

    def load(self):
        return Examples(inputs=np.eye(40, 2, dtype="float32"), labels_N=np.arange(40) % 2, classes=["a", "b"])
"""


def test_a_source_of_ones_own_feeds_an_rbf_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "points_for_machines.py").write_text(OWN)
    (tmp_path / "study.yaml").write_text("data: {source: 'points_for_machines:Points'}\nmodel: {name: svm}\n")
    results = assay.run(assay.load(tmp_path / "study.yaml"), store=tmp_path / "store", executor="inline")
    sys.modules.pop("points_for_machines", None)
    assert results.failed == 0


def inspect(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "assay", "inspect", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_inspect_shows_a_linear_model_and_explains_why_not_an_rbf_machine(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    linear = inspect("study.yaml", "--arm", "svm linear", "--json", folder=tmp_path)
    assert json.loads(linear.stdout)["parameters"] == 3
    by_name = inspect("logistic_regression", "--input", "3,32,32", "--json", folder=tmp_path)
    assert json.loads(by_name.stdout)["macs"] == 30_720
    for words in (("study.yaml", "--arm", "svm rbf"), ("svm",)):
        refused = inspect(*words, folder=tmp_path)
        assert refused.returncode == 2
        assert "model.kernel must be linear for a table of layers, got rbf" in refused.stderr
