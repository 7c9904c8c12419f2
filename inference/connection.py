"""One caller's connection: requests are answered one at a time and in order, on the event loop's own thread.

Whoever sends what is not HTTP, too much, or too slowly, gets an answer and is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import Protocol

from inference.errors import Headers, ServingError, SlowRequestError
from inference.exchange import CLOSE, Exchange, Handler, head, lines
from inference.reader import Reader

STALL_S = 60.0
"""A caller that takes nothing of its answer for so long is cut off."""
LINGER_S = 5.0
"""After an answer that came before the whole request: so long the rest is read and thrown away, so that the answer is
not lost by a reset of the connection (RFC 9112, 9.6)."""
LARGE = 65_536
"""A body from this size on is written beside its head, not copied behind it."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Port(Protocol):
    """What the connections of one listener share."""

    handler: Handler
    buffer: memoryview
    """Where all of them receive: what was received is used before anybody receives again."""
    max_body_bytes: int
    header_timeout_s: float
    draining: bool
    date: bytes
    """The line with the date, for every answer."""

    def opened(self, connection: Connection) -> None:
        """A caller has connected."""

    def closed(self, connection: Connection) -> None:
        """A connection is closed."""


class Connection(asyncio.BufferedProtocol):
    """Hands requests to the port's handler and writes the answers."""

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        self._port = port
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = Reader(self, port.buffer, port.max_body_bytes)
        self._partial: Exchange | None = None  # whose body is on its way
        self._front: Exchange | None = None  # which the handler has
        self._behind: deque[Exchange] = deque()
        self._deaf = False  # nothing more is read
        self._since: float | None = loop.time()  # since when a head, or the end of a connection, is waited for
        self._stalled: float | None = None  # since when the caller takes nothing

    @property
    def idle(self) -> bool:
        """Whether no request is on its way."""
        return not (self._deaf or self._front or self._reader.in_head)

    def close(self) -> None:
        """Close when what was written is sent."""
        self._deaf = True
        if self._transport is not None:
            self._transport.close()

    def look(self, now: float) -> None:
        """Cut off who is too slow; called now and then."""
        if self._transport is None:
            return
        if self._stalled is not None and now - self._stalled > STALL_S:
            self._transport.abort()
        elif self._since is None:
            return
        elif self._deaf:
            if now - self._since > LINGER_S:
                self._transport.abort()
        elif now - self._since > self._port.header_timeout_s:
            if self._reader.in_head:
                self._fail(SlowRequestError("headers", self._port.header_timeout_s))
            else:
                self.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has connected."""
        self._transport = transport  # type: ignore[assignment]  # a stream
        self._port.opened(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """The caller has gone, or was answered and closed."""
        self._transport = None
        self._deaf = True
        self._reader.close()
        self._behind.clear()
        if self._front is not None and not self._front.answered:
            self._port.handler.gone(self._front)
        self._port.closed(self)

    def get_buffer(self, _hint: int) -> memoryview:
        """Where to put what is received next."""
        return self._reader.space()

    def buffer_updated(self, count: int) -> None:
        """So many bytes were received."""
        if self._deaf:
            return
        reader = self._reader
        try:
            reader.received(count)
        except ServingError as fault:
            if not self._deaf:
                self._fail(fault)
            return
        if reader.incoming is not None:
            if reader.incoming is not self._partial:
                self._partial = reader.incoming
                self._line_up(reader.incoming)
        elif self._since is None and reader.in_head:
            self._since = self._loop.time()

    def pause_writing(self) -> None:
        """The caller does not take its answer: read no more of its requests."""
        self._stalled = self._loop.time()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The caller has taken enough."""
        self._stalled = None
        self._next()
        if self._transport is not None and not self._behind:
            self._transport.resume_reading()

    # One request after the other.

    def take(self, exchange: Exchange) -> None:
        """A request is whole."""
        if not self._deaf:
            self._partial = None
            self._line_up(exchange)
            if exchange.connection is CLOSE:  # its caller's last
                self._deaf = True

    def _fail(self, fault: ServingError) -> None:
        """Have the request that is being read refused; what follows it cannot be read."""
        exchange = self._reader.incoming or Exchange(self, "", "", "", {}, CLOSE, perf_counter())
        self._reader.close()
        exchange.fault = fault
        self._partial = exchange
        self._deaf = True
        self._line_up(exchange)

    def _line_up(self, exchange: Exchange) -> None:
        """Hand a request on when those before it are answered."""
        self._since = None
        free = self._front is None and self._stalled is None and not self._behind
        if free or self._front is exchange:
            self._hand(exchange)
        else:
            self._behind.append(exchange)
            if self._transport is not None:
                self._transport.pause_reading()

    def _hand(self, exchange: Exchange) -> None:
        self._front = exchange
        handler = self._port.handler
        if exchange.fault is not None:
            handler.refuse(exchange, exchange.fault)
        elif exchange is not self._partial:
            handler.complete(exchange)
        else:
            handler.begin(exchange)
            expected = exchange.headers.get("expect", "").lower() == "100-continue"
            if expected and not exchange.answered and self._transport is not None:
                self._transport.write(CONTINUE)

    def _next(self) -> None:
        """Go on with the requests that came before the last one was answered."""
        while self._behind and self._front is None and self._stalled is None and self._transport is not None:
            exchange = self._behind.popleft()
            if not self._behind:
                self._transport.resume_reading()
            self._hand(exchange)

    def answer(self, exchange: Exchange, status: int, headers: Headers, body: bytes, own: Headers) -> None:
        """Send the answer of the request in front."""
        transport = self._transport
        if transport is None:
            return
        whole = exchange is not self._partial
        keep = exchange.connection if whole and not self._port.draining else CLOSE
        top = head(status, headers) + lines(own) if own else head(status, headers)
        first = b"%b%b%bcontent-length: %d\r\n\r\n" % (top, self._port.date, keep, len(body))
        if exchange.method == "HEAD":
            transport.write(first)
        elif len(body) < LARGE:
            transport.write(first + body)
        else:
            transport.writelines((first, body))
        self._front = None
        if keep is not CLOSE:
            if self._behind:
                self._loop.call_soon(self._next)
            return
        self._deaf = True
        self._behind.clear()
        self._reader.close()
        if whole:
            transport.close()
        else:  # its caller may still be sending
            self._since = self._loop.time()
            transport.resume_reading()
            transport.write_eof()
