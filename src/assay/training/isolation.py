"""A run computes alike wherever it runs, and leaves the process as it found it: threads, generators, warnings."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from assay.errors import InputError
from assay.recipe.streams import stream_key
from assay.training.packing import listed
from assay.training.state import State


def torch_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        InputError: there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"The device must be one torch can use here, such as cpu, got {name!r}: {reason}") from error
    return device


class Surroundings:
    """What a run shares with its process: the global generators, and the warnings that were raised."""

    def __init__(self, device: torch.device, caught: Sequence[warnings.WarningMessage]) -> None:
        self._device = device
        self._caught = caught
        self._before: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Each text once, in the order they came; a run that goes on has those of before first."""
        now = (f"{warning.category.__name__}: {warning.message}" for warning in self._caught)
        return tuple(dict.fromkeys([*self._before, *now]))

    def state(self) -> State:
        tensors = {"torch": torch.get_rng_state()}
        if self._device.type == "cuda":
            tensors["cuda"] = torch.cuda.get_rng_state(self._device)
        facts = {
            "python": random.getstate(),
            "numpy": listed(np.random.get_state(legacy=False)),
            "warnings": self.warnings,
        }
        return State(tensors=tensors, facts=facts)

    def restore(self, state: State) -> None:
        version, words, next_gauss = state.facts["python"]
        random.setstate((version, tuple(words), next_gauss))
        np.random.set_state(state.facts["numpy"])
        torch.set_rng_state(state.tensors["torch"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state.tensors["cuda"], self._device)
        self._before = tuple(state.facts["warnings"])


@contextmanager
def isolated(*, threads: int, seed: int, device: torch.device) -> Iterator[Surroundings]:
    """Run the block on so many threads, with global generators seeded from the seed's streams; then restore both.

    The global generators (torch's, NumPy's, Python's) serve layers that are not assay's own, such as ``nn.Dropout`` in
    a user's class. On CUDA only deterministic kernels are chosen, and 32-bit floats are multiplied as such.

    Yields:
        What of it training may change. The warnings raised in the block are kept from the terminal and the caller's
        filters.
    """
    with ExitStack() as stack:
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("default")  # each once, not at every step
        stack.enter_context(_limited_threads(threads))
        stack.enter_context(_seeded_generators(stream_key(seed, "dropout"), device))
        if device.type == "cuda":
            stack.enter_context(_deterministic_cuda())
        yield Surroundings(device, caught)


@contextmanager
def generators_untouched(device: torch.device) -> Iterator[None]:
    """Put the global generators back afterwards, which takes 0.1 ms."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@contextmanager
def _limited_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    with threadpool_limits(limits=threads, user_api="blas"):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _seeded_generators(key: int, device: torch.device) -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        random.seed(key)
        np.random.seed(key % 2**32)
        torch.default_generator.manual_seed(key % 2**63)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(key % 2**63)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@contextmanager
def _deterministic_cuda() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts; needed for equal sums
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
