"""POST /invocations for one model: admit, read, batch, answer. The hot path: what can be done once is done before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

from granian.rsgi import HTTPProtocol, Scope  # type: ignore[attr-defined]  # granian does not mark what it re-exports

from inference.batcher import Batcher
from inference.cache import Cache
from inference.contract import codecs
from inference.contract.errors import UnsupportedContentTypeError
from inference.contract.schema import Rows
from inference.errors import (
    MethodNotAllowedError,
    NotAcceptableError,
    NotReadyError,
    PayloadTooLargeError,
    ServingError,
)
from inference.flights import Flights, Phase
from inference.model import Model
from inference.reply import CUSTOM_ATTRIBUTES, Reply
from inference.settings import Settings
from inference.telemetry import Recorder

T = TypeVar("T")

UNVERIFIED = "the golden rows have not been replayed yet"
INLINE_BYTES = 262_144
"""A body beyond this is decoded on a thread (3 ms and more of work), so that /ping and small requests get through."""
INLINE_NPY_BYTES = 1_048_576
"""Likewise for arrays, which are read ten and more times as fast."""
INLINE_ANSWERS = 2_000
"""Likewise for the rows of an answer."""
RAW_ROWS = 64
"""A JSON request of at most so many rows is read together with the rest of its batch."""


@dataclass(slots=True, eq=False)
class Served:
    """A model with its batcher, its counters and its cache; it answers once it is `verified`."""

    model: Model
    batcher: Batcher
    recorder: Recorder
    cache: Cache | None = None
    verified: bool = False


class Invocations:
    """Answers invocations, on one event loop, with one thread for what takes long to read or write."""

    def __init__(self, settings: Settings, flights: Flights) -> None:
        self._loop = asyncio.get_running_loop()
        self._flights = flights
        self._max_bytes = settings.max_payload_bytes
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="codec")

    async def answer(self, scope: Scope, proto: HTTPProtocol, started: float, served: Served) -> None:
        """Answer one request and count it. Raises what is wrong with it; then it is neither answered nor counted."""
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101  # granian runs every request as a task
        flight = self._flights.enter(task, proto)
        reply: Reply | None = None
        try:
            get = scope.headers.get
            content_type = get("content-type")
            if scope.method != "POST" or not served.verified:
                raise _not_now(scope)
            media_type, accept = _types(content_type, get("accept"))
            batcher = served.batcher
            ticket = batcher.announce()
            try:
                body = await proto() if self._fits(get("content-length")) else await self.body(proto)
            finally:
                batcher.arrived(ticket)
            flight.phase = Phase.ANSWERING
            if len(body) > (INLINE_NPY_BYTES if media_type == codecs.NPY else INLINE_BYTES):
                rows: Any = await self.threaded(partial(_decode, served.model, body, media_type, content_type))
            else:
                rows = _rows(served.model, body, media_type, content_type)
            reply = Reply(proto, accept, started, served.model.version, served.recorder, get(CUSTOM_ATTRIBUTES))
            if len(rows) > INLINE_ANSWERS:
                await self.threaded(partial(reply.write, await batcher.submit(rows)))
                reply.send()
            elif served.cache is None or isinstance(rows, Rows):
                await batcher.submit(rows, reply)
            else:
                reply.write(await served.cache.get(rows, batcher.submit, served.recorder))
                reply.send()
        except asyncio.CancelledError:
            if reply is None or not reply.sent:  # else it was given up between its answer and the end of its task
                raise self._flights.given_up(flight) from None
        finally:
            self._flights.leave(task)

    async def body(self, proto: HTTPProtocol) -> bytes:
        """The whole body of unknown length, counted as it comes. Raises PayloadTooLargeError."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in proto:
            size += len(chunk)
            if size > self._max_bytes:
                raise PayloadTooLargeError(f"the body is larger than {self._max_bytes} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def threaded(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have the thread do something that takes long."""
        return self._loop.run_in_executor(self._threads, work)

    def close(self) -> None:
        """Give the thread back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fits(self, length: str | None) -> bool:
        """Whether the body's length is known and within the limit. Raises PayloadTooLargeError when it is beyond."""
        if length is None:
            return False
        if int(length) > self._max_bytes:
            raise PayloadTooLargeError(f"the body is larger than {self._max_bytes} bytes: {length}")
        return True


def _not_now(scope: Scope) -> ServingError:
    """Why a request is not even read."""
    return (
        NotReadyError(UNVERIFIED) if scope.method == "POST" else MethodNotAllowedError(scope.method, scope.path, "POST")
    )


@lru_cache(maxsize=256)  # callers send the same few headers again and again
def _types(content_type: str | None, accept: str | None) -> tuple[str, str]:
    """The types of the body and of the answer. Raises UnsupportedContentTypeError or NotAcceptableError."""
    media_type = codecs.media_type(content_type)
    if media_type not in codecs.READABLE:
        raise codecs.unsupported(media_type)
    try:
        return media_type, codecs.accepted(accept, media_type)
    except UnsupportedContentTypeError as error:
        raise NotAcceptableError(str(error)) from None


def _rows(model: Model, body: bytes, media_type: str, content_type: str | None) -> Rows | Sequence[Any]:
    """The rows of a body: typed, or for a small one in JSON as they were sent, to be read with their batch."""
    if media_type in (codecs.JSON, codecs.JSON_LINES):
        instances = codecs.instances(body, media_type)
        return instances if 0 < len(instances) <= RAW_ROWS else model.read(instances)
    return _decode(model, body, media_type, content_type)


def _decode(model: Model, body: bytes, media_type: str, content_type: str | None) -> Rows:
    return codecs.decode(body, media_type, model.reader, header=codecs.csv_header(content_type))
