"""Dynamic micro-batching: requests in flight become one forward pass, and each gets its own rows back.

What goes into a batch and how long it is held back is decided in `inference.queueing`, on values. The `Batcher`
acts: it lives on one event loop, computes small batches right there and large ones on a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import perf_counter
from typing import Any, Protocol

from inference.contract.errors import InputError
from inference.contract.network import Single
from inference.contract.predictions import Predictions
from inference.contract.schema import Rows
from inference.errors import ModelError, OverloadedError
from inference.logs import log
from inference.promise import Promise
from inference.queueing import Caller, Job, Part, Queue, hold_s, share
from inference.telemetry import Cell, Recorder

TURN_S = 0.001
"""So long a turn of the event loop computes one small batch after the other; then it looks for what else came."""


class Model(Protocol):
    """What a batch is given to."""

    @property
    def inline_rows(self) -> int:
        """The largest batch that may be computed on the event loop."""

    @property
    def lanes(self) -> int:
        """How many batches may be computed at a time."""

    def read(self, instances: Sequence[Any]) -> Rows:
        """Typed rows of JSON values; raises InputError when one does not fit."""

    def features(self, rows: Rows) -> Single:
        """What the network takes; raises InputError when a row cannot be transformed."""

    def answer(self, features: Single) -> Predictions:
        """The answers; raises InputError when a row cannot be answered."""


@dataclass(slots=True)
class Work:
    """How long a batch took, in seconds: to read and transform its rows, and to compute."""

    transform_s: float = 0.0
    model_s: float = 0.0


class Batcher:
    """Merges the rows that are submitted into batches, of which at most the model's `lanes` are computed at a time.

    `on_failure` is called on the loop with what a model raised that was not the caller's fault.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_batch_rows: int,
        max_wait_s: float,
        max_queue_rows: int,
        on_failure: Callable[[Exception], None],
        recorder: Recorder | None = None,
    ) -> None:
        self._model = model
        self._inline_rows = model.inline_rows
        self._max_batch_rows = max_batch_rows
        self._max_wait_s = max_wait_s
        self._max_queue_rows = max_queue_rows
        self._on_failure = on_failure
        self._recorder = recorder or Recorder()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(model.lanes, thread_name_prefix="predict")
        self._queue = Queue()
        self._free = model.lanes  # how many more batches may be computed now
        self._written: list[Caller] = []
        self._due = False  # a batch is formed at the end of this turn of the loop
        self._timer: asyncio.TimerHandle | None = None
        self._arriving = 0
        self._epoch = 0

    def announce(self) -> int:
        """Say that a request is on the way; hand the number that comes back to `arrived`."""
        self._arriving += 1
        return self._epoch

    def arrived(self, epoch: int) -> None:
        """The request that was announced has come, or will not come."""
        if epoch == self._epoch:  # else it was given up waiting for: a slow sender holds others back once at most
            self._arriving -= 1
            if self._timer is not None and self._arriving == 0:
                self._send()

    @property
    def waiting(self) -> int:
        """How many rows wait for a batch."""
        return self._queue.rows

    def submit(self, rows: Rows | Sequence[Any]) -> asyncio.Future[Predictions]:
        """The answers to come, as `enqueue` gives them; cancelling the future takes the rows off the queue.

        Raises:
            OverloadedError: the queue is full.
        """
        future: asyncio.Future[Predictions] = self._loop.create_future()
        self.enqueue(rows, Promise(future))
        return future

    def enqueue(self, rows: Rows | Sequence[Any], caller: Caller) -> None:
        """Have the caller told the answers, in the order of the rows, together with others of that turn of the loop.

        `rows` may be JSON values that were not read yet: they are read with the rest of their batch, which is cheaper.

        Raises:
            OverloadedError: the queue is full.
        """
        count = len(rows)
        waiting = self._queue.rows
        if waiting and waiting + count > self._max_queue_rows:
            raise OverloadedError(f"{waiting} rows are waiting, the queue holds {self._max_queue_rows}")
        self._queue.push(Job(rows, caller, self._loop.time(), count))
        if self._free and not self._due:
            self._plan()

    def close(self) -> None:
        """Give the thread back; nothing may be submitted any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _plan(self) -> None:
        """Send the next batch off at the end of this turn of the loop, or set the timer for it."""
        if self._timer is not None:
            if self._queue.rows >= self._max_batch_rows:
                self._send()
            return
        hold = hold_s(
            rows=self._queue.rows,
            max_rows=self._max_batch_rows,
            arriving=self._arriving,
            age_s=self._queue.age_s(self._loop.time()),
            max_wait_s=self._max_wait_s,
            inline=self._queue.rows <= self._inline_rows,
        )
        if hold == 0.0:
            self._send()
        else:
            self._timer = self._loop.call_later(hold, self._give_up_waiting)

    def _give_up_waiting(self) -> None:
        self._epoch += 1
        self._arriving = 0
        self._send()

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = True
        self._loop.call_soon(self._run)  # at the end of this turn: what else became ready in it comes along

    def _run(self) -> None:
        """Compute what waits: small batches here, one after the other for a while, a large one on a thread."""
        self._due = False
        until = perf_counter() + TURN_S
        while parts := self._queue.take(self._max_batch_rows):  # none: their callers gave up
            rows = sum([stop - start for _, start, stop in parts])
            now = self._loop.time()
            self._recorder.batch(rows, [now - job.arrived for job, start, _ in parts if start == 0])
            work = Work()
            if rows > self._inline_rows:
                self._free -= 1
                computed = self._loop.run_in_executor(self._threads, self._compute, parts, work)
                computed.add_done_callback(partial(self._came_back, parts, work))
                break
            self._settle(parts, self._compute(parts, work), work)
            if perf_counter() > until:
                break
        self._send_written()
        self._plan_on()

    def _came_back(
        self, parts: Sequence[Part], work: Work, computed: asyncio.Future[Sequence[Predictions | Exception]]
    ) -> None:
        """A batch was computed on a thread."""
        self._settle(parts, computed.result(), work)
        self._free += 1
        self._send_written()
        self._plan_on()

    def _plan_on(self) -> None:
        if self._queue.rows and self._free and not self._due:
            self._plan()

    def _compute(self, parts: Sequence[Part], work: Work) -> Sequence[Predictions | Exception]:
        """One outcome a part. A row that cannot be answered fails its own request alone: halving the batch finds it."""
        try:
            started = perf_counter()
            features = self._model.features(self._read(parts))
            transformed = perf_counter()
            together = self._model.answer(features)
            work.transform_s += transformed - started
            work.model_s += perf_counter() - transformed
        except InputError as error:
            if len(parts) == 1:
                return [_shifted(error, parts[0][1])]
            middle = len(parts) // 2
            return [*self._compute(parts[:middle], work), *self._compute(parts[middle:], work)]
        except Exception as error:  # noqa: BLE001  # whatever a model raises: a 500 for its callers, the server stays up
            log.exception("the model failed", extra={"rows": sum(stop - start for _, start, stop in parts)})
            self._loop.call_soon_threadsafe(self._on_failure, error)
            return [ModelError("the model failed on these rows") for _ in parts]
        if len(parts) == 1:
            return [together]
        outcomes, place = [], 0
        for _, start, stop in parts:
            outcomes.append(together.part(place, place + stop - start))
            place += stop - start
        return outcomes

    def _read(self, parts: Sequence[Part]) -> Rows:
        """The typed rows of a batch; JSON values are read all together where nothing else stands between them."""
        given = list(map(share, parts))
        if Rows not in set(map(type, given)):
            return self._model.read(list(chain.from_iterable(given)) if len(given) > 1 else given[0])  # type: ignore[arg-type]
        return Rows.concat([rows if isinstance(rows, Rows) else self._model.read(rows) for rows in given])

    def _settle(self, parts: Sequence[Part], outcomes: Sequence[Predictions | Exception], work: Work) -> None:
        self._recorder.took("transform", work.transform_s)
        self._recorder.took("model", work.model_s)
        self._recorder.put(Cell.QUEUED, self._queue.rows)
        for (job, start, stop), outcome in zip(parts, outcomes, strict=True):
            caller = job.caller
            if caller.done:  # it gave up, or an earlier part failed
                continue
            if isinstance(outcome, Exception):
                caller.fail(outcome)
            elif stop - start == job.count:
                self._answer(caller, outcome)
            else:
                answers = job.answers = job.answers or {}
                answers[start] = outcome
                if sum(map(len, answers.values())) == job.count:
                    self._answer(caller, Predictions.joined([answers[start] for start in sorted(answers)]))

    def _answer(self, caller: Caller, predictions: Predictions) -> None:
        try:
            caller.write(predictions)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this caller's answer that cannot be written
            caller.fail(error)
        else:
            self._written.append(caller)

    def _send_written(self) -> None:
        """Send the answers of this turn in one go."""
        written, self._written = self._written, []
        for caller in written:
            try:
                caller.send()
            except Exception as error:  # noqa: BLE001  # one caller's answer; the others get theirs
                caller.fail(error)


def _shifted(error: InputError, by: int) -> InputError:
    """The error with its row counted in the whole request."""
    if error.row is None or by == 0:
        return error
    return InputError(error.problem, row=error.row + by, column=error.column)
