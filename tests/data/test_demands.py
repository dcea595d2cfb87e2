"""What recipes ask of their data is held against it before anything is trained."""

import subprocess
import sys

import numpy as np
import pytest

import assay
from assay.data.demands import check_demands
from assay.errors import DataError, InputError, InvalidValueError
from assay.recipe.schema import Recipe


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


def folder_of(tmp_path, **counts):
    """Random grey images of 6 × 5 pixels, so many of each class."""
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, 30, dtype=np.uint8).tobytes()
            (tmp_path / "images" / name / f"{number}.pgm").write_bytes(b"P5 5 6 255\n" + pixels)
    return {"source": "folder", "root": str(tmp_path / "images")}


def recipe(data, **sections):
    return Recipe.model_validate({"data": data, "model": {"name": "mlp"}, **sections})


def test_a_study_on_a_class_too_small_to_split_ends_before_any_run(tmp_path):
    study = assay.Study(
        question="?", base={"data": folder_of(tmp_path, a=5, b=2), "model": {"name": "mlp"}}, arms={"only": {}}
    )
    with pytest.raises(DataError, match=r"every class needs at least 3 examples, .* class 'b' has 2\."):
        assay.run(study, store=tmp_path / "store")
    assert not (tmp_path / "store" / "failed").exists()


def test_every_arm_is_checked(tmp_path):
    data = folder_of(tmp_path, a=5, b=5)
    fits = recipe(data, augment={"crop_padding": 4, "crop_fill": "reflect"})
    check_demands([fits, recipe({**data, "validation": 0.9, "fraction": 0.01}), recipe({"source": "digits"})])
    too_wide = recipe(data, augment={"crop_padding": 5, "crop_fill": "reflect"})
    with pytest.raises(InvalidValueError) as told:
        check_demands([fits, too_wide])
    assert str(told.value) == (
        "augment.crop_padding must be less than the image's sides to mirror it at its edge, got 5 for 5 pixels."
    )


def test_images_too_large_to_whiten_are_found(tmp_path):
    data = {**folder_of(tmp_path, a=5, b=5), "size": 65}
    check_demands([recipe(data)])
    with pytest.raises(DataError, match=r"data\.normalize zca can whiten inputs of at most 4,096 values, got 3 × 65"):
        check_demands([recipe(data), recipe({**data, "normalize": "zca"})])


def test_digits_are_checked_too():
    with pytest.raises(InvalidValueError, match=r"got 8 for 8 pixels\."):
        check_demands([recipe({"source": "digits"}, augment={"crop_padding": 8, "crop_fill": "reflect"})])


def test_grey_images_cannot_be_normalised_as_imagenets(tmp_path):
    data = {**folder_of(tmp_path, a=5, b=5), "normalize": "imagenet"}
    check_demands([recipe({**data, "color": "rgb"})])
    with pytest.raises(InvalidValueError, match=r"^data\.normalize imagenet needs images of three channels.* 1 × "):
        check_demands([recipe({**data, "color": "rgb"}), recipe({**data, "color": "grey"})])


def test_test_images_too_small_to_be_shifted_are_found(tmp_path):
    data = folder_of(tmp_path, a=5, b=5)
    check_demands([recipe(data, evaluate={"shift": 4})])
    with pytest.raises(InvalidValueError) as told:
        check_demands([recipe(data), recipe(data, evaluate={"shift": 5})])
    assert str(told.value) == (
        "evaluate.shift must be less than the image's sides, of which the shorter has 5 pixels, got 5."
    )


def test_an_official_test_split_that_takes_all_of_a_class_is_found(tmp_path):
    data = folder_of(tmp_path, a=6, b=4)
    rows = [f"images/a/{n}.pgm,a,{'test' if n < 2 else 'train'}" for n in range(6)]
    rows += [f"images/b/{n}.pgm,b,{'test' if n < 3 else 'train'}" for n in range(4)]
    table = tmp_path / "table.csv"
    table.write_text("path,label,split\n" + "\n".join(rows))
    with pytest.raises(DataError, match=r"at least 2 in the rest of the data; class 'b' has 1 there"):
        check_demands([recipe({"source": "csv", "file": str(table)}), recipe(data)])


def test_damaged_official_files_end_a_study_before_any_run(tmp_path):
    root = tmp_path / "binary"
    root.mkdir()
    for name in ("train.bin", "test.bin"):
        (root / name).write_bytes(bytes(3074) + b"\0\1" + bytes(3072))
    (root / "train.bin").write_bytes(bytes(3074 + 100))
    base = {"data": {"source": "cifar100", "root": str(root)}, "model": {"name": "mlp"}}
    study = assay.Study(question="?", base=base, arms={"only": {}})
    with pytest.raises(DataError, match=r"binary is damaged in 1 place:\n  train\.bin, record 1: the file ends "):
        assay.run(study, store=tmp_path / "store")
    assert not (tmp_path / "store" / "failed").exists()


def test_checking_loads_no_torch(tmp_path):
    data = folder_of(tmp_path, a=4, b=4)
    code = (
        "import sys; from assay.data.demands import check_demands; from assay.recipe.schema import Recipe\n"
        f"check_demands([Recipe.model_validate({{'data': {data!r}, 'model': {{'name': 'mlp'}}}})])\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("data", "metric", "classes"),
    [
        ({"source": "circles"}, "val_top3_accuracy", "needs at least 4 classes, and data.source circles has 2"),
        (None, "test_top5_accuracy", "needs at least 6 classes, and data.source folder has 2"),
    ],
)
def test_a_metric_of_more_classes_than_there_are_is_refused_before_any_run(tmp_path, data, metric, classes):
    study = assay.Study(
        question="?",
        base={"data": data or folder_of(tmp_path, a=5, b=5), "model": {"name": "mlp"}},
        arms={"plain": {}, "wide": {"model.widths": [8]}},
        claims=[{"arm": "wide", "beats": "plain", "metric": metric}],
    )
    with pytest.raises(InputError) as told:
        assay.run(study, store=tmp_path / "store")
    assert str(told.value) == (
        f"A claim is about {metric}, which {classes}. Claim another metric, such as {metric[:4].strip('_')}_accuracy."
    )
    assert not (tmp_path / "store" / "runs").exists()
