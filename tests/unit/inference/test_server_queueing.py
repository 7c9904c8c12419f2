from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from inference.contract.schema import Rows
from inference.promise import Promise
from inference.queueing import Job, Queue, cut, hold_s


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def test_holding_back_depends_on_who_is_on_the_way() -> None:
    waiting: dict[str, Any] = {"rows": 3, "max_rows": 8, "max_wait_s": 0.002}
    assert hold_s(**waiting, arriving=0, age_s=0.0) == 0.0
    assert hold_s(**waiting, arriving=2, age_s=0.0005) == pytest.approx(0.0015)
    assert hold_s(**waiting, arriving=2, age_s=0.5) == 0.0
    assert hold_s(rows=8, max_rows=8, max_wait_s=0.002, arriving=2, age_s=0.0) == 0.0
    assert hold_s(**waiting, arriving=2, age_s=0.0, inline=True) == 0.0


def job(count: int, arrived: float = 0.0) -> Job:
    return Job(Rows.alone(np.zeros((count, 1))), Promise(asyncio.get_running_loop().create_future()), arrived, count)


def taken(queue: Queue, max_rows: int) -> list[tuple[int, int]]:
    return [(start, stop) for _, start, stop in queue.take(max_rows)]


def test_the_queue_counts_what_waits() -> None:
    async def main() -> None:
        queue = Queue()
        queue.push(job(9))
        queue.push(job(4, 1.0))
        assert taken(queue, 6) == [(0, 6)]
        assert queue.rows == 7
        assert queue.age_s(now=4.0) == 3.0
        assert taken(queue, 6) == [(0, 4)]
        assert taken(queue, 6) == [(6, 9)]
        assert (queue.rows, queue.take(6)) == (0, [])

    run(main)


def test_a_request_that_fits_into_a_batch_of_its_own_is_not_split() -> None:
    async def main() -> None:
        queue = Queue()
        for _ in range(3):
            queue.push(job(4))
        assert taken(queue, 6) == [(0, 4)]
        assert queue.rows == 8
        assert taken(queue, 8) == [(0, 4), (0, 4)]

    run(main)


def test_a_cut_carries_the_history_and_nothing_else() -> None:
    whole = Rows(np.arange(9.0).reshape(-1, 1), np.array([2, 5, 8]), np.array([0, 3, 6]))
    part = cut(whole, 1, 3)
    assert part.values[:, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert (part.emit.tolist(), part.start.tolist()) == ([2, 5], [0, 3])
