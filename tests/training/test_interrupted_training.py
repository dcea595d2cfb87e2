"""Runs that end before their time and go on; what becomes of checkpoints that cannot be used, and of full disks."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints_in_memory import Kept, bits
from recipes_to_resume import RECIPES
from recipes_to_resume import recipe as resumable

from assay.recipe.schema import Recipe
from assay.records import Run
from assay.studies.store import disk
from assay.studies.store.disk import WorkFile
from assay.testing.comparing import differences
from assay.training.checkpoint import Checkpoints, decode, encode
from assay.training.every import Every
from assay.training.run import run_recipe
from small_disks import small_disk_at

DAMAGED = "it is damaged: its content does not fit its digest."


class PowerCutError(BaseException):
    """The end of a process, in the tests that need none of its own."""


class CutShort(Checkpoints):
    """Ends training after so many steps, when their checkpoint was written."""

    ends_after = -1

    def after(self, step: int) -> bool:
        due = super().after(step)
        if step == self.ends_after:
            raise PowerCutError
        return due


def recipe(**sections: Any) -> Recipe:
    base: dict[str, Any] = {
        "data": {"source": "digits", "fraction": 0.2},
        "augment": {"crop_padding": 1, "mixup": 0.2},
        "model": {"name": "mlp", "widths": [16], "norm": "batch", "dropout": 0.3},
        "train": {"epochs": 3, "batch_size": 40},
    }
    return Recipe.model_validate({**base, **sections})


def trained(file: Any = None, every: int = 2, ends_after: int = -1, fingerprint: str = "f00d", **sections: Any) -> Run:
    checkpoints = CutShort(file, Every(steps=every))
    checkpoints.ends_after = ends_after
    return run_recipe(recipe(**sections), fingerprint=fingerprint, checkpoints=checkpoints)


@pytest.fixture(scope="module")
def undisturbed() -> Run:
    return trained()


@pytest.fixture(scope="module")
def interrupted() -> bytes:
    """The checkpoint of a run that ended after its fifth step."""
    file = Kept()
    with pytest.raises(PowerCutError):
        trained(file, ends_after=5)
    assert file.content is not None
    return file.content


def test_every_step_is_one_to_go_on_from(undisturbed: Run) -> None:
    steps = undisturbed.history[-1].step + 1
    for step in range(1, steps + 1):
        file = Kept()
        with pytest.raises(PowerCutError):
            trained(file, every=1, ends_after=step)
        run = trained(file, every=1)
        assert differences(run, undisturbed) == []
        assert f"interrupted, and continued after step {step}\n" in run.log


def test_times_go_on_too(undisturbed: Run) -> None:
    file = Kept()
    with pytest.raises(PowerCutError):
        trained(file, every=1, ends_after=10)
    state = decode(file.content or b"", made_with(undisturbed))
    facts = {**state.facts, "clock": {"started": "2001-02-03T04:05:06+00:00", "seconds": 1000.0}}
    facts["progress"] = {**facts["progress"], "own": {**facts["progress"]["own"], "seconds": 500.0}}
    file.content = encode(replace(state, facts=facts), made_with(undisturbed))
    run = trained(file)
    assert run.record.started_at == "2001-02-03T04:05:06+00:00"
    assert 1000.0 < run.record.seconds < 1100.0
    assert 500.0 < (run.record.metrics["seconds"] or 0.0) < 600.0


def made_with(run: Run) -> dict[str, Any]:
    environment = {name: value for name, value in run.record.environment.items() if name != "platform"}
    return {"fingerprint": "f00d", **environment, "recipe": run.record.recipe}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda content: content[:-1], DAMAGED),
        (lambda content: b"", DAMAGED),
        (lambda content: content.replace(b"f00d", b"beef"), DAMAGED),
    ],
    ids=["cut", "empty", "changed"],
)
def test_a_damaged_checkpoint_begins_the_run_anew_and_it_says_so(
    spoil: Callable[[bytes], bytes], reason: str, interrupted: bytes, undisturbed: Run
) -> None:
    file = Kept(spoil(interrupted))
    run = trained(file)
    assert differences(run, undisturbed) == ["record.notes"]
    assert run.record.notes == (
        *undisturbed.record.notes,
        f"Training began anew, for its checkpoint could not be used: {reason}",
    )
    assert "continued" not in run.log
    assert differences(trained(file), undisturbed) == ["record.notes"]  # its own checkpoints are sound


def test_a_checkpoint_of_another_run_or_other_versions_is_not_used(interrupted: bytes, undisturbed: Run) -> None:
    other = trained(Kept(interrupted), fingerprint="beef")
    assert "checkpoint could not be used: fingerprint was 'f00d' when it was written, and is 'beef'" in other.log
    other = trained(Kept(interrupted), train={"epochs": 3, "batch_size": 50})
    assert "checkpoint could not be used: recipe was {" in other.log
    known = made_with(undisturbed)
    state = decode(interrupted, known)
    for name in ("torch", "numpy", "cpu", "cpu_instructions", "device", "assay", "python"):
        run = trained(Kept(encode(state, {**known, name: "old"})))
        assert run.record.notes[-1].startswith("Training began anew, for its checkpoint could not be used: ")
        assert f" {name} was 'old' when it was written, and is " in run.record.notes[-1]
        assert differences(run, undisturbed) == ["record.notes"]


def test_a_sound_checkpoint_that_does_not_fit_begins_the_run_anew(interrupted: bytes, undisturbed: Run) -> None:
    """As when the base class of a user's own, in a file that is no part of the run's name, has changed."""
    state = decode(interrupted, made_with(undisturbed))
    name = next(name for name in state.tensors if name.endswith("parameters:layers.0.weight") or "parameters:" in name)
    for tensors in (
        {key: tensor for key, tensor in state.tensors.items() if key != name},
        {**state.tensors, name: torch.zeros(1)},
    ):
        run = trained(Kept(encode(replace(state, tensors=tensors), made_with(undisturbed))))
        assert differences(run, undisturbed) == ["record.notes"]
        assert run.record.notes[-1].startswith(
            "Training began anew, for its checkpoint could not be used: ValueError: "
        )


def test_an_unreadable_checkpoint_begins_the_run_anew(tmp_path: Path, undisturbed: Run) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.mkdir()
    run = trained(WorkFile(path), every=1000)
    assert run.record.notes[-1] == (
        "Training began anew, for its checkpoint could not be used: it cannot be read (Is a directory)."
    )
    assert differences(run, undisturbed) == ["record.notes"]


def test_warnings_of_before_are_among_the_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"name": "own_models:Complains"}
    whole = trained(model=model)
    assert [note for note in whole.record.notes if "step" in note] == ["UserWarning: step 1", "UserWarning: step 9"]
    file = Kept()
    with pytest.raises(PowerCutError):
        trained(file, ends_after=4, model=model)
    assert differences(trained(file, model=model), whole) == []


def test_a_run_that_diverges_does_so_again_when_it_goes_on() -> None:
    model = {"name": "own_models:BreaksInTraining", "options": {"after": 8}}
    whole = trained(model=model)
    assert whole.record.diverged_at == {"epoch": 2, "step": 8}
    for last in (4, 6, 8):
        file = Kept()
        with pytest.raises(PowerCutError):
            trained(file, every=1, ends_after=last, model=model)
        assert differences(trained(file, every=1, model=model), whole) == []
    assert differences(trained(Kept(), every=1, ends_after=9, model=model), whole) == []  # no place to go on from


# --- disks ------------------------------------------------------------------------------------------------------------


def full(_: Path, __: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


NO_ROOM = f"A checkpoint could not be written ({os.strerror(errno.ENOSPC)}); training went on without it."


def test_a_full_disk_stops_no_training_and_keeps_the_former_checkpoint(
    tmp_path: Path, undisturbed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = WorkFile(tmp_path / "checkpoint.safetensors")
    with pytest.raises(PowerCutError):
        trained(file, ends_after=4)
    former = file.read()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_file", full)
        run = trained(file)
    assert differences(run, undisturbed) == ["record.notes"]
    assert run.record.notes == (*undisturbed.record.notes, NO_ROOM)
    assert file.read() == former
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    assert differences(trained(file), undisturbed) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for one checkpoint of the run below, and not for two."""
    with small_disk_at(tmp_path / "disk", "160k") as place:
        yield place


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    model = {"name": "mlp", "widths": [100], "dropout": 0.3}
    whole = trained(model=model)
    file = WorkFile(small_disk / "checkpoint.safetensors")
    run = trained(file, model=model)
    assert differences(run, whole) == ["record.notes"]
    assert run.record.notes == (*whole.record.notes, NO_ROOM)
    assert [path.name for path in small_disk.iterdir()] == ["checkpoint.safetensors"]
    again = trained(file, every=1000, model=model)
    assert "continued after step 2\n" in again.log
    assert differences(again, whole) == []


def test_a_folder_that_is_gone_stops_no_training(tmp_path: Path, undisturbed: Run) -> None:
    run = trained(WorkFile(tmp_path / "gone" / "checkpoint.safetensors"))
    assert differences(run, undisturbed) == ["record.notes"]
    assert "A checkpoint could not be written (No such file or directory)" in run.record.notes[-1]
    assert not (tmp_path / "gone").exists()


class KeepsAtOnce(Checkpoints):
    """Keeps again what it has just restored, and ends."""

    def resume(self) -> bool:
        super().resume()
        self._every = Every(steps=1)
        self.after(9)
        raise PowerCutError


@pytest.mark.parametrize("name", list(RECIPES))
def test_what_is_restored_and_kept_again_is_what_was_kept(name: str) -> None:
    file = Kept()
    checkpoints = CutShort(file, Every(steps=1))
    checkpoints.ends_after = 9
    with pytest.raises(PowerCutError):
        run_recipe(Recipe.model_validate(resumable(name)), fingerprint="f00d", checkpoints=checkpoints)
    first = content_of(file)
    with pytest.raises(PowerCutError):
        run_recipe(Recipe.model_validate(resumable(name)), fingerprint="f00d", checkpoints=KeepsAtOnce(file))
    before, after = decode(*first), decode(*content_of(file))
    assert file.written == 10
    assert before.tensors.keys() == after.tensors.keys()
    for key, tensor in before.tensors.items():
        assert bits(tensor) == bits(after.tensors[key]), key
        assert tensor.stride() == after.tensors[key].stride(), key
    for facts in (before.facts, after.facts):
        facts["clock"], facts["checkpoints"] = {}, {}
    assert before.facts == after.facts


def content_of(file: Kept) -> tuple[bytes, dict[str, Any]]:
    """A checkpoint, and what it was made with."""
    content = file.content or b""
    facts = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["facts"])
    return content, facts["made_with"]
