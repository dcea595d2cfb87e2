"""Statistics of data sets: of examples at hand, and of files that are read once and let go."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.data import statistics
from assay.data.images import ImageForm, decode
from assay.data.statistics import moments_of_files, statistics_of
from assay.errors import DataError
from assay.recipe.schema import Cifar10Data, CirclesData, CsvData, DigitsData, FolderData


def write_images(root, sizes, *, seed=0, below=("cat", "dog")):
    """PNGs of random pixels, (H, W) each, in turn in the folders named; returns their paths and pixels."""
    draws = np.random.default_rng(seed)
    paths, pixels = [], []
    for number, (height, width) in enumerate(sizes):
        path = Path(below[number % len(below)]) / f"{number:03}.png"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels.append(draws.integers(0, 256, (height, width, 3)).astype(np.uint8))
        Image.fromarray(pixels[-1]).save(root / path)
        paths.append(path.as_posix())
    return paths, pixels


def read(content):
    return decode(content, ImageForm())


def pixels_of(images):
    return np.concatenate([image.reshape(-1, 3) for image in images]) / 255


def assert_statistics_are_of(statistics, images):
    np.testing.assert_allclose(statistics.mean, pixels_of(images).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, pixels_of(images).std(axis=0), rtol=1e-12)


# --- files ------------------------------------------------------------------------------------------------------------


def test_images_of_any_sizes_are_summed_by_their_pixels(tmp_path):
    paths, images = write_images(tmp_path, [(4, 6), (4, 6), (3, 5), (20, 30), (4, 6)])
    found = moments_of_files(tmp_path, paths, read)
    assert (found.count, found.smallest, found.largest) == (5, (3, 5), (20, 30))
    assert found.moments.count == 3 * 24 + 15 + 600
    np.testing.assert_allclose(found.moments.mean_C, 255 * pixels_of(images).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.moments.deviation_C, 255 * pixels_of(images).std(axis=0), rtol=1e-12)


def test_the_mean_image_is_that_of_the_stacked_images(tmp_path):
    paths, images = write_images(tmp_path, [(4, 6)] * 70)
    found = moments_of_files(tmp_path, paths, read, per_pixel=True)
    stacked_NCHW = np.stack(images).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found.moments.mean_C.reshape(3, 4, 6), stacked_NCHW.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.moments.deviation_C.reshape(3, 4, 6), stacked_NCHW.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize("far_apart", [False, True])
def test_a_mean_image_of_different_sizes_is_refused(tmp_path, far_apart):
    paths, _ = write_images(tmp_path, [(4, 6)] * (40 if far_apart else 2) + [(6, 4)])
    with pytest.raises(DataError) as told:
        moments_of_files(tmp_path, paths, read, per_pixel=True)
    assert str(told.value) == (
        "A mean image needs images of one size, got 4 × 6 and 6 × 4 (height × width). "
        "Set data.size to the one that all are brought to."
    )


def test_neither_threads_nor_their_timing_show_and_only_a_few_files_are_at_work(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "_FILES_AT_ONCE", 3)
    paths, _ = write_images(tmp_path, [(4, 6), (2, 9)] * 60)
    expected = moments_of_files(tmp_path, paths, read, threads=1)
    lock, inside, most = threading.Lock(), 0, 0
    chance = random.Random(7)

    def slow(content):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(chance.choice([0.0, 0.0, 0.0, 0.005]))
        with lock:
            inside -= 1
        return read(content)

    found = moments_of_files(tmp_path, paths, slow, threads=4)
    assert 1 < most <= 4
    for name in ("mean_C", "squares_C", "low_C", "high_C"):
        np.testing.assert_array_equal(getattr(found.moments, name), getattr(expected.moments, name))


def test_no_thread_runs_far_ahead_of_the_slowest(tmp_path, monkeypatch):
    """What is read ahead waits to be merged in order, so it must not be much."""
    monkeypatch.setattr(statistics, "_FILES_AT_ONCE", 1)
    paths, _ = write_images(tmp_path, [(2, 2)] * 60)
    lock, asked, ahead = threading.Lock(), [], []

    def read_with_a_slow_first(content):
        with lock:
            asked.append(content)
            first = len(asked) == 1
        if first:
            time.sleep(0.3)
            ahead.append(len(asked) - 1)
        return read(content)

    assert moments_of_files(tmp_path, paths, read_with_a_slow_first, threads=2).count == 60
    assert 1 <= ahead[0] <= 5


def test_decoded_images_are_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "_BYTES_AT_ONCE", 72)
    paths, _ = write_images(tmp_path, [(4, 6)] * 100)
    living, most, lock = 0, 0, threading.Lock()

    class Watched(np.ndarray):
        def __array_finalize__(self, obj):
            self.counted = False

        def __del__(self):
            nonlocal living
            if self.counted:
                with lock:
                    living -= 1

    def watched(content):
        nonlocal living, most
        image = read(content).view(Watched)
        image.counted = True
        with lock:
            living += 1
            most = max(most, living)
        return image

    moments_of_files(tmp_path, paths, watched, threads=2)
    assert most <= 6
    assert living == 0


def test_bad_files_are_told_by_position_and_the_rest_is_summed(tmp_path):
    paths, images = write_images(tmp_path, [(4, 6)] * 5)
    (tmp_path / paths[1]).write_bytes(b"")
    (tmp_path / paths[3]).unlink()
    found = moments_of_files(tmp_path, paths, read)
    assert found.count == 3
    assert found.bad == {1: "the file is empty", 3: "No such file or directory"}
    kept = [images[at] for at in (0, 2, 4)]
    np.testing.assert_allclose(found.moments.mean_C, 255 * pixels_of(kept).mean(axis=0), rtol=1e-12)


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"Statistics need at least one image, got no files\."):
        moments_of_files(tmp_path, [], read)
    paths, _ = write_images(tmp_path, [(1, 1)] * 12)
    for path in paths:
        (tmp_path / path).write_bytes(b"")
    with pytest.raises(DataError) as told:
        moments_of_files(tmp_path, paths, read)
    lines = str(told.value).splitlines()
    assert lines[0] == "Statistics need at least one image that can be read, got none:"
    assert lines[1] == "  cat/000.png: the file is empty"
    assert lines[-1] == "  … and 2 more"


def test_an_unexpected_error_ends_the_reading_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "_FILES_AT_ONCE", 1)
    paths, _ = write_images(tmp_path, [(2, 2)] * 60)
    asked = []

    def failing(content):
        asked.append(content)
        raise MemoryError("no memory")

    with pytest.raises(MemoryError, match="no memory"):
        moments_of_files(tmp_path, paths, failing, threads=2)
    assert len(asked) < 20


# --- data sections ----------------------------------------------------------------------------------------------------


def test_a_folder_at_its_own_sizes_is_not_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    _, images = write_images(tmp_path / "pets", [(4, 6), (8, 8), (5, 3), (4, 6)])
    found = statistics_of(FolderData(source="folder", root=str(tmp_path / "pets")))
    assert (found.source, found.split, found.count, found.channels) == ("folder", "all", 4, 3)
    assert (found.size, found.smallest, found.largest) == (None, (5, 3), (8, 8))
    assert_statistics_are_of(found, images)
    assert not (tmp_path / "cache").exists()


def test_a_folder_of_one_size_gives_the_same_with_and_without_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "pets", [(4, 6)] * 8)
    streamed, cached = (
        statistics_of(FolderData(source="folder", root=str(tmp_path / "pets"), size=size)) for size in (None, (4, 6))
    )
    assert streamed == cached
    assert streamed.size == (4, 6)


def test_official_splits_leave_the_training_files_alone_to_be_measured(tmp_path):
    _, train = write_images(tmp_path / "train", [(4, 4)] * 6)
    for seed, split in enumerate(("val", "test"), start=1):
        write_images(tmp_path / split, [(9, 9)] * 6, seed=seed)
    found = statistics_of(FolderData(source="folder", root=str(tmp_path)))
    assert (found.split, found.count, found.size) == ("train", 6, (4, 4))
    assert_statistics_are_of(found, train)


def test_a_table_of_files_is_measured_at_their_own_sizes(tmp_path):
    paths, images = write_images(tmp_path, [(4, 6), (8, 8), (5, 3), (4, 6)])
    rows = [f"{path},{Path(path).parent}" for path in paths]
    (tmp_path / "pets.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    found = statistics_of(CsvData(source="csv", file=str(tmp_path / "pets.csv")))
    assert (found.source, found.split, found.count) == ("csv", "all", 4)
    assert_statistics_are_of(found, images)


def test_unreadable_files_are_an_error_or_are_skipped_and_named(tmp_path):
    paths, images = write_images(tmp_path, [(4, 6)] * 6)
    (tmp_path / paths[2]).write_bytes((tmp_path / paths[2]).read_bytes()[:40])
    section = FolderData(source="folder", root=str(tmp_path))
    with pytest.raises(DataError) as told:
        statistics_of(section)
    lines = str(told.value).splitlines()
    assert lines[0] == f"Data source folder: {tmp_path} has 1 of 6 image files that cannot be read:"
    assert lines[1].startswith("  cat/002.png: image file is truncated")
    assert lines[2] == "  Mend or remove them, or leave them out with data.on_bad: skip."
    found = statistics_of(section.model_copy(update={"on_bad": "skip"}))
    assert found.count == 5
    assert [line.partition(":")[0] for line in found.skipped] == ["cat/002.png"]
    assert_statistics_are_of(found, images[:2] + images[3:])


def test_sources_in_memory_are_measured_on_what_is_not_set_aside():
    points = statistics_of(CirclesData(source="circles", points=60, test_points=20))
    assert (points.split, points.count, points.channels, points.size) == ("train", 60, 2, None)
    digits = statistics_of(DigitsData(source="digits"))
    assert (digits.split, digits.count, digits.channels, digits.size) == ("all", 1797, 1, (8, 8))
    assert digits.mean[0] == pytest.approx(0.3053, abs=1e-4)


def test_statistics_are_plain_json():
    found = statistics_of(DigitsData(source="digits")).to_json()
    assert json.loads(json.dumps(found)) == found
    assert list(found)[:4] == ["source", "split", "count", "size"]
    assert found["size"] == found["smallest"] == found["largest"] == [8, 8]
    assert statistics_of(CirclesData(source="circles")).to_json()["size"] is None


@pytest.mark.skipif("ASSAY_DATA" not in os.environ, reason="needs CIFAR-10 in $ASSAY_DATA")
def test_cifar_10_has_the_values_everyone_uses():
    if not (Path(os.environ["ASSAY_DATA"].split(os.pathsep)[0]) / "cifar-10-batches-bin").is_dir():
        pytest.skip("needs cifar-10-batches-bin in $ASSAY_DATA")
    found = statistics_of(Cifar10Data(source="cifar10"))
    assert (found.split, found.count, found.size, found.channels) == ("train", 50_000, (32, 32), 3)
    assert [round(value, 6) for value in found.mean] == [0.491400, 0.482158, 0.446531]
    assert [round(value, 6) for value in found.std] == [0.247032, 0.243485, 0.261588]
