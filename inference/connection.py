"""One caller's connection: HTTP/1.1 by httptools (the parser of Node.js), on the event loop's own thread.

Small requests are parsed and handed on whole. A longer body of known length goes from the socket straight into memory
of its own, past the parser. Requests of one connection are answered one at a time and in order. Whoever sends
what is not HTTP, too much, or too slowly, gets an answer and is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import lru_cache
from time import perf_counter
from typing import Protocol

import numpy as np
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from inference.errors import (
    Headers,
    HeadTooLargeError,
    MalformedError,
    PayloadTooLargeError,
    ServingError,
    SlowHeadError,
)
from inference.exchange import Exchange, Handler, head

MAX_HEAD_BYTES = 65_536
"""Of a request's first line and headers, where they do not come at once."""
STALL_S = 60.0
"""A caller that takes nothing of its answer for so long is cut off."""
LINGER_S = 5.0
"""After an answer that came before the whole request: so long the rest is read and thrown away, so that the answer is
not lost by a reset of the connection (RFC 9112, 9.6)."""
LARGE = 65_536
"""A body from this size on is written beside its head, not copied behind it."""
CLOSE, KEEP, USUAL = b"connection: close\r\n", b"connection: keep-alive\r\n", b""
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


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


class Connection(asyncio.BufferedProtocol):
    """Reads requests, hands them to the port's handler, and writes the answers."""

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        self._port = port
        self._loop = loop
        self._buffer = port.buffer
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._target = b""
        self._headers: dict[str, str] | None = None  # of the request whose head is being read
        self._head_bytes = 0
        self._incoming: Exchange | None = None  # whose body is being read
        self._body: bytes | bytearray = b""  # as far as it went through the parser
        self._sink: memoryview | None = None  # what is missing of a body that is read past the parser
        self._front: Exchange | None = None  # which the handler has
        self._behind: deque[Exchange] = deque()
        self._deaf = False  # nothing more is read
        self._since: float | None = loop.time()  # since when a head, or the end of a connection, is waited for
        self._stalled: float | None = None  # since when the caller takes nothing

    @property
    def idle(self) -> bool:
        """Whether no request is on its way."""
        return not (self._deaf or self._front or self._incoming or self._headers is not None)

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
            if self._headers is None:
                self.close()
            else:
                self._fail(SlowHeadError(self._port.header_timeout_s))

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has connected."""
        self._transport = transport  # type: ignore[assignment]  # a stream
        self._port.opened(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """The caller has gone, or was answered and closed."""
        self._transport = self._parser = None  # the parser knows this object: a cycle
        self._deaf = True
        if self._front is not None and not self._front.answered:
            self._port.handler.gone(self._front)
        self._behind.clear()
        self._port.closed(self)

    def get_buffer(self, _hint: int) -> memoryview:
        """Where to put what is received next."""
        return self._sink or self._buffer

    def buffer_updated(self, count: int) -> None:
        """So many bytes were received."""
        if self._sink is not None:
            self._fill(self._sink, count)
            return
        if self._deaf or self._parser is None:
            return
        try:
            self._parse(self._parser, self._buffer[:count])
        except HttpParserError as error:
            self._fail(MalformedError(f"not HTTP: {error}"))
            return
        if self._incoming is not None:
            self._partly(self._incoming)
        elif self._headers is not None:
            self._head_bytes += count
            if self._since is None:
                self._since = self._loop.time()
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(HeadTooLargeError(f"the headers are longer than {MAX_HEAD_BYTES} bytes"))

    def pause_writing(self) -> None:
        """The caller does not take its answer."""
        self._stalled = self._loop.time()

    def resume_writing(self) -> None:
        """The caller has taken enough."""
        self._stalled = None
        self._next()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers, self._target, self._body, self._head_bytes = {}, b"", b"", 0

    def on_url(self, part: bytes) -> None:
        """What is asked for."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind a chunked body are not looked at."""
        if self._headers is not None:
            key, text = _name(name), value.decode("latin-1")
            self._headers[key] = text if key not in self._headers else f"{self._headers[key]}, {text}"

    def on_headers_complete(self) -> None:
        """The head is here."""
        parser, headers, target = self._parser, self._headers or {}, self._target
        assert parser is not None  # noqa: S101  # it is calling
        self._headers = self._since = None
        keep = CLOSE
        if parser.should_keep_alive():
            keep = USUAL if "connection" not in headers or parser.get_http_version() != "1.0" else KEEP
        if not target.startswith(b"/"):
            target = _origin_form(target)
        path, _, query = target.decode("utf-8", "replace").partition("?")
        method = parser.get_method().decode("latin-1")
        self._incoming = Exchange(self, method, path, query, headers, keep, perf_counter())

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if not self._body:
            self._body = part
        else:
            self._body = self._body if isinstance(self._body, bytearray) else bytearray(self._body)
            self._body += part

    def on_message_complete(self) -> None:
        """A request is here."""
        exchange, self._incoming = self._incoming, None
        if exchange is not None and not self._deaf:
            body = self._body
            exchange.body = body if isinstance(body, bytes) else memoryview(body).toreadonly()
            self._line_up(exchange)

    def _parse(self, parser: HttpRequestParser, data: memoryview) -> None:
        """Raises HttpParserError."""
        try:
            parser.feed_data(data)
        except HttpParserUpgrade as upgrade:  # to what is not spoken here: the request is answered as any other
            self._parser = HttpRequestParser(self)
            if rest := data[upgrade.args[0] :]:
                self._parse(self._parser, rest)

    # Bodies that do not come at once.

    def _partly(self, exchange: Exchange) -> None:
        """A request whose body is not whole yet."""
        limit, size = self._port.max_body_bytes, len(self._body)
        known = exchange.headers.get("content-length")
        if (int(known) if known else size) > limit:
            told = f"the body is larger than {limit} bytes" + (f": {known}" if known else "")
            self._fail(PayloadTooLargeError(told))
            return
        if known:
            whole = np.empty(int(known), np.uint8).data
            whole[:size] = self._body
            exchange.body, self._sink = whole.toreadonly(), whole[size:]
        if exchange is not self._front:
            self._line_up(exchange)

    def _fill(self, sink: memoryview, count: int) -> None:
        """More of a body that is read past the parser."""
        exchange = self._incoming
        if exchange is None or count < len(sink):
            self._sink = sink[count:]
            return
        self._sink = self._incoming = None
        self._parser = HttpRequestParser(self)
        self._line_up(exchange)

    # One after the other.

    def _fail(self, fault: ServingError) -> None:
        """Have the request that is being read refused; what follows it cannot be read."""
        exchange = self._incoming or Exchange(self, "", "", "", {}, CLOSE, perf_counter())
        exchange.fault, exchange.connection = fault, CLOSE
        self._incoming, self._sink, self._headers = exchange, None, None
        self._deaf, self._since = True, self._loop.time()
        self._line_up(exchange)

    def _line_up(self, exchange: Exchange) -> None:
        """Hand a request on when those before it are answered."""
        if self._front is None or self._front is exchange:
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
        elif exchange is not self._incoming:
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

    def answer(self, exchange: Exchange, status: int, headers: Headers, body: bytes) -> None:
        """Send the answer of the request in front."""
        transport = self._transport
        if transport is None:
            return
        whole = exchange is not self._incoming
        keep = CLOSE if not whole or self._port.draining else exchange.connection
        first = b"%b%b%bcontent-length: %d\r\n\r\n" % (head(status, headers), self._port.date, keep, len(body))
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
        self._deaf, self._incoming, self._sink = True, None, None
        self._behind.clear()
        if whole:
            transport.close()
        else:  # its caller may still be sending
            self._since = self._loop.time()
            transport.resume_reading()
            transport.write_eof()


def _origin_form(target: bytes) -> bytes:
    """The path and query of an absolute URL, as a proxy sends it (RFC 9112, 3.2.2)."""
    try:
        url = parse_url(target)
    except HttpParserError:
        return target
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")
