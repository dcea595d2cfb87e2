"""A batch shared among threads: NumPy and BLAS let go of the interpreter while they compute.

Each thread takes one run of neighbouring examples and does it in small parts that stay in its caches; BLAS, which would
otherwise start threads of its own within each product, is held to one meanwhile. Sums over a batch are added up thread
by thread, in order, so that a result depends on how many threads there are and on nothing else.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from assay.errors import InputError

Result = TypeVar("Result")

_threads: ContextVar[int] = ContextVar("threads", default=1)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block, layers share their batches among so many threads. Without it they use one."""
    if count < 1:
        raise InputError(f"The number of threads must be at least 1, got {count}.")
    token = _threads.set(count)
    try:
        yield
    finally:
        _threads.reset(token)


def shares(examples: int) -> list[tuple[int, int]]:
    """Where each thread's run of examples starts and stops: at least one example each, as even as can be."""
    count = max(1, min(_threads.get(), examples))
    bounds = [examples * number // count for number in range(count + 1)]
    return list(itertools.pairwise(bounds))


def in_shares(examples: int, work: Callable[[int, int], Result]) -> list[Result]:
    """``work(start, stop)`` for each thread's run of examples; the results in their order."""
    runs = shares(examples)
    if len(runs) == 1:
        return [work(*runs[0])]
    with _blas().limit(limits=1, user_api="blas"):
        pool = _pool(len(runs))
        others = [pool.submit(work, *run) for run in runs[1:]]
        first = work(*runs[0])
        return [first, *(other.result() for other in others)]


def parts(start: int, stop: int, size: int) -> Iterator[slice]:
    """The examples from ``start`` to ``stop``, at most ``size`` at a time."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@functools.cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count - 1, thread_name_prefix="assay-scratch")
