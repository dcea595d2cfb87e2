"""The folder store keeps the contract, and its files keep their formats."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from ruamel.yaml import YAML

from assay.errors import StoreError
from assay.records import EpochRecord, FailedRun, Predictions, Run, RunProgress
from assay.studies.store import disk
from assay.studies.store import files as formats
from assay.studies.store.contract import Store
from assay.studies.store.folder import FolderStore
from assay.studies.store.lease import FolderLease
from assay.testing.comparing import differences
from assay.testing.stores import StoreContract
from assay.testing.trials import made_up_recipe, made_up_run

RUN_FILES = {
    "recipe.yaml",
    "record.json",
    "history.jsonl",
    "predictions.npz",
    "weights.safetensors",
    "preprocessing.json",
    "preprocessing.safetensors",
    "log.txt",
    "artefacts/augmented.png",
    "artefacts/confusion_test.csv",
}
LOOKS_LIKE_ANOTHER_TYPE = ["no", "on", "1e3", "0x1f", "0o7", "1_000", "12:30", "~", "- a", "a: b", "#", "'", "null", ""]


class TestFolderStore(StoreContract):
    def open_store(self, tmp_path: Path) -> Store:
        return FolderStore(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "assay-runs")


@pytest.fixture
def run() -> Run:
    return made_up_run(made_up_recipe(4))


def failure_of(run: Run) -> FailedRun:
    return FailedRun(
        fingerprint=run.fingerprint,
        recipe=run.record.recipe,
        kind="killed",
        message="gone",
        traceback="line 1\nline 2\n",
        failed_at="2025-01-01T00:00:00+00:00",
        seconds=0.5,
    )


def tree(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_the_layout_is_the_documented_one(store: FolderStore, run: Run) -> None:
    other = made_up_run(made_up_recipe(5))
    with store.try_lease(run.fingerprint) or pytest.fail("no lease"):
        assert tree(store.root) == {f"work/{run.fingerprint}/lease"}
        store.add(run)
    store.add_failure(failure_of(other))
    store.save_study("digits-dropout", {"study.yaml": "q", "tables/arms.csv": "a"})
    assert tree(store.root) == {f"runs/{run.fingerprint}/{name}" for name in RUN_FILES} | {
        f"failed/{other.fingerprint}/failure.json",
        f"failed/{other.fingerprint}/traceback.txt",
        "studies/digits-dropout/study.yaml",
        "studies/digits-dropout/tables/arms.csv",
    }
    assert list((store.root / "work").iterdir()) == []
    assert (store.root / "failed" / other.fingerprint / "traceback.txt").read_text() == "line 1\nline 2\n"


def test_opening_or_asking_an_empty_store_writes_nothing(store: FolderStore) -> None:
    assert store.get("a" * 32) is None
    assert store.failure("a" * 32) is None
    assert list(store.fingerprints()) == list(store.studies()) == []
    assert not store.root.exists()


def test_equal_runs_give_equal_bytes(tmp_path: Path, run: Run) -> None:
    folders = [Path(FolderStore(tmp_path / name).add(run).location) for name in ("a", "b")]
    for name in RUN_FILES:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_the_recipe_is_readable_and_loads_as_yaml_1_2(store: FolderStore, run: Run) -> None:
    text = (Path(store.add(run).location) / "recipe.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# The recipe of run {run.fingerprint}")
    assert "\n  widths:\n  - 16\n" in text
    assert YAML(typ="safe", pure=True).load(text) == run.record.recipe


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(LOOKS_LIKE_ANOTHER_TYPE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé: -", max_size=6), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(recipe=st.dictionaries(st.text("abc._", min_size=1, max_size=6), plain_values, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_recipe_survives_yaml(recipe: dict[str, Any]) -> None:
    run = made_up_run(made_up_recipe())
    run = dataclasses.replace(run, record=dataclasses.replace(run.record, recipe=recipe))
    text = formats.run_files(run)["recipe.yaml"].decode()
    assert (YAML(typ="safe", pure=True).load(text) or {}) == recipe
    assert "&id" not in text


def test_a_value_that_appears_twice_is_written_twice() -> None:
    shared = [1, 2]
    run = made_up_run(made_up_recipe())
    run = dataclasses.replace(run, record=dataclasses.replace(run.record, recipe={"a": shared, "b": shared}))
    assert YAML(typ="safe", pure=True).load(formats.run_files(run)["recipe.yaml"]) == {"a": [1, 2], "b": [1, 2]}
    assert b"*" not in formats.run_files(run)["recipe.yaml"]


finite = st.none() | st.floats(allow_nan=False, allow_infinity=False)
epochs = st.builds(
    EpochRecord,
    epoch=st.integers(1, 10**6), step=st.integers(0, 10**9), lr=st.floats(0, 1e3), running_train_loss=finite,
    running_train_accuracy=finite, train_loss=finite, train_accuracy=finite, val_loss=finite, val_accuracy=finite,
    gradient_norm=finite, weight_norm=finite, seconds=st.floats(0, 1e6),
)  # fmt: skip
tensors = st.dictionaries(
    st.text("abc.0_é", min_size=1, max_size=8),
    st.sampled_from(["<f4", "<f8", "<f2", "<i8", "<i4", "u1", "?"]).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=4,
)


artefact_names = st.from_regex(r"[a-z0-9_-]{1,5}\.(png|json|csv|npz)", fullmatch=True).filter(
    lambda name: not disk.is_device_name(name)
)


@given(
    history=st.lists(epochs, max_size=3), weights=tensors, log=st.text(max_size=20), examples=st.integers(0, 5),
    arrays_kept=tensors, artefacts=st.dictionaries(artefact_names, st.binary(max_size=9), max_size=3),
)  # fmt: skip
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_run_survives_its_files(
    history: list[EpochRecord], weights: Any, log: str, examples: int, arrays_kept: Any, artefacts: dict[str, bytes]
) -> None:
    predictions = {
        "test": Predictions(
            probabilities_NC=np.full((examples, 3), np.nan, dtype=np.float32),
            labels_N=np.arange(examples, dtype=np.int64),
            indices_N=np.arange(examples, dtype=np.int64)[::-1],
        )
    }
    run = Run(
        record=made_up_run(made_up_recipe()).record, history=tuple(history), weights=weights, log=log,
        predictions=predictions, preprocessing_arrays=arrays_kept, artefacts=artefacts,
    )  # fmt: skip
    files = formats.run_files(run)
    again = dataclasses.replace(
        run,
        record=formats.read_record(files["record.json"]),
        history=formats.read_history(files["history.jsonl"]),
        predictions=formats.read_predictions(files["predictions.npz"]),
        weights=formats.read_arrays(files["weights.safetensors"]),
        preprocessing_arrays=formats.read_arrays(files["preprocessing.safetensors"]) if arrays_kept else {},
        artefacts={name: files[f"artefacts/{name}"] for name in artefacts},
    )
    assert differences(again, run) == []
    assert again.history == run.history


def test_weights_that_are_views_keep_their_values(store: FolderStore, run: Run) -> None:
    weights = {"turned": np.arange(6.0).reshape(2, 3).T, "strided": np.arange(10)[::3]}
    found = store.add(dataclasses.replace(run, weights=weights)).weights()
    assert np.array_equal(found["turned"], weights["turned"])
    assert np.array_equal(found["strided"], weights["strided"])


def test_fields_of_a_later_version_are_passed_over(store: FolderStore, run: Run) -> None:
    folder = Path(store.add(run).location)
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, "later": 1}))
    epoch = json.loads((folder / "history.jsonl").read_text().splitlines()[0])
    (folder / "history.jsonl").write_text(json.dumps({**epoch, "later": 1}) + "\n")
    found = store.get(run.fingerprint)
    assert found is not None
    assert found.record == run.record
    assert found.history() == run.history[:1]


# --- damage -----------------------------------------------------------------------------------------------------------

READERS = {
    "record.json": "history",
    "history.jsonl": "history",
    "predictions.npz": "predictions",
    "weights.safetensors": "weights",
    "preprocessing.json": "preprocessing",
    "preprocessing.safetensors": "preprocessing",
    "log.txt": "log",
}


def assert_damage_is_told(store: FolderStore, run: Run, file: str, folder: Path) -> None:
    with pytest.raises(StoreError) as told:
        getattr(store.get(run.fingerprint), READERS[file])()
    message = str(told.value)
    assert message.startswith(f"{folder / file} is damaged: ")
    assert message.endswith(f"Remove the folder {folder} to have the run computed again.")


DAMAGES = [
    (file, damage)
    for file in READERS
    for damage in ("missing", "empty", "cut", "noise", "folder")
    # A run may have no epochs, no arrays of its preprocessing, and a log of any length.
    if (file, damage) not in (("history.jsonl", "empty"), ("preprocessing.safetensors", "missing"))
    and (file, damage) not in (("log.txt", "empty"), ("log.txt", "cut"))
]


@pytest.mark.parametrize(("file", "damage"), DAMAGES)
def test_a_damaged_file_is_named_with_what_to_do(store: FolderStore, run: Run, file: str, damage: str) -> None:
    folder = Path(store.add(run).location)
    path = folder / file
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2 + 1], "noise": b"\xff\x00{" * 50}[damage])
    assert_damage_is_told(store, run, file, folder)
    shutil.rmtree(folder)
    assert store.get(run.fingerprint) is None


def test_damaged_last_weights_are_told_and_only_runs_that_have_them_have_the_file(store: FolderStore, run: Run) -> None:
    other = dataclasses.replace(made_up_run(made_up_recipe(5)), last_weights={"w": np.ones(3)})
    path = Path(store.add(other).location) / "last_weights.safetensors"
    assert not (Path(store.add(run).location) / path.name).exists()
    path.write_bytes(b"noise")
    with pytest.raises(StoreError, match=r"last_weights\.safetensors is damaged: "):
        store.get(other.fingerprint).last_weights()
    assert differences(store.add(run), run) == []


def test_an_artefact_that_cannot_be_read_is_named_with_what_to_do(store: FolderStore, run: Run) -> None:
    folder = Path(store.add(run).location)
    (folder / "artefacts" / "augmented.png").unlink()
    (folder / "artefacts" / "augmented.png").mkdir()
    found = store.get(run.fingerprint)
    assert found is not None
    with pytest.raises(StoreError) as told:
        found.artefact("augmented.png")
    assert str(told.value).startswith(f"{folder / 'artefacts' / 'augmented.png'} is damaged: it cannot be read (")
    assert str(told.value).endswith(f"Remove the folder {folder} to have the run computed again.")
    assert found.artefact("confusion_test.csv") == b"true,predicted,count\n"


def test_an_artefact_must_be_bytes(store: FolderStore, run: Run) -> None:
    text: Any = {"table.csv": "a,b"}
    with pytest.raises(StoreError, match=r"artefact table\.csv is str, and only bytes can be kept\."):
        store.add(dataclasses.replace(run, artefacts=text))
    assert tree(store.root) == set()


def test_a_record_from_before_data_were_described_is_read(store: FolderStore, run: Run) -> None:
    folder = Path(store.add(run).location)
    record = json.loads((folder / "record.json").read_text())
    del record["data"]
    (folder / "record.json").write_text(json.dumps(record))
    found = store.get(run.fingerprint)
    assert found is not None
    assert found.record == dataclasses.replace(run.record, data={})


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"fingerprint": 3}', "[" * 100_000])
def test_a_record_of_another_shape_is_damage(store: FolderStore, run: Run, text: str) -> None:
    folder = Path(store.add(run).location)
    (folder / "record.json").write_text(text)
    assert_damage_is_told(store, run, "record.json", folder)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("metrics", 5, "metrics must be a mapping"),
        ("metrics", {"val_loss": "x"}, "metric val_loss must be a finite number or null, got 'x'"),
        ("metrics", {"val_loss": float("nan")}, "metric val_loss must be a finite number or null, got nan"),
        ("metrics", {"val_loss": True}, "metric val_loss must be a finite number or null, got True"),
        ("recipe", [], "recipe must be a mapping"),
        ("data", ["digits"], "data must be a mapping"),
        ("status", "done", "status must be one of completed, diverged, got 'done'"),
        ("seconds", None, "seconds must be a number, got None"),
    ],
)
def test_a_record_with_a_value_of_another_kind_is_damage(
    store: FolderStore, run: Run, key: str, value: object, problem: str
) -> None:
    folder = Path(store.add(run).location)
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, key: value}))
    assert_damage_is_told(store, run, "record.json", folder)
    with pytest.raises(StoreError, match=re.escape(problem)):
        store.get(run.fingerprint)


def test_a_record_of_another_run_is_damage(store: FolderStore, run: Run) -> None:
    other = store.add(made_up_run(made_up_recipe(5)))
    folder = Path(store.add(run).location)
    shutil.copy(Path(other.location) / "record.json", folder / "record.json")
    with pytest.raises(StoreError, match=f"it is of run '{other.fingerprint}'"):
        store.get(run.fingerprint)


def test_a_pickle_among_the_predictions_is_not_opened(store: FolderStore, run: Run, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    folder = Path(store.add(run).location)
    objects = np.empty(1, dtype=object)
    objects[0] = Bomb()
    buffer = io.BytesIO()
    np.savez(buffer, **{"test.probabilities": objects, "test.labels": objects, "test.indices": objects})
    (folder / "predictions.npz").write_bytes(buffer.getvalue())
    assert_damage_is_told(store, run, "predictions.npz", folder)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("part", ["weights", "predictions", "preprocessing_arrays"])
def test_arrays_of_python_objects_are_refused(store: FolderStore, run: Run, part: str) -> None:
    objects = np.array([{}, None], dtype=object)
    bad: dict[str, Any] = {
        "weights": {"w": objects},
        "preprocessing_arrays": {"mean": objects},
        "predictions": {"val": Predictions(probabilities_NC=objects, labels_N=objects, indices_N=objects)},
    }
    with pytest.raises(StoreError, match="is an array of Python objects, and only numbers can be kept"):
        store.add(dataclasses.replace(run, **{part: bad[part]}))
    assert store.get(run.fingerprint) is None


# --- writing goes wrong -----------------------------------------------------------------------------------------------


def failing_after(count: int, code: int) -> Any:
    """A `write_file` that fails at its write number ``count``, counted from 0, having written half."""
    written: Iterator[int] = iter(range(10**6))
    whole = disk.write_file

    def write(path: Path, data: bytes) -> None:
        if next(written) == count:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(code, os.strerror(code), str(path))
        whole(path, data)

    return write


@pytest.mark.parametrize("count", range(len(RUN_FILES)))
def test_a_full_disk_keeps_nothing_of_the_run_and_says_so(
    store: FolderStore, run: Run, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    with monkeypatch.context() as full:
        full.setattr(disk, "write_file", failing_after(count, errno.ENOSPC))
        with pytest.raises(StoreError) as told:
            store.add(run)
    assert str(told.value) == (
        f"The disk that holds {store.root} is full: keeping run {run.fingerprint} failed. "
        "Free some space and run the same command again; finished runs are kept."
    )
    assert tree(store.root) == set()
    assert store.get(run.fingerprint) is None
    assert differences(store.add(run), run) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_told(
    store: FolderStore, run: Run, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(disk, "write_file", failing_after(0, code))
    with pytest.raises(StoreError, match=r"failed: no permission for .*Make it writable, or choose another store"):
        store.add(run)
    assert tree(store.root) == set()


def test_a_store_whose_place_is_taken_by_a_file_is_told(tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("")
    store = FolderStore(tmp_path / "file")
    for act in (
        lambda: store.add(run),
        lambda: store.try_lease(run.fingerprint),
        lambda: store.save_study("s", {"f": ""}),
    ):
        with pytest.raises(StoreError, match=r"failed: .*Mend the folder"):
            act()


def test_a_failed_failure_leaves_nothing_half_written(
    store: FolderStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(disk, "write_file", failing_after(1, errno.ENOSPC))
        with pytest.raises(StoreError, match=f"keeping the failure of run {run.fingerprint} failed"):
            store.add_failure(failure_of(run))
    assert store.failure(run.fingerprint) is None
    assert tree(store.root) == set()


def test_an_earlier_failure_is_over_once_the_run_exists(store: FolderStore, run: Run) -> None:
    store.add_failure(failure_of(run))
    folder = store.root / "failed" / run.fingerprint
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    store.add(run)
    folder.mkdir(parents=True)  # as if the process had been killed before it cleared the failure
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    assert store.failure(run.fingerprint) is None


# --- leases and leftovers ---------------------------------------------------------------------------------------------


def test_leftovers_of_dead_writers_go_when_the_lease_is_taken_and_other_work_stays(
    store: FolderStore, run: Run
) -> None:
    work = store.root / "work" / run.fingerprint
    for name in ("writing-1-abcd", "discarded-2-abcd"):
        (work / name).mkdir(parents=True)
        (work / name / "weights.safetensors").write_bytes(b"half")
    (work / "checkpoint").mkdir()
    (work / "checkpoint" / "epoch-3.safetensors").write_bytes(b"whole")
    with store.try_lease(run.fingerprint) or pytest.fail("no lease"):
        assert tree(work) == {"lease", "checkpoint/epoch-3.safetensors"}


def test_a_checkpoint_outlives_its_process_and_failures_and_goes_once_the_run_exists(
    store: FolderStore, run: Run
) -> None:
    file = store.checkpoint_file(run.fingerprint)
    assert file.read() is None
    with store.try_lease(run.fingerprint) or pytest.fail("no lease"):
        file.write(b"half-way")
        (file.path.parent / "writing-1-00000000").write_bytes(b"half-")  # as a kill leaves it
    with FolderStore(store.root).try_lease(run.fingerprint) or pytest.fail("no lease"):
        assert tree(file.path.parent) == {"lease", "checkpoint.safetensors"}
        store.add_failure(failure_of(run))
        assert file.read() == b"half-way"
        file.write(b"further")
        assert file.read() == b"further"
        store.add(run)
        assert file.read() == b"further"
    assert not file.path.parent.exists()


def test_how_far_a_run_has_come_is_there_while_its_lease_is_held(store: FolderStore, run: Run) -> None:
    progress = RunProgress(epoch=1, epochs=2, step=3, steps=10, val_accuracy=0.5, seconds_left=0.1)
    store.tell(run.fingerprint, progress)  # whose folder is not there
    assert store.progress(run.fingerprint) is None
    assert not store.root.exists()
    with store.try_lease(run.fingerprint) or pytest.fail("no lease"):
        store.tell(run.fingerprint, progress)
        assert FolderStore(store.root).progress(run.fingerprint) == progress
        file = store.root / "work" / run.fingerprint / "progress.json"
        for damage in (b"{", b"[]", b"{}", b'{"epoch": 1}', b"\xff"):
            file.write_bytes(damage)
            assert store.progress(run.fingerprint) is None
        store.tell(run.fingerprint, progress)
    with store.try_lease(run.fingerprint) or pytest.fail("no lease"):
        assert store.progress(run.fingerprint) is None  # it was of a process that is gone
        store.tell(run.fingerprint, progress)
        store.add(run)
    assert not file.parent.exists()


def test_what_a_process_left_that_died_right_after_it_added_a_run_goes_later(store: FolderStore, run: Run) -> None:
    file = store.checkpoint_file(run.fingerprint)
    lease = store.try_lease(run.fingerprint)
    assert lease is not None
    file.write(b"almost there")
    store.add(run)  # and dies
    unfinished = store.checkpoint_file("unfinished")
    other = FolderStore(store.root)
    with other.try_lease("unfinished") or pytest.fail("no lease"):
        unfinished.write(b"half-way")
    assert not file.path.parent.exists()
    assert unfinished.read() == b"half-way"
    lease.release()


@pytest.mark.parametrize("fails", ["write_file", "sync_folder"])
def test_a_work_file_that_cannot_be_written_leaves_the_former_one_and_no_trace(
    store: FolderStore, run: Run, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    file = store.checkpoint_file(run.fingerprint)
    with store.try_lease(run.fingerprint) or pytest.fail("no lease"):
        file.write(b"former")

        def full(path: Path, *_: bytes) -> None:
            if path.name.startswith("writing-"):
                path.write_bytes(b"some of it")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(disk, fails, full)
        with pytest.raises(OSError, match="No space left on device"):
            file.write(b"later")
        assert tree(file.path.parent) == {"lease", "checkpoint.safetensors"}
        assert file.read() == (b"former" if fails == "write_file" else b"later")


def test_a_writer_taken_for_dead_writes_again(store: FolderStore, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = FolderStore(store.root)
    whole = disk.write_file
    interrupted: list[Path] = []

    def write(path: Path, data: bytes) -> None:
        if path.name == "weights.safetensors" and not interrupted:
            interrupted.append(path)
            (other.try_lease(run.fingerprint) or pytest.fail("no lease")).release()
        whole(path, data)

    monkeypatch.setattr(disk, "write_file", write)
    assert differences(store.add(run), run) == []
    assert not interrupted[0].parent.exists()
    assert tree(store.root / "runs" / run.fingerprint) == RUN_FILES


def test_the_lease_of_an_unfinished_run_leaves_its_file_and_works_again(store: FolderStore, run: Run) -> None:
    for _ in range(2):
        with store.try_lease(run.fingerprint) or pytest.fail("no lease"):
            assert FolderStore(store.root).try_lease(run.fingerprint) is None


def test_a_work_folder_that_comes_and_goes_is_no_error(tmp_path: Path) -> None:
    folder, over = tmp_path / "work" / "f00d", threading.Event()

    def remove_again_and_again() -> None:
        while not over.is_set():
            with suppress(OSError):
                folder.rmdir()

    remover = threading.Thread(target=remove_again_and_again)
    remover.start()
    try:
        for _ in range(20_000):
            disk.make_work_folder(folder)
    finally:
        over.set()
        remover.join()


def test_a_lease_taken_while_the_last_holder_finishes_is_no_error(
    store: FolderStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = FolderLease.try_take

    def take_as_the_folder_goes(folder: Path, finished: Callable[[], bool]) -> FolderLease | None:
        lease = take(folder, finished)
        shutil.rmtree(folder)  # what is left of the last holder's release
        return lease

    monkeypatch.setattr(FolderLease, "try_take", take_as_the_folder_goes)
    lease = store.try_lease(run.fingerprint)
    assert lease is not None
    store.add(run)
    lease.release()
    assert store.get(run.fingerprint) is not None


def test_a_study_file_whose_leftover_goes_meanwhile_is_kept(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save_study("s", {"a.txt": "one"})
    folder = store.study_folder("s")
    monkeypatch.setattr(Path, "glob", lambda *_: iter([folder / ".a.txt.gone"]))
    store.save_study("s", {"a.txt": "two"})
    assert store.study_file("s", "a.txt") == "two"


def test_find_gives_the_runs_a_prefix_stands_for(store: FolderStore) -> None:
    runs = [store.add(made_up_run(made_up_recipe(seed))) for seed in range(20)]
    names = sorted(run.fingerprint for run in runs)
    assert store.find("") == tuple(names)
    assert store.find(names[3]) == (names[3],)
    assert store.find("zz") == ()
    assert store.find(names[0][0]) == tuple(name for name in names if name[0] == names[0][0])


def test_leftovers_of_a_study_file_go_when_they_are_old(store: FolderStore) -> None:
    store.save_study("s", {"report.html": "1"})
    folder = store.root / "studies" / "s"
    for name, age in ((".report.html.old", 7200), (".report.html.new", 0)):
        (folder / name).write_text("half")
        moment = (folder / name).stat().st_mtime - age
        os.utime(folder / name, (moment, moment))
    store.save_study("s", {"report.html": "2"})
    assert tree(folder) == {"report.html", ".report.html.new"}
    assert store.study_file("s", "report.html") == "2"


def test_a_study_file_that_is_no_text_is_damage(store: FolderStore) -> None:
    store.save_study("s", {"study.yaml": "q"})
    (store.root / "studies" / "s" / "study.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match=r"study\.yaml is damaged"):
        store.study_file("s", "study.yaml")
