"""The promises of a run store, as tests.

Subclass `StoreContract`, name the class ``Test…``, and give it your store:

    class TestMyStore(StoreContract):
        def open_store(self, tmp_path):
            return MyStore(tmp_path)
"""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import dataclasses
import multiprocessing
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from assay.errors import AssayError, InputError
from assay.records import FailedRun, Run
from assay.studies.store.contract import Store
from assay.testing.comparing import differences
from assay.testing.trials import made_up_recipe, made_up_run


class StoreContract(ABC):
    """Promises of `assay.studies.store.contract.Store`."""

    @abstractmethod
    def open_store(self, tmp_path: Path) -> Store:
        """The store that lives at this path; called again with the same path it opens the same store.

        Must be picklable together with its class, for some tests open the store in a second process.
        """

    def test_a_run_comes_back_as_it_was_kept(self, tmp_path: Path) -> None:
        run = made_up_run(made_up_recipe(7))
        kept = self.open_store(tmp_path).add(run)
        found = self.open_store(tmp_path).get(run.fingerprint)
        assert found is not None
        assert found.record == run.record == kept.record
        assert found.history() == run.history
        assert differences(found, run) == []
        assert differences(kept, run) == []
        assert found.fingerprint == run.fingerprint
        assert found.location

    def test_a_run_without_its_larger_parts_comes_back(self, tmp_path: Path) -> None:
        run = made_up_run(made_up_recipe())
        run = Run(record=dataclasses.replace(run.record, data={}))
        store = self.open_store(tmp_path)
        store.add(run)
        found = store.get(run.fingerprint)
        assert found is not None
        assert (found.history(), dict(found.predictions()), dict(found.weights())) == ((), {}, {})
        assert found.last_weights() == {}
        assert (found.preprocessing(), found.log(), found.artefacts()) == (({}, {}), "", ())
        assert found.artefact("augmented.png") is None
        assert differences(found, run) == []

    def test_the_last_weights_come_back_beside_better_ones_that_were_kept(self, tmp_path: Path) -> None:
        run = made_up_run(made_up_recipe(9))
        last = {name: array + 1 for name, array in run.weights.items()}
        run = dataclasses.replace(run, last_weights=last)
        self.open_store(tmp_path).add(run)
        found = self.open_store(tmp_path).get(run.fingerprint)
        assert found is not None
        assert {name: array.tolist() for name, array in found.last_weights().items()} == {
            name: array.tolist() for name, array in last.items()
        }
        assert differences(found, run) == []
        assert differences(found, dataclasses.replace(run, last_weights={})) == sorted(
            f"last_weights.{name}" for name in last
        )

    def test_preprocessing_log_and_artefacts_come_back(self, tmp_path: Path) -> None:
        run = made_up_run(made_up_recipe(8))
        self.open_store(tmp_path).add(run)
        found = self.open_store(tmp_path).get(run.fingerprint)
        assert found is not None
        facts, arrays = found.preprocessing()
        assert facts == run.preprocessing
        assert {name: array.tolist() for name, array in arrays.items()} == {
            name: array.tolist() for name, array in run.preprocessing_arrays.items()
        }
        assert found.log() == run.log
        assert found.artefacts() == tuple(sorted(run.artefacts))
        assert {name: found.artefact(name) for name in found.artefacts()} == run.artefacts
        assert found.artefact("other.png") is None

    @pytest.mark.parametrize(
        "name",
        ["", "a", ".png", "a.b.png", "a.PNG", "A.png", "../a.png", "a/b.png", "a.html", "con.png", "é.png", "a.png\n"],
    )
    def test_an_artefact_of_another_name_is_refused_and_nothing_is_kept(self, tmp_path: Path, name: str) -> None:
        store = self.open_store(tmp_path / "store")
        good = made_up_run(made_up_recipe())
        with pytest.raises(InputError, match=f"Run {good.fingerprint} cannot be kept: an artefact's name must be"):
            store.add(dataclasses.replace(good, artefacts={"a.png": b"", name: b""}))
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        with pytest.raises(InputError, match="an artefact's name must be"):
            store.add(good).artefact(name)

    def test_an_unknown_fingerprint_is_none(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        assert store.get("0" * 32) is None
        assert store.failure("0" * 32) is None
        assert list(store.fingerprints()) == []

    def test_a_run_is_never_replaced(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        first = made_up_run(made_up_recipe(1))
        second = dataclasses.replace(first, record=dataclasses.replace(first.record, notes=("second",)))
        store.add(first)
        assert store.add(second).record.notes == ()
        found = self.open_store(tmp_path).get(first.fingerprint)
        assert found is not None
        assert found.record.notes == ()

    def test_fingerprints_are_sorted_and_complete(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        runs = [made_up_run(made_up_recipe(seed)) for seed in range(5)]
        for run in runs:
            store.add(run)
        assert list(self.open_store(tmp_path).fingerprints()) == sorted(run.fingerprint for run in runs)

    def test_the_latest_failure_counts_and_a_run_clears_it(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        run = made_up_run(made_up_recipe(3))
        for message in ("first", "second"):
            store.add_failure(_failure(run.fingerprint, message))
        assert self.open_store(tmp_path).failure(run.fingerprint) == _failure(run.fingerprint, "second")
        assert store.get(run.fingerprint) is None
        assert list(store.fingerprints()) == []
        store.add(run)
        assert self.open_store(tmp_path).failure(run.fingerprint) is None

    def test_a_lease_is_held_once_and_comes_back(self, tmp_path: Path) -> None:
        store, other = self.open_store(tmp_path), self.open_store(tmp_path)
        fingerprint = made_up_run(made_up_recipe()).fingerprint
        lease = store.try_lease(fingerprint)
        assert lease is not None
        assert store.try_lease(fingerprint) is None
        assert other.try_lease(fingerprint) is None
        elsewhere = other.try_lease("f" * 32)
        assert elsewhere is not None
        elsewhere.release()
        lease.release()
        lease.release()
        with other.try_lease(fingerprint) or pytest.fail("the lease did not come back"):
            assert store.try_lease(fingerprint) is None

    def test_a_lease_keeps_other_processes_out_and_ends_with_its_process(self, tmp_path: Path) -> None:
        fingerprint = made_up_run(made_up_recipe()).fingerprint
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_hold_lease, args=(self, tmp_path, fingerprint, theirs))
        process.start()
        try:
            assert ours.poll(60)
            assert ours.recv() is True
            store = self.open_store(tmp_path)
            assert store.try_lease(fingerprint) is None
        finally:
            process.kill()
            process.join()
        lease = store.try_lease(fingerprint)
        assert lease is not None
        lease.release()

    def test_many_writers_of_one_run_leave_one_whole_run(self, tmp_path: Path) -> None:
        runs = [made_up_run(made_up_recipe(seed)) for seed in (1, 2, 1, 2, 1, 2)]
        with ThreadPoolExecutor(len(runs)) as threads:
            kept = list(threads.map(lambda run: self.open_store(tmp_path).add(run), runs))
        store = self.open_store(tmp_path)
        assert list(store.fingerprints()) == sorted({run.fingerprint for run in runs})
        for run, stored in zip(runs, kept, strict=True):
            assert differences(stored, run) == []
            assert store.try_lease(run.fingerprint) is not None

    def test_a_study_keeps_its_files_by_name(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        assert store.studies() == ()
        assert store.study_file("digits-dropout", "study.yaml") is None
        store.save_study("digits-dropout", {"study.yaml": "question: ½?\n", "tables/arms.csv": "a\r\n"})
        store.save_study("circles", {"study.yaml": "x"})
        store.save_study("digits-dropout", {"study.yaml": "question: ¾?\n"})
        again = self.open_store(tmp_path)
        assert again.studies() == ("circles", "digits-dropout")
        assert again.study_file("digits-dropout", "study.yaml") == "question: ¾?\n"
        assert again.study_file("digits-dropout", "tables/arms.csv") == "a\r\n"

    @pytest.mark.parametrize("name", ["", ".", "..", "../escape", "a/b", "a\\b", "/etc", "c:x", "con", "a\nb", "dot."])
    def test_no_name_leads_out_of_the_store(self, tmp_path: Path, name: str) -> None:
        store = self.open_store(tmp_path / "store")
        with pytest.raises(InputError, match="must be 1 to 200 letters"):
            store.save_study(name, {"study.yaml": ""})
        with pytest.raises(InputError, match="must be 1 to 200 letters"):
            store.study_file("study", f"tables/{name.removeprefix('a')}")
        with pytest.raises(InputError, match="must be 1 to 200 letters"):
            store.get(name)
        with pytest.raises(InputError, match="must be 1 to 200 letters"):
            store.try_lease(name)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_a_run_that_is_no_plain_data_is_refused_and_leaves_nothing(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        good = made_up_run(made_up_recipe())
        bad = dataclasses.replace(good, preprocessing={"scale": float("nan")})
        with pytest.raises(AssayError, match=f"Run {good.fingerprint} cannot be kept"):
            store.add(bad)
        assert store.get(good.fingerprint) is None
        assert differences(store.add(good), good) == []


def _failure(fingerprint: str, message: str) -> FailedRun:
    return FailedRun(
        fingerprint=fingerprint,
        recipe=made_up_recipe(3).resolved(),
        kind="raised",
        message=message,
        traceback=f"Traceback: {message} \udce9",
        failed_at="2025-01-01T00:00:00+00:00",
        seconds=1.5,
    )


def _hold_lease(contract: StoreContract, path: Path, fingerprint: str, answer: Connection) -> None:
    lease = contract.open_store(path).try_lease(fingerprint)
    answer.send(lease is not None)
    answer.recv()  # never comes; the test kills this process
