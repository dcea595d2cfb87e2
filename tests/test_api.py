"""The Python calls answer wrong arguments, and classes of the user's own that fail, as the command line does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import assay
from assay.api import Settings, start
from assay.run_names import forget_fingerprints
from assay.studies.events import RunFinished, StudyEnded

STUDY = """\
base:
  data: {source: circles, points: 60, test_points: 20}
  model: {name: mlp, widths: [4]}
  train: {epochs: 1, batch_size: 32}
arms: {a: {}}
seeds: 1
"""
OWN = """\
import numpy as np
from assay.data.source import Examples

class Points:
    def __init__(self, mood="good"):
        self.mood = mood

    def fingerprint(self):
        if self.mood == "no fingerprint":
            raise KeyError("where")
        return "1"

    def load(self):
        if self.mood == "leaves":
            raise SystemExit(3)
        if self.mood == "no disk":
            open("/no/such/file")
        return Examples(inputs=np.eye(40, 2, dtype="float32"), labels_N=np.arange(40) % 2, classes=["a", "b"])
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    return assay.load(tmp_path / "study.yaml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jbos": 2}, "run has no setting 'jbos'. Did you mean \"jobs\"?"),
        ({"jobs": 0}, "jobs must be a whole number from 1, or None, got 0."),
        ({"jobs": "2"}, "jobs must be a whole number from 1, or None, got '2'."),
        ({"jobs": 2.5}, "jobs must be a whole number from 1, or None, got 2.5."),
        ({"executor": "threads"}, "executor must be one of processes, inline, got 'threads'."),
        ({"device": 3}, "device must be a name such as auto, cpu or cuda, got 3."),
        ({"store": 5}, "store must be the path of a folder, got 5."),
        ({"store": ""}, "store must be the path of a folder, got ''."),
        ({"data_dir": 5}, "data_dir must be the path of a folder, or None, got 5."),
        ({"data_dir": ""}, "data_dir must be the path of a folder, or None, got ''."),
        ({"data_dir": "/no/such/folder"}, "The data folder must be an existing folder, got /no/such/folder."),
        ({"fail_fast": "no"}, "fail_fast must be true or false, got 'no'."),
        ({"time_limit": "5"}, "The time limit must be above 0 and at most"),
        ({"time_limit": float("inf")}, "The time limit must be above 0 and at most"),
        ({"time_limit": -1}, "seconds, got -1."),
        ({"checkpoint_every": "often"}, "checkpoint_every must be a time such as 30s, 5min or 2h, a number of steps"),
        ({"checkpoint_every": 5}, "such as 500steps, or never, got 5."),
        ({"executor": "inline", "time_limit": 5}, "A time limit needs worker processes, got 5 s"),
    ],
)
def test_settings_are_checked_before_anything_starts(study, tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(assay.InputError) as caught:
        assay.run(study, **settings)
    assert message in str(caught.value)
    assert not (tmp_path / "assay-runs").exists()


def test_arguments_of_another_kind_are_named(tmp_path):
    with pytest.raises(assay.InputError, match=r"run needs a Study or a Recipe, got 'a\.yaml'\. Read a file with"):
        assay.run("a.yaml")
    with pytest.raises(assay.InputError, match="report needs what run returned, a Study, or a study's name, got None"):
        assay.report(None, store=tmp_path)
    with pytest.raises(assay.InputError, match="overrides must be a list of KEY=VALUE words, got 'seeds=3'"):
        assay.load("a.yaml", "seeds=3")


def test_a_single_recipe_is_set_without_base(tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text("data: {source: digits}\nmodel: {name: mlp}\n")
    with pytest.raises(
        assay.InputError, match=r"--set base\.train\.epochs=3: .* whose keys have no base\. before them"
    ):
        assay.load(file, ["base.train.epochs=3"])


def test_a_device_that_is_not_here_fails_the_study_and_not_each_run(study, tmp_path):
    with pytest.raises(assay.InputError, match="must be one torch can use here, such as cpu, got 'tpu'"):
        assay.run(study, store=tmp_path / "store", device="tpu")
    assert not (tmp_path / "store" / "failed").exists()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A study beside its own module, while the working folder is another one."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder, working = tmp_path / "studies", tmp_path / "working"
    folder.mkdir()
    working.mkdir()
    monkeypatch.chdir(working)
    name = f"points_{abs(hash(tmp_path)):x}"
    (folder / f"{name}.py").write_text(OWN)
    (folder / "own.yaml").write_text(STUDY.replace("{source: circles, points: 60, test_points: 20}", "{}"))
    return folder / "own.yaml", f"base.data.source={name}:Points"


def test_a_module_beside_the_study_is_found_from_another_folder(elsewhere, tmp_path):
    file, source = elsewhere
    results = assay.run(assay.load(file, [source]), store=tmp_path / "store")
    assert (len(results.runs["a"]), results.failed) == (1, 0)


@pytest.mark.parametrize(
    ("mood", "message", "line"),
    [
        ("no fingerprint", "Points cannot be used: it raised KeyError: 'where'", 10),
        ("leaves", "Points cannot be used: it raised SystemExit: 3", 15),
        ("no disk", "Points cannot be used: it raised FileNotFoundError: [Errno 2]", 17),
    ],
)
def test_own_classes_that_raise_are_named_with_the_line(elsewhere, tmp_path, mood, message, line):
    file, source = elsewhere
    study = assay.load(file, [source, f"base.data.options.mood={mood}"])
    with pytest.raises(assay.InputError) as caught:
        assay.run(study, store=tmp_path / "store")
    assert message in str(caught.value)
    assert f".py, line {line}. Mend it and run again" in str(caught.value)


def test_settings_accept_what_they_say():
    assert Settings(store="here", jobs=2, time_limit=5).time_limit == 5


def test_data_are_found_in_the_folder_that_is_said_by_workers_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / f"{name}.bin").write_bytes(b"".join(bytes([label]) + bytes(3072) for label in range(10)))
    sections = {"data": {"source": "cifar10"}, "model": {"name": "mlp", "widths": []}, "train": {"epochs": 1}}
    recipe = assay.Recipe.model_validate(sections)
    with pytest.raises(assay.DataError, match="CIFAR-10 was not found"):
        assay.run(recipe, store=tmp_path / "store")
    results = assay.run(recipe, store=tmp_path / "store", data_dir=tmp_path / "data", executor="processes")
    assert not results.failures.get("run")
    assert os.environ["ASSAY_DATA"] == str(tmp_path / "data")


def test_a_class_edited_between_two_studies_of_one_process_is_trained_as_it_is_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits within a second look alike to cached bytecode
    study = assay.Study(
        question="Edited?",
        base={"data": {"source": "circles"}, "model": {"name": "edited_nets:Tiny"}, "train": {"epochs": 1}},
        arms={"own": {}},
        seeds={"at_least": 1, "at_most": 1},
    )
    parameters = []
    for hidden in (3, 5):
        Path("edited_nets.py").write_text(
            "from torch import nn\n\nclass Tiny(nn.Sequential):\n    def __init__(self, input_shape, classes):\n"
            f"        super().__init__(nn.Linear(2, {hidden}), nn.Linear({hidden}, classes))\n"
        )
        results = assay.run(study, store=tmp_path / "store", executor="inline", device="cpu")
        parameters.append(results.runs["own"][0].record.parameters)
    sys.modules.pop("edited_nets")
    assert parameters == [3 * 2 + 3 + 2 * 3 + 2, 5 * 2 + 5 + 2 * 5 + 2]


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_run_whose_data_changed_during_the_study_is_not_kept(tmp_path, monkeypatch, executor):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(5):
            grey_image(tmp_path / "images" / name / f"{number}.pgm", number)
    study = assay.Study(
        question="Changed?",
        base={
            "data": {"source": "folder", "root": str(tmp_path / "images")},
            "model": {"name": "mlp", "widths": []},
            "train": {"epochs": 1},
        },
        arms={"only": {}},
        seeds={"at_least": 3, "at_most": 3},
    )
    finished = []
    for event in start(study, Settings(store=tmp_path / "store", executor=executor, jobs=1, device="cpu")):
        if isinstance(event, RunFinished):
            finished.append(event.trial.seed)
            grey_image(tmp_path / "images" / "a" / "0.pgm", 200)
        elif isinstance(event, StudyEnded):
            results = event.results
    assert finished == [0]
    assert [failure.message for failure in results.failures["only"].values()] == [
        f"returned run {name}, where run {results.fingerprints['only'][seed]} was asked for; nothing was kept. If its "
        "data have changed since the study began, run it again."
        for seed, name in enumerate(assay.api.fingerprints_of(study_now(study), 3)["only"].values())
        if seed
    ]


def grey_image(path, level):
    path.write_bytes(b"P5 4 4 255\n" + np.full(16, level, dtype=np.uint8).tobytes())


def study_now(study):
    """The study, when what was remembered of its data is forgotten."""
    forget_fingerprints()
    return study
