"""A small, fast HTTP/1.1 client that says how many requests a second one address answers: asyncio alone, kept alive."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CONNECTIONS = 32


@dataclass
class Count:
    """Answers so far; `failed` are those with another status than 200."""

    answered: int = 0
    failed: int = 0
    running: bool = True


class _Connection(asyncio.Protocol):
    """Sends the same request again as soon as it is answered."""

    def __init__(self, request: bytes, count: Count) -> None:
        self._request = request
        self._count = count
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count a whole answer, and ask again."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, end) if end >= 0 else None
        if length is None or len(self._buffer) < end + 4 + int(length[1]) or self._transport is None:
            return
        self._count.answered += 1
        self._count.failed += not self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = self._buffer[end + 4 + int(length[1]) :]
        if self._count.running:
            self._transport.write(self._request)
        else:
            self._transport.close()


def requests_per_second(url: str, body: bytes, *, seconds: float = 1.5, connections: int = CONNECTIONS) -> float:
    """How many POSTs of `body` a second `url` answers with 200, over `connections` connections."""
    return asyncio.run(_measure(url, body, seconds, connections))


async def _measure(url: str, body: bytes, seconds: float, connections: int) -> float:
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    count = Count()
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(head.encode() + body, count), host, port)
    await asyncio.sleep(0.3)  # connections and batches are warm
    before, begin = count.answered - count.failed, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (count.answered - count.failed - before) / (time.perf_counter() - begin)
    count.running = False
    return rate
