"""What a worker process and its supervisor say to each other: one JSON object a line, over a socket pair."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import orjson

BACKLOG = 2_048
"""Connections that wait to be accepted."""
LISTENER_FD = "SAGESTAGE_LISTENER_FD"
BOARD_FD = "SAGESTAGE_BOARD_FD"
CHANNEL_FD = "SAGESTAGE_CHANNEL_FD"
WORKER = "SAGESTAGE_WORKER"
RESTARTED = "SAGESTAGE_RESTARTED"
"""The environment variables by which a supervisor tells a process that it is a worker, and of what."""


class Channel:
    """One end of the socket pair; iterating yields messages until the other end is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connected: socket.socket) -> Channel:
        """A channel over one end of a socket pair, which it owns from now on."""
        return cls(*await asyncio.open_connection(sock=connected, limit=2**24))

    def say(self, **message: Any) -> None:
        """Send a message; one that the other end is no longer there to read is lost."""
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        try:
            while line := await self._reader.readline():
                yield orjson.loads(line)
        except ConnectionError:
            return

    def close(self) -> None:
        """Let go of this end."""
        self._writer.close()
