"""What waits, what goes into the next batch, and how long that batch is held back: decisions on values.

Fairness: a large request takes part in each batch with what fits, then stands at the end of the queue again,
so that small requests pass between its parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from inference.contract.predictions import Predictions
from inference.contract.schema import Rows


class Caller(Protocol):
    """Who asked, and is to be told the answers."""

    @property
    def done(self) -> bool:
        """Whether nothing more is to be told: it was answered, or has given up."""

    def write(self, predictions: Predictions) -> None:
        """Make ready what will be sent."""

    def send(self) -> None:
        """Send what was written; `done` from then on."""

    def fail(self, error: Exception) -> None:
        """There is no answer; `done` from then on."""


class Job:
    """A request in the queue: `taken` of its rows are in batches already, `answers` holds parts that came back, by row.

    `rows` are typed rows, or the JSON values of rows that are read together with the rest of their batch. Made for
    every request: plain for speed.
    """

    __slots__ = ("answers", "arrived", "caller", "count", "rows", "taken")

    def __init__(self, rows: Rows | Sequence[Any], caller: Caller, arrived: float, count: int) -> None:
        self.rows = rows
        self.caller = caller
        self.arrived = arrived
        self.count = count
        self.taken = 0
        self.answers: dict[int, Predictions] | None = None


Part = tuple[Job, int, int]
"""Rows start..stop of a job: its share of one batch. A plain tuple, since one is made for every request."""


def share(part: Part) -> Rows | Sequence[Any]:
    """The rows of a part, with their histories."""
    job, start, stop = part
    if stop - start == job.count:
        return job.rows
    return cut(job.rows, start, stop) if isinstance(job.rows, Rows) else job.rows[start:stop]


def cut(rows: Rows, start: int, stop: int) -> Rows:
    """Rows start..stop (counted in emitted rows) with the history that they need, and nothing else."""
    emit, begin = rows.emit[start:stop], rows.start[start:stop]
    first, last = int(begin.min()), int(emit.max()) + 1
    return Rows(rows.values[first:last], emit - first, begin - first)


class Queue:
    """Jobs in the order of their turn. `rows` counts those that wait."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self.rows = 0

    def push(self, job: Job) -> None:
        """Stand a job at the end."""
        self._jobs.append(job)
        self.rows += job.count - job.taken

    def age_s(self, now: float) -> float:
        """How long the first job has been here; 0 when there is none."""
        return now - self._jobs[0].arrived if self._jobs else 0.0

    def take(self, max_rows: int) -> list[Part]:
        """The next batch, of at most `max_rows` rows.

        A job whose caller has given up is dropped. One that no batch holds gives what fits and stands at the end of
        the queue with the rest; one that fits into a batch is not split, but waits for the next.
        """
        parts: list[Part] = []
        room, jobs = max_rows, self._jobs
        while jobs and room > 0:
            job = jobs.popleft()
            start, left = job.taken, job.count - job.taken
            if job.caller.done:
                self.rows -= left
            elif left <= room:
                self.rows -= left
                room -= left
                job.taken = job.count
                parts.append((job, start, job.count))
            elif left <= max_rows and parts:  # it fits into a batch of its own: splitting it costs more than it saves
                jobs.appendleft(job)
                break
            else:
                self.rows -= left
                job.taken += room
                parts.append((job, start, job.taken))
                self.push(job)
                break
        return parts


def hold_s(*, rows: int, max_rows: int, arriving: int, age_s: float, max_wait_s: float, inline: bool = False) -> float:
    """How long to hold the next batch back, in seconds; 0 sends it off.

    Waiting pays only while other requests are known to be on the way (their bodies are being read): with an idle
    queue a request is never held back. Nor does it pay for a batch that is computed on the event loop: that takes less
    time than the waiting would, and what arrives meanwhile is the next batch.
    """
    if rows >= max_rows or arriving == 0 or inline:
        return 0.0
    return max(0.0, max_wait_s - age_s)
