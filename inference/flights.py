"""Requests on their way: how many there are, and when each must be done."""

from __future__ import annotations

import asyncio
from typing import Protocol

from inference.errors import CallerGoneError, DeadlineError, OverloadedError, SlowRequestError, StoppingError
from inference.exchange import Exchange

SWEEP_S = 0.25
"""How often deadlines are looked at."""


class Flight(Protocol):
    """A request on its way. `reading` while its body is not whole; `deadline` is set when it enters."""

    exchange: Exchange
    deadline: float
    reading: bool

    def arrived(self) -> None:
        """The body is whole: go on."""

    def fail(self, error: Exception) -> None:
        """Give it up, and tell its caller why; it leaves."""


class Flights:
    """At most `limit` requests at a time, each with `deadline_s` to be answered."""

    def __init__(self, *, limit: int, deadline_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._deadline_s = deadline_s
        self._flying: dict[Exchange, Flight] = {}  # in the order of their start, hence of their end

    def __len__(self) -> int:
        return len(self._flying)

    def enter(self, flight: Flight) -> None:
        """Note a request. Raises OverloadedError when there are too many."""
        if len(self._flying) >= self._limit:
            raise OverloadedError(f"{len(self._flying)} requests are in flight")
        flight.deadline = self._loop.time() + self._deadline_s
        self._flying[flight.exchange] = flight

    def leave(self, flight: Flight) -> None:
        """The request is answered, or nobody waits for it any more."""
        self._flying.pop(flight.exchange, None)

    def find(self, exchange: Exchange) -> Flight | None:
        """What became of a request that has begun."""
        return self._flying.get(exchange)

    def gone(self, exchange: Exchange) -> None:
        """Give a request up whose caller has closed its connection; its rows are taken off the queue."""
        if (flight := self._flying.get(exchange)) is not None:
            when = " in the middle of its body" if flight.reading else ""
            flight.fail(CallerGoneError(f"the caller closed its connection{when}"))

    def sweep(self) -> None:
        """Give up what is over its deadline. All have the same time to live, so the oldest come first."""
        now = self._loop.time()
        for flight in list(self._flying.values()):
            if flight.deadline > now:
                break
            if flight.reading:
                flight.fail(SlowRequestError("body", self._deadline_s))
            else:
                flight.fail(DeadlineError(f"no answer within {self._deadline_s:g} s"))

    def refuse_all(self) -> None:
        """Give every request up: the time to drain is over."""
        for flight in list(self._flying.values()):
            flight.fail(StoppingError("the server stops"))
