"""Requests on their way: how many there are, when each must be done, and whether its caller still waits."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

from granian.rsgi import HTTPProtocol  # type: ignore[attr-defined]  # granian does not mark what it re-exports

from inference.errors import (
    CallerGoneError,
    DeadlineError,
    OverloadedError,
    ServingError,
    SlowRequestError,
    StoppingError,
)

SWEEP_S = 0.25
"""How often deadlines are looked at, and how old a request is when its caller is watched: most are answered by then."""


class Phase(Enum):
    """Where a request is; what its deadline means depends on it."""

    READING = "reading"
    ANSWERING = "answering"


class Flight:
    """A request on its way: when it must be done, and who waits for it. Made for every request: plain for speed."""

    __slots__ = ("deadline", "gone", "phase", "proto", "watcher")

    def __init__(self, deadline: float, proto: HTTPProtocol) -> None:
        self.deadline = deadline
        self.proto = proto
        self.phase = Phase.READING
        self.watcher: asyncio.Task[None] | None = None
        self.gone = False


class Flights:
    """At most `limit` requests at a time, each with `deadline_s` to be answered."""

    def __init__(self, *, limit: int, deadline_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._deadline_s = deadline_s
        self._flying: dict[asyncio.Task[Any], Flight] = {}  # in the order of their start, hence of their end
        self._stopping = False

    def __len__(self) -> int:
        return len(self._flying)

    def enter(self, task: asyncio.Task[Any], proto: HTTPProtocol) -> Flight:
        """Note the request that this task answers. Raises OverloadedError when there are too many."""
        if len(self._flying) >= self._limit:
            raise OverloadedError(f"{len(self._flying)} requests are in flight")
        flight = self._flying[task] = Flight(self._loop.time() + self._deadline_s, proto)
        return flight

    def leave(self, task: asyncio.Task[Any]) -> None:
        """The request is answered, or nobody waits for it any more."""
        flight = self._flying.pop(task)
        if flight.watcher is not None:
            flight.watcher.cancel()

    def sweep(self) -> None:
        """Cancel what is over its deadline, watch the callers of what takes long.

        All have the same time to live, so the oldest come first.
        """
        now = self._loop.time()
        young = now + self._deadline_s - SWEEP_S
        for task, flight in self._flying.items():
            if flight.deadline <= now:
                task.cancel()
            elif flight.deadline > young:
                break
            elif flight.watcher is None and flight.phase is Phase.ANSWERING:
                flight.watcher = self._loop.create_task(_watch(task, flight))

    def refuse_all(self) -> None:
        """Give every request up: the time to drain is over."""
        self._stopping = True
        for task in list(self._flying):
            task.cancel()

    def given_up(self, flight: Flight) -> ServingError:
        """Why a request was cancelled."""
        if self._stopping:
            return StoppingError("the server stops")
        if flight.gone:
            return CallerGoneError("the caller closed its connection")
        if flight.phase is Phase.READING:
            return SlowRequestError(self._deadline_s)
        return DeadlineError(f"no answer within {self._deadline_s:g} s")


async def _watch(task: asyncio.Task[Any], flight: Flight) -> None:
    """Cancel a request whose caller has gone: its rows are taken off the queue."""
    await flight.proto.client_disconnect()
    flight.gone = True
    task.cancel()
