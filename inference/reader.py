"""Bytes become requests: HTTP/1.1 by httptools (the parser of Node.js), without a socket and without a clock.

Small requests go through the parser whole. Of a longer body of known length what comes later goes straight into memory
of its own, past the parser.
"""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import Protocol

import numpy as np
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from inference.errors import HeadTooLargeError, MalformedError, PayloadTooLargeError
from inference.exchange import CLOSE, KEEP, USUAL, Exchange, Wire

MAX_HEAD_BYTES = 65_536
"""Of a request's first line and headers, and of the trailers of a chunked body, where they do not come at once."""

SHORT = 64
"""Bytes of a header's name that is remembered: memory must not grow with what callers send."""


class Taker(Wire, Protocol):
    """Who takes the requests, and sends their answers."""

    def take(self, exchange: Exchange) -> None:
        """A request is whole."""


class Reader:
    """Reads requests from `buffer`, into which others receive, and hands them to `taker` when they are whole.

    `incoming` is a request whose headers are complete and whose body is not; `in_head` says whether headers are.
    """

    def __init__(self, taker: Taker, buffer: memoryview, max_body_bytes: int) -> None:
        self.incoming: Exchange | None = None
        self._taker = taker
        self._buffer = buffer
        self._max_body_bytes = max_body_bytes
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] | None = None  # of the request whose head is being read
        self._head_bytes = 0
        self._body: bytes | bytearray = b""  # as far as it went through the parser
        self._size = 0  # of a chunked body, when it was looked at last
        self._sink: memoryview | None = None  # what is missing of a body that is read past the parser
        self._upgrading: Exchange | None = None  # whose body the parser does not read as HTTP

    @property
    def in_head(self) -> bool:
        """Whether a request has begun whose headers are not complete."""
        return self._headers is not None

    def space(self) -> memoryview:
        """Where to put what is received next."""
        return self._sink or self._buffer

    def received(self, count: int) -> None:
        """So many bytes were put there.

        Raises:
            MalformedError, HeadTooLargeError, PayloadTooLargeError: nothing more can be read.
        """
        if self._sink is not None:
            self._fill(self._sink, count)
            return
        if self._parser is None:
            return
        try:
            self._parse(self._parser, self._buffer[:count])
        except HttpParserError as error:
            raise MalformedError(f"not HTTP: {error}") from None
        if self.incoming is not None:
            self._partly(self.incoming, count)
        elif self._headers is not None:
            self._bound_head(count)

    def close(self) -> None:
        """Read no more; the parser knows this object, a cycle."""
        self.incoming = self._sink = self._parser = self._headers = None

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers, self._target, self._body = {}, b"", b""
        self._head_bytes = self._size = 0

    def on_url(self, part: bytes) -> None:
        """What is asked for."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind a chunked body are not looked at."""
        if self._headers is not None:
            key = _known(name) if len(name) <= SHORT else _name(name)
            text = value.decode("latin-1")
            self._headers[key] = text if key not in self._headers else f"{self._headers[key]}, {text}"

    def on_headers_complete(self) -> None:
        """The head is here."""
        parser, headers, target = self._parser, self._headers, self._target
        if parser is None or headers is None:
            return
        self._headers = None
        if self._upgrading is not None:  # its body is read now
            self.incoming, self._upgrading = self._upgrading, None
            return
        keep = CLOSE
        if parser.should_keep_alive():
            keep = USUAL if "connection" not in headers or parser.get_http_version() != "1.0" else KEEP
        if not target.startswith(b"/"):
            target = _origin_form(target)
        path, _, query = target.decode("utf-8", "replace").partition("?")
        method = parser.get_method().decode("latin-1")
        self.incoming = Exchange(self._taker, method, path, query, headers, keep, perf_counter())
        if parser.should_upgrade() and _framing(headers):
            self._upgrading = self.incoming

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if not self._body:
            self._body = part
        else:
            self._body = self._body if isinstance(self._body, bytearray) else bytearray(self._body)
            self._body += part

    def on_message_complete(self) -> None:
        """A request is here."""
        exchange, self.incoming = self.incoming, None
        if exchange is not None and exchange is not self._upgrading:
            body = self._body
            exchange.body = body if isinstance(body, bytes) else memoryview(body).toreadonly()
            self._taker.take(exchange)

    def _parse(self, parser: HttpRequestParser, data: memoryview) -> None:
        try:
            parser.feed_data(data)
        except (
            HttpParserUpgrade
        ) as upgrade:  # to what is not spoken here: the request is read and answered as any other
            if self._parser is None:
                return
            self._parser = HttpRequestParser(self)
            if self._upgrading is not None:
                self._parser.feed_data(b"POST / HTTP/1.1\r\n" + _framing(self._upgrading.headers) + b"\r\n")
            if rest := data[upgrade.args[0] :]:
                self._parse(self._parser, rest)

    # Bodies that do not come at once.

    def _partly(self, exchange: Exchange, count: int) -> None:
        limit, size = self._max_body_bytes, len(self._body)
        known = exchange.headers.get("content-length")
        if (int(known) if known else size) > limit:
            told = f"the body is larger than {limit} bytes" + (f": {known}" if known else "")
            raise PayloadTooLargeError(told)
        if known:
            whole = np.empty(int(known), np.uint8).data
            whole[:size] = self._body
            exchange.body, self._sink = whole.toreadonly(), whole[size:]
        elif size > self._size:
            self._size = size
        else:  # trailers, or the extensions of chunks
            self._bound_head(count)

    def _bound_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLargeError(f"the headers are longer than {MAX_HEAD_BYTES} bytes")

    def _fill(self, sink: memoryview, count: int) -> None:
        exchange = self.incoming
        if exchange is None or count < len(sink):
            self._sink = sink[count:]
            return
        self._sink = self.incoming = None
        self._parser = HttpRequestParser(self)  # the old one still waits for the body
        self._taker.take(exchange)


def _framing(headers: dict[str, str]) -> bytes:
    """The line that says where a body ends; nothing if there is no body."""
    for name in ("transfer-encoding", "content-length"):
        if name in headers:
            return f"{name}: {headers[name]}\r\n".encode("latin-1")
    return b""


def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


_known = lru_cache(maxsize=1024)(_name)  # callers send the same few names again and again


def _origin_form(target: bytes) -> bytes:
    """The path and query of an absolute URL, as a proxy sends it (RFC 9112, 3.2.2)."""
    try:
        url = parse_url(target)
    except HttpParserError:
        return target
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")
