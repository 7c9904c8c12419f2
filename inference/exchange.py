"""One HTTP request and its answer, as the application sees them, and what a connection needs of an application."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from inference.errors import Headers, ServingError

CLOSE, KEEP, USUAL = b"connection: close\r\n", b"connection: keep-alive\r\n", b""
"""What an answer says about its connection."""
PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Wire(Protocol):
    """Where an answer goes."""

    def answer(self, exchange: Exchange, status: int, headers: Headers, body: bytes, own: Headers) -> None:
        """Send the answer of a request; nothing happens when its caller has gone. Arguments as of `respond`."""


class Exchange:
    """A request, and the way to answer it. Made for every request: plain for speed.

    `headers` have names in lower case; `path` is as it was sent, percent-encoded; `body` is whole once the application
    is told so; `started` is when the headers were complete, by `perf_counter`. `connection` is CLOSE, KEEP or USUAL.
    `fault` is what the connection found wrong. `on_answer` is called with the status when the answer is sent.
    """

    __slots__ = (
        "answered", "body", "connection", "fault", "headers", "method", "on_answer", "path", "query", "started", "wire",
    )  # fmt: skip

    def __init__(
        self,
        wire: Wire,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        connection: bytes,
        started: float,
    ) -> None:
        self.wire = wire
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.connection = connection
        self.started = started
        self.body: bytes | memoryview = b""
        self.answered = False
        self.fault: ServingError | None = None
        self.on_answer: Callable[[Exchange, int], None] | None = None

    def respond(self, status: int, headers: Headers, body: bytes, own: Headers = ()) -> None:
        """Answer, once. `headers` are those that many answers have; `own` are this answer's."""
        if self.answered:
            return
        self.answered = True
        self.wire.answer(self, status, headers, body, own)
        if self.on_answer is not None:
            self.on_answer(self, status)


class Handler(Protocol):
    """The application. None of these raises, and none waits."""

    def begin(self, exchange: Exchange) -> None:
        """The headers are here, the body is not: it may be refused now. `complete` follows, or `refuse`, or `gone`."""

    def complete(self, exchange: Exchange) -> None:
        """The whole request is here."""

    def refuse(self, exchange: Exchange, error: ServingError) -> None:
        """The request cannot be read; answer so."""

    def gone(self, exchange: Exchange) -> None:
        """The caller has closed the connection of a request that was begun or complete and is not answered."""


@lru_cache(maxsize=256)  # answers have the same few heads; what a caller sent is never in them
def head(status: int, headers: Headers) -> bytes:
    """The first lines of an answer, as they go over the wire."""
    return f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() + lines(headers)


def lines(headers: Headers) -> bytes:
    """Headers as they go over the wire."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1", "replace")
