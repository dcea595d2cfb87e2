import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.data import image_cache
from assay.data.image_cache import Progress
from assay.data.sources.folder import FolderSource
from assay.errors import DataError
from assay.recipe.schema import FolderData

LOAD = """
import sys
from assay.data.sources.folder import FolderSource
from assay.recipe.schema import FolderData
source = FolderSource(FolderData(source="folder", root=sys.argv[1], size=64))
progress = []
for step in source.prepare():
    progress.append(step)
    print("waiting" if step.waiting else "decoding", flush=True)
print(int(source.load().inputs.sum(dtype="int64")), sum(not step.waiting for step in progress), flush=True)
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    for name, value in (("a", 10), ("b", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (8, 6), (value + number, 0, 0)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def large_root(tmp_path):
    """Images that take a second or so to decode."""
    folder = tmp_path / "large"
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(noise).save(folder / name / "0.jpg")
        for number in range(1, 100):
            (folder / name / f"{number}.jpg").symlink_to("0.jpg")
    return folder


def source(root: Path, **options: object) -> FolderSource:
    return FolderSource(FolderData(source="folder", root=str(root), **options))


def kept(cache: Path) -> list[str]:
    """What is in the cache, aside from locks, which stay."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") if cache.exists() else []


def start(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", LOAD, str(root)], stdout=subprocess.PIPE, text=True)


# --- making and reading -----------------------------------------------------------------------------------------------


def test_images_are_decoded_once_and_read_from_the_disk(root, cache, monkeypatch):
    inputs = source(root).load().inputs
    assert isinstance(inputs, np.memmap)
    assert not inputs.flags.writeable
    assert inputs[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 14, 200, 201, 202, 203, 204]
    (key,) = kept(cache)
    assert sorted(path.name for path in (cache / key).iterdir()) == ["images.npy", "index.json"]
    monkeypatch.setattr(image_cache, "decode", None)
    np.testing.assert_array_equal(source(root).load().inputs, inputs)


def test_preparing_tells_how_far_it_is_and_nothing_when_there_is_nothing_to_do(root, monkeypatch):
    monkeypatch.setattr(image_cache, "_IMAGES_AT_ONCE", 4)
    steps = list(source(root).prepare())
    assert steps == [Progress(done=done, total=10) for done in (4, 8, 10)]
    assert list(source(root).prepare()) == []


def test_the_order_is_kept_whatever_finishes_first(tmp_path):
    for number in range(60):
        name = "ab"[number % 2]
        (tmp_path / "d" / name).mkdir(parents=True, exist_ok=True)
        side = 600 if number % 7 == 0 else 4  # slow ones in between
        Image.new("L", (side, side), number * 4).save(tmp_path / "d" / name / f"{number:02}.png")
    examples = source(tmp_path / "d", size=4, color="grey").load()
    assert examples.inputs[:, 0, 1, 1].tolist() == [n * 4 for n in (*range(0, 60, 2), *range(1, 60, 2))]


def test_each_form_has_its_own_cache(root, cache):
    for options in ({}, {"size": 4}, {"size": 4, "fit": "pad"}, {"color": "grey"}):
        source(root, **options).load()
    assert len(kept(cache)) == 4
    source(root, on_bad="skip", validation=0.5).load()
    assert len(kept(cache)) == 4


def test_bad_files_need_no_second_decoding_to_be_left_out(root, cache, monkeypatch):
    (root / "a" / "2.png").write_text("text")
    with pytest.raises(DataError, match=r"1 of 10 image files that cannot be read:\n  a/2\.png: it is no image"):
        source(root).load()
    monkeypatch.setattr(image_cache, "decode", None)
    with pytest.raises(DataError, match=r"1 of 10 image files"):
        list(source(root).prepare())
    examples = source(root, on_bad="skip").load()
    assert examples.inputs[:, 0, 0, 0].tolist() == [10, 11, 13, 14, 200, 201, 202, 203, 204]
    assert len(kept(cache)) == 1


# --- changes ----------------------------------------------------------------------------------------------------------


def test_a_changed_file_is_noticed_and_the_older_cache_goes(root, cache):
    before = source(root).load().inputs
    prints = {source(root).fingerprint()}
    others = source(root, color="grey")
    others.load()
    (key, _) = sorted(kept(cache), key=lambda name: (cache / name).stat().st_mtime_ns)
    Image.new("RGB", (8, 6), (77, 0, 0)).save(root / "b" / "1.png")
    after = source(root).load().inputs
    prints.add(source(root).fingerprint())
    assert after[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 14, 200, 77, 202, 203, 204]
    assert before[6, 0, 0, 0] == 201  # who has the older one open keeps its pixels
    assert len(prints) == 2
    assert len(kept(cache)) == 2
    assert key not in kept(cache)


def test_a_cache_being_used_to_make_it_is_not_removed(root, cache):
    source(root).load()
    (key,) = kept(cache)
    with image_cache.FileLock(cache / f"{key}.lock"):
        Image.new("RGB", (8, 6)).save(root / "b" / "1.png")
        source(root).load()
    assert len(kept(cache)) == 2


def test_a_renamed_file_that_keeps_its_place_needs_no_new_cache(root, cache, monkeypatch):
    source(root).load()
    (root / "b" / "4.png").rename(root / "b" / "5.png")
    monkeypatch.setattr(image_cache, "decode", None)
    assert source(root).load().inputs[-1, 0, 0, 0] == 204


def test_a_file_that_cannot_be_read_for_a_moment_is_not_kept_as_bad(root, cache, monkeypatch):
    section = FolderData(source="folder", root=str(root), on_bad="skip")
    actual = Path.read_bytes

    def read_bytes(path):
        if path.name == "2.png":
            raise OSError(24, "Too many open files")
        return actual(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(
        DataError, match=r"a/2\.png could be read before, and now not: Too many open files\. Try again\."
    ):
        FolderSource(section).load()
    monkeypatch.setattr(Path, "read_bytes", actual)
    assert len(FolderSource(section).load().inputs) == 10


def test_a_file_that_changes_while_it_is_read_is_an_error(root, cache, monkeypatch):
    files = source(root)

    def digests_before_the_change(folder, paths):
        found = actual(folder, paths)
        Image.new("RGB", (8, 6), (1, 2, 3)).save(root / "b" / "2.png")
        return found

    actual = image_cache.digests
    monkeypatch.setattr(image_cache, "digests", digests_before_the_change)
    with pytest.raises(
        DataError, match=r"data: b/2\.png changed while it was read\. Try again when nobody writes there"
    ):
        files.load()
    assert kept(cache) == []


def test_another_pillow_makes_another_cache(root, cache, monkeypatch):
    source(root).load()
    prints = source(root).fingerprint()
    (first,) = kept(cache)
    monkeypatch.setattr("PIL.__version__", "99.0")
    source(root).load()
    (second,) = kept(cache)
    assert second != first
    assert json.loads((cache / second / "index.json").read_text())["pillow"] == "99.0"
    assert source(root).fingerprint() == prints


# --- damage and full disks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["array cut", "array gone", "index cut", "index gone", "index odd", "other length"])
def test_a_damaged_cache_is_made_again(root, cache, damage):
    expected = np.array(source(root).load().inputs)
    (key,) = kept(cache)
    array, index = cache / key / "images.npy", cache / key / "index.json"
    match damage:
        case "array cut":
            array.write_bytes(array.read_bytes()[:-9])
        case "array gone":
            array.unlink()
        case "index cut":
            index.write_text(index.read_text()[:-5])
        case "index gone":
            index.unlink()
        case "index odd":
            index.write_text('{"bad": [3]}')
        case "other length":
            np.save(array, expected[:-1])
    np.testing.assert_array_equal(source(root).load().inputs, expected)
    assert kept(cache) == [key]


def test_a_cache_that_cannot_be_written_is_named(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        DataError, match=r"^The cache .*file/images cannot be written \(Not a directory\)\. Set ASSAY_CACHE to a folder"
    ):
        source(root).load()


def test_too_small_a_disk_is_noticed_before_it_is_full(root, cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 100, 100))
    with pytest.raises(
        DataError,
        match=r"^The disk of the cache .*images has too little space: 10 images need 122\.9 MB, of which 0\.0 MB are "
        r"free\. Free some space, or set ASSAY_CACHE to a folder on a larger disk\.$",
    ):
        source(root, size=2024).load()
    assert kept(cache) == []


def test_a_disk_that_fills_up_is_named_and_nothing_is_left(root, cache, monkeypatch):
    limited = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "from assay.data.sources.folder import FolderSource\n"
        "from assay.errors import DataError\n"
        "from assay.recipe.schema import FolderData\n"
        "try:\n"
        "    FolderSource(FolderData(source='folder', root=sys.argv[1], size=64)).load()\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", limited, str(root)], capture_output=True, text=True, check=True)
    assert f"The cache {cache} cannot be written (File too large). Set ASSAY_CACHE" in done.stdout
    assert kept(cache) == []


# --- several processes ------------------------------------------------------------------------------------------------


def test_two_processes_at_once_make_it_once(large_root, cache):
    first = start(large_root)
    assert first.stdout is not None
    assert first.stdout.readline() == "decoding\n"
    first.send_signal(signal.SIGSTOP)  # until the second has come
    try:
        second = start(large_root)
        assert second.stdout is not None
        assert second.stdout.readline() == "waiting\n"
    finally:
        first.send_signal(signal.SIGCONT)
    ends = [process.communicate(timeout=60)[0].split("\n")[-2].split() for process in (first, second)]
    assert ends[0][0] == ends[1][0]
    assert ends[0][1] != "0"
    assert ends[1][1] == "0"
    assert len(kept(cache)) == 1


def test_what_a_killed_process_left_is_removed_and_made_again(large_root, root, cache):
    process = start(large_root)
    assert process.stdout is not None
    assert process.stdout.readline() == "decoding\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [name.endswith(".partial") for name in kept(cache)] == [True]
    source(root).load()  # of another key
    assert [name.endswith(".partial") for name in kept(cache)] == [False]
    assert source(large_root, size=64).load().inputs.shape == (200, 3, 64, 64)
    assert len(kept(cache)) == 2


def test_leftovers_of_a_living_process_stay(large_root, root, cache):
    process = start(large_root)
    assert process.stdout is not None
    assert process.stdout.readline() == "decoding\n"
    process.send_signal(signal.SIGSTOP)
    try:
        source(root).load()
        assert sum(name.endswith(".partial") for name in kept(cache)) == 1
        waiting = source(large_root, size=64).prepare()
        assert next(waiting) == Progress(done=0, total=200, waiting=True)
        waiting.close()
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=60)[0].split("\n")[-2].split()[1] != "0"
    assert len(kept(cache)) == 2


def test_leaving_the_preparation_leaves_nothing(large_root, cache):
    steps = source(large_root, size=64).prepare()
    next(steps)
    assert len(kept(cache)) == 1
    steps.close()
    assert kept(cache) == []
    assert source(large_root, size=64).load().inputs.shape == (200, 3, 64, 64)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    import psutil

    content = tmp_path / "one.jpg"
    Image.new("RGB", (16, 16), "red").save(content)
    for name in ("a", "b"):
        (tmp_path / "many" / name).mkdir(parents=True)
        for number in range(500):
            os.link(content, tmp_path / "many" / name / f"{number}.jpg")
    process = psutil.Process()
    steps = source(tmp_path / "many", size=256).prepare()  # 197 MB in all
    next(steps)
    before = process.memory_info().rss
    most = max(process.memory_info().rss for _ in steps)
    assert most - before < 60e6
