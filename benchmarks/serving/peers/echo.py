"""The limit: granian, one process, that parses the JSON and writes it again."""

from __future__ import annotations

import asyncio
import os

import orjson
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

HEADERS = [("content-type", "application/json")]


class Echo:
    """Nothing else."""

    async def __rsgi__(self, scope, proto):
        body = await proto()
        proto.response_bytes(200, HEADERS, orjson.dumps(orjson.loads(body)))


async def main() -> None:
    """Until it is killed."""
    await Server(
        Echo(),
        address="127.0.0.1",
        port=int(os.environ["PORT"]),
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=2048,
        backpressure=16384,
        log_enabled=False,
    ).serve()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
