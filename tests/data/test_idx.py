import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official_files import idx, write_mnist

from assay.data.load import load_source, source_fingerprint
from assay.errors import DataError
from assay.recipe.schema import FashionMnistData, MnistData

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))


@pytest.fixture
def mnist(tmp_path):
    write_mnist(tmp_path / "mnist")
    return tmp_path / "mnist"


def section(**keys):
    return MnistData(source="mnist", **keys)


def message_of(**keys):
    with pytest.raises(DataError) as caught:
        load_source(section(**keys))
    return str(caught.value)


def test_the_four_files_become_images_and_labels_with_the_test_split_last(tmp_path):
    (train, train_labels), (test, test_labels) = write_mnist(tmp_path / "mnist")
    examples = load_source(section())
    np.testing.assert_array_equal(examples.inputs[:, 0], np.concatenate([train, test]))
    np.testing.assert_array_equal(examples.labels_N, np.concatenate([train_labels, test_labels]))
    assert examples.test_indices.tolist() == list(range(40, 60))
    assert examples.classes == tuple("0123456789")
    assert (examples.inputs.shape, examples.skipped) == ((60, 1, 6, 5), ())
    assert examples.remarks == (f"Not the official release of MNIST: {', '.join(NAMES)} differ from it.",)


def test_fashion_mnist_has_names_for_its_classes(tmp_path):
    write_mnist(tmp_path / "FashionMNIST" / "raw")
    examples = load_source(FashionMnistData(source="fashion_mnist"))
    assert (examples.classes[0], examples.classes[9], len(examples.classes)) == ("T-shirt/top", "Ankle boot", 10)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    packed=st.lists(st.booleans(), min_size=4, max_size=4),
    dotted=st.booleans(),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_gzipped_or_not_under_either_spelling(tmp_path, size, packed, dotted):
    folder = tmp_path / f"{size}{packed}{dotted}"
    if not folder.exists():
        write_mnist(folder, size=size)
        for name, gzipped in zip(NAMES, packed, strict=True):
            content = (folder / name).read_bytes()
            (folder / name).unlink()
            name = name.replace("-idx", ".idx") if dotted else name
            (folder / (name + ".gz" * gzipped)).write_bytes(gzip.compress(content) if gzipped else content)
    plain = tmp_path / f"plain {size}"
    if not plain.exists():
        write_mnist(plain, size=size)
    examples, expected = (load_source(section(root=str(place))) for place in (folder, plain))
    np.testing.assert_array_equal(examples.inputs, expected.inputs)
    np.testing.assert_array_equal(examples.labels_N, expected.labels_N)


def test_a_gzipped_name_on_unpacked_content_is_read_all_the_same(mnist):
    expected = load_source(section()).inputs
    for name in NAMES:
        (mnist / name).rename(mnist / (name + ".gz"))
    np.testing.assert_array_equal(load_source(section()).inputs, expected)


# --- damage -----------------------------------------------------------------------------------------------------------

IMAGES, LABELS = NAMES[:2]
GOOD_IMAGES = idx(np.zeros((40, 6, 5)))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (IMAGES, b"", "ends after 0 bytes, within its header of 16"),
        (IMAGES, GOOD_IMAGES[:15], "ends after 15 bytes, within its header of 16"),
        (LABELS, idx(np.zeros(40))[:7], "ends after 7 bytes, within its header of 8"),
        (IMAGES, b"<html>not found</html>", "starts with 0x3c68746d, and must with 0x00000803"),
        (LABELS, GOOD_IMAGES, "starts with 0x00000803, and must with 0x00000801"),
        (IMAGES, b"\0\0\x0d\x03" + GOOD_IMAGES[4:], "starts with 0x00000d03, and must with 0x00000803"),
        (IMAGES, idx(np.zeros((40, 0, 5))), "its header says 40×0×5, which is nothing"),
        (IMAGES, idx(np.zeros((0, 6, 5))), "its header says 0×6×5, which is nothing"),
        (IMAGES, gzip.compress(GOOD_IMAGES)[:-8] + bytes(8), "its gzip data are damaged (CRC check failed"),
        (IMAGES, gzip.compress(GOOD_IMAGES)[:10] + b"\x07" * 30, "its gzip data are damaged (Error -3"),
    ],
)
@pytest.mark.parametrize("on_bad", ["error", "skip"])
def test_a_file_of_which_nothing_can_be_trusted_is_refused(mnist, name, content, problem, on_bad):
    (mnist / name).write_bytes(content)
    message = message_of(on_bad=on_bad)
    assert message.startswith(f"Data source mnist: {mnist} is damaged in 1 place:\n  {name}: {problem}")
    assert message.endswith("Move that folder away and run: assay data fetch mnist.")


def test_every_file_that_is_damaged_is_listed(mnist):
    for name in NAMES:
        (mnist / name).write_bytes(b"nothing")
    assert message_of().count("ends after 7 bytes") == 4


def test_a_label_out_of_range_is_listed_or_skipped(mnist):
    labels = np.arange(40) % 10
    labels[[3, 38]] = 10, 200
    (mnist / LABELS).write_bytes(idx(labels))
    message = message_of()
    assert f"  {LABELS}, record 3: label 10 is out of 0 to 9\n" in message
    assert f"  {LABELS}, record 38: label 200 is out of 0 to 9\n" in message
    assert "set data.on_bad to skip" in message
    examples = load_source(section(on_bad="skip"))
    assert len(examples.labels_N) == 58
    assert examples.test_indices.tolist() == list(range(38, 58))
    assert examples.skipped == (
        f"{LABELS}, record 3: label 10 is out of 0 to 9",
        f"{LABELS}, record 38: label 200 is out of 0 to 9",
    )


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_file_that_ends_early_loses_its_last_records(mnist, gzipped):
    whole = load_source(section())
    content = (mnist / IMAGES).read_bytes()[: 16 + 37 * 30 + 1]
    if gzipped:
        packer = gzip.zlib.compressobj(wbits=31)
        content = packer.compress(content) + packer.flush(gzip.zlib.Z_SYNC_FLUSH)  # an end that never came
    (mnist / IMAGES).write_bytes(content)
    lost = [f"{IMAGES}, record {row}: the file ends before its end" for row in (37, 38, 39)]
    assert all(f"  {line}\n" in message_of() for line in lost)
    examples = load_source(section(on_bad="skip"))
    assert list(examples.skipped) == lost
    np.testing.assert_array_equal(examples.inputs, whole.inputs[np.r_[0:37, 40:60]])
    np.testing.assert_array_equal(examples.labels_N, whole.labels_N[np.r_[0:37, 40:60]])


@pytest.mark.parametrize(("labels", "lacking", "other"), [(38, LABELS, IMAGES), (42, IMAGES, LABELS)])
def test_images_and_labels_must_be_as_many(mnist, labels, lacking, other):
    (mnist / LABELS).write_bytes(idx(np.arange(labels) % 10))
    few, many = sorted([40, labels])
    lines = [f"{lacking}, record {row}: there are {few}, and {many} in {other}" for row in range(few, many)]
    assert all(f"  {line}\n" in message_of() for line in lines)
    examples = load_source(section(on_bad="skip"))
    assert list(examples.skipped) == lines
    assert len(examples.test_indices) == 20
    assert len(examples.labels_N) == 20 + few


def test_a_header_that_claims_far_more_than_there_is_is_not_believed(mnist):
    content = bytearray((mnist / IMAGES).read_bytes())
    content[4:8] = struct.pack(">I", 2**32 - 1)
    (mnist / IMAGES).write_bytes(content)
    assert f"{IMAGES}, {LABELS}: of 4,294,967,295 records only 40 are there\n" in message_of(on_bad="skip")


def test_bytes_after_the_end_are_noted(mnist):
    with (mnist / LABELS).open("ab") as file:
        file.write(b"abc")
    assert f"  {LABELS}: 3 bytes follow its 40 records\n" in message_of()
    assert len(load_source(section(on_bad="skip")).labels_N) == 60


def test_both_splits_must_have_images_of_one_size(mnist):
    (mnist / NAMES[2]).write_bytes(idx(np.zeros((20, 5, 6))))
    assert "  train images are 6×5 and test images 5×6\n" in message_of(on_bad="skip")


def test_missing_files_are_named(mnist):
    (mnist / LABELS).unlink()
    assert message_of() == (
        f"Data source mnist: 1 of the 4 files of MNIST are missing in {mnist}:\n  {LABELS}\n"
        "  Put them there. Or run: assay data fetch mnist"
    )


# --- the real files ---------------------------------------------------------------------------------------------------

REAL = Path(os.environ.get("ASSAY_DATA", "") or "nowhere")


@pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="$ASSAY_DATA has no MNIST")
def test_the_official_mnist_is_recognised_gzipped_and_unpacked(monkeypatch, tmp_path):
    for name in NAMES:
        packed = REAL / "mnist" / f"{name}.gz"
        (tmp_path / "mnist").mkdir(exist_ok=True)
        (tmp_path / "mnist" / name).write_bytes(gzip.decompress(packed.read_bytes()))
    unpacked_print = source_fingerprint(section())
    monkeypatch.setenv("ASSAY_DATA", str(REAL))
    assert source_fingerprint(section()) == unpacked_print
    examples = load_source(section())
    assert examples.inputs.shape == (70_000, 1, 28, 28)
    assert np.bincount(examples.labels_N[60_000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (examples.remarks, examples.skipped) == ((), ())
    train = examples.inputs[:60_000] / np.float32(255)
    assert train.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
