"""The file of a checkpoint, when one is written, and what becomes of one that cannot be used."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recipes_to_resume import RECIPES
from recipes_to_resume import recipe as resumable
from safetensors import safe_open
from torch import Tensor

from assay.recipe.schema import Recipe
from assay.records import Run
from assay.studies.store import disk
from assay.studies.store.disk import WorkFile
from assay.testing.comparing import differences
from assay.training import checkpoint
from assay.training.checkpoint import Checkpoints, UnusableCheckpointError, decode, encode
from assay.training.every import Every
from assay.training.run import run_recipe
from assay.training.state import State

MADE_WITH = {"fingerprint": "f00d", "torch": "2.0"}
DAMAGED = "it is damaged: its content does not fit its digest."


# --- the file ---------------------------------------------------------------------------------------------------------

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    tensor = (3 * values).to(draw(st.sampled_from(TYPES)))
    layout = draw(st.sampled_from(["as it is", "transposed", "channels last", "every other", "expanded"]))
    if layout == "transposed" and len(shape) > 1:
        return tensor.transpose(0, -1)
    if layout == "channels last" and len(shape) == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "every other" and shape:
        return tensor[::2]
    return tensor.expand(2, *shape) if layout == "expanded" else tensor


def bits(tensor: Tensor) -> list[int]:
    values: list[int] = tensor.clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8).tolist()
    return values


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=5).filter(lambda name: name != "__metadata__"), tensors()))
def test_tensors_come_back_in_every_bit_and_as_they_lay(state: dict[str, Tensor]) -> None:
    back = decode(encode(State(tensors=state), MADE_WITH), MADE_WITH).tensors
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(back[name]) == bits(tensor)
        if tensor.numel() and torch.empty_like(tensor).stride() == tensor.stride():  # dense, none of its values shared
            assert back[name].stride() == tensor.stride()
        assert back[name].data_ptr() % 16 == 0  # kernels may add in another order where memory is not aligned


@settings(deadline=None)
@given(st.floats())
def test_facts_come_back_exactly(number: float) -> None:
    back = decode(encode(State(facts={"number": number}), MADE_WITH), MADE_WITH).facts["number"]
    assert struct.pack("d", back) == struct.pack("d", number) or number != number


def test_tensors_that_share_memory_are_kept_apart() -> None:
    whole = torch.arange(6.0)
    back = decode(encode(State(tensors={"a": whole, "b": whole[2:4], "c": whole}), MADE_WITH), MADE_WITH).tensors
    assert back["b"].tolist() == [2, 3]
    assert len({tensor.data_ptr() for tensor in back.values()}) == 3


def test_the_file_is_an_open_format(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(encode(State(tensors={"weight": torch.ones(2)}, facts={"step": 3}), MADE_WITH))
    with safe_open(path, "numpy") as file:
        assert file.get_tensor("weight").tolist() == [1.0, 1.0]
        facts = json.loads(file.metadata()["facts"])
    assert (facts["facts"], facts["made_with"]) == ({"step": 3}, MADE_WITH)


@settings(deadline=None)
@given(st.data())
def test_no_damaged_file_is_taken_for_a_checkpoint(data: st.DataObject) -> None:
    content = encode(State(tensors={"weight": torch.arange(20.0)}, facts={"step": 3}), MADE_WITH)
    place = data.draw(st.integers(0, len(content) - 1))
    damage = data.draw(st.sampled_from(["cut", "bit", "longer", "hole"]))
    damaged = {
        "cut": content[:place],
        "bit": content[:place] + bytes([content[place] ^ 1 << data.draw(st.integers(0, 7))]) + content[place + 1 :],
        "longer": content + content[: place + 1],
        "hole": content[:place] + b"\0" * (len(content) - place),
    }[damage]
    if damaged != content:
        with pytest.raises(UnusableCheckpointError) as error:
            decode(damaged, MADE_WITH)
        assert str(error.value) == DAMAGED


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_nor_is_anything_else(data: bytes) -> None:
    with pytest.raises(UnusableCheckpointError, match="it is damaged"):
        decode(data, MADE_WITH)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({**MADE_WITH, "torch": "2.1"}, "torch was '2.0' when it was written, and is '2.1' now."),
        ({**MADE_WITH, "fingerprint": "beef"}, "fingerprint was 'f00d' when it was written, and is 'beef' now."),
        ({"fingerprint": "f00d"}, "torch was '2.0' when it was written, and is None now."),
        ({**MADE_WITH, "gpu": "H200"}, "gpu was None when it was written, and is 'H200' now."),
    ],
)
def test_a_checkpoint_made_with_something_else_is_not_used(now: dict[str, str], reason: str) -> None:
    with pytest.raises(UnusableCheckpointError) as error:
        decode(encode(State(), MADE_WITH), now)
    assert str(error.value) == reason


def test_nor_one_of_another_format(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(State(), MADE_WITH)
    monkeypatch.setattr(checkpoint, "_FORMAT", 2)
    with pytest.raises(UnusableCheckpointError) as error:
        decode(content, MADE_WITH)
    assert str(error.value) == "its format is 1, and this is 2."


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_go_back_to_their_device() -> None:
    state = {"weight": torch.randn(2, 3, 4, 4, device="cuda").contiguous(memory_format=torch.channels_last)}
    back = decode(encode(State(tensors=state), MADE_WITH), MADE_WITH).tensors["weight"]
    assert (back.device, back.stride()) == (state["weight"].device, state["weight"].stride())
    assert torch.equal(back, state["weight"])


# --- when -------------------------------------------------------------------------------------------------------------


class Kept:
    """A checkpoint's file in memory, which counts what is written to it."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content
        self.written = 0

    def read(self) -> bytes | None:
        return self.content

    def write(self, data: bytes) -> None:
        self.content = data
        self.written += 1


def steps_written(every: Every, at: list[tuple[int, float]], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps after which a checkpoint is written, of those that are done at these seconds."""
    now = [0.0]
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    file = Kept()
    checkpoints = Checkpoints(file, every)
    checkpoints.begin(MADE_WITH)
    written = []
    for step, now[0] in at:
        before = file.written
        assert checkpoints.after(step) == (file.written > before)
        written += [step] * (file.written - before)
    return written


def test_checkpoints_by_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [(step, float(step)) for step in (1, 2, 3, 3, 4, 5, 6, 7)]  # 3 ends an epoch, and is asked twice
    assert steps_written(Every(steps=3), seconds, monkeypatch) == [3, 6]


def test_checkpoints_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [(1, 4.0), (2, 9.0), (3, 10.0), (4, 12.0), (5, 19.9), (6, 31.0), (7, 40.0), (8, 41.0)]
    assert steps_written(Every(seconds=10.0), seconds, monkeypatch) == [3, 6, 8]


def test_never(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_written(Every(), [(step, 1e6 * step) for step in range(1, 9)], monkeypatch) == []


# --- runs -------------------------------------------------------------------------------------------------------------


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
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


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
