"""The limit of this server: its HTTP without a model, that parses the JSON and writes it again."""

from __future__ import annotations

import asyncio
import os
import socket

import orjson
import uvloop

from inference.errors import ServingError
from inference.exchange import Exchange
from inference.listener import Listener

HEADERS = (("content-type", "application/json"),)


class Echo:
    """Nothing else."""

    def begin(self, exchange: Exchange) -> None:
        """Wait for the body."""

    def complete(self, exchange: Exchange) -> None:
        """Answer."""
        exchange.respond(200, HEADERS, orjson.dumps(orjson.loads(exchange.body)))

    def refuse(self, exchange: Exchange, error: ServingError) -> None:
        """What is not HTTP fails the round."""
        exchange.respond(error.status, HEADERS, b"")

    def gone(self, exchange: Exchange) -> None:
        """Nobody waits."""


async def main() -> None:
    """Until it is killed."""
    opened = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=2048)
    await Listener(Echo(), opened.detach(), max_body_bytes=2**20, header_timeout_s=10).serve()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
