"""`assay predict`: real images in, the run's own predictions out."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_digits

import assay
from assay.cli import cli
from assay.data.load import load_source
from assay.studies.store.folder import FolderStore

DATA = os.environ.get("ASSAY_DATA", "")

DIGITS = """\
data: {source: digits}
model: {name: mlp, widths: [32]}
train: {epochs: 3}
"""
CIFAR = """\
question: Are predictions those of the run?
base:
  data: {source: cifar10, fraction: 0.02}
  model: {name: lenet5}
  train: {epochs: 2, batch_size: 100}
  evaluate: {views: mirrored}
arms:
  "mirrored: twice": {}
seeds: 1
"""


def predict(*words: object, code: int = 0):
    ended = CliRunner().invoke(cli, ["predict", *map(str, words)], catch_exceptions=code != 0)
    assert (ended.exit_code == 0) == (code == 0), ended.output
    return ended if code == 0 else str(ended.exception)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A store with a run on digits, and the digits as image files, numbered."""
    place = tmp_path_factory.mktemp("digits")
    (place / "recipe.yaml").write_text(DIGITS)
    results = assay.run(assay.load(place / "recipe.yaml"), store=place / "store", executor="inline")
    run = next(iter(next(iter(results.runs.values())).values()))
    recorded = run.predictions()["test"]
    pixels = load_source(assay.Recipe.model_validate(run.record.recipe).data).inputs[recorded.indices_N, 0]
    (place / "images" / "below").mkdir(parents=True)
    for number, image in enumerate(pixels):
        folder = place / "images" / ("below" if number % 2 else "")
        Image.fromarray(image).save(folder / f"digit {number + 1}.png")
    return place, run, recorded


def test_digits_are_classified_as_the_run_did(digits, tmp_path):
    place, run, recorded = digits
    out = tmp_path / "out.csv"
    said = predict(run.fingerprint[:8], place / "images", "-o", out, "--store", place / "store", "--top", 3)
    assert said.stdout == f"{len(recorded.labels_N)} images classified: {out}\n"
    assert "10 classes, 8×8 grey" in said.stderr
    rows = rows_of(out)
    assert list(rows[0]) == ["path", "label", "probability", "label_2", "probability_2", "label_3", "probability_3"]
    number = {int(Path(row["path"]).stem.removeprefix("digit ")): row for row in rows}
    classes = np.array(run.record.classes)
    for at, p_K in enumerate(recorded.probabilities_NC):
        row, order = number[at + 1], np.argsort(-p_K, kind="stable")
        assert [row["label"], row["label_2"], row["label_3"]] == classes[order[:3]].tolist()
        # Batches are put together in another order here than in the run.
        assert float(row["probability"]) == pytest.approx(p_K.max(), abs=1e-6)


def test_a_numbered_test_set_is_in_order_of_its_numbers(digits, tmp_path):
    place, run, recorded = digits
    out = tmp_path / "out.csv"
    predict(run.fingerprint[:8], place / "images", "--numbered", "-o", out, "--store", place / "store")
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [str(number) for number in range(1, len(recorded.labels_N) + 1)]
    assert [row["label"] for row in rows] == [run.record.classes[at] for at in recorded.predicted_N()]


def test_files_that_cannot_be_read_are_listed_and_do_not_stop_the_rest(digits, tmp_path):
    place, run, _ = digits
    good, cut, text = tmp_path / "good.png", tmp_path / "cut.png", tmp_path / "text.png"
    good.write_bytes((place / "images" / "digit 1.png").read_bytes())
    cut.write_bytes(good.read_bytes()[:-30])
    text.write_text("no image")
    out = tmp_path / "out.csv"
    said = predict(run.fingerprint, tmp_path, "-o", out, "--store", place / "store")
    assert [row["path"] for row in rows_of(out)] == [str(good)]
    assert said.stdout == f"1 image classified, 2 left out: {out}\n"
    assert f"Left out: {text}: it is no image of a format that is read here" in said.stderr
    assert f"Left out: {cut}: " in said.stderr
    outcome = json.loads(
        predict(run.fingerprint, tmp_path, "-o", out, "--force", "--json", "--store", place / "store").stdout
    )
    assert outcome["images"] == 1
    assert [one["path"] for one in outcome["unreadable"]] == [str(cut), str(text)]


def test_images_of_other_sizes_and_colours_are_brought_to_the_runs_own(digits, tmp_path):
    place, run, _ = digits
    image = (
        Image.fromarray((load_digits().images[0] * 255 / 16).round().astype(np.uint8)).resize((80, 64)).convert("RGB")
    )
    image.save(tmp_path / "zero.jpg")
    said = predict(run.fingerprint, tmp_path / "zero.jpg", "-o", "-", "-q", "--store", place / "store")
    assert said.stdout.splitlines()[1].startswith(f"{tmp_path / 'zero.jpg'},0,")


def test_what_cannot_be_done_is_said(digits, tmp_path):
    place, run, _ = digits
    store, image = ("--store", place / "store"), place / "images" / "digit 1.png"
    (tmp_path / "there.csv").write_text("precious")
    there = predict(run.fingerprint, image, "-o", tmp_path / "there.csv", *store, code=2)
    assert "exists already. Give another --output, or --force to replace it." in there
    assert (tmp_path / "there.csv").read_text() == "precious"
    assert "the store holds no run 'nowhere'" in predict("nowhere", image, *store, code=2)
    assert "There is no file or folder" in predict(run.fingerprint, tmp_path / "gone.png", *store, code=2)
    assert "holds no images" in predict(run.fingerprint, tmp_path, *store, code=2)
    (tmp_path / "a.png").write_text("no image")
    out = ("-o", tmp_path / "out.csv")
    assert "None of the 1 files can be read" in predict(run.fingerprint, tmp_path / "a.png", *out, *store, code=2)
    (tmp_path / "a.png").write_bytes(image.read_bytes())
    numbered = predict(run.fingerprint, tmp_path / "a.png", "--numbered", *out, *store, code=2)
    assert "must hold one number each, such as 17.png; got a.png." in numbered
    twice = predict(run.fingerprint, image, place / "images" / "below", "--numbered", *out, *store)
    assert twice.exit_code == 0
    (tmp_path / "digit_01.png").write_bytes(image.read_bytes())
    same = predict(run.fingerprint, image, tmp_path / "digit_01.png", "--numbered", *out, "--force", *store, code=2)
    assert "Two images of the test set have the number 1" in same
    assert not (tmp_path / ".out.csv.partial").exists()


@pytest.mark.slow
@pytest.mark.skipif(not (Path(DATA) / "cifar-10-batches-bin").is_dir(), reason="needs CIFAR-10 in $ASSAY_DATA")
def test_the_whole_test_set_of_cifar10_is_predicted_as_recorded(tmp_path):
    (tmp_path / "cifar.yaml").write_text(CIFAR)
    study = assay.load(tmp_path / "cifar.yaml")
    results = assay.run(study, store=tmp_path / "store", executor="inline")
    run = results.runs["mirrored: twice"][0]
    recorded = run.predictions()["test"]
    pixels = load_source(study.arms[0].recipe.data).inputs[recorded.indices_N]
    (tmp_path / "images").mkdir()
    for number, image_CHW in enumerate(pixels):
        Image.fromarray(image_CHW.transpose(1, 2, 0)).save(tmp_path / "images" / f"{number}.png", compress_level=1)
    out, store = tmp_path / "predictions.csv", FolderStore(tmp_path / "store")
    predict(f"{study.name}:mirrored: twice:0", tmp_path / "images", "-o", out, "--store", store.root, "--device", "cpu")
    rows = rows_of(out)
    assert [Path(row["path"]).name for row in rows] == [f"{number}.png" for number in range(10_000)]
    assert [row["label"] for row in rows] == [run.record.classes[at] for at in recorded.predicted_N()]
    found_N = np.array([row["probability"] for row in rows]).astype(np.float32)
    np.testing.assert_array_equal(found_N, recorded.probabilities_NC.max(axis=1))
