import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official_files import CIFAR10_FILES, cifar_records, write_cifar10, write_cifar100

from assay.data.load import load_source, source_fingerprint
from assay.errors import DataError
from assay.recipe.schema import Cifar10Data, Cifar100Data

RECORD = 3073


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))


@pytest.fixture
def cifar10(tmp_path):
    return write_cifar10(tmp_path / "cifar-10-batches-bin")


def section(**keys):
    return Cifar10Data(source="cifar10", **keys)


def fine(**keys):
    return Cifar100Data(source="cifar100", **keys)


def test_records_become_images_and_labels_with_the_test_batch_last(cifar10):
    examples = load_source(section())
    for place, name in enumerate(CIFAR10_FILES):
        content = (cifar10 / name).read_bytes()
        for row in (0, 7, 19):
            record = content[row * RECORD : (row + 1) * RECORD]
            position = 20 * place + row
            assert examples.labels_N[position] == record[0]
            planes = np.frombuffer(record[1:], dtype=np.uint8).reshape(3, 32, 32)  # red, green, blue; row by row
            np.testing.assert_array_equal(examples.inputs[position], planes)
    assert examples.inputs.shape == (120, 3, 32, 32)
    assert examples.test_indices.tolist() == list(range(100, 120))
    assert examples.classes[:3] == ("airplane", "automobile", "bird")
    assert examples.skipped == ()


@given(counts=st.lists(st.integers(2, 600), min_size=6, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_may_have_any_number_of_records(tmp_path, counts, seed):
    folder = tmp_path / "any"
    folder.mkdir(exist_ok=True)
    labels = np.random.default_rng(seed).permutation(sum(counts)) % 3
    (folder / "batches.meta.txt").write_text("red\ngreen\nblue\n\n")
    start, contents = 0, []
    for name, count in zip(CIFAR10_FILES, counts, strict=True):
        contents.append(cifar_records(labels[start : start + count, None], seed))
        (folder / name).write_bytes(contents[-1])
        start += count
    examples = load_source(section(root="any"))
    np.testing.assert_array_equal(examples.labels_N, labels)
    rows = np.frombuffer(b"".join(contents), dtype=np.uint8).reshape(-1, RECORD)
    np.testing.assert_array_equal(examples.inputs.reshape(-1, RECORD - 1), rows[:, 1:])
    assert len(examples.test_indices) == counts[-1]
    assert examples.classes == ("red", "green", "blue")


def test_cifar100_has_two_labels(tmp_path):
    write_cifar100(tmp_path / "cifar-100-binary", train=200, test=100)
    by_fine, by_coarse = load_source(fine()), load_source(fine(labels="coarse"))
    assert by_fine.labels_N.tolist() == [*range(100), *range(100), *range(100)]
    assert by_coarse.labels_N.tolist() == [i // 5 for i in by_fine.labels_N]
    np.testing.assert_array_equal(by_fine.inputs, by_coarse.inputs)
    first = (tmp_path / "cifar-100-binary" / "train.bin").read_bytes()[2:3074]
    assert by_fine.inputs[0].tobytes() == first
    assert by_fine.test_indices.tolist() == list(range(200, 300))
    assert (len(by_fine.classes), by_fine.classes[0], by_fine.classes[99]) == (100, "apple", "worm")
    assert (len(by_coarse.classes), by_coarse.classes[0], by_coarse.classes[19]) == (
        20,
        "aquatic_mammals",
        "vehicles_2",
    )
    assert source_fingerprint(fine()) != source_fingerprint(fine(labels="coarse"))


# --- what identifies it -----------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_content_wherever_it_lies(tmp_path, cifar10):
    before = source_fingerprint(section())
    shutil.copytree(cifar10, tmp_path / "elsewhere" / "copy")
    assert source_fingerprint(section(root="elsewhere/copy")) == before
    assert source_fingerprint(section(root=str(cifar10))) == before
    assert source_fingerprint(section(on_bad="skip", validation=0.5)) == before
    content = bytearray((cifar10 / "data_batch_3.bin").read_bytes())
    content[-1] ^= 1
    (cifar10 / "data_batch_3.bin").write_bytes(content)
    assert source_fingerprint(section()) != before


def test_the_fingerprint_follows_the_names_of_classes(cifar10):
    before = source_fingerprint(section())
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (cifar10 / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    assert source_fingerprint(section()) == before  # the official names, written out
    (cifar10 / "batches.meta.txt").write_text("\n".join([*names[:9], "lorry"]))
    assert source_fingerprint(section()) != before


def test_what_is_not_the_official_release_is_remarked(cifar10):
    (remark,) = load_source(section()).remarks
    assert remark == f"Not the official release of CIFAR-10: {', '.join(CIFAR10_FILES)} differ from it."


def test_unchanged_files_are_read_once(cifar10, monkeypatch):
    first = load_source(section())
    assert load_source(section(validation=0.4, fraction=0.5)) is first
    with pytest.raises(ValueError, match="read-only"):
        first.inputs[0] = 0
    (cifar10 / "test_batch.bin").write_bytes(cifar_records(np.arange(10)[:, None], 77))
    assert len(load_source(section()).labels_N) == 110


# --- where it is looked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["cifar10", "cifar-10", "cifar-10-batches-bin"])
def test_usual_names_of_the_folder_are_accepted(tmp_path, monkeypatch, place):
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path / "data"))
    write_cifar10(tmp_path / "data" / place)
    assert len(load_source(section()).labels_N) == 120


def test_the_folder_of_the_files_itself_may_be_the_data_folder(cifar10, monkeypatch):
    monkeypatch.setenv("ASSAY_DATA", str(cifar10))
    assert len(load_source(section()).labels_N) == 120


def test_a_root_may_hold_the_folder_of_the_official_archive(tmp_path):
    write_cifar10(tmp_path / "mine" / "cifar-10-batches-bin")
    assert len(load_source(section(root="mine")).labels_N) == 120
    assert len(load_source(section(root=str(tmp_path / "mine"))).labels_N) == 120


def test_missing_data_are_answered_with_places_and_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load_source(section())
    assert str(caught.value) == (
        "Data source cifar10: CIFAR-10 was not found. Looked for cifar-10-batches-bin in:\n"
        f"  {tmp_path}\n  {tmp_path / 'cache' / 'data'}\n"
        "  Run: assay data fetch cifar10\n"
        f"  Or put {', '.join(CIFAR10_FILES)} into {tmp_path / 'cifar-10-batches-bin'}, or name the folder that "
        "cifar-10-batches-bin is in by --data-dir or $ASSAY_DATA."
    )
    with pytest.raises(
        DataError, match=r"Leave data\.root out, and run: assay data fetch cifar10\n .* into /no/where\.$"
    ):
        source_fingerprint(section(root="/no/where"))


def test_missing_files_are_named(cifar10):
    (cifar10 / "data_batch_2.bin").unlink()
    (cifar10 / "test_batch.bin").unlink()
    with pytest.raises(DataError) as caught:
        source_fingerprint(section())
    assert str(caught.value) == (
        f"Data source cifar10: 2 of the 6 files of CIFAR-10 are missing in {cifar10}:\n"
        "  data_batch_2.bin, test_batch.bin\n  Put them there. Or run: assay data fetch cifar10"
    )


def test_a_whole_set_further_down_the_list_beats_a_part_of_one(tmp_path, cifar10, monkeypatch):
    write_cifar10(tmp_path / "second" / "cifar-10-batches-bin")
    monkeypatch.setenv("ASSAY_DATA", f"{tmp_path}{os.pathsep}{tmp_path / 'second'}")
    (cifar10 / "test_batch.bin").unlink()
    assert len(load_source(section()).labels_N) == 120


# --- damage -----------------------------------------------------------------------------------------------------------


def spoil(folder, name, row, label):
    content = bytearray((folder / name).read_bytes())
    content[row * RECORD] = label
    (folder / name).write_bytes(content)


def test_labels_out_of_range_are_listed(cifar10):
    spoil(cifar10, "data_batch_3.bin", 17, 99)
    with pytest.raises(DataError) as caught:
        load_source(section())
    assert str(caught.value) == (
        f"Data source cifar10: {cifar10} is damaged in 1 place:\n"
        "  data_batch_3.bin, record 17: label 99 is out of 0 to 9\n"
        "  Move that folder away and run: assay data fetch cifar10, or set data.on_bad to skip, which leaves them out "
        "and notes which."
    )


def test_a_file_that_ends_early_is_named(cifar10):
    content = (cifar10 / "test_batch.bin").read_bytes()
    (cifar10 / "test_batch.bin").write_bytes(content[:-10])
    with pytest.raises(DataError, match=r"test_batch\.bin, record 19: the file ends after 3063 of its 3073 bytes\n"):
        load_source(section())


def test_of_many_damages_ten_are_listed_and_the_rest_counted(cifar10):
    for row in range(20):
        spoil(cifar10, "data_batch_1.bin", row, 200)
    with pytest.raises(DataError, match=r"damaged in 20 places:\n(  data_batch_1.*\n){10}  … and 10 more\n"):
        load_source(section())


def test_damaged_examples_are_left_out_and_noted_when_asked(cifar10):
    whole = load_source(section())
    spoil(cifar10, "data_batch_1.bin", 4, 10)
    spoil(cifar10, "test_batch.bin", 2, 255)
    content = (cifar10 / "data_batch_5.bin").read_bytes()
    (cifar10 / "data_batch_5.bin").write_bytes(content[: 18 * RECORD + 1])
    examples = load_source(section(on_bad="skip"))
    assert examples.skipped == (
        "data_batch_1.bin, record 4: label 10 is out of 0 to 9",
        "data_batch_5.bin, record 18: the file ends after 1 of its 3073 bytes",
        "test_batch.bin, record 2: label 255 is out of 0 to 9",
    )
    kept = np.setdiff1d(np.arange(120), [4, 98, 99, 102])
    np.testing.assert_array_equal(examples.labels_N, whole.labels_N[kept])
    np.testing.assert_array_equal(examples.inputs, whole.inputs[kept])
    assert examples.test_indices.tolist() == list(range(97, 116))
    with pytest.raises(DataError, match="damaged in 3 places"):
        load_source(section())  # what was loaded with skip serves nobody who did not ask for it


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_file_without_a_record_cannot_be_skipped(cifar10, content):
    (cifar10 / "data_batch_4.bin").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_source(section(on_bad="skip"))
    assert "data_batch_4.bin: holds no whole record of 3073 bytes\n" in str(caught.value)
    assert "on_bad" not in str(caught.value)


def test_both_labels_of_cifar100_are_checked(tmp_path):
    folder = write_cifar100(tmp_path / "cifar-100-binary")
    content = bytearray((folder / "train.bin").read_bytes())
    content[3074], content[2 * 3074 + 1] = 20, 100
    (folder / "train.bin").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_source(fine())
    assert "  train.bin, record 1: coarse label 20 is out of 0 to 19\n" in str(caught.value)
    assert "  train.bin, record 2: fine label 100 is out of 0 to 99\n" in str(caught.value)


def test_names_that_are_no_text_are_refused(cifar10):
    (cifar10 / "batches.meta.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"batches\.meta\.txt cannot be read as a text with one class name per line"):
        load_source(section())


def test_a_file_that_may_not_be_read_is_named(cifar10, monkeypatch):
    unreadable = ["", *["0" * 64] * 5]
    monkeypatch.setattr("assay.data.sources.official.digests", lambda folder, names: unreadable)
    with pytest.raises(DataError, match=r"data_batch_1\.bin in .* cannot be read\. Check who may read them\."):
        source_fingerprint(section())


# --- the real files ---------------------------------------------------------------------------------------------------

REAL = Path(os.environ.get("ASSAY_DATA", "") or "nowhere")


@pytest.mark.skipif(not (REAL / "cifar-10-batches-bin").is_dir(), reason="$ASSAY_DATA has no CIFAR-10")
def test_the_official_cifar10_is_recognised_whole(monkeypatch):
    monkeypatch.setenv("ASSAY_DATA", str(REAL))
    examples = load_source(section())
    train = np.setdiff1d(np.arange(60_000), examples.test_indices)
    assert np.bincount(examples.labels_N[train]).tolist() == [5000] * 10
    assert np.bincount(examples.labels_N[examples.test_indices]).tolist() == [1000] * 10
    assert (examples.remarks, examples.skipped) == ((), ())
    means = examples.inputs[train].mean(axis=(0, 2, 3), dtype=np.float64) / 255
    np.testing.assert_allclose(means, [0.491400, 0.482158, 0.446531], atol=5e-7)


@pytest.mark.skipif(not (REAL / "cifar-100-head").is_dir(), reason="$ASSAY_DATA has no cifar-100-head")
def test_a_part_of_cifar100_is_read_and_remarked(monkeypatch):
    monkeypatch.setenv("ASSAY_DATA", str(REAL))
    examples = load_source(fine(root="cifar-100-head"))
    assert (len(examples.labels_N), len(examples.test_indices)) == (1117 + 916, 916)
    assert examples.remarks == ("Not the official release of CIFAR-100: train.bin, test.bin differ from it.",)
    monkeypatch.setattr("assay.data.sources.official.is_file", lambda path: path.suffix == ".bin" and path.is_file())
    monkeypatch.setattr("assay.data.sources.cifar.is_file", lambda path: False)
    assert load_source(fine(root="cifar-100-head", on_bad="skip")).classes == examples.classes  # ours, word for word
