"""An application that answers what it was asked, and requests for it."""

from __future__ import annotations

import asyncio

from inference.errors import ServingError, problem
from inference.exchange import Exchange

PLAIN = (("content-type", "text/plain"),)
CHUNKS = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
UPGRADE_CHUNKS = b"POST /u HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: h2c\r\n" + CHUNKS
UPGRADE = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in (f"content-length: {len(body)}", *headers))
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode() + body


class Mirror:
    """Answers with method, path, query and body; `/held` waits for `release`, `/never` refuses before the body."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.held: list[Exchange] = []
        self.holding = asyncio.Event()

    def begin(self, exchange: Exchange) -> None:
        self.happened.append(f"begin {exchange.path}")
        if exchange.path == "/never":
            exchange.respond(403, PLAIN, b"no")

    def complete(self, exchange: Exchange) -> None:
        self.happened.append(f"complete {exchange.path}")
        if exchange.path == "/held":
            self.held.append(exchange)
            self.holding.set()
        elif exchange.path == "/large":
            exchange.respond(200, PLAIN, bytes(20_000_000))
        else:
            self.reply(exchange)

    def refuse(self, exchange: Exchange, error: ServingError) -> None:
        self.happened.append(f"refuse {type(error).__name__}")
        answer = problem(error)
        exchange.respond(answer.status, answer.headers, answer.body)

    def gone(self, exchange: Exchange) -> None:
        self.happened.append(f"gone {exchange.path}")
        self.holding.set()

    def release(self) -> None:
        for exchange in self.held:
            self.reply(exchange)
        self.held.clear()

    def reply(self, exchange: Exchange) -> None:
        said = f"{exchange.method} {exchange.path} {exchange.query} ".encode() + bytes(exchange.body)
        exchange.respond(200, PLAIN, said)
