"""The file of a checkpoint, and when one is written."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checkpoints_in_memory import Kept, bits
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from assay.training import checkpoint
from assay.training.checkpoint import Checkpoints, UnusableCheckpointError, decode, encode
from assay.training.every import Every
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


class Sparse:
    def state(self) -> State:
        return State(tensors={"neighbours": torch.eye(3).to_sparse()})

    def restore(self, state: State) -> None:
        pass


def test_what_no_file_takes_stops_no_training() -> None:
    checkpoints = Checkpoints(file := Kept(), Every(steps=1))
    checkpoints.begin(MADE_WITH)
    checkpoints.follow("sparse", Sparse())
    assert checkpoints.after(1)
    assert checkpoints.after(2)
    assert file.content is None
    assert checkpoints.notes == (
        "A checkpoint could not be made (Cannot access storage of SparseTensorImpl); training went on without it.",
    )
