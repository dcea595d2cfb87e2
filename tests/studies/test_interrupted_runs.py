"""A study killed or interrupted in the middle of a run goes on within that run, and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.studies.store.contract import StoredRun
from assay.studies.store.folder import FolderStore
from assay.testing.comparing import differences

STUDY = """\
base:
  data: {source: digits, fraction: 0.2}
  augment: {crop_padding: 1, mixup: 0.2}
  model: {name: "nets:Slow"}
  optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
  train: {epochs: 30, batch_size: 40}
arms: {slow: {}}
seeds: 1
"""
MODEL = """\
import os
import time
from torch import nn

class Slow(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20, classes))

    def forward(self, x):
        if self.training:
            time.sleep(0.001 if "HURRY" in os.environ else 0.05)
        return self.layers(x)
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="kills processes as POSIX does")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "nets.py").write_text(MODEL)
    return tmp_path


def conduct(folder: Path, store: str, *, hurry: bool) -> subprocess.Popen[str]:
    words = ["run", "study.yaml", "--store", store, "--checkpoint-every", "5steps", "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-m", "assay", *words],
        cwd=folder,
        env={**os.environ, **({"HURRY": "1"} if hurry else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def only_run(store: Path) -> StoredRun:
    (name,) = FolderStore(store).fingerprints()
    run = FolderStore(store).get(name)
    assert run is not None
    return run


def wait_for_a_new_checkpoint(store: Path, process: subprocess.Popen[str]) -> None:
    """Until one appears, or is replaced."""

    def written() -> list[int]:
        return [path.stat().st_mtime_ns for path in store.glob("work/*/checkpoint.safetensors")]

    before, deadline = written(), time.monotonic() + 300
    while written() in ([], before):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_study_killed_then_interrupted_goes_on_within_its_run(folder: Path) -> None:
    undisturbed = conduct(folder, "undisturbed", hurry=True)
    first = conduct(folder, "store", hurry=False)
    wait_for_a_new_checkpoint(folder / "store", first)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second = conduct(folder, "store", hurry=False)
    wait_for_a_new_checkpoint(folder / "store", second)
    os.killpg(second.pid, signal.SIGINT)
    _, errors = second.communicate()
    assert second.returncode == 130, errors
    assert "--checkpoint-every 5steps" in errors
    last = conduct(folder, "store", hurry=True)
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    assert "slow, seed 0: continues at epoch " in errors
    assert undisturbed.wait() == 0, undisturbed.communicate()
    undisturbed.communicate()
    run = only_run(folder / "store")
    assert differences(run, only_run(folder / "undisturbed")) == []
    assert run.log().count("interrupted, and continued after step ") == 2
    assert not list((folder / "store" / "work").iterdir())
