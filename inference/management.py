"""Requests below /models that change or show which models are loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from inference.exchange import Exchange
from inference.flights import Flights
from inference.invocation import JSON_HEADERS, Served


class Models(Protocol):
    """Multi-model mode: what answers below /models."""

    async def manage(self, method: str, name: str | None, query: str, body: bytes) -> tuple[int, bytes]:
        """List, load, describe or unload; status and JSON body."""

    def use(self, name: str) -> Served:
        """The loaded model of that name; raises ModelNotFoundError."""

    def waiting(self) -> None:
        """Say in each model's counters how many rows wait for it."""


class Management:
    """One such request. Its deadline is for its body alone: a change that was begun is answered when it is done."""

    def __init__(
        self,
        exchange: Exchange,
        name: str | None,
        models: Models,
        flights: Flights,
        refuse: Callable[[Exchange, Exception], None],
        running: set[asyncio.Task[None]],
    ) -> None:
        self.exchange = exchange
        self.deadline = 0.0
        self.reading = True
        self._name = name
        self._models = models
        self._flights = flights
        self._refuse = refuse
        self._running = running  # what is under way: the event loop alone would not keep it

    def arrived(self) -> None:
        """The body is whole: make the change."""
        self._flights.leave(self)
        self.reading = False
        task = asyncio.get_running_loop().create_task(self._manage())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def fail(self, error: Exception) -> None:
        """Tell the caller that the body did not come."""
        self._flights.leave(self)
        self._refuse(self.exchange, error)

    async def _manage(self) -> None:
        exchange = self.exchange
        try:
            status, content = await self._models.manage(
                exchange.method, self._name, exchange.query, bytes(exchange.body)
            )
        except Exception as error:  # noqa: BLE001  # whatever it is becomes this caller's answer
            self._refuse(exchange, error)
        else:
            exchange.respond(status, JSON_HEADERS, content)
