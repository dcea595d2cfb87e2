"""Work on several threads: in order, never far ahead, and given up when its results are."""

import threading
import time

import pytest

from assay.data.in_parallel import in_order


def test_results_come_in_the_order_of_the_tasks_however_long_each_takes():
    def slow_first(task: int) -> int:
        time.sleep(0.02 if task % 3 == 0 else 0.0)
        return task * task

    assert list(in_order(slow_first, range(30), threads=3)) == [task * task for task in range(30)]


def test_no_task_begins_far_ahead_of_what_is_taken_and_none_after_leaving():
    begun: list[int] = []
    work = in_order(begun.append, range(1000), threads=2)
    next(work)
    time.sleep(0.1)
    assert len(begun) <= 5
    work.close()
    so_far = len(begun)
    time.sleep(0.1)
    assert len(begun) == so_far
    assert threading.active_count() < 10


def test_what_a_task_raises_reaches_whoever_takes_its_result():
    def fails_at_three(task: int) -> int:
        if task == 3:
            raise ValueError("three")
        return task

    work = in_order(fails_at_three, range(1000), threads=2)
    assert [next(work), next(work), next(work)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(work)
