"""Bytes to requests to answers, without sockets: what holds for any bytes, however they are cut."""

from __future__ import annotations

import asyncio
import re
import socket
import tracemalloc
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.connection import Connection
from inference.listener import Listener
from tests.inference_support.mirror import CHUNKS, UPGRADE, UPGRADE_CHUNKS, Mirror, post


class Paper:
    """A transport that writes what it is given down."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, data: tuple[bytes, ...]) -> None:
        self.written += b"".join(data)

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def spoken(parts: list[bytes]) -> tuple[bytes, list[str], bool]:
    """What is answered when these parts are received one after the other, and what the application saw."""

    async def main() -> tuple[bytes, list[str], bool]:
        mirror, paper = Mirror(), Paper()
        opened = socket.create_server(("127.0.0.1", 0))
        port = Listener(mirror, opened.detach(), max_body_bytes=1000, header_timeout_s=10)
        port.date = b""
        one = Connection(port, asyncio.get_running_loop())
        one.connection_made(paper)  # type: ignore[arg-type]  # a stand-in

        async def settle() -> None:
            while mirror.held:
                mirror.release()
                await asyncio.sleep(0)  # what was behind it comes next

        for part in parts:
            while part:
                space = one.get_buffer(-1)
                count = min(len(space), len(part))
                space[:count] = part[:count]
                one.buffer_updated(count)
                part = part[count:]  # noqa: PLW2901  # what is left of it
                if paper.paused:
                    await settle()
                    assert not paper.paused
            await asyncio.sleep(0)
        await settle()
        port.stop()
        one.connection_lost(None)
        return paper.written, [what for what in mirror.happened if not what.startswith("begin")], paper.closed

    return asyncio.run(main())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


TOO_MUCH = post("/too-much", bytes(1001))  # refused, unless it comes at once
PIECES = st.sampled_from(
    [
        post("/one", b"1"),
        post("/held", b"2"),
        post("/empty", b""),
        post("/more", bytes(range(256)) * 3),
        TOO_MUCH,
        b"GET /plain HTTP/1.1\r\n\r\n",
        post("/offers", b"12345", *UPGRADE),
        UPGRADE_CHUNKS,
        b"POST /chunks HTTP/1.1\r\n" + CHUNKS,
        b"GET /over HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"\x00\x01 noise",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(PIECES.filter(lambda piece: piece != TOO_MUCH), min_size=1, max_size=6),
    st.lists(st.integers(0, 5000), max_size=12),
)
def test_how_the_bytes_are_cut_makes_no_difference(pieces: list[bytes], places: list[int]) -> None:
    whole = b"".join(pieces)
    assert spoken(cut(whole, places)) == spoken([whole])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=300)), max_size=5), st.lists(st.integers(0, 3000), max_size=8))
def test_whatever_is_sent_is_answered_once(pieces: list[bytes], places: list[int]) -> None:
    written, happened, _ = spoken(cut(b"".join(pieces), places))
    assert len(re.findall(rb"HTTP/1.1 [245]", written)) == len([one for one in happened if not one.startswith("gone")])


def test_memory_does_not_grow_with_what_callers_send() -> None:
    def thousand(length: int, first: int) -> bytes:
        names = (f"x-{number}-{'y' * length}" for number in range(first, first + 1000))
        return b"".join(post("/", b"", f"{name}: 1") for name in names)

    spoken([thousand(10, 0)])
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        spoken([thousand(5000, 1000)])
        assert tracemalloc.get_traced_memory()[0] - before < 1_000_000
    finally:
        tracemalloc.stop()
