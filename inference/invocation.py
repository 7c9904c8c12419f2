"""POST /invocations for one model: admit, read, batch, answer. The hot path: what can be done once is done before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter
from typing import Any, TypeVar

from inference.batcher import Batcher
from inference.cache import Cache
from inference.contract import codecs
from inference.contract.errors import UnsupportedContentTypeError
from inference.contract.predictions import Predictions
from inference.contract.schema import Rows
from inference.errors import (
    Headers,
    MethodNotAllowedError,
    NotAcceptableError,
    NotReadyError,
    ServingError,
)
from inference.exchange import Exchange
from inference.flights import Flights
from inference.model import Model
from inference.refusals import Refusals
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
CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
VERSION = "x-sagestage-model-version"
LATENCY_MS = "x-sagestage-latency-ms"
JSON_HEADERS: Headers = (("content-type", codecs.JSON),)
NONE: Headers = ()


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

    def __init__(self, flights: Flights, refusals: Refusals) -> None:
        self.loop = asyncio.get_running_loop()
        self.flights = flights
        self.refusals = refusals
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="codec")

    def enter(self, exchange: Exchange, served: Served) -> Invocation:
        """Admit a request whose headers are here. Raises what is wrong with it; it is not counted then."""
        get = exchange.headers.get
        if exchange.method != "POST" or not served.verified:
            raise _not_now(exchange)
        content_type = get("content-type")
        media_type, accept = _types(content_type, get("accept"))
        invocation = Invocation(self, exchange, served, media_type, accept, content_type)
        self.flights.enter(invocation)
        return invocation

    def threaded(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have the thread do something that takes long."""
        return self.loop.run_in_executor(self._threads, work)

    def close(self) -> None:
        """Give the thread back."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Invocation:
    """One request to a model, from its headers to its answer. Made for every request: plain for speed."""

    __slots__ = (
        "_accept", "_all", "_content", "_content_type", "_headers", "_media_type", "_own", "_served", "_task",
        "_ticket", "_took_s", "deadline", "done", "exchange", "reading",
    )  # fmt: skip

    def __init__(
        self,
        everyone: Invocations,
        exchange: Exchange,
        served: Served,
        media_type: str,
        accept: str,
        content_type: str | None,
    ) -> None:
        self._all = everyone
        self._served = served
        self._media_type = media_type
        self._accept = accept
        self._content_type = content_type
        self._task: asyncio.Task[None] | None = None
        self._ticket: int | None = None
        self.exchange = exchange
        self.deadline = 0.0
        self.reading = True
        self.done = False

    def announce(self) -> None:
        """The body is on the way: a batch may wait for it."""
        self._ticket = self._served.batcher.announce()

    def arrived(self) -> None:
        """The body is whole: queue its rows."""
        self.reading = False
        self._not_awaited()
        try:
            self._take(self.exchange.body)
        except Exception as error:  # noqa: BLE001  # whatever it is becomes this caller's answer
            self.fail(error)

    def write(self, predictions: Predictions) -> None:
        """Encode the answer; `send` may follow."""
        known = perf_counter()
        accept, version = self._accept, self._served.model.version
        latency_ms = int((known - self.exchange.started) * 1e6) / 1e3  # round() takes five times as long
        self._content = codecs.encode(predictions, accept, version=version, latency_ms=latency_ms)
        headers, own = JSON_HEADERS, NONE
        if accept != codecs.JSON:
            headers, own = (("content-type", accept), (VERSION, version)), ((LATENCY_MS, str(latency_ms)),)
        if (attributes := self.exchange.headers.get(CUSTOM_ATTRIBUTES)) is not None:
            own = (*own, (CUSTOM_ATTRIBUTES, attributes))
        self._headers, self._own = headers, own
        self._took_s = perf_counter() - known

    def send(self) -> None:
        """Hand what was written to the caller's connection, and count the request."""
        if not self.done:
            exchange = self.exchange
            exchange.respond(200, self._headers, self._content, self._own)
            self.done = True
            self._all.flights.leave(self)
            self._served.recorder.good(perf_counter() - exchange.started, self._took_s)

    def fail(self, error: Exception) -> None:
        """Tell the caller what is wrong, and compute nothing more."""
        if not self.done:
            self.done = True
            self._not_awaited()
            if self._task is not None:
                self._task.cancel()
            self._all.flights.leave(self)
            self._all.refusals.answer(self.exchange, error, self._served.recorder)

    def _take(self, body: bytes | memoryview) -> None:
        served, media_type = self._served, self._media_type
        if len(body) > (INLINE_NPY_BYTES if media_type == codecs.NPY else INLINE_BYTES):
            self._task = self._all.loop.create_task(self._slowly(None))
            return
        rows = _rows(served.model, body, media_type, self._content_type)
        if len(rows) > INLINE_ANSWERS or (served.cache is not None and not isinstance(rows, Rows)):
            self._task = self._all.loop.create_task(self._slowly(rows))
        else:
            served.batcher.enqueue(rows, self)

    async def _slowly(self, rows: Rows | Sequence[Any] | None) -> None:
        """What takes long is done on the thread; what was asked before may be in the cache."""
        served, threaded = self._served, self._all.threaded
        try:
            if rows is None:
                read = partial(_decode, served.model, self.exchange.body, self._media_type, self._content_type)
                rows = await threaded(read)
            if served.cache is not None and not isinstance(rows, Rows):
                predictions = await served.cache.get(rows, served.batcher.submit, served.recorder)
            else:
                predictions = await served.batcher.submit(rows)
            if len(rows) > INLINE_ANSWERS:
                await threaded(partial(self.write, predictions))
            else:
                self.write(predictions)
            self.send()
        except Exception as error:  # noqa: BLE001  # as above
            self._task = None
            self.fail(error)

    def _not_awaited(self) -> None:
        if self._ticket is not None:
            self._served.batcher.arrived(self._ticket)
            self._ticket = None


def _not_now(exchange: Exchange) -> ServingError:
    """Why a request is not even read."""
    if exchange.method == "POST":
        return NotReadyError(UNVERIFIED)
    return MethodNotAllowedError(exchange.method, exchange.path, "POST")


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


def _rows(model: Model, body: bytes | memoryview, media_type: str, content_type: str | None) -> Rows | Sequence[Any]:
    """The rows of a body: typed, or for a small one in JSON as they were sent, to be read with their batch."""
    if media_type in (codecs.JSON, codecs.JSON_LINES):
        instances = codecs.instances(body, media_type)
        return instances if 0 < len(instances) <= RAW_ROWS else model.read(instances)
    return _decode(model, body, media_type, content_type)


def _decode(model: Model, body: bytes | memoryview, media_type: str, content_type: str | None) -> Rows:
    return codecs.decode(body, media_type, model.reader, header=codecs.csv_header(content_type))
