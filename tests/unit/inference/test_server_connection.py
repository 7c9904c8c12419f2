"""HTTP over real sockets on a loop of the test's own, with an application that answers what it was asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from inference import connection, listener
from inference.errors import PayloadTooLargeError
from inference.listener import Listener
from tests.inference_support.mirror import UPGRADE, UPGRADE_CHUNKS, Mirror, post

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS.append(uvloop.new_event_loop)
LIMIT = 1_000_000


class Caller:
    """The other end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *parts: bytes) -> Caller:
        self.writer.write(b"".join(parts))
        return self

    async def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next one: status, headers, body."""
        top = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in top[1:] if line)
        length = 0 if bodiless else int(headers.get("content-length", 0))
        return int(top[0].split()[1]), headers, await self.reader.readexactly(length)

    async def ended(self) -> bool:
        """Wait until the server closes; whether nothing more came."""
        return await self.reader.read() == b""


class Site:
    """A listener and its callers."""

    def __init__(self, header_timeout_s: float = 30.0) -> None:
        opened = socket.create_server(("127.0.0.1", 0))
        self.port = opened.getsockname()[1]
        self.mirror = Mirror()
        self.listener = Listener(self.mirror, opened.detach(), max_body_bytes=LIMIT, header_timeout_s=header_timeout_s)
        self.serving = asyncio.create_task(self.listener.serve())
        self.callers: list[Caller] = []

    async def caller(self) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**25))
        self.callers.append(caller)
        return caller


@asynccontextmanager
async def site(**settings: Any):  # type: ignore[no-untyped-def]  # noqa: ANN201  # a context manager of a Site
    made = Site(**settings)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, problem: problems.append(problem))
    try:
        yield made
        assert problems == []
    finally:
        made.mirror.release()
        for caller in made.callers:
            caller.writer.close()
        made.listener.stop()
        await made.serving


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"][: len(LOOPS)])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    def runs(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main(), 30))

    return runs


Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def test_a_connection_is_kept_and_bodies_of_all_sizes_come_through(run: Run) -> None:
    async def main() -> None:
        async with site() as at:
            caller = await at.caller()
            for size in (0, 1, 1000, 300_000, 5, LIMIT):
                body = bytes(range(256)) * (size // 256 + 1)
                caller.send(post("/a?b=c", body[:size]))
                status, headers, said = await caller.answer()
                assert (status, said) == (200, b"POST /a b=c " + body[:size])
                assert {"content-type", "content-length", "date"} == headers.keys()

    run(main)


def test_chunked_bodies_and_their_trailers(run: Run) -> None:
    async def main() -> None:
        async with site() as at:
            caller = await at.caller()
            head = b"POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
            chunks = b"5\r\nhello\r\n1\r\n \r\n5\r\nthere\r\n0\r\nhost: y\r\n\r\n"
            caller.send(head, chunks, head)
            assert await caller.answer() == await caller.send(chunks).answer()

    run(main)


def test_requests_that_come_at_once_are_answered_in_order(run: Run) -> None:
    async def main() -> None:
        async with site() as at:
            caller = await at.caller()
            rest = post("/last", bytes(200_000))
            caller.send(post("/held", b"1"), post("/quick", b"2"), post("/held", b"3"), rest[:1000])
            await at.mirror.holding.wait()
            assert at.mirror.happened == ["complete /held"]
            at.mirror.release()
            assert [(await caller.answer())[2] for _ in range(2)] == [b"POST /held  1", b"POST /quick  2"]
            at.mirror.release()
            assert (await caller.answer())[2] == b"POST /held  3"
            caller.send(rest[1000:])
            assert len((await caller.answer())[2]) == len(b"POST /last  ") + 200_000

    run(main)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n", "close"),
        (b"GET / HTTP/1.0\r\n\r\n", "close"),
        (b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", "keep-alive"),
        (b"GET / HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n", None),
    ],
)
def test_who_keeps_the_connection(run: Run, asked: bytes, kept: str | None) -> None:
    async def main() -> None:
        async with site() as at:
            caller = (await at.caller()).send(asked)
            status, headers, said = await caller.answer()
            assert (status, said, headers.get("connection")) == (200, b"GET /  ", kept)
            if kept == "close":
                assert await caller.ended()
            else:
                assert (await caller.send(asked).answer())[0] == 200

    run(main)


def test_requests_that_offer_http_2_are_answered_with_their_bodies(run: Run) -> None:
    """Java's HttpClient offers it unless it is told not to."""

    async def main() -> None:
        async with site() as at:
            caller = await at.caller()
            for body in (b"small", bytes(300_000)):
                caller.send(post("/u", body, *UPGRADE), post("/next", b"1"))
                assert (await caller.answer())[2] == b"POST /u  " + body
                assert (await caller.answer())[2] == b"POST /next  1"
            caller.send(UPGRADE_CHUNKS, post("/next", b"2"))
            assert [(await caller.answer())[2] for _ in range(2)] == [b"POST /u  abcde", b"POST /next  2"]

    run(main)


def test_head_has_no_body_and_absolute_targets_are_read(run: Run) -> None:
    async def main() -> None:
        async with site() as at:
            caller = (await at.caller()).send(b"HEAD http://x/y?z HTTP/1.1\r\nhost: x\r\n\r\n")
            status, headers, _ = await caller.answer(bodiless=True)
            assert (status, headers["content-length"]) == (200, str(len("HEAD /y z ")))
            assert (await caller.send(b"GET / HTTP/1.1\r\n\r\n").answer())[2] == b"GET /  "

    run(main)


def test_who_asks_whether_to_send_the_body_is_told(run: Run) -> None:
    async def main() -> None:
        async with site() as at:
            caller = (await at.caller()).send(post("/e", b"body", "expect: 100-continue")[:-4])
            assert (await caller.answer())[0] == 100
            assert (await caller.send(b"body").answer())[2] == b"POST /e  body"
            refused = (await at.caller()).send(post("/never", b"body", "expect: 100-continue")[:-4])
            status, headers, _ = await refused.answer()
            assert (status, headers["connection"]) == (403, "close")

    run(main)


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunked"])
def test_a_body_that_is_too_large_is_refused_and_the_answer_is_not_lost(run: Run, known: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        async with site() as at:
            caller = await at.caller()
            body = bytes(20 * LIMIT)
            chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1312d00\r\n" + body
            caller.send(post("/", body) if known else chunked)
            status, headers, said = await caller.answer()
            assert (status, headers["connection"]) == (PayloadTooLargeError.status, "close")
            assert f"larger than {LIMIT} bytes" in orjson.loads(said)["error"]
            assert at.mirror.happened[-1] == "refuse PayloadTooLargeError"

    run(main)


@pytest.mark.parametrize(
    ("noise", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"GET / HTTP/1.1\r\na\x00b: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 400_000, 431),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: " + b"y" * 400_000, 431),
    ],
)
def test_what_is_not_http_is_told_and_closed_behind_the_answers_before(run: Run, noise: bytes, status: int) -> None:
    async def main() -> None:
        async with site() as at:
            caller = (await at.caller()).send(post("/held", b"good"), noise)
            await at.mirror.holding.wait()
            await asyncio.sleep(0)
            at.mirror.release()
            assert (await caller.answer())[2] == b"POST /held  good"
            told = await caller.answer()
            assert (told[0], told[1]["connection"]) == (status, "close")
            assert await caller.ended()

    run(main)


def test_headers_that_do_not_come_and_silence_are_cut_off_and_idle_connections_are_kept(run: Run) -> None:
    async def main() -> None:
        async with site(header_timeout_s=0.2) as at:
            idle = (await at.caller()).send(post("/", b""))
            await idle.answer()
            silent, slow = await at.caller(), (await at.caller()).send(b"GET / HTTP/1.1\r\nx: ")
            assert await silent.ended()
            status, _, said = await slow.answer()
            assert (status, "did not arrive within 0.2 s" in orjson.loads(said)["error"]) == (408, True)
            assert await slow.ended()
            assert (await idle.send(post("/", b"")).answer())[0] == 200

    run(main)


def test_the_application_hears_of_callers_who_have_gone(run: Run) -> None:
    async def main() -> None:
        async with site() as at:
            waits, sends = await at.caller(), await at.caller()
            waits.send(post("/held", b""))
            await at.mirror.holding.wait()
            at.mirror.holding.clear()
            waits.writer.close()
            await at.mirror.holding.wait()
            at.mirror.holding.clear()
            sends.send(post("/cut", bytes(100))[:-1])
            sends.writer.close()
            await at.mirror.holding.wait()
            assert at.mirror.happened == ["complete /held", "gone /held", "begin /cut", "gone /cut"]

    run(main)


def test_a_caller_that_takes_nothing_is_read_no_more_and_cut_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALL_S", 0.2)
    monkeypatch.setattr(listener, "LOOK_S", 0.05)

    async def main() -> None:
        async with site() as at:
            deaf = socket.create_connection(("127.0.0.1", at.port))
            deaf.setblocking(False)  # noqa: FBT003  # as the standard library has it
            await asyncio.get_running_loop().sock_sendall(deaf, post("/large", b"") * 50)
            while at.listener.callers == 0:  # noqa: ASYNC110  # the listener tells nobody
                await asyncio.sleep(0.01)
            while at.listener.callers:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.01)
            assert at.mirror.happened.count("complete /large") <= 2
            deaf.close()

    run(main)


def test_a_long_last_answer_reaches_a_slow_caller_whole(run: Run) -> None:
    async def main() -> None:
        async with site() as at:
            slow = socket.create_connection(("127.0.0.1", at.port))
            slow.setblocking(False)  # noqa: FBT003  # as the standard library has it
            loop, received = asyncio.get_running_loop(), 0
            await loop.sock_sendall(slow, post("/large", b"", "connection: close"))
            while got := await loop.sock_recv(slow, 1_000_000):
                received += len(got)
                await asyncio.sleep(0.001)
            assert received > 20_000_000
            slow.close()

    run(main)


def test_when_there_are_too_many_the_oldest_idle_connection_goes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS", 2)

    async def main() -> None:
        async with site() as at:
            busy = (await at.caller()).send(post("/held", b""))
            await at.mirror.holding.wait()
            idle = (await at.caller()).send(post("/", b""))
            await idle.answer()
            newest = (await at.caller()).send(post("/", b""))
            assert (await newest.answer())[0] == 200
            assert await idle.ended()
            at.mirror.release()
            assert (await busy.answer())[0] == 200

    run(main)


def test_stopping_answers_what_was_sent_and_closes_what_is_idle(run: Run) -> None:
    async def main() -> None:
        async with site() as at:
            busy, idle = (await at.caller()).send(post("/held", b"")), await at.caller()
            await at.mirror.holding.wait()
            half = (await at.caller()).send(post("/half", b"12")[:-1])
            await idle.send(post("/", b"")).answer()
            backlog = socket.create_connection(("127.0.0.1", at.port))  # not accepted yet
            backlog.sendall(post("/", b""))
            at.listener.stop()
            with pytest.raises(OSError, match=r"Connect call failed|refused"):
                await at.caller()
            assert await idle.ended()
            at.mirror.release()
            half.send(b"2")
            for caller in (busy, half):
                status, headers, _ = await caller.answer()
                assert (status, headers["connection"]) == (200, "close")
                assert await caller.ended()
            await at.serving
            assert backlog.recv(1000).startswith(b"HTTP/1.1 200")
            backlog.close()

    run(main)
