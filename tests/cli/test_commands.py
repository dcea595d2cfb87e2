"""The commands as users run them: real processes, real training, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from assay.studies.store.folder import FolderStore

STUDY = """\
question: Does width help on circles?
base:
  data: {source: circles, noise: 0.05, test_points: 40}
  model: {name: mlp, widths: [8]}
  optimizer: {name: adam, lr: 0.03}
  train: {epochs: 15, batch_size: 16}
arms:
  narrow: {}
  wide: {model.widths: [64]}
seeds: 3
margin: {val_accuracy: 0.9}
claims:
  - {arm: wide, matches: narrow}
  - {arm: narrow, beats: wide, metric: parameters}
"""


def assay(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `assay` in a folder and insist on its exit code."""
    ended = subprocess.run(
        [sys.executable, "-m", "assay", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the study was run once, and what that printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "study.yaml").write_text(STUDY)
    return folder, assay(folder, "run", "study.yaml", "--json")


def test_run_ends_with_one_json_object_on_one_line(finished):
    _, ended = finished
    (line,) = ended.stdout.splitlines()
    result = json.loads(line)
    assert result["study"] == "study"
    assert result["runs"] == {"done": 6, "cached": 0, "failed": 0}
    assert Path(result["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    keys = "arm than metric kind verdict supported effect low high low_new high_new n more_seeds"
    assert [list(claim) for claim in result["claims"]] == [keys.split()] * 2
    equal, smaller = result["claims"]
    assert (equal["verdict"], equal["supported"], equal["n"]) == ("no difference that matters", True, 3)
    assert (smaller["verdict"], smaller["effect"]) == ("helps", 8 * 2 + 8 + 8 * 2 + 2 - (64 * 2 + 64 + 64 * 2 + 2))


def test_a_cached_run_computes_nothing_and_loads_no_framework(finished):
    folder, _ = finished
    code = (
        "import sys; from assay.cli import main\n"
        "sys.argv = ['assay', 'run', 'study.yaml', '--json']\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'sklearn', 'scipy.stats', 'pandas') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    result, loaded = ended.stdout.splitlines()
    assert json.loads(result)["runs"] == {"done": 0, "cached": 6, "failed": 0}
    assert loaded == "[]"


def test_inline_and_worker_runs_are_bit_identical(finished, tmp_path):
    folder, _ = finished
    assay(folder, "run", "study.yaml", "--executor", "inline", "--store", str(tmp_path), "--quiet")
    pool, inline = FolderStore(folder / "assay-runs"), FolderStore(tmp_path)
    assert list(pool.fingerprints()) == list(inline.fingerprints())
    for name in pool.fingerprints():
        one, other = pool.get(name), inline.get(name)
        assert [
            r for r in one.record.metrics if "seconds" not in r and one.record.metrics[r] != other.record.metrics[r]
        ] == []
        assert all(np.array_equal(one.weights()[key], other.weights()[key]) for key in one.weights())


def test_more_seeds_compute_only_what_is_missing(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    ended = assay(
        tmp_path / "copy",
        "run",
        "study.yaml",
        "--json",
        "--set",
        "seeds.at_most=5",
        "--set",
        "margin.val_accuracy=1e-6",
    )
    assert json.loads(ended.stdout)["runs"] == {"done": 4, "cached": 6, "failed": 0}


def test_the_report_is_rebuilt_from_a_copied_store_alone(finished, tmp_path):
    folder, ended = finished
    shutil.copytree(folder / "assay-runs", tmp_path / "assay-runs")
    (tmp_path / "assay-runs" / "studies" / "study" / "report.html").unlink()
    rebuilt = json.loads(assay(tmp_path, "report", "study", "--json").stdout)
    assert rebuilt["claims"] == json.loads(ended.stdout)["claims"]
    assert Path(rebuilt["report"]).exists()
    table = list(csv.DictReader(io.StringIO(assay(tmp_path, "report", "study", "--csv").stdout)))
    assert [row["verdict"] for row in table] == ["no difference that matters", "helps"]


def test_list_shows_studies_and_runs(finished):
    folder, _ = finished
    (study,) = json.loads(assay(folder, "list", "--json").stdout)["studies"]
    assert (study["study"], study["runs"], study["decided"]) == ("study", 6, 2)
    runs = json.loads(assay(folder, "list", "study", "--json").stdout)["runs"]
    assert [(run["arm"], run["seed"], run["status"]) for run in runs[:4]] == [
        ("narrow", 0, "completed"), ("narrow", 1, "completed"), ("narrow", 2, "completed"), ("wide", 0, "completed"),
    ]  # fmt: skip
    assert "Does width help" in assay(folder, "list").stdout
    assert "Did you mean" in assay(folder, "list", "stuyd", code=2).stderr


def test_a_study_that_cannot_be_read_hides_no_other(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder / "assay-runs", tmp_path / "assay-runs")
    (tmp_path / "assay-runs" / "studies" / "broken").mkdir()
    (tmp_path / "assay-runs" / "studies" / "broken" / "study.yaml").write_text("base: [")
    listed = assay(tmp_path, "list").stdout
    assert (
        "broken  cannot be read: study.yaml of study 'broken' cannot be used: study.yaml, line 1: is not valid YAML"
        in listed
    )
    assert "study  Does width help on circles?" in listed


def test_reports_of_all_studies_are_one_json_object(finished):
    folder, ended = finished
    (line,) = assay(folder, "report", "--json").stdout.splitlines()
    (study,) = json.loads(line)["studies"]
    assert study["claims"] == json.loads(ended.stdout)["claims"]


def test_check_fails_when_a_claim_is_not_supported(finished):
    folder, _ = finished
    assay(folder, "run", "study.yaml", "--check", "--quiet")
    ended = assay(
        folder, "run", "study.yaml", "--check", "--set", "claims.1.arm=wide", "--set", "claims.1.beats=narrow", code=3
    )
    assert "not supported: wide beats narrow on parameters" in ended.stderr


def test_another_file_of_the_same_name_is_refused(finished, tmp_path):
    folder, _ = finished
    other = tmp_path / "study.yaml"
    other.write_text(STUDY.replace("Does width", "Does depth"))
    ended = assay(folder, "run", str(other), code=2)
    assert "study name 'study' is taken in this store by" in ended.stderr


def test_an_override_without_effect_is_refused(finished):
    folder, _ = finished
    words = ["--set", "arms.narrow.model.widths=[4]", "--set", "base.model.widths=[16]"]
    assert (
        "has no effect, for every arm sets model.widths itself"
        in assay(folder, "run", "study.yaml", *words, code=2).stderr
    )


def test_a_single_recipe_is_run_once(tmp_path):
    (tmp_path / "one.yaml").write_text(
        "data: {source: circles, points: 60}\nmodel: {name: mlp, widths: [4]}\ntrain: {epochs: 1}\nseed: 7\n"
    )
    assert json.loads(assay(tmp_path, "run", "one.yaml", "--json").stdout)["runs"]["done"] == 1
    (run,) = json.loads(assay(tmp_path, "list", "one", "--json").stdout)["runs"]
    assert run["seed"] == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "absent.yaml"], "absent.yaml: there is no such file."),
        (["rnu"], "there is no command 'rnu'. Did you mean \"run\"?"),
        (
            ["run", "study.yaml", "--set", "base.train.epochs=-1"],
            "--set base.train.epochs=-1: base.train.epochs must be at least 0",
        ),
        (["run", "study.yaml", "--jobs", "0"], "--jobs"),
        (
            ["run", "study.yaml", "--checkpoint-every", "30x"],
            "--checkpoint-every must be a time such as 30s, 5min or 2h, a number of steps such as 500steps, or never, "
            "got '30x'.",
        ),
        (["run", "study.yaml", "--set", 'base.pretrained.weights=""'], "pretrained.weights must not be empty, got ''."),
        (["run", "study.yaml", "--executor", "inline", "--time-limit", "5", "--set", "seeds=5"], "inline executor"),
        (["report", "nothing"], "the store holds no study 'nothing'"),
        (["inspect", "lenet5", "--input", "3,x"], "--input must be C,H,W"),
        (["report", "study", "--csv", "--json"], "--csv and --json both want standard output; choose one."),
        (["inspect", "lenett"], 'Did you mean "lenet5"?'),
    ],
)
def test_bad_input_exits_with_2(finished, words, message):
    folder, _ = finished
    assert message in assay(folder, *words, code=2).stderr


def test_inspect_counts_what_the_paper_counts(tmp_path):
    anatomy = json.loads(assay(tmp_path, "inspect", "lenet5", "--input", "1,32,32", "--json").stdout)
    by_shape = {tuple(row["output_shape"]): row["parameters"] for row in anatomy["rows"] if row["parameters"]}
    # LeCun et al. 1998 for the fully connected layers; the convolutions are fully connected between channels here.
    assert by_shape == {(6, 28, 28): 156, (16, 10, 10): 2416, (120,): 48120, (84,): 10164, (10,): 850}
    assert anatomy["parameters"] == sum(by_shape.values())


OWN = """\
import time
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, input_shape, classes, mood="good"):
        super().__init__()
        self.mood = mood
        self.layer = nn.Linear(input_shape[0], classes)

    def forward(self, x):
        if self.training and self.mood == "bad":
            raise RuntimeError("a bad\\nmood\\x1b[31m")
        if self.training and self.mood == "slow":
            time.sleep(60)
        return self.layer(x)
"""


@pytest.fixture
def own(tmp_path):
    """A folder with a model of the user's own, and a study that uses it in several moods."""
    (tmp_path / "nets.py").write_text(OWN)
    text = STUDY.split("arms:")[0].replace("name: mlp, widths: [8]", 'name: "nets:Tiny"')
    (tmp_path / "own.yaml").write_text(
        text + "arms:\n  good: {}\n  bad: {model.options.mood: bad}\nseeds: 1\n", encoding="utf-8"
    )
    return tmp_path


def test_failed_runs_are_reported_and_retried_and_take_nothing_with_them(own):
    ended = assay(own, "run", "own.yaml", code=1)
    assert "Uses your own class nets:Tiny: its module will be imported." in ended.stderr
    assert "Failed: bad, seed 0 (raised): " in ended.stderr
    assert "(raised): RuntimeError: a bad mood\\x1b[31m\n" in ended.stderr
    assert "To retry:\n  assay run own.yaml" in ended.stderr
    assert "Runs: 1 done, 0 cached, 1 failed." in ended.stdout
    (folder,) = (own / "assay-runs" / "failed").iterdir()
    assert "nets.py" in (folder / "traceback.txt").read_text()
    (own / "nets.py").write_text(OWN.replace('"bad"', '"worse"'))
    ended = assay(own, "run", "own.yaml", "--json")
    assert json.loads(ended.stdout)["runs"] == {"done": 2, "cached": 0, "failed": 0}


def test_a_run_over_its_time_limit_fails_alone(own):
    ended = assay(own, "run", "own.yaml", "--set", "arms.bad.model.options.mood=slow", "--time-limit", "15", code=1)
    assert "Failed: bad, seed 0 (timeout)" in ended.stderr
    assert "1 done, 0 cached, 1 failed" in ended.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('base.model.name="nets:Tony"', "has no 'Tony'. Did you mean \"Tiny\"?"),
        ('base.model.name="missing_module:Tiny"', "there is no module 'missing_module'"),
        ("base.model.options={moood: bad}", "moood"),
    ],
)
def test_own_classes_that_do_not_fit_are_found_before_anything_starts(own, change, message):
    ended = assay(own, "run", "own.yaml", "--set", change, code=2)
    assert message in ended.stderr
    assert not list((own / "assay-runs").glob("failed/*"))


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_continue(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    words = [
        "run",
        "study.yaml",
        "--set",
        "seeds=50",
        "--set",
        "base.train.epochs=30",
        "--set",
        "margin={}",
        "--set",
        "claims=[]",
    ]
    command = [sys.executable, "-m", "assay", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        runs = tmp_path / "assay-runs" / "runs"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not runs.exists() or len(list(runs.iterdir())) < 3):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "To continue:\n  assay run study.yaml --set seeds=50" in errors
    kept = len(list(runs.iterdir()))
    assert 3 <= kept < 100
    assert f"{kept} runs finished and kept" in errors
    assert all(
        FolderStore(tmp_path / "assay-runs").get(name) for name in FolderStore(tmp_path / "assay-runs").fingerprints()
    )
    unfinished = json.loads(assay(tmp_path, "list", "--json").stdout)["studies"]
    assert [(study["study"], study["runs"]) for study in unfinished] == [("study", kept)]
    assert Path(assay(tmp_path, "report", "study").stdout.strip()).exists()


INTERRUPTED = """\
import sys
import assay.cli.run as run
import assay.api as api
def interrupt(*args, **kwargs):
    raise KeyboardInterrupt
{place} = interrupt
sys.argv = ["assay", "run", "study.yaml", "--jobs", "1", "--device", "cpu"]
from assay.cli import main
main()
"""


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("api.load", "assay: stopped.\n"),
        ("run._report", "To continue:\n  assay run study.yaml --jobs 1 --device cpu\n"),
    ],
    ids=["while reading", "while reporting"],
)
def test_ctrl_c_exits_with_130_at_any_moment(finished, place, message):
    folder, _ = finished
    words = [sys.executable, "-c", INTERRUPTED.format(place=place)]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.endswith(message)
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_one_message(finished):
    folder, _ = finished
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "assay", "run", "study.yaml", "--json", "--quiet"]
        ended = subprocess.run(
            words, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert ended.returncode == 1
    assert "assay: the output could not be written: No space left on device." in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="closes descriptors as POSIX shells do")
def test_a_study_runs_without_standard_error(finished):
    folder, _ = finished
    words = ["sh", "-c", 'exec "$0" -m assay run study.yaml --json 2>&-', sys.executable]
    ended = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["runs"]["cached"] == 6


def test_a_name_cannot_steer_the_terminal(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY.replace("narrow: {}", '"nar\\e[31mrow": {}'))
    assert "arms.nar\\x1b[31mrow must have a name" in assay(tmp_path, "run", "study.yaml", code=2).stderr


def test_counts_read_as_people_write_them(finished, tmp_path):
    folder, _ = finished
    ended = assay(folder, "run", "study.yaml")
    assert "2 arms, 3 seeds each, 2 claims." in ended.stderr
    text = "data: {source: circles, points: 60}\nmodel: {name: mlp, widths: [4]}\ntrain: {epochs: 1}\n"
    (tmp_path / "one.yaml").write_text(text)
    ended = assay(tmp_path, "run", "one.yaml")
    assert "1 arm, 1 seed each, 0 claims.\n1 run to 1 seed per arm\n" in ended.stderr


def test_the_table_of_runs_fits_a_terminal(finished):
    folder, _ = finished
    listed = [line.split() for line in assay(folder, "list", "study").stdout.splitlines()]
    for run in json.loads(assay(folder, "list", "study", "--json").stdout)["runs"]:
        assert [run["arm"], str(run["seed"]), run["run"][:8], "completed"] in [words[:4] for words in listed]
