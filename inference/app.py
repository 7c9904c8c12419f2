"""The RSGI application: GET /ping, POST /invocations. One instance serves one model on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from time import perf_counter
from typing import Any, TypeVar

from granian.rsgi import (  # type: ignore[attr-defined]  # granian does not mark what it re-exports
    HTTPProtocol,
    ProtocolClosed,
    ProtocolError,
    Scope,
)

from inference.batcher import Batcher
from inference.contract import codecs
from inference.contract.errors import ContractError, UnsupportedContentTypeError
from inference.contract.predictions import Predictions
from inference.errors import (
    DeadlineError,
    Headers,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    PayloadTooLargeError,
    ServingError,
    SlowRequestError,
    StoppingError,
    problem,
)
from inference.logs import log
from inference.model import Model
from inference.settings import Settings

T = TypeVar("T")

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
INFERENCE_ID = "x-amzn-sagemaker-inference-id"
VERSION = "x-sagestage-model-version"
LATENCY_MS = "x-sagestage-latency-ms"
INLINE_BYTES = 65_536
"""A body beyond this is decoded on a thread (10 ms and more of work), so that /ping and small requests get through."""
INLINE_ANSWERS = 2_000
"""Likewise for the rows of an answer."""


class Health(Enum):
    """Whether the model may answer; /ping is 200 only when it is READY."""

    STARTING = "the golden rows have not been replayed yet"
    READY = "ready"
    BROKEN = "the model failed"


class Phase(Enum):
    """Where a request is; what its deadline means depends on it."""

    READING = "reading"
    ANSWERING = "answering"


class App:
    """Routes, reads, batches, answers. Made on the event loop that serves it."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self._model = model
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="codec")
        self._batcher = Batcher(
            model,
            max_batch_rows=settings.max_batch_rows,
            max_wait_s=settings.max_wait_ms / 1000,
            max_queue_rows=settings.max_queue_rows,
            on_failure=self._failed,
        )
        self._health = Health.STARTING
        self._mending: asyncio.Task[None] | None = None
        self._deadlines: dict[asyncio.Task[Any], float] = {}  # in the order of their start, hence of their end
        self._watch: asyncio.TimerHandle | None = None
        self._stopping = False
        self._json_headers: Headers = [("content-type", codecs.JSON)]

    @property
    def in_flight(self) -> int:
        """How many requests are being read or answered."""
        return len(self._deadlines)

    async def verify(self) -> None:
        """Replay the golden rows; /ping answers 200 from then on. Raises ArtifactError when an answer differs."""
        await self._loop.run_in_executor(self._threads, self._model.verify)
        self._health = Health.READY

    def refuse_all(self) -> None:
        """Answer every request that is still in flight with a 503: the time to drain is over."""
        self._stopping = True
        for task in list(self._deadlines):
            task.cancel()

    def close(self) -> None:
        """Give the threads back."""
        if self._watch is not None:
            self._watch.cancel()
        self._batcher.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        """Answer one request, whatever happens to it."""
        started = perf_counter()
        status = 200
        try:
            match scope.path:
                case "/invocations":
                    await self._invocations(scope, proto, started)
                case "/ping":
                    await self._ping(scope, proto)
                case path:
                    status = self._refuse(scope, proto, NotFoundError(f"no such path: {path}"))
        except (ProtocolClosed, ProtocolError):  # the caller went away in the middle of its body: nobody to answer
            status = 499
        except Exception as error:  # noqa: BLE001  # the one handler: every error becomes an answer
            status = self._refuse(scope, proto, error)
        if self._settings.access_log:
            log.info(
                "request",
                extra={
                    "method": scope.method,
                    "path": scope.path,
                    "status": status,
                    "ms": round((perf_counter() - started) * 1000, 3),
                    "inference_id": scope.headers.get(INFERENCE_ID),
                },
            )

    async def _invocations(self, scope: Scope, proto: HTTPProtocol, started: float) -> None:
        if scope.method != "POST":
            raise MethodNotAllowedError(scope.method, scope.path, "POST")
        if self._health is Health.STARTING:
            raise NotReadyError(self._health.value)
        if len(self._deadlines) >= self._settings.max_requests:
            raise OverloadedError(f"{len(self._deadlines)} requests are in flight")
        get = scope.headers.get
        content_type = codecs.media_type(get("content-type"))
        try:
            accept = codecs.accepted(get("accept"), content_type)
        except UnsupportedContentTypeError as error:
            raise NotAcceptableError(str(error)) from None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # granian runs every request as a task
        phase = Phase.READING
        self._start_clock(task)
        try:
            ticket = self._batcher.announce()
            try:
                body = await self._body(proto, get("content-length"))
            finally:
                self._batcher.arrived(ticket)
            phase = Phase.ANSWERING
            if len(body) <= INLINE_BYTES:
                rows = codecs.decode(body, content_type, self._model.reader)
            else:
                rows = await self._threaded(lambda: codecs.decode(body, content_type, self._model.reader))
            predictions = await self._batcher.submit(rows)
            await self._answer(proto, predictions, accept, started, get(CUSTOM_ATTRIBUTES))
        except asyncio.CancelledError:
            if self._stopping:
                raise StoppingError("the server stops") from None
            if phase is Phase.READING:
                raise SlowRequestError(f"the body did not arrive within {self._settings.deadline_s:g} s") from None
            raise DeadlineError(f"no answer within {self._settings.deadline_s:g} s") from None
        finally:
            del self._deadlines[task]

    async def _body(self, proto: HTTPProtocol, length: str | None) -> bytes:
        """The whole body, never more than the limit; a body without a length is counted as it comes."""
        limit = self._settings.max_payload_bytes
        too_large = f"the body is larger than {limit} bytes"
        if length is not None:
            if int(length) > limit:
                raise PayloadTooLargeError(f"{too_large}: {length}")
            return await proto()
        chunks: list[bytes] = []
        size = 0
        async for chunk in proto:
            size += len(chunk)
            if size > limit:
                raise PayloadTooLargeError(too_large)
            chunks.append(chunk)
        return b"".join(chunks)

    async def _answer(
        self, proto: HTTPProtocol, predictions: Predictions, accept: str, started: float, attributes: str | None
    ) -> None:
        latency_ms = round((perf_counter() - started) * 1000, 3)

        def encode() -> bytes:
            return codecs.encode(predictions, accept, version=self._model.version, latency_ms=latency_ms)

        body = encode() if len(predictions) <= INLINE_ANSWERS else await self._threaded(encode)
        headers = self._json_headers
        if accept != codecs.JSON:
            headers = [("content-type", accept), (VERSION, self._model.version), (LATENCY_MS, str(latency_ms))]
        if attributes is not None:
            headers = [*headers, (CUSTOM_ATTRIBUTES, attributes)]
        proto.response_bytes(200, headers, body)

    async def _ping(self, scope: Scope, proto: HTTPProtocol) -> None:
        if scope.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(scope.method, scope.path, "GET")
        if self._health is Health.BROKEN:
            await self._mend()
        if self._health is not Health.READY:
            raise NotReadyError(self._health.value)
        proto.response_bytes(200, self._json_headers, b'{"status":"ready"}')

    async def _mend(self) -> None:
        """Replay the golden rows again: a model that gives them is whole. Pings that come together share one try."""
        if self._mending is None:
            self._mending = self._loop.create_task(self.verify())
        try:
            await asyncio.shield(self._mending)
        except Exception as error:  # noqa: BLE001  # whatever it is, the model stays broken, and the log says why
            log.error("the model is broken", extra={"reason": str(error)})
        finally:
            if self._mending is not None and self._mending.done():
                self._mending = None

    def _failed(self, error: Exception) -> None:
        self._health = Health.BROKEN
        log.error("not ready any more", extra={"reason": str(error)})

    def _refuse(self, scope: Scope, proto: HTTPProtocol, error: Exception) -> int:
        answer = problem(error)
        fields = {
            "status": answer.status,
            "path": scope.path,
            "error": answer.text,
            "inference_id": scope.headers.get(INFERENCE_ID),
        }
        if isinstance(error, ServingError | ContractError):
            log.warning("refused", extra=fields)
        else:
            log.error("a fault of the server", extra=fields, exc_info=error)
        proto.response_bytes(answer.status, answer.headers, answer.body)
        return answer.status

    def _threaded(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._threads, work)

    def _start_clock(self, task: asyncio.Task[Any]) -> None:
        """Note when the request must be done. One timer watches all of them, since all have the same time."""
        now = self._loop.time()
        self._deadlines[task] = now + self._settings.deadline_s
        if self._watch is None:
            self._watch = self._loop.call_later(self._settings.deadline_s, self._expire)

    def _expire(self) -> None:
        now = self._loop.time()
        self._watch = None
        for task, deadline in self._deadlines.items():
            if deadline > now:
                self._watch = self._loop.call_at(deadline, self._expire)
                break
            task.cancel()
