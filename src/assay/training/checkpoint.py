"""Checkpoints: everything that a training under way has come to, so that a run that was killed goes on from there.

A checkpoint is one safetensors file. Its metadata are ``facts``, JSON of whatever is no tensor, and ``digest``, the
SHA-256 of the whole file with this digest's own 64 characters as zeros. It is used by the run it was written for alone,
on the same kind of device, with the same versions of whatever computes: only then does a run that goes on come to the
same bits as one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from assay.errors import AssayError, shown
from assay.training.every import Every
from assay.training.state import State, joined, part

_FORMAT = 1
_NO_DIGEST = "0" * 64
_DIGEST = b'"digest":"'


class Resumable(Protocol):
    """A part of a training, which can be put back to where it was."""

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


class CheckpointFile(Protocol):
    """Where one run's checkpoint is: `assay.studies.store.disk.WorkFile` is one."""

    def read(self) -> bytes | None:
        """What was last written; None if nothing was.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def write(self, data: bytes) -> None:
        """Replace it as a whole, or leave it as it is.

        Raises:
            OSError: it could not be written, as when the disk is full.
        """
        ...


class UnusableCheckpointError(AssayError):
    """A file is no checkpoint of this run; the message says why."""


class CannotRestoreError(AssayError):
    """A sound checkpoint does not fit the training it was written for; what it was to be put into is half changed."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        file: where they go; None keeps none.
        every: how often.
    """

    def __init__(self, file: CheckpointFile | None = None, every: Every | None = None) -> None:
        self._file = file
        self._every = every or Every()
        self._parts: dict[str, Resumable] = {}
        self._made_with: Mapping[str, Any] = {}
        self._last = time.monotonic()
        self._last_step = 0
        self._notes: dict[str, None] = {}
        self._continued: list[int] = []
        self._usable = True

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong with them, in words; the run itself is none the worse."""
        return tuple(self._notes)

    @property
    def continued(self) -> tuple[int, ...]:
        """After how many steps the run was taken up again, each time it was."""
        return tuple(self._continued)

    def begin(self, made_with: Mapping[str, Any]) -> None:
        """Start a run.

        Args:
            made_with: JSON data that decide whether a checkpoint may be used: it must have been written with the same.
        """
        self._made_with = json.loads(json.dumps(made_with))
        self._parts = {}
        self._last = time.monotonic()

    def follow(self, name: str, what: Resumable) -> None:
        """Keep this in checkpoints too, by a name without ``/``."""
        self._parts[name] = what

    def resume(self) -> bool:
        """Put all that is followed to where the last checkpoint has it; False if there is none that can be used.

        Raises:
            CannotRestoreError: the checkpoint is sound, but not of this training.
        """
        saved = self._saved()
        if saved is None:
            return False
        try:
            for name, what in self._parts.items():
                what.restore(part(saved, name))
            own = saved.facts["checkpoints"]
            self._continued = [*own["continued"], own["step"]]
        except Exception as error:  # whatever a part cannot bear; a user's own class may raise anything
            raise CannotRestoreError(f"{type(error).__name__}: {error}") from error
        self._notes = dict.fromkeys(own["notes"])
        return True

    def start_anew(self, reason: object) -> None:
        """Leave the checkpoint on the disk unused from here on, and say why."""
        self._usable = False
        self._continued = []
        self._note(f"Training began anew, for its checkpoint could not be used: {reason}")

    def after(self, step: int) -> bool:
        """Write a checkpoint if one is due after so many steps; whether one was due."""
        if not self._due(step) or self._file is None:
            return False
        try:
            self._file.write(self._encoded(step))
        except OSError as error:
            self._note(f"A checkpoint could not be written ({error.strerror or error}); training went on without it.")
        except Exception as error:  # noqa: BLE001 - a user's class may hold tensors that no file takes, sparse ones say
            self._note(f"A checkpoint could not be made ({error}); training went on without it.")
        self._last, self._last_step = time.monotonic(), step
        return True

    def _encoded(self, step: int) -> bytes:
        parts = {name: what.state() for name, what in self._parts.items()}
        own = State(facts={"step": step, "continued": self._continued, "notes": self.notes})
        return encode(joined({**parts, "checkpoints": own}), self._made_with)

    def _due(self, step: int) -> bool:
        if self._every.steps is not None:
            return step % self._every.steps == 0 and step != self._last_step
        return self._every.seconds is not None and time.monotonic() - self._last >= self._every.seconds

    def _saved(self) -> State | None:
        if self._file is None or not self._usable:
            return None
        try:
            data = self._file.read()
            return None if data is None else decode(data, self._made_with)
        except OSError as error:
            self.start_anew(f"it cannot be read ({error.strerror or error}).")
        except UnusableCheckpointError as error:
            self.start_anew(error)
        return None

    def _note(self, text: str) -> None:
        self._notes[text] = None


# --- the file ---------------------------------------------------------------------------------------------------------


def encode(state: State, made_with: Mapping[str, Any]) -> bytes:
    """A checkpoint as its file holds it."""
    seen: set[int] = set()
    values = {name: _values(tensor, seen) for name, tensor in state.tensors.items()}
    layout = {name: found for name, tensor in state.tensors.items() if (found := _layout(tensor))}
    facts = {"format": _FORMAT, "made_with": made_with, "layout": layout, "facts": state.facts}
    data: bytes = save(values, metadata={"facts": json.dumps(facts), "digest": _NO_DIGEST})
    place = data.index(_DIGEST) + len(_DIGEST)
    digest = hashlib.sha256(data).hexdigest().encode()
    return b"".join([data[:place], digest, memoryview(data)[place + len(_NO_DIGEST) :]])


def decode(data: bytes, made_with: Mapping[str, Any]) -> State:
    """The state in a checkpoint's file; its tensors have memory of their own, on the device they were on.

    Raises:
        UnusableCheckpointError: the file is damaged, or was written with something else than ``made_with``.
    """
    facts = _checked_facts(data)
    if facts["format"] != _FORMAT:
        raise UnusableCheckpointError(f"its format is {shown(facts['format'])}, and this is {_FORMAT}.")
    for name in (*made_with, *facts["made_with"]):
        then, now = facts["made_with"].get(name), made_with.get(name)
        if then != now:
            raise UnusableCheckpointError(f"{name} was {shown(then)} when it was written, and is {shown(now)} now.")
    try:
        found = load(data)
    except SafetensorError as error:
        raise UnusableCheckpointError(f"it is damaged ({error}).") from error
    tensors = {name: _laid_out(tensor, facts["layout"].get(name, {})) for name, tensor in found.items()}
    return State(tensors=tensors, facts=facts["facts"])


def _checked_facts(data: bytes) -> dict[str, Any]:
    end = 8 + int.from_bytes(data[:8], "little")
    place = data.find(_DIGEST, 8, end) + len(_DIGEST)
    stop = place + len(_NO_DIGEST)
    digest = hashlib.sha256(memoryview(data)[:place])
    digest.update(_NO_DIGEST.encode())
    digest.update(memoryview(data)[stop:])
    if digest.hexdigest().encode() != data[place:stop]:
        raise UnusableCheckpointError("it is damaged: its content does not fit its digest.")
    facts: dict[str, Any] = json.loads(json.loads(data[8:end])["__metadata__"]["facts"])
    return facts


def _values(tensor: Tensor, seen: set[int]) -> Tensor:
    """The tensor itself if it is all there is in its memory, on the CPU, and none of those seen; else a copy."""
    memory = tensor.untyped_storage()
    alone = tensor.is_contiguous() and memory.nbytes() == tensor.nbytes and memory.data_ptr() not in seen
    seen.add(memory.data_ptr())
    return tensor.detach().to("cpu", copy=not alone, memory_format=torch.contiguous_format)


def _layout(tensor: Tensor) -> dict[str, Any]:
    """How a tensor lies, where that is not one value after the other in main memory. One whose values share memory is
    restored as if they did not."""
    found: dict[str, Any] = {}
    if tensor.device.type != "cpu":
        found["device"] = str(tensor.device)
    stride = tensor.stride()
    dense = torch.empty_like(tensor, device="meta").stride() == stride
    if dense and stride != torch.empty(tensor.shape, device="meta").stride():
        found["stride"] = stride
    return found


def _laid_out(tensor: Tensor, layout: Mapping[str, Any]) -> Tensor:
    device, stride = layout.get("device", "cpu"), layout.get("stride", tensor.stride())
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=device).copy_(tensor)
