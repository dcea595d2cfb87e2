import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from official_files import write_cifar10, write_mnist
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from assay.data.load import load_source, source_fingerprint
from assay.data.sources import digits
from assay.data.splits import make_splits
from assay.errors import DataError, InputError, InvalidValueError
from assay.recipe.schema import CirclesData, DigitsData, UserData

DIGITS = DigitsData(source="digits")
CIRCLES = CirclesData(source="circles")


def test_digits_are_those_of_scikit_learn_on_the_stated_grey_scale():
    examples = load_source(DIGITS)
    theirs = load_digits()
    assert examples.inputs.shape == (1797, 1, 8, 8)
    assert examples.inputs.dtype == np.uint8
    np.testing.assert_array_equal(examples.labels_N, theirs.target)
    np.testing.assert_array_equal(examples.inputs[:, 0], np.floor(theirs.images * 255 / 16 + 0.5))
    assert (examples.inputs.min(), examples.inputs.max()) == (0, 255)
    assert examples.classes == tuple("0123456789")


@pytest.mark.parametrize("section", [DIGITS, CIRCLES])
def test_what_is_loaded_cannot_be_changed_by_one_run_for_the_next(section):
    examples = load_source(section)
    for array in (examples.inputs, examples.labels_N):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_same_examples_are_loaded_once_in_a_row(monkeypatch):
    first = load_source(DIGITS)
    monkeypatch.setattr(digits.DigitsSource, "load", lambda self: pytest.fail("read again"))
    assert load_source(DIGITS.model_copy(update={"validation": 0.4, "fraction": 0.5, "normalize": "zca"})) is first
    monkeypatch.undo()
    monkeypatch.setattr(digits.DigitsSource, "fingerprint", lambda self: "another")
    assert load_source(DIGITS) is not first


def test_a_class_of_ones_own_is_asked_each_time():
    section = UserData(source="own_sources:ForgetfulFingerprint", options={})
    assert load_source(section) is not load_source(section)
    load_source(section).inputs[0] = 0  # and what it gives is its own business


def test_what_could_not_be_loaded_leaves_nothing_behind(monkeypatch):
    load_source(CIRCLES)
    monkeypatch.setattr(digits, "digits_file", lambda: Path("nowhere"))
    with pytest.raises(FileNotFoundError):
        load_source(DIGITS)
    monkeypatch.undo()
    assert load_source(CIRCLES).inputs.shape == (450, 2)


def test_missing_digits_say_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"digits\.csv\.gz was not found\. Run: pip install scikit-learn"):
        digits.digits_file()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no gzip", "Not a gzipped file"),
        (b"", "too many indices"),
        (gzip.compress(b"1,2,3\n4,5,6\n"), "cannot reshape"),
        (gzip.compress(b"1,2\n3\n"), "inhomogeneous"),
        (gzip.compress(b"1,2,3")[:-9], "end-of-stream"),
    ],
)
def test_a_damaged_digits_file_is_named(monkeypatch, tmp_path, content, reason):
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(content)
    monkeypatch.setattr(digits, "digits_file", lambda: path)
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}.*{reason}"):
        digits.DigitsSource().load()


def test_circles_are_as_hard_as_their_docstring_says():
    examples = load_source(CIRCLES)
    scores = []
    for seed in range(8):
        splits = make_splits(examples, validation=0.2, seed=seed)
        assert splits.sizes() == {"train": 200, "val": 50, "test": 200}
        machine = SVC().fit(examples.inputs[splits.train_N], examples.labels_N[splits.train_N])
        scores.append(machine.score(examples.inputs[splits.test_N], examples.labels_N[splits.test_N]))
    assert np.mean(scores) == pytest.approx(0.94, abs=0.01)


def test_circles_lie_on_their_circles():
    examples = load_source(CIRCLES.model_copy(update={"noise": 0.0, "factor": 0.25, "points": 1001}))
    radius_N = np.linalg.norm(examples.inputs, axis=1)
    np.testing.assert_allclose(radius_N, np.where(examples.labels_N == 0, 1.0, 0.25), rtol=1e-6)
    assert np.abs(examples.inputs.mean(axis=0)).max() < 0.1  # all around, not on one side


def test_noise_moves_the_same_draws_and_more_points_keep_the_test_points():
    plain, noisy, more = (
        load_source(CIRCLES.model_copy(update=change)) for change in ({"noise": 0.0}, {"noise": 0.3}, {"points": 400})
    )
    shift_N2 = noisy.inputs - plain.inputs
    half_N2 = load_source(CIRCLES.model_copy(update={"noise": 0.15})).inputs - plain.inputs
    np.testing.assert_allclose(half_N2, shift_N2 / 2, atol=1e-6)
    assert shift_N2.std() == pytest.approx(0.3, rel=0.1)
    np.testing.assert_array_equal(more.inputs[400:], load_source(CIRCLES).inputs[250:])


def test_fingerprints_tell_examples_apart_and_ignore_how_they_are_split():
    sections = [
        DIGITS,
        CIRCLES,
        *(CIRCLES.model_copy(update=c) for c in ({"noise": 0.2}, {"factor": 0.6}, {"points": 99})),
    ]
    assert len({source_fingerprint(section) for section in sections}) == 5
    for section in (DIGITS, CIRCLES):
        assert re.fullmatch("[0-9a-f]{64}", source_fingerprint(section))
        other = section.model_copy(update={"validation": 0.3, "normalize": "unit"})
        assert source_fingerprint(other) == source_fingerprint(section)


def test_a_fingerprint_loads_neither_torch_nor_scikit_learn_nor_what_downloads(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    write_mnist(tmp_path / "mnist")
    code = (
        "import sys\n"
        "from assay.data.load import source_fingerprint\n"
        "from assay.recipe.schema import Cifar10Data, CirclesData, DigitsData, MnistData\n"
        "source_fingerprint(DigitsData(source='digits')); source_fingerprint(CirclesData(source='circles'))\n"
        "source_fingerprint(Cifar10Data(source='cifar10')); source_fingerprint(MnistData(source='mnist'))\n"
        "print({'torch', 'sklearn', 'scipy', 'PIL', 'pooch', 'requests'} & set(sys.modules))\n"
    )
    folders = {"ASSAY_DATA": str(tmp_path), "ASSAY_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **folders}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_a_class_of_ones_own_is_loaded_with_its_options():
    examples = load_source(UserData(source="own_sources:Stripes", options={"count": 30}))
    assert examples.inputs.shape == (30, 1, 6, 6)
    assert make_splits(examples, validation=0.2, seed=0).test_N.tolist() == list(range(20, 30))


def test_the_fingerprint_of_ones_own_source_follows_options_and_what_it_says_itself():
    prints = {
        source_fingerprint(UserData(source="own_sources:Stripes", options=options))
        for options in ({}, {"count": 30}, {"version": "2"}, {})
    }
    assert len(prints) == 3
    forgetful = [
        UserData(source="own_sources:ForgetfulFingerprint", options=options) for options in ({}, {"count": 30})
    ]
    assert source_fingerprint(forgetful[0]) != source_fingerprint(forgetful[1])


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        (
            {"source": "own_sources:NoFingerprint"},
            InvalidValueError,
            r"^data\.source must name a data source: .* got own_sources:NoFingerprint without fingerprint\.",
        ),
        (
            {"source": "own_sources:Stripes", "options": {"size": 3}},
            InvalidValueError,
            r"^data\.options must be keyword arguments of own_sources:Stripes, got \{'size': 3\} \(.*'size'\)\.",
        ),
        (
            {"source": "own_sources:EmptyFingerprint"},
            DataError,
            r"fingerprint\(\) must return a non-empty text, got ''",
        ),
        ({"source": "no_such_module_here:Source"}, InputError, "there is no module 'no_such_module_here'"),
    ],
)
def test_a_class_that_is_no_source_is_refused(section, error, message):
    with pytest.raises(error, match=message):
        source_fingerprint(UserData(**section))
