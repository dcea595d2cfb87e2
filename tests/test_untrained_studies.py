"""Models evaluated as they start, and studies that measure little: through runs, store, verdicts, report and tables."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import assay
from assay.cli import cli
from assay.errors import InvalidValueError
from assay.recipe.schema import Recipe
from assay.reports.tables import tables
from assay.training.run import run_recipe

UNTRAINED = {"data": {"source": "digits"}, "model": {"name": "mlp", "widths": [16]}, "train": {"epochs": 0}}


def run(**sections):
    return run_recipe(Recipe.model_validate({**UNTRAINED, **sections}), fingerprint="f00d")


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_without_epochs_the_initial_model_is_measured_and_kept(engine):
    untrained = run(train={"epochs": 0, "engine": engine})
    record = untrained.record
    (only,) = untrained.history
    assert (only.epoch, only.step, only.lr, only.seconds) == (0, 0, 0.0, 0.0)
    assert only.running_train_loss is only.running_train_accuracy is only.gradient_norm is None
    assert record.status == "completed"
    assert record.metrics["val_accuracy"] == only.val_accuracy == record.metrics["best_val_accuracy"]
    assert record.metrics["initial_loss"] == record.metrics["train_loss"] == pytest.approx(math.log(10), rel=0.1)
    assert record.metrics["kept_epoch"] == record.metrics["best_epoch"] == 0.0
    assert not {"running_train_loss", "running_train_accuracy", "gradient_norm"} & set(record.metrics)
    assert "epoch 0" in untrained.log
    barely = run(train={"epochs": 1, "batch_size": 2000, "engine": engine}, optimizer={"name": "sgd", "lr": 1e-30})
    for name, array in untrained.weights.items():
        np.testing.assert_array_equal(array, barely.weights[name])
    assert record.metrics["test_loss"] == pytest.approx(barely.record.metrics["test_loss"])


@pytest.mark.parametrize(
    "sections",
    [
        {"schedule": {"name": "one_cycle"}},
        {"schedule": {"name": "plateau"}},
        {"averaging": {"name": "ema"}},
        {"train": {"epochs": 0, "keep": "best", "patience": 3}},
        {"evaluate": {"train_split": False, "every": 5}},
        {"data": {"source": "circles"}},
    ],
    ids=str,
)
def test_what_goes_by_epochs_minds_none(sections):
    assert run(**sections).record.metrics["val_accuracy"] < 0.7


def test_a_warm_up_without_epochs_is_refused():
    with pytest.raises(
        InvalidValueError, match=r"schedule\.warmup_epochs must be less than train\.epochs \(0\), got 1"
    ):
        run(schedule={"name": "cosine", "warmup_epochs": 1.0})


def test_smaller_images_for_more_epochs_than_there_are_are_refused():
    with pytest.raises(
        InvalidValueError, match=r"train\.smaller_first must take at most train\.epochs \(0\) epochs, got 2"
    ):
        run(train={"epochs": 0, "smaller_first": [{"epochs": 2, "side": 4}]})


STUDY = {
    "question": "What is training worth?",
    "base": {"data": {"source": "digits"}, "model": {"name": "mlp", "widths": [16]}},
    "arms": {
        "untrained": {"train.epochs": 0},
        "trained": {"train.epochs": 5, "evaluate.every": 2, "optimizer.lr": 0.01},
        "unmeasured": {"train.epochs": 5, "evaluate.train_split": False, "optimizer.lr": 0.01},
    },
    "seeds": {"at_least": 3, "at_most": 3},
    "margin": {"val_accuracy": 0.2},
    "claims": [
        {"arm": "trained", "beats": "untrained"},
        {"arm": "unmeasured", "matches": "trained", "metric": "val_accuracy@4"},
    ],
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    results = assay.run(assay.Study.model_validate(STUDY), store=store, executor="inline", device="cpu")
    return results, store


def test_claims_about_untrained_and_sparsely_measured_arms_are_judged(kept):
    results, _ = kept
    better, same = results.claims
    assert (better.verdict, better.supported) == ("helps", True)
    assert (same.verdict, same.n) == ("no difference that matters", 3)


def test_the_page_draws_what_was_measured(kept):
    results, _ = kept
    text = assay.report(results).read_text(encoding="utf-8")
    assert "lines join the epochs that were: trained." in text
    assert "Not trained, and so drawn as dots at epoch 0: untrained." in text
    data = json.loads(text.split('type="application/json" id="curves-1">', 1)[1].split("</script>", 1)[0])
    assert {curve["arm"]: curve["epochs"] for curve in data["curves"]} == {
        "untrained": [0],
        "trained": [2, 4, 5],
        "unmeasured": [1, 2, 3, 4, 5],
    }
    train = json.loads(text.split('type="application/json" id="curves-2">', 1)[1].split("</script>", 1)[0])
    assert [curve["arm"] for curve in train["curves"]] == ["untrained", "trained"]


def test_tables_leave_what_was_not_measured_empty(kept):
    results, _ = kept
    found = tables(results)
    history = {
        (row["arm"], row["seed"], row["epoch"]): row for row in csv.DictReader(found["history.csv"].splitlines())
    }
    assert history["untrained", "0", "0"]["val_accuracy"] != ""
    assert history["untrained", "0", "0"]["running_train_loss"] == history["trained", "1", "3"]["val_loss"] == ""
    assert history["trained", "1", "4"]["train_loss"] != history["unmeasured", "1", "4"]["train_loss"] == ""
    runs = {(row["arm"], row["seed"]): row for row in csv.DictReader(found["runs.csv"].splitlines())}
    assert runs["unmeasured", "2"]["train_accuracy"] == runs["untrained", "2"]["gradient_norm"] == ""
    assert float(runs["untrained", "2"]["seconds"]) == 0.0


def test_the_terminal_lists_them(kept):
    _, store = kept
    listed = CliRunner().invoke(cli, ["list", "--store", str(store), "what-is-training-worth", "--json"])
    assert listed.exit_code == 0, listed.output
    rows = json.loads(listed.output)["runs"]
    assert {row["arm"] for row in rows} == {"untrained", "trained", "unmeasured"}
    assert all(0.0 < row["val_accuracy"] <= 1.0 for row in rows)
