"""Studies killed, starved or crowded, and conducted again: every run exists once, equal to the undisturbed one.

Each test conducts real studies in real processes (`conduct_study.py`), does violence to them, and conducts them again.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from assay.records import Run
from assay.studies.store.files import run_files
from assay.studies.store.folder import FolderStore
from assay.testing.comparing import differences
from assay.testing.trials import made_up_run
from small_disks import small_disk_at

PROGRAM = Path(__file__).with_name("conduct_study.py")
RUNS = {"made-up": 36, "training": 9}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="kills processes as POSIX does"),
]


def _program() -> object:
    spec = importlib.util.spec_from_file_location("conduct_study", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = _program()


class Conducting:
    """A study being conducted by another process."""

    def __init__(self, store: Path, kind: str = "made-up") -> None:
        self.process = psutil.Popen(
            [sys.executable, str(PROGRAM), str(store), kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, event: str) -> None:
        for line in self.process.stdout:
            if line.strip() == event:
                return
        pytest.fail(f"the study ended before {event}: {self.process.stderr.read()}")

    def workers(self) -> list[psutil.Process]:
        try:
            children = self.process.children()
            return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.Error:  # one ended while we looked
            return []

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, list[str], str]:
        """Exit code, lines of standard output, standard error."""
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output.splitlines(), errors


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    before = set(psutil.Process().children(recursive=True))
    yield tmp_path / "assay-runs"
    for process in set(psutil.Process().children(recursive=True)) - before:  # of a test that failed half-way
        process.kill()


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Run]:
    return {run.fingerprint: run for run in map(made_up_run, _recipes("made-up"))}


@pytest.fixture(scope="module")
def undisturbed_training() -> dict[str, Run]:
    return {run.fingerprint: run for run in map(program.train, _recipes("training"))}  # type: ignore[attr-defined]


def _recipes(kind: str) -> list[object]:
    study = program.study_of(kind)  # type: ignore[attr-defined]
    return [arm.recipe_at(index) for index in range(study.seeds.at_least) for arm in study.arms]


def conduct_to_the_end(store: Path, kind: str = "made-up") -> tuple[int, int, int]:
    """Conduct undisturbed; returns how many runs were done, cached and failed."""
    code, lines, errors = Conducting(store, kind).end()
    assert (code, errors) == (0, ""), lines[-3:]
    done, cached, failed = map(int, lines[-1].split())
    return done, cached, failed


def assert_whole(path: Path, expected: dict[str, Run]) -> None:
    """Every run exists exactly once and equals the undisturbed one; nothing else is left."""
    store = FolderStore(path)
    assert list(store.fingerprints()) == sorted(expected)
    for name, run in expected.items():
        stored = store.get(name)
        assert stored is not None
        assert differences(stored, run) == []
        assert _files_in(Path(stored.location)) == sorted(run_files(run))
        assert store.failure(name) is None
    assert {file.name for file in (path / "work").rglob("*") if file.is_file()} <= {"lease"}


def _files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def assert_every_run_present_is_whole(path: Path, expected: dict[str, Run]) -> int:
    """What a killed study left may lack runs, but has none in part. Returns how many there are."""
    store = FolderStore(path)
    for name in (names := list(store.fingerprints())):
        stored = store.get(name)
        assert stored is not None
        assert differences(stored, expected[name]) == []
    return len(names)


def test_killing_workers_again_and_again(store: Path, undisturbed: dict[str, Run], chance: random.Random) -> None:
    killed = 0
    while killed < 12:
        conducting = Conducting(store)
        conducting.wait_for("RunStarted")
        while conducting.process.poll() is None and killed < 12:
            time.sleep(chance.uniform(0.0, 0.12))
            for worker in conducting.workers()[:1]:
                worker.kill()
                killed += 1
        code, lines, errors = conducting.end()
        assert (code, errors) == (0, "")
        done, cached, failed = map(int, lines[-1].split())
        assert done + cached + failed == RUNS["made-up"]
        assert failed <= killed
        assert assert_every_run_present_is_whole(store, undisturbed) == done + cached
    assert sum(conduct_to_the_end(store)) == RUNS["made-up"]
    assert_whole(store, undisturbed)
    assert conduct_to_the_end(store) == (0, RUNS["made-up"], 0)


def test_killing_the_parent_again_and_again(store: Path, undisturbed: dict[str, Run], chance: random.Random) -> None:
    present = 0
    for _ in range(7):
        conducting = Conducting(store)
        conducting.wait_for("LookStarted")
        time.sleep(chance.uniform(0.0, 0.5))
        workers = conducting.workers()
        conducting.kill()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert alive == [], "workers outlived their parent"
        now = assert_every_run_present_is_whole(store, undisturbed)
        assert now >= present, "a finished run was lost"
        present = now
    done, cached, failed = conduct_to_the_end(store)
    assert (cached, done + cached, failed) == (present, RUNS["made-up"], 0)
    assert_whole(store, undisturbed)


def test_a_parent_killed_in_the_middle_of_writing(store: Path, undisturbed: dict[str, Run]) -> None:
    """Every name a run passes through while it is written, as a kill at that instant would leave it."""
    assert conduct_to_the_end(store) == (RUNS["made-up"], 0, 0)
    moments = len(_files_in(store / "runs" / min(undisturbed))) + 1
    for name, files_written in zip(sorted(undisturbed), range(moments), strict=False):
        aside = store / "work" / name / f"writing-1-{files_written:08x}"
        aside.mkdir(parents=True)
        for file in _files_in(store / "runs" / name)[:files_written]:
            (aside / file).parent.mkdir(exist_ok=True)
            (store / "runs" / name / file).rename(aside / file)
        shutil.rmtree(store / "runs" / name)
    assert conduct_to_the_end(store) == (moments, RUNS["made-up"] - moments, 0)
    assert_whole(store, undisturbed)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads which signals a process blocks from Linux")
def test_every_worker_is_deaf_to_ctrl_c_from_its_birth(store: Path) -> None:
    conducting = Conducting(store)
    conducting.wait_for("RunStarted")
    workers: list[psutil.Process] = []
    while len(workers) < program.JOBS and conducting.process.is_running():
        workers = conducting.workers()
    states = [Path(f"/proc/{worker.pid}/status").read_text() for worker in workers]
    conducting.kill()
    blocked = [int(re.search(r"^SigBlk:\s*(\w+)$", state, re.MULTILINE)[1], 16) for state in states]
    assert [bool(mask >> (signal.SIGINT - 1) & 1) for mask in blocked] == [True] * program.JOBS


@pytest.mark.parametrize("to_whom", ["parent", "terminal"])
def test_ctrl_c_stops_at_once_cleanly_and_the_study_goes_on(
    store: Path, undisturbed: dict[str, Run], chance: random.Random, to_whom: str
) -> None:
    for _ in range(2):
        conducting = Conducting(store)
        conducting.wait_for("RunStarted")
        time.sleep(chance.uniform(0.0, 0.4))
        workers = conducting.workers()
        began = time.monotonic()
        if to_whom == "terminal":  # every process of the foreground group gets it
            os.killpg(conducting.process.pid, signal.SIGINT)
        else:
            conducting.process.send_signal(signal.SIGINT)
        code, lines, errors = conducting.end()
        assert time.monotonic() - began < 5.0
        assert (code, lines[-1], errors) == (130, "interrupted", "")
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert alive == []
        assert not list((store / "work").rglob("writing-*"))
        assert_every_run_present_is_whole(store, undisturbed)
    conduct_to_the_end(store)
    assert_whole(store, undisturbed)


def test_two_processes_on_one_store_compute_each_run_once(store: Path, undisturbed: dict[str, Run]) -> None:
    ends = [conducting.end() for conducting in [Conducting(store), Conducting(store)]]
    assert [(code, errors) for code, _, errors in ends] == [(0, ""), (0, "")]
    counted = [tuple(map(int, lines[-1].split())) for _, lines, _ in ends]
    assert sum(done for done, _, _ in counted) == RUNS["made-up"]
    assert [done + cached for done, cached, _ in counted] == [RUNS["made-up"]] * 2
    assert_whole(store, undisturbed)


def test_one_of_two_processes_killed_and_the_other_takes_its_runs_over(
    store: Path, undisturbed: dict[str, Run], chance: random.Random
) -> None:
    victim, survivor = Conducting(store), Conducting(store)
    victim.wait_for("RunFinished")
    time.sleep(chance.uniform(0.0, 0.2))
    victim.kill()
    code, lines, errors = survivor.end()
    assert (code, errors) == (0, "")
    done, cached, failed = map(int, lines[-1].split())
    assert (done + cached, failed) == (RUNS["made-up"], 0)
    assert_whole(store, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB, far too small for the study."""
    with small_disk_at(tmp_path / "disk", "512k") as place:
        yield place


def test_a_full_disk_keeps_whole_runs_says_so_and_goes_on_when_there_is_room(
    small_disk: Path, undisturbed: dict[str, Run]
) -> None:
    store = small_disk / "assay-runs"
    code, lines, errors = Conducting(store).end()
    assert (code, errors) == (1, "")
    assert lines[-1].startswith(f"The disk that holds {store} is full: ")
    assert lines[-1].endswith("Free some space and run the same command again; finished runs are kept.")
    kept = assert_every_run_present_is_whole(store, undisturbed)
    assert 0 < kept < RUNS["made-up"]
    assert not list((store / "work").rglob("writing-*"))
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    done, cached, failed = conduct_to_the_end(store)
    assert (done + cached, cached, failed) == (RUNS["made-up"], kept, 0)
    assert_whole(store, undisturbed)


def test_training_killed_and_conducted_again_gives_the_same_bits(
    store: Path, undisturbed_training: dict[str, Run], chance: random.Random
) -> None:
    conducting = Conducting(store, "training")
    conducting.wait_for("RunFinished")
    time.sleep(chance.uniform(0.0, 0.2))
    conducting.kill()
    assert_every_run_present_is_whole(store, undisturbed_training)
    conduct_to_the_end(store, "training")
    assert_whole(store, undisturbed_training)
