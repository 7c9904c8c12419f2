from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from inference.batcher import Batcher
from inference.contract.errors import InputError
from inference.contract.network import Single
from inference.contract.predictions import Predictions
from inference.contract.schema import Rows
from inference.errors import ModelError, OverloadedError
from inference.promise import Promise


def rows(*values: float) -> Rows:
    return Rows.alone(np.array(values, dtype=np.float64).reshape(-1, 1))


class Doubler:
    """Answers twice the value; refuses -13, breaks on -666; notes the size of every batch."""

    def __init__(self, inline_rows: int = 1_000_000, lanes: int = 1) -> None:
        self.inline_rows = inline_rows
        self.lanes = lanes
        self.sizes: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def read(self, instances: Sequence[Any]) -> Rows:
        return rows(*instances)

    def features(self, batch: Rows) -> Single:
        return batch.values[batch.emit].astype(np.float32)

    def answer(self, features: Single) -> Predictions:
        self.may_go.wait(30)
        values = features[:, 0].astype(np.float64)
        self.sizes.append(len(values))
        if (bad := np.flatnonzero(values == -13)).size:
            raise InputError("unlucky", row=int(bad[0]))
        if (values == -666).any():
            raise RuntimeError("hell")
        return Predictions(values * 2)


class Noted(Promise):
    """A caller that notes what happens to it; `breaks` says where it does not work."""

    def __init__(self, name: str, happened: list[str], breaks: str = "") -> None:
        self.future: asyncio.Future[Predictions] = asyncio.get_running_loop().create_future()
        super().__init__(self.future)
        self.name, self.happened, self.breaks = name, happened, breaks

    def write(self, predictions: Predictions) -> None:
        self._note(f"write {predictions.values.tolist()}")
        super().write(predictions)

    def send(self) -> None:
        self._note("send")
        super().send()

    def _note(self, what: str) -> None:
        if self.breaks and what.startswith(self.breaks):
            raise OSError(f"no {self.breaks}")
        self.happened.append(f"{self.name}: {what}")


def batcher(model: Doubler, **changes: Any) -> Batcher:
    settings: dict[str, Any] = {
        "max_batch_rows": 8,
        "max_wait_s": 0.0,
        "max_queue_rows": 100,
        "on_failure": lambda _error: None,
    }
    return Batcher(model, **(settings | changes))


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 30))


def test_what_is_submitted_in_one_turn_is_one_batch() -> None:
    async def main() -> None:
        model = Doubler()
        queue = batcher(model)
        answers = await asyncio.gather(*(queue.submit(rows(value)) for value in range(5)))
        assert [answer.values.tolist() for answer in answers] == [[0], [2], [4], [6], [8]]
        assert model.sizes == [5]

    run(main)


def test_a_large_request_is_split_and_joined_again() -> None:
    async def main() -> None:
        model = Doubler()
        answer = await batcher(model).submit(rows(*range(20)))
        assert answer.values.tolist() == [2 * value for value in range(20)]
        assert model.sizes == [8, 8, 4]

    run(main)


def test_batches_on_two_lanes_are_computed_at_a_time_and_joined_in_order() -> None:
    async def main() -> None:
        model = Doubler(inline_rows=0, lanes=2)
        first_is_in, second_is_through = threading.Event(), threading.Event()
        plain = model.answer

        def answer(features: Single) -> Predictions:
            if features[0, 0] == 0:  # the first part of the request ends after the second
                first_is_in.set()
                assert second_is_through.wait(30)
            else:
                assert first_is_in.wait(30)
            answers = plain(features)
            if features[0, 0] == 8:
                second_is_through.set()
            return answers

        model.answer = answer  # type: ignore[method-assign]
        got = await batcher(model).submit(rows(*range(20)))
        assert got.values.tolist() == [2 * value for value in range(20)]
        assert sorted(model.sizes) == [4, 8, 8]

    run(main)


def test_a_small_request_passes_between_the_parts_of_a_large_one() -> None:
    async def main() -> None:
        queue = batcher(Doubler(inline_rows=0))
        large, small = queue.submit(rows(*range(50))), queue.submit(rows(1))
        await small
        assert not large.done()
        assert len(await large) == 50

    run(main)


def test_a_small_request_is_answered_before_a_large_one_of_the_same_turn() -> None:
    async def main() -> None:
        model, happened = Doubler(), list[str]()
        queue = batcher(model)
        large, small = Noted("large", happened), Noted("small", happened)
        queue.enqueue(rows(*range(50)), large)
        queue.enqueue(rows(1), small)
        await asyncio.gather(large.future, small.future)
        assert model.sizes[:2] == [8, 8]  # the small one has its place in the second batch
        assert [what.split(":")[0] for what in happened if what.endswith("send")] == ["small", "large"]

    run(main)


@pytest.mark.parametrize("inline_rows", [0, 1_000_000])
def test_answers_are_written_first_and_sent_together(inline_rows: int) -> None:
    async def main() -> None:
        happened: list[str] = []
        queue = batcher(Doubler(inline_rows))
        callers = [Noted(str(value), happened) for value in (1, 2)]
        for value, caller in enumerate(callers, 1):
            queue.enqueue(rows(value), caller)
        answers = await asyncio.gather(*(caller.future for caller in callers))
        assert happened == ["1: write [2.0]", "2: write [4.0]", "1: send", "2: send"]
        assert [answer.values.tolist() for answer in answers] == [[2], [4]]

    run(main)


def test_small_batches_that_wait_are_sent_in_the_same_turn() -> None:
    async def main() -> None:
        model, happened = Doubler(), list[str]()
        queue = batcher(model)
        callers = [Noted(str(number), happened) for number in range(2)]
        for caller in callers:
            queue.enqueue(rows(*range(8)), caller)
        await asyncio.gather(*(caller.future for caller in callers))
        assert model.sizes == [8, 8]
        assert [what.split()[1] for what in happened] == ["write", "write", "send", "send"]

    run(main)


@pytest.mark.parametrize("breaks", ["write", "send"])
@pytest.mark.parametrize("inline_rows", [0, 1_000_000])
def test_an_answer_that_fails_fails_alone(inline_rows: int, breaks: str) -> None:
    async def main() -> None:
        happened: list[str] = []
        queue = batcher(Doubler(inline_rows))
        broken, whole = Noted("broken", happened, breaks), Noted("whole", happened)
        queue.enqueue(rows(1), broken)
        queue.enqueue(rows(2), whole)
        assert (await whole.future).values.tolist() == [4]
        assert "whole: send" in happened
        with pytest.raises(OSError, match=f"no {breaks}"):
            await broken.future
        assert (await queue.submit(rows(3))).values.tolist() == [6]

    run(main)


@pytest.mark.parametrize("inline_rows", [0, 1_000_000])
def test_a_bad_row_fails_its_own_request_alone(inline_rows: int) -> None:
    async def main() -> None:
        queue = batcher(Doubler(inline_rows))
        good, bad, other = (queue.submit(rows(*values)) for values in ([1, 2], [3, -13], [4]))
        assert (await good).values.tolist() == [2, 4]
        assert (await other).values.tolist() == [8]
        with pytest.raises(InputError, match="row 1: unlucky"):
            await bad

    run(main)


def test_a_bad_row_among_many_requests_is_found_by_halving() -> None:
    async def main() -> None:
        model = Doubler()
        queue = batcher(model, max_batch_rows=64)
        given = [float(value) for value in range(64)]
        given[20] = -13
        jobs = [queue.submit(rows(value)) for value in given]
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        assert isinstance(answers.pop(20), InputError)
        assert [answer.values.tolist() for answer in answers] == [[2 * value] for value in given if value != -13]
        assert sorted(model.sizes, reverse=True) == [64, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]

    run(main)


def test_a_bad_row_is_counted_in_the_whole_request() -> None:
    async def main() -> None:
        with pytest.raises(InputError, match="row 11: unlucky") as caught:
            await batcher(Doubler()).submit(rows(*range(11), -13))
        assert caught.value.row == 11

    run(main)


@pytest.mark.parametrize("inline_rows", [0, 1_000_000])
def test_a_model_that_breaks_fails_its_batch_and_is_reported(inline_rows: int) -> None:
    async def main() -> None:
        failures: list[Exception] = []
        queue = batcher(Doubler(inline_rows), on_failure=failures.append)
        with pytest.raises(ModelError):
            await queue.submit(rows(-666))
        assert (await queue.submit(rows(1))).values.tolist() == [2]
        assert [str(failure) for failure in failures] == ["hell"]

    run(main)


def test_a_full_queue_refuses_at_once() -> None:
    async def main() -> None:
        model = Doubler(inline_rows=0)
        model.may_go.clear()
        queue = batcher(model, max_queue_rows=10)
        running = queue.submit(rows(*range(8)))
        await asyncio.sleep(0)  # the batch leaves the queue at the end of this turn
        waiting = queue.submit(rows(*range(9)))
        with pytest.raises(OverloadedError, match="9 rows are waiting"):
            queue.submit(rows(1, 2))
        model.may_go.set()
        assert len(await running) + len(await waiting) == 17

    run(main)


def test_work_whose_caller_has_given_up_is_not_computed() -> None:
    async def main() -> None:
        model = Doubler(inline_rows=0)
        model.may_go.clear()
        queue = batcher(model)
        first = queue.submit(rows(1))
        await asyncio.sleep(0)
        given_up, last = queue.submit(rows(2)), queue.submit(rows(3))
        given_up.cancel()
        model.may_go.set()
        await first
        await last
        assert model.sizes == [1, 1]

    run(main)


def test_an_announced_request_is_waited_for() -> None:
    async def main() -> None:
        model = Doubler(inline_rows=0)
        queue = batcher(model, max_wait_s=30)
        ticket = queue.announce()
        first = queue.submit(rows(1))
        queue.arrived(ticket)
        second = queue.submit(rows(2))
        await asyncio.gather(first, second)
        assert model.sizes == [2]

    run(main)


def test_what_is_computed_on_the_loop_waits_for_nobody() -> None:
    async def main() -> None:
        queue = batcher(Doubler(), max_wait_s=30)
        queue.announce()
        assert (await queue.submit(rows(1))).values.tolist() == [2]

    run(main)


def test_a_request_that_never_arrives_holds_others_back_once() -> None:
    async def main() -> None:
        queue = batcher(Doubler(inline_rows=0), max_wait_s=0.001)
        ticket = queue.announce()
        await queue.submit(rows(1))
        queue.arrived(ticket)  # much later, from another epoch
        await queue.submit(rows(2))

    run(main)


def test_a_full_batch_is_not_held_back() -> None:
    async def main() -> None:
        queue = batcher(Doubler(inline_rows=0), max_wait_s=30)
        queue.announce()
        first = queue.submit(rows(1))
        assert len(await queue.submit(rows(*range(7)))) == 7
        assert len(await first) == 1

    run(main)
