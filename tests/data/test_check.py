"""Checks of whole data sets: folders with planted faults, arrays, and the real 15-Scene and CIFAR-10."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_copies import CHANGES, scenes
from PIL import Image

from assay.data.check import Findings, check, findings_of, to_json
from assay.data.source import Examples
from assay.data.survey import Step, look_at_examples
from assay.errors import DataError
from assay.recipe.schema import Cifar10Data, CirclesData, FolderData

DATA = os.environ.get("ASSAY_DATA", "")
SCENES = Path(DATA) / "scene15-160"
CIFAR = Path(DATA) / "cifar-10-batches-bin"


def ended(work: Generator[Step, None, Any]) -> tuple[Any, list[Step]]:
    steps = []
    while True:
        try:
            steps.append(next(work))
        except StopIteration as end:
            return end.value, steps


def checked(root: Path) -> Findings:
    findings, _ = ended(check(FolderData(source="folder", root=str(root))))
    return findings


def saved(path: Path, image_CHW: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image_CHW.transpose(1, 2, 0))).save(path)
    return path


def names(findings: Findings, pairs: Any) -> set[tuple[str, str]]:
    return {(findings.survey.names_N[pair.first], findings.survey.names_N[pair.second]) for pair in pairs}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes in two splits, ten images of 64 × 64 each, all different."""
    for at, image in enumerate(scenes(40)):
        split, label = ("train", "test")[at // 20], ("hills", "lakes")[at // 10 % 2]
        saved(tmp_path / "set" / split / label / f"{at:02}.png", image)
    return tmp_path / "set"


def test_a_sound_folder_has_no_findings(folder: Path) -> None:
    findings = checked(folder)
    assert findings.pairs == ()
    assert findings.clusters == ()
    assert findings.counts() == {"train": [10, 10], "test": [10, 10]}
    assert findings.imbalance() == 1.0
    assert findings.absent() == []
    assert findings.sizes() == [((64, 64), 40)]
    assert findings.survey.unreadable == {}


def test_copies_are_found_across_splits_and_labels(folder: Path) -> None:
    shutil.copy(folder / "train/hills/00.png", folder / "test/hills/copy.png")
    shutil.copy(folder / "train/hills/01.png", folder / "train/lakes/other.png")
    findings = checked(folder)
    assert names(findings, findings.exact) == {
        ("test/hills/copy.png", "train/hills/00.png"),
        ("train/hills/01.png", "train/lakes/other.png"),
    }
    across = [pair for pair in findings.exact if findings.across_splits(pair)]
    conflicts = [pair for pair in findings.exact if findings.conflicting(pair)]
    assert names(findings, across) == {("test/hills/copy.png", "train/hills/00.png")}
    assert names(findings, conflicts) == {("train/hills/01.png", "train/lakes/other.png")}
    assert findings.near == ()


def test_equal_pixels_in_files_of_another_format_are_equal_images(folder: Path) -> None:
    with Image.open(folder / "train/hills/03.png") as image:
        image.save(folder / "train/hills/again.bmp")
    findings = checked(folder)
    assert names(findings, findings.exact) == {("train/hills/03.png", "train/hills/again.bmp")}


def test_a_near_copy_of_a_copied_image_is_paired_with_each(folder: Path) -> None:
    image = scenes(40)[0]
    saved(folder / "train/hills/copy.png", image)
    saved(folder / "test/hills/near.png", CHANGES["saved again"](image))
    findings = checked(folder)
    assert names(findings, findings.near) == {
        ("test/hills/near.png", "train/hills/00.png"),
        ("test/hills/near.png", "train/hills/copy.png"),
    }
    (cluster,) = findings.clusters
    members = {findings.survey.names_N[at] for at in cluster}
    assert members == {"test/hills/near.png", "train/hills/00.png", "train/hills/copy.png"}


def test_unreadable_files_are_listed_and_do_not_stop_it(folder: Path) -> None:
    (folder / "train/hills/cut.png").write_bytes((folder / "train/hills/00.png").read_bytes()[:500])
    (folder / "train/lakes/empty.png").write_bytes(b"")
    findings = checked(folder)
    assert findings.survey.unreadable == {
        "train/hills/cut.png": "image file is truncated (in the PNG's chunk b'IDAT')",
        "train/lakes/empty.png": "the file is empty",
    }
    assert len(findings.survey.names_N) == 40


def test_a_folder_without_a_readable_file_is_bad_input(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 2 files can be read as an image\."):
        checked(tmp_path)


def test_constant_images_and_odd_shapes_are_named(folder: Path) -> None:
    saved(folder / "train/hills/black.png", np.zeros((3, 64, 64), dtype=np.uint8))
    saved(folder / "train/lakes/wide.png", scenes(1, side=96, seed=5)[0][:, :24])
    findings = checked(folder)
    assert [findings.survey.names_N[at] for at in findings.constant()] == ["train/hills/black.png"]
    assert [findings.survey.names_N[at] for at in findings.odd_aspects] == ["train/lakes/wide.png"]
    assert findings.sizes() == [((64, 64), 41), ((24, 96), 1)]


def examples(images: np.ndarray, labels: list[int], test: list[int] | None = None, classes: str = "ab") -> Examples:
    indices = None if test is None else np.array(test)
    return Examples(inputs=images, labels_N=np.array(labels), classes=tuple(classes), test_indices=indices)


def findings_in(data: Examples) -> Findings:
    survey, _ = ended(look_at_examples(data, "made"))
    findings, _ = ended(findings_of(survey))
    return findings


def test_imbalance_and_absent_classes_of_official_splits() -> None:
    findings = findings_in(examples(scenes(14), [0] * 12 + [1] * 2, test=[0, 1, 2]))
    assert findings.imbalance() == 6.0
    assert findings.absent() == [("test", "b")]
    assert findings.counts() == {"train": [9, 2], "test": [3, 0]}


def test_without_official_splits_the_test_split_is_the_one_that_assay_draws() -> None:
    findings = findings_in(examples(scenes(20), [0, 1] * 10))
    assert findings.counts() == {"train": [8, 8], "test": [2, 2]}
    assert findings.survey.remarks == ("There is no official test split: test is the fifth that assay sets aside.",)


def test_many_copies_of_one_image_do_not_make_all_pairs() -> None:
    black = np.zeros((200, 3, 16, 16), dtype=np.uint8)
    findings = findings_in(examples(black, [0, 1] * 100))
    assert len(findings.exact) == 199
    assert [len(cluster) for cluster in findings.clusters] == [200]
    assert findings.near == ()


def test_of_too_many_alike_the_most_alike_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = scenes(40)
    data = examples(np.concatenate([originals, [CHANGES["saved again"](image) for image in originals]]), [0, 1] * 40)
    every = findings_in(data).near
    monkeypatch.setattr("assay.data.check.MOST_NEAR_PAIRS", 10)
    findings = findings_in(data)
    assert 0 < len(findings.near) <= 10
    assert findings.near_above > 0
    assert findings.near == tuple(pair for pair in every if pair.similarity > findings.near_above)


def test_points_cannot_be_checked() -> None:
    with pytest.raises(DataError, match=r"needs images, and data\.source circles gives points\."):
        ended(check(CirclesData(source="circles")))


def test_every_image_is_told_of_once(folder: Path) -> None:
    _, steps = ended(check(FolderData(source="folder", root=str(folder))))
    images = [step.done for step in steps if step.doing == "images"]
    assert images == sorted(set(images))
    assert images[-1] == 40
    assert [step.done for step in steps if step.doing == "comparisons"][-1] == 1.0


@pytest.mark.skipif(not SCENES.is_dir(), reason="needs 15-Scene in $ASSAY_DATA")
def test_all_equal_pairs_of_15_scene_are_found() -> None:
    findings = checked(SCENES)
    assert len(findings.exact) == 18
    assert sum(map(findings.across_splits, findings.exact)) == 11
    conflicts = [pair for pair in findings.exact if findings.conflicting(pair)]
    assert names(findings, conflicts) == {("test/TallBuilding/image_0300.jpg", "train/InsideCity/image_0305.jpg")}
    report = to_json(findings)
    assert len(report["exact"]) == 18
    assert report["images"] == 4485


@pytest.mark.skipif(not SCENES.is_dir(), reason="needs 15-Scene in $ASSAY_DATA")
def test_every_pair_planted_among_real_scenes_is_found(tmp_path: Path) -> None:
    files = sorted(SCENES.glob("train/*/*.jpg"))[::13]
    planted = set()
    for at, file in enumerate(files):
        image = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)
        saved(tmp_path / file.parent.name / f"{file.stem}.png", image)
        change = [*CHANGES, "same"][at % (len(CHANGES) + 1)]
        changed = image if change == "same" else CHANGES[change](image)
        saved(tmp_path / file.parent.name / f"{file.stem}-{change}.png", changed)
        planted.add(f"{file.parent.name}/{file.stem}")
    findings = checked(tmp_path)
    found = {first.removesuffix(".png") for first, _ in names(findings, findings.pairs)}
    found |= {second.removesuffix(".png") for _, second in names(findings, findings.pairs)}
    assert planted <= found
    assert len(findings.exact) == len([at for at in range(len(files)) if at % (len(CHANGES) + 1) == len(CHANGES)])
    assert len(findings.near) <= len(files)


@pytest.mark.skipif(not CIFAR.is_dir(), reason="needs CIFAR-10 in $ASSAY_DATA")
def test_every_pair_planted_in_cifar10_is_found() -> None:
    from assay.data.load import load_source

    originals = np.array(load_source(Cifar10Data(source="cifar10")).inputs[:2000])
    copies = [CHANGES[[*CHANGES][at % len(CHANGES)]](image) for at, image in enumerate(originals[:400])]
    fitted = [
        image
        if image.shape[1] == 32
        else np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize((32, 32))).transpose(2, 0, 1)
        for image in copies
    ]
    findings = findings_in(examples(np.concatenate([originals, fitted]), [0, 1] * 1200))
    pairs = {(pair.first, pair.second) for pair in findings.pairs}
    missed = [at for at in range(400) if (at, 2000 + at) not in pairs]
    assert missed == []
    assert len([pair for pair in pairs if pair[1] < 2000]) < 10


def test_classes_too_small_to_train_on_are_named(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, count in (("cat", 5), ("dog", 1), ("emu", 2)):
        for number in range(count):
            image_CHW = generator.integers(0, 256, (3, 20, 20), dtype=np.uint8)
            (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
            saved(tmp_path / "pets" / name / f"{number}.png", image_CHW)
    remarks = checked(tmp_path / "pets").survey.remarks
    assert remarks == (
        "No test split can be set aside, and training will refuse the data: class 'dog', 'emu' has fewer than "
        "3 images.",
    )
