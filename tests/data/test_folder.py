import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.data.source import checked
from assay.data.sources.folder import FolderSource
from assay.data.splits import make_splits
from assay.errors import DataError
from assay.recipe.schema import FolderData


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


def images(root: Path, *paths: str) -> None:
    """A small image of its own colour at each path."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (len(path) * 7 % 256, sum(path.encode()) % 256, 99)).save(file)


def source(root: Path, **options: object) -> FolderSource:
    return FolderSource(FolderData(source="folder", root=str(root), **options))


def three_of(*folders: str) -> list[str]:
    return [f"{folder}/{number}.png" for folder in folders for number in range(3)]


def refused(root: Path, message: str, **options: object) -> None:
    with pytest.raises(DataError, match=message):
        source(root, **options).load()


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_one_tree_is_read_in_the_order_of_its_paths(tmp_path):
    root = tmp_path / "pets"
    images(root, *three_of("dog", "cat"), "cat/more/deep/x.png")
    files = source(root).files()
    assert files.paths_N == (*three_of("cat"), "cat/more/deep/x.png", *three_of("dog"))
    assert files.classes == ("cat", "dog")
    examples = checked(source(root).load(), "folder")
    assert examples.labels_N.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert examples.inputs.shape == (7, 3, 6, 6)
    for path, pixels in zip(files.paths_N, examples.inputs, strict=True):
        assert tuple(pixels[:, 0, 0]) == Image.open(root / path).getpixel((0, 0))
    assert (examples.test_indices, examples.val_indices) == (None, None)
    assert (examples.skipped, examples.remarks) == ((), ())


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_three_splits_are_the_official_ones(tmp_path, val):
    images(tmp_path / "d", *three_of("train/a", "train/b", f"{val}/a", f"{val}/b", "test/a", "test/b"))
    examples = source(tmp_path / "d").load()
    files = source(tmp_path / "d").files()
    splits = make_splits(examples, validation=0.2, seed=0)
    for part, folder in ((splits.train_N, "train"), (splits.val_N, val), (splits.test_N, "test")):
        assert {files.paths_N[place] for place in part} == set(three_of(f"{folder}/a", f"{folder}/b"))
    assert examples.remarks == ()


def test_val_alone_beside_train_is_the_test_split(tmp_path):
    images(tmp_path / "d", *three_of("train/a", "train/b", "val/a", "val/b"))
    examples = source(tmp_path / "d").load()
    assert examples.val_indices is None
    assert examples.test_indices.tolist() == list(range(6, 12))
    assert examples.remarks == (
        "There is no split test, so val is the test split, and validation is drawn from train.",
    )


def test_test_alone_beside_train_stays_the_test_split(tmp_path):
    images(tmp_path / "d", *three_of("train/a", "train/b", "test/a", "test/b"))
    examples = source(tmp_path / "d").load()
    assert examples.test_indices.tolist() == list(range(6))
    assert (examples.val_indices, examples.remarks) == (None, ())


def test_train_alone_is_one_tree(tmp_path):
    images(tmp_path / "d", *three_of("train/a", "train/b"))
    examples = source(tmp_path / "d").load()
    assert (examples.test_indices, examples.val_indices) == (None, None)
    assert examples.remarks == ("There is no split but train, so the test split is drawn from it.",)


def test_a_class_may_be_called_train(tmp_path):
    images(tmp_path / "d", *three_of("train", "bus"))
    assert source(tmp_path / "d").load().classes == ("bus", "train")


def test_links_are_followed_and_loops_are_not(tmp_path):
    root = tmp_path / "d"
    images(root, *three_of("a", "b/inner"))
    images(tmp_path / "elsewhere", *three_of("c"))
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "b" / "again").symlink_to(root / "b")
    files = source(root).files()
    assert files.paths_N == (*three_of("a"), *three_of("b/inner"), *three_of("c"))
    assert files.remarks == ("Links that lead back to a folder above them were not followed: b/again.",)


def test_hidden_files_are_ignored_and_others_are_remarked_on(tmp_path):
    root = tmp_path / "d"
    images(root, *three_of("train/a", "train/b", "test/a", "test/b"))
    (root / "train/a/upper.PNG").write_bytes((root / "train/a/0.png").read_bytes())
    for name in ("train/.DS_Store", "train/a/._0.png", "train/a/Thumbs.db", "desktop.ini", ".git/config.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    assert len(source(root).files()) == 13
    assert source(root).files().remarks == ()
    for name in ("classes.json", "train/notes.txt", *(f"train/a/{number}.heic" for number in range(5))):
        (root / name).write_text("x")
    (root / "about").mkdir()
    assert source(root).files().remarks == (
        "7 files are no images and were left out: classes.json, train/a/0.heic, train/a/1.heic, train/a/2.heic, "
        "train/a/3.heic and 2 more.",
    )


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_missing_root_and_a_file_as_root(tmp_path):
    refused(tmp_path / "nowhere", r"^Data source folder: root '.*nowhere' was not found\.")
    (tmp_path / "table.csv").write_text("path,label\n")
    refused(
        tmp_path / "table.csv", r"root must be a folder, got the file .*table\.csv\. A table .* data\.source csv\.$"
    )


def test_no_images(tmp_path):
    (tmp_path / "d" / "a").mkdir(parents=True)
    refused(tmp_path / "d", r"d has no images\. Each class's images belong into a folder of its own\.$")
    (tmp_path / "d" / "a" / "x.heic").write_text("")
    refused(tmp_path / "d", r"d has no images \(1 other file, such as a/x\.heic\)\.")


def test_a_single_class(tmp_path):
    images(tmp_path / "d", *three_of("a"))
    refused(tmp_path / "d", r"d must have images of at least 2 classes, got 1: a\.$")


def test_images_outside_the_folders_of_classes(tmp_path):
    root = tmp_path / "d"
    images(
        root, *three_of("train/a", "train/b", "test/a", "test/b"), *(f"test/{number:02}.png" for number in range(12))
    )
    refused(root, r"(?s)has images outside the folders of classes:\n  test/00\.png\n.*test/09\.png\n  … and 2 more\n")
    images(tmp_path / "e", *three_of("a", "b"), "x.png")
    refused(tmp_path / "e", r"outside the folders of classes:\n  x\.png\n  Each class's", on_bad="skip")


def test_a_folder_of_images_beside_splits(tmp_path):
    images(tmp_path / "d", *three_of("train/steam", "train/diesel", "bus"))
    refused(
        tmp_path / "d", r"outside the folders of classes:\n  bus/0\.png\n(?s:.*)every image must be in one of these"
    )


def test_splits_without_class_folders(tmp_path):
    images(tmp_path / "d", *three_of("train", "test"))
    refused(tmp_path / "d", r"d has test, train, but no folders of classes in them\. Put each class's .* train/cat\.$")


def test_a_split_given_twice_and_no_train(tmp_path):
    images(tmp_path / "d", *three_of("train/a", "train/b", "val/a", "val/b", "valid/a"))
    refused(tmp_path / "d", r"must have one folder for the split val, got val, valid\. Take one away\.$")
    images(tmp_path / "e", *three_of("test/a", "test/b", "val/a", "val/b"))
    refused(tmp_path / "e", r"e has the split test and val but no train\. Add it\.$")


@pytest.mark.parametrize("on_bad", ["error", "skip"])
def test_a_class_missing_from_a_split(tmp_path, on_bad):
    images(tmp_path / "d", *three_of("train/a", "train/b", "train/c", "test/a", "test/d"))
    refused(
        tmp_path / "d",
        r"must have images of every class in every split\. Without:\n  b: none in test\n  c: none in test\n"
        r"  d: none in train\n  Add images, or take these classes out of the other splits\.$",
        on_bad=on_bad,
    )


def test_empty_class_folders(tmp_path):
    root = tmp_path / "d"
    images(root, *three_of("train/a", "train/b", "test/a", "test/b"))
    for split in ("train", "test"):
        (root / split / "none").mkdir()
    refused(root, r"has class folders without images:\n  test/none\n  train/none\n  Add images")
    examples = source(root, on_bad="skip").load()
    assert examples.classes == ("a", "b")
    assert examples.skipped == (
        "test/none: a class folder without images",
        "train/none: a class folder without images",
    )


def test_bad_files_are_listed_or_left_out(tmp_path):
    root = tmp_path / "d"
    images(root, *(f"{name}/{number:02}.png" for name in ("a", "b") for number in range(8)))
    for number in range(7):
        (root / "a" / f"bad{number}.jpg").write_text("text")
    for number in range(5):
        (root / "c").mkdir(exist_ok=True)
        (root / "c" / f"{number}.jpg").write_bytes(b"")
    (root / "b" / "gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(DataError) as caught:
        source(root).load()
    lines = str(caught.value).split("\n")
    assert lines[0].endswith("d has 13 of 29 image files that cannot be read:")
    assert lines[1] == "  a/bad0.jpg: it is no image of a format that is read here"
    assert lines[8] == "  b/gone.png: No such file or directory"
    assert lines[11:] == [
        "  … and 3 more",
        "  Mend or remove them, or leave them out with data.on_bad: skip.",
    ]
    examples = checked(source(root, on_bad="skip").load(), "folder")
    assert examples.classes == ("a", "b")
    assert examples.labels_N.tolist() == [0] * 8 + [1] * 8
    assert len(examples.skipped) == 14
    assert examples.skipped[0] == "a/bad0.jpg: it is no image of a format that is read here"
    assert examples.skipped[-2:] == ("c/4.jpg: the file is empty", "class c: none of its images can be read")
    files = source(root).files()
    kept = [path for path in files.paths_N if path.startswith(("a/0", "b/0"))]
    for path, pixels in zip(kept, examples.inputs, strict=True):
        assert tuple(pixels[:, 0, 0]) == Image.open(root / path).getpixel((0, 0))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    root = tmp_path / "d"
    images(root, *three_of("a", "b"))
    os.mkfifo(root / "a" / "pipe.png")
    (root / "a" / "to_pipe.png").symlink_to("pipe.png")
    (root / "b" / "circle.png").symlink_to("circle.png")
    refused(
        root,
        r"has 2 entries that cannot be read:\n  a/(to_)?pipe\.png: this is neither a file nor a folder\n"
        r"  a/(to_)?pipe\.png: this is neither a file nor a folder\n  Mend or remove them, .* data\.on_bad: skip\.$",
    )
    skipped = source(root, on_bad="skip").load().skipped
    assert sorted(line.split(":")[0] for line in skipped) == ["a/pipe.png", "a/to_pipe.png", "b/circle.png"]
    assert skipped[-1] == "b/circle.png: Too many levels of symbolic links"


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    root = tmp_path / "d"
    images(root, *three_of("a", "b"), "c/0.png")

    def refusing(folder):
        if Path(folder).name == "c":
            raise PermissionError(13, "Permission denied")
        return actual(folder)

    actual = os.scandir
    monkeypatch.setattr(os, "scandir", refusing)  # the superuser may read everything
    refused(root, r"has 1 entry that cannot be read:\n  c: Permission denied\n  Mend or remove them")
    assert source(root, on_bad="skip").load().skipped == (
        "c: Permission denied",
        "c: a class folder without images",
    )


def test_official_splits_keep_their_examples_when_others_are_left_out(tmp_path):
    root = tmp_path / "d"
    images(root, *three_of("train/a", "train/b", "val/a", "val/b", "test/a", "test/b"))
    (root / "test/a/1.png").write_text("text")
    (root / "train/a/1.png").write_text("text")
    files, examples = source(root).files(), source(root, on_bad="skip").load()
    paths = [path for path in files.paths_N if path not in ("test/a/1.png", "train/a/1.png")]
    assert {paths[place].split("/")[0] for place in examples.test_indices} == {"test"}
    assert {paths[place].split("/")[0] for place in examples.val_indices} == {"val"}
    assert (len(examples.test_indices), len(examples.val_indices)) == (5, 6)


def test_nothing_but_bad_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "x.jpg").write_text("text")
    refused(
        tmp_path / "d", r"d has 2 of 2 image files that cannot be read:(?s:.*)Mend or replace them\.$", on_bad="skip"
    )


def test_images_of_two_sizes_need_a_size(tmp_path):
    root = tmp_path / "d"
    images(root, *three_of("a", "b"))
    Image.new("RGB", (7, 5)).save(root / "b" / "1.png")
    refused(
        root,
        r"images of one size, or data\.size must be set:\n  a/0\.png has 6 × 6 pixels \(height × width\)\n"
        r"  b/1\.png has 5 × 7 pixels .*\n  Set data\.size .*, such as data\.size: 64\.$",
    )
    assert source(root, size=4, color="grey").load().inputs.shape == (6, 1, 4, 4)


def test_odd_names_are_escaped(tmp_path):
    root = tmp_path / "d"
    images(root, *three_of("a", "b"))
    (root / "a" / "line\nbreak.png").write_text("x")
    (Path(os.fsdecode(os.fsencode(root) + b"/a/\xff.png"))).write_text("x")
    examples = source(root, on_bad="skip").load()
    assert [line.split(":")[0] for line in examples.skipped] == ["a/line\\nbreak.png", "a/\\udcff.png"]


# --- fingerprint ------------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_that_of_the_examples_wherever_they_lie(tmp_path):
    images(tmp_path / "d", *three_of("train/a", "train/b", "test/a", "test/b"))
    shutil.copytree(tmp_path / "d", tmp_path / "moved")
    (tmp_path / "moved" / "notes.txt").write_text("")
    assert source(tmp_path / "d").fingerprint() == source(tmp_path / "moved").fingerprint()


def test_the_fingerprint_follows_whatever_changes_the_examples(tmp_path):
    root = tmp_path / "d"
    images(root, *three_of("train/a", "train/b", "test/a", "test/b"))
    prints = [
        source(root, **options).fingerprint()
        for options in ({}, {"size": 5}, {"size": 5, "fit": "pad"}, {"color": "grey"}, {"on_bad": "skip"})
    ]
    images(root, "train/b/new.png")
    prints.append(source(root).fingerprint())
    (root / "train/b/new.png").rename(root / "train/a/new.png")
    prints.append(source(root).fingerprint())
    (root / "train/a/new.png").rename(root / "test/a/new.png")
    prints.append(source(root).fingerprint())
    for split in ("train", "test"):
        (root / split / "b").rename(root / split / "c")
    prints.append(source(root).fingerprint())
    assert len(set(prints)) == len(prints)
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in prints)


def test_how_examples_are_split_is_no_part_of_the_fingerprint(tmp_path):
    images(tmp_path / "d", *three_of("a", "b"))
    assert source(tmp_path / "d", validation=0.4).fingerprint() == source(tmp_path / "d").fingerprint()


def test_the_same_examples_have_one_identity_in_every_form(tmp_path):
    images(tmp_path / "pets", *three_of("dog", "cat"))
    identity = source(tmp_path / "pets", size=4).load().identity
    assert len(identity) == 64
    assert source(tmp_path / "pets", size=5, color="grey", fit="pad").load().identity == identity
    Image.new("RGB", (6, 6), "red").save(tmp_path / "pets" / "cat" / "1.png")
    assert source(tmp_path / "pets", size=4).load().identity != identity


def test_asking_for_the_fingerprint_loads_no_training_framework(tmp_path):
    images(tmp_path / "d", *three_of("a", "b"))
    code = (
        "import sys\n"
        "from assay.data.load import source_fingerprint\n"
        "from assay.recipe.schema import FolderData\n"
        "source_fingerprint(FolderData(source='folder', root=sys.argv[1]))\n"
        "print({'torch', 'sklearn', 'scipy'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "d")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


# --- real images ------------------------------------------------------------------------------------------------------


def test_scenes(tmp_path, monkeypatch):
    place = os.environ.get("ASSAY_DATA")
    if not place or not (Path(place) / "scene15-160").is_dir():
        pytest.skip("needs scene15-160 in $ASSAY_DATA")
    for split in ("train", "test"):
        (tmp_path / "scenes" / split).mkdir(parents=True)
        for name in ("Coast", "Forest"):
            (tmp_path / "scenes" / split / name).symlink_to(Path(place) / "scene15-160" / split / name)
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    examples = checked(FolderSource(FolderData(source="folder", root="scenes", size=64)).load(), "folder")
    splits = make_splits(examples, validation=0.2, seed=0)
    assert examples.classes == ("Coast", "Forest")
    assert splits.sizes() == {"train": 160, "val": 40, "test": 260 + 228}
    path = source(tmp_path / "scenes").files().paths_N[600]
    with Image.open(tmp_path / "scenes" / path) as image:
        whole = np.asarray(image.convert("RGB"), dtype=np.float64)
    assert abs(examples.inputs[600].mean() - whole.mean()) < 12  # the cut at the centre leaves a part out


def test_what_was_skipped_is_told_when_too_little_is_left(tmp_path):
    images(tmp_path, *(f"a/{number}.png" for number in range(4)))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/0.png").write_bytes(b"no image")
    with pytest.raises(DataError) as told:
        source(tmp_path, on_bad="skip").load()
    assert str(told.value).endswith(
        "must have images of at least 2 classes, got 1: a.\n  Left out as unusable:\n"
        "  b/0.png: it is no image of a format that is read here\n  class b: none of its images can be read"
    )
