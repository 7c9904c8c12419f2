"""The cache of answers, on a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from inference.cache import Cache
from inference.contract.errors import InputError
from inference.contract.predictions import Predictions
from inference.telemetry import Cell, Recorder


class Computer:
    """Answers twice the value once it may; notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.may_go = asyncio.Event()
        self.may_go.set()

    def submit(self, rows: Sequence[Any]) -> asyncio.Future[Predictions]:
        self.asked.extend(rows)
        return asyncio.ensure_future(self._answer(rows))

    async def _answer(self, rows: Sequence[Any]) -> Predictions:
        await self.may_go.wait()
        for place, row in enumerate(rows):
            if row == [-13]:
                raise InputError("unlucky", row=place)
        return Predictions(np.array([2.0 * row[0] for row in rows]))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 10))


def cache(clock: Clock | None = None, **changes: Any) -> Cache:
    return Cache("v1", **({"max_items": 10, "ttl_s": 5.0, "clock": clock or Clock()} | changes))


def test_a_row_is_computed_once_until_its_time_is_over() -> None:
    async def main() -> None:
        clock, computer, recorder = Clock(), Computer(), Recorder()
        kept = cache(clock)
        for _ in range(3):
            assert (await kept.get([[1], [2]], computer.submit, recorder)).values.tolist() == [2.0, 4.0]
        assert computer.asked == [[1], [2]]
        assert (recorder.cells[Cell.CACHE_HITS], recorder.cells[Cell.CACHE_MISSES]) == (4, 2)
        clock.now = 5.1
        await kept.get([[1]], computer.submit, recorder)
        assert computer.asked == [[1], [2], [1]]

    run(main)


def test_some_kept_and_some_new_rows_come_back_in_their_order() -> None:
    async def main() -> None:
        kept, computer = cache(), Computer()
        await kept.get([[2]], computer.submit, Recorder())
        assert (await kept.get([[1], [2], [3], [1]], computer.submit, Recorder())).values.tolist() == [2, 4, 6, 2]
        assert computer.asked == [[2], [1], [3]]

    run(main)


def test_identical_requests_in_flight_are_computed_once() -> None:
    async def main() -> None:
        kept, computer = cache(), Computer()
        computer.may_go.clear()
        asking = [asyncio.ensure_future(kept.get([[7]], computer.submit, Recorder())) for _ in range(5)]
        await asyncio.sleep(0.01)
        computer.may_go.set()
        assert [answer.values.tolist() for answer in await asyncio.gather(*asking)] == [[14.0]] * 5
        assert computer.asked == [[7]]

    run(main)


def test_whoever_waits_for_a_request_that_is_given_up_asks_anew() -> None:
    async def main() -> None:
        kept, computer = cache(), Computer()
        computer.may_go.clear()
        first = asyncio.ensure_future(kept.get([[7]], computer.submit, Recorder()))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(kept.get([[7]], computer.submit, Recorder()))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        computer.may_go.set()
        assert (await second).values.tolist() == [14.0]

    run(main)


def test_a_bad_row_is_not_kept_and_its_place_is_told() -> None:
    async def main() -> None:
        kept, computer = cache(), Computer()
        await kept.get([[1]], computer.submit, Recorder())
        with pytest.raises(InputError) as caught:
            await kept.get([[1], [-13]], computer.submit, Recorder())
        assert caught.value.row == 1
        assert len(kept) == 1

    run(main)


def test_it_is_bounded_and_drops_what_was_not_used_for_longest() -> None:
    async def main() -> None:
        kept, computer = cache(max_items=2), Computer()
        for value in (1, 2, 1, 3):
            await kept.get([[value]], computer.submit, Recorder())
        assert len(kept) == 2
        await kept.get([[1]], computer.submit, Recorder())
        assert computer.asked == [[1], [2], [3]]

    run(main)


def test_keys_do_not_depend_on_the_order_of_names_but_on_history_and_model() -> None:
    kept = cache()
    assert kept.key({"a": 1, "b": 2}) == kept.key({"b": 2, "a": 1})
    assert kept.key({"row": {"a": 1}, "history": [{"a": 1}]}) != kept.key({"row": {"a": 1}, "history": []})
    assert kept.key([1]) != Cache("v2", max_items=1, ttl_s=1.0).key([1])


def test_a_long_text_makes_no_long_key() -> None:
    kept = cache()
    assert len(kept.key({"a": 1_000_000 * "x"})) < 1000
    assert kept.key({"a": 1_000_000 * "x"}) != kept.key({"a": 1_000_001 * "x"})


def test_a_kept_answer_does_not_hold_the_memory_of_its_batch() -> None:
    async def main() -> None:
        kept = cache()
        batch = np.arange(1_000_000, dtype=np.float64)
        answers = Predictions(batch[7:8], np.ones((1_000_000, 3))[7:8], ["a"])

        async def submitted() -> Predictions:
            return answers

        for _ in range(2):
            found = await kept.get([[1]], lambda _: asyncio.ensure_future(submitted()), Recorder())
        assert found.values.base is None
        assert found.probabilities is not None
        assert found.probabilities.base is None
        assert (found.values.tolist(), found.probabilities.tolist(), found.labels) == ([7.0], [[1.0, 1.0, 1.0]], ["a"])

    run(main)
