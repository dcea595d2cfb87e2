"""A batch shared among threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from assay.errors import InputError
from assay.scratch.in_parallel import in_shares, parts, shares, threads


def blas_threads() -> set[int]:
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


@given(st.integers(0, 50), st.integers(1, 6))
def test_shares_are_even_and_leave_nothing_out(examples, count):
    with threads(count):
        runs = shares(examples)
    sizes = [stop - start for start, stop in runs]
    assert [example for start, stop in runs for example in range(start, stop)] == list(range(examples))
    assert len(runs) == max(1, min(count, examples))
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 7))
def test_parts_are_of_at_most_that_size(start, more, size):
    found = list(parts(start, start + more, size))
    assert [example for part in found for example in range(part.start, part.stop)] == list(range(start, start + more))
    assert all(1 <= part.stop - part.start <= size for part in found)


def test_results_come_in_order_and_from_as_many_threads():
    meeting = threading.Barrier(3, timeout=10.0)  # none gets through unless all three work at once

    def work(start, stop):
        meeting.wait()
        return start, stop, blas_threads()

    with threads(3):
        results = in_shares(9, work)
    assert [result[:2] for result in results] == [(0, 3), (3, 6), (6, 9)]
    assert all(held == {1} for *_, held in results)


def test_blas_has_its_threads_back_afterwards():
    before = blas_threads()
    with threads(2):
        in_shares(4, lambda start, stop: np.ones((stop - start, 3)) @ np.ones((3, 3)))
    assert blas_threads() == before


def test_an_error_in_any_share_reaches_the_caller():
    def work(start, stop):
        if start:
            raise ZeroDivisionError("of the second half")

    with threads(2), pytest.raises(ZeroDivisionError, match="of the second half"):
        in_shares(4, work)


def test_without_asking_there_is_one_thread_and_after_a_block_again():
    assert shares(10) == [(0, 10)]
    with threads(4):
        assert len(shares(10)) == 4
    assert shares(10) == [(0, 10)]


def test_threads_have_a_lower_bound():
    with pytest.raises(InputError, match=r"must be at least 1, got 0\."), threads(0):
        pass
