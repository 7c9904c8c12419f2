"""The RSGI application: GET /ping, POST /invocations. One instance serves one model on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

from granian.rsgi import (  # type: ignore[attr-defined]  # granian does not mark what it re-exports
    HTTPProtocol,
    ProtocolClosed,
    ProtocolError,
    Scope,
)

from inference import exposition
from inference.batcher import Batcher
from inference.cache import Cache
from inference.contract import codecs
from inference.contract.errors import ContractError, UnsupportedContentTypeError
from inference.contract.predictions import Predictions
from inference.contract.schema import Rows
from inference.errors import (
    CallerGoneError,
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
from inference.telemetry import Board, Cell, Recorder, State

T = TypeVar("T")

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
INFERENCE_ID = "x-amzn-sagemaker-inference-id"
VERSION = "x-sagestage-model-version"
LATENCY_MS = "x-sagestage-latency-ms"
INLINE_BYTES = 65_536
"""A body beyond this is decoded on a thread (10 ms and more of work), so that /ping and small requests get through."""
INLINE_NPY_BYTES = 1_048_576
"""Likewise for arrays, which are read a hundred times as fast."""
INLINE_ANSWERS = 2_000
"""Likewise for the rows of an answer."""


REASONS = {
    State.STARTING: "the golden rows have not been replayed yet",
    State.READY: "ready",
    State.BROKEN: "the model failed",
    State.STOPPING: "the server stops",
}
RAW_ROWS = 64
"""A JSON request of at most so many rows is read together with the rest of its batch."""
MEND_S = 1.0
"""How often a broken model's golden rows are tried again."""
SWEEP_S = 0.25
"""How often deadlines are looked at, and how old a request is when its caller is watched: most are answered by then."""
BEAT_S = 1.0
SILENT_S = 15.0
"""A worker whose event loop has not turned for so long is not ready."""


OVERLOADED = problem(OverloadedError("more requests or rows are waiting than the queue holds"))


class Phase(Enum):
    """Where a request is; what its deadline means depends on it."""

    READING = "reading"
    ANSWERING = "answering"


@dataclass(slots=True, eq=False)
class Served:
    """A model with its batcher, its counters and its cache."""

    model: Model
    batcher: Batcher
    recorder: Recorder
    cache: Cache | None = None


class Flight:
    """A request on its way: when it must be done, and who waits for it. Made for every request: plain for speed."""

    phase = Phase.READING
    watcher: asyncio.Task[None] | None = None
    gone = False

    def __init__(self, deadline: float, proto: HTTPProtocol) -> None:
        self.deadline = deadline
        self.proto = proto


class Models(Protocol):
    """Multi-model mode: what answers below /models."""

    async def manage(self, method: str, name: str | None, query: str, body: bytes) -> tuple[int, bytes]:
        """List, load, describe or unload; status and JSON body."""

    def use(self, name: str) -> Served:
        """The loaded model of that name; raises ModelNotFoundError."""


class App:
    """Routes, reads, batches, answers. Made on the event loop that serves it.

    `board` is where this worker (number `worker`) counts and says how it is; alone, it has one of its own.
    """

    def __init__(self, model: Model | None, settings: Settings, board: Board | None = None, worker: int = 0) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="codec")
        self._board = board or Board.private()
        self._worker = worker
        self._recorder = self._board.recorder(worker)
        self._max_requests = -(-settings.max_requests // self._board.workers)
        self._only = self.serve(model, self._recorder) if model is not None else None
        self.models: Models | None = None
        self._mending: asyncio.Task[None] | None = None
        self._flights: dict[asyncio.Task[Any], Flight] = {}  # in the order of their start, hence of their end
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        self._beat()
        self._max_bytes = settings.max_payload_bytes
        self._overloads = 0
        self._stopping = False
        self._verified = False
        self._json_headers: Headers = [("content-type", codecs.JSON)]

    @property
    def in_flight(self) -> int:
        """How many requests are being read or answered."""
        return len(self._flights)

    @property
    def state(self) -> State:
        """Where this worker is; /ping is 200 only when all workers are READY."""
        return self._board.states()[self._worker]

    def serve(self, model: Model, recorder: Recorder) -> Served:
        """Give a model what it needs to answer requests."""
        settings = self._settings
        batcher = Batcher(
            model,
            max_batch_rows=settings.max_batch_rows,
            max_wait_s=settings.max_wait_ms / 1000,
            max_queue_rows=-(-settings.max_queue_rows // self._board.workers),
            on_failure=self._failed,
            recorder=recorder,
        )
        cache = None
        if settings.cache_items:
            cache = Cache(model.version, max_items=settings.cache_items, ttl_s=settings.cache_ttl_s)
        return Served(model, batcher, recorder, cache)

    async def verify(self) -> None:
        """Replay the golden rows; READY from then on. Raises ArtifactError when an answer differs."""
        if self._only is not None:
            await self._loop.run_in_executor(self._threads, self._only.model.verify)
        self._verified = True
        if self.state is not State.STOPPING:
            self._board.set_state(self._worker, State.READY)

    def stopping(self) -> None:
        """Not ready any more; what was accepted is answered."""
        self._board.set_state(self._worker, State.STOPPING)

    def refuse_all(self) -> None:
        """Answer every request that is still in flight with a 503: the time to drain is over."""
        self._stopping = True
        for task in list(self._flights):
            task.cancel()

    def close(self) -> None:
        """Give the threads back."""
        self._sweeper.cancel()
        self._beater.cancel()
        if self._only is not None:
            self._only.batcher.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        """Answer one request, whatever happens to it."""
        started = perf_counter()
        path, status, served = scope.path, 200, self._only
        try:
            if path == "/invocations" and served is not None:
                await self._invocations(scope, proto, started, served)
            elif path == "/ping":
                self._ping(scope, proto)
            elif path == "/metrics":
                self._metrics(scope, proto)
            elif self.models is not None and path.startswith("/models"):
                served, status = await self._models(scope, proto, started, self.models)
            else:
                raise NotFoundError(f"no such path: {path}")  # noqa: TRY301  # the one handler is below
        except (ProtocolClosed, ProtocolError):  # the caller went away in the middle of its body: nobody to answer
            status = 499
            (served.recorder if served else self._recorder).failed("caller_gone")
        except Exception as error:  # noqa: BLE001  # the one handler: every error becomes an answer
            status = self._refuse(scope, proto, error, served.recorder if served else self._recorder)
        if path == "/invocations" or status != 200:
            (served.recorder if served else self._recorder).answered(status, perf_counter() - started)
        if self._settings.access_log:
            log.info(
                "request",
                extra={
                    "method": scope.method,
                    "path": path,
                    "status": status,
                    "ms": round((perf_counter() - started) * 1000, 3),
                    "inference_id": scope.headers.get(INFERENCE_ID),
                },
            )

    async def _invocations(self, scope: Scope, proto: HTTPProtocol, started: float, served: Served) -> None:
        flights = self._flights
        if len(flights) >= self._max_requests:
            raise OverloadedError(f"{len(flights)} requests are in flight")
        get = scope.headers.get
        content_type = get("content-type")
        media_type, accept = self._admit(scope, content_type, get("accept"))
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # granian runs every request as a task
        flight = Flight(self._loop.time() + self._settings.deadline_s, proto)
        flights[task] = flight
        batcher = served.batcher
        try:
            ticket = batcher.announce()
            try:
                length = get("content-length")
                body = await proto() if self._fits(length) else await self._chunks(proto)
            finally:
                batcher.arrived(ticket)
            flight.phase = Phase.ANSWERING
            if len(body) > (INLINE_NPY_BYTES if media_type == codecs.NPY else INLINE_BYTES):
                header = codecs.csv_header(content_type)
                reader = served.model.reader
                rows: Any = await self._threaded(lambda: codecs.decode(body, media_type, reader, header=header))
            else:
                rows = _rows(served.model, body, media_type, content_type)
            if served.cache is None or isinstance(rows, Rows):
                predictions = await batcher.submit(rows)
            else:
                predictions = await served.cache.get(rows, batcher.submit, served.recorder)
            now = perf_counter()
            answer = _Answer(predictions, accept, served.model.version, round((now - started) * 1000, 3))
            content = answer.encode() if len(predictions) <= INLINE_ANSWERS else await self._threaded(answer.encode)
            proto.response_bytes(200, self._headers(answer, get(CUSTOM_ATTRIBUTES)), content)
            served.recorder.took("encode", perf_counter() - now)
        except asyncio.CancelledError:
            raise self._given_up(flight) from None
        finally:
            del flights[task]
            if flight.watcher is not None:
                flight.watcher.cancel()

    def _admit(self, scope: Scope, content_type: str | None, accept: str | None) -> tuple[str, str]:
        """The types of the body and of the answer. Raises what is wrong with the request's first lines."""
        if scope.method != "POST":
            raise MethodNotAllowedError(scope.method, scope.path, "POST")
        if not self._verified and self._only is not None:
            raise NotReadyError(REASONS[State.STARTING])
        media_type = codecs.media_type(content_type)
        if media_type not in codecs.READABLE:
            raise codecs.unsupported(media_type)
        try:
            return media_type, codecs.accepted(accept, media_type)
        except UnsupportedContentTypeError as error:
            raise NotAcceptableError(str(error)) from None

    def _given_up(self, flight: Flight) -> ServingError:
        """Why a request was cancelled."""
        if self._stopping:
            return StoppingError("the server stops")
        if flight.gone:
            return CallerGoneError("the caller closed its connection")
        if flight.phase is Phase.READING:
            return SlowRequestError(f"the body did not arrive within {self._settings.deadline_s:g} s")
        return DeadlineError(f"no answer within {self._settings.deadline_s:g} s")

    def _fits(self, length: str | None) -> bool:
        """Whether the body's length is known and within the limit. Raises PayloadTooLargeError when it is beyond."""
        if length is None:
            return False
        if int(length) > self._max_bytes:
            raise PayloadTooLargeError(f"the body is larger than {self._max_bytes} bytes: {length}")
        return True

    async def _chunks(self, proto: HTTPProtocol) -> bytes:
        """The whole body of unknown length, counted as it comes."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in proto:
            size += len(chunk)
            if size > self._max_bytes:
                raise PayloadTooLargeError(f"the body is larger than {self._max_bytes} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _headers(self, answer: _Answer, attributes: str | None) -> Headers:
        headers = self._json_headers
        if answer.accept != codecs.JSON:
            headers = [
                ("content-type", answer.accept),
                (VERSION, answer.version),
                (LATENCY_MS, str(answer.latency_ms)),
            ]
        return headers if attributes is None else [*headers, (CUSTOM_ATTRIBUTES, attributes)]

    def _ping(self, scope: Scope, proto: HTTPProtocol) -> None:
        if scope.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(scope.method, scope.path, "GET")
        if (reason := self._not_ready()) is None:
            proto.response_bytes(200, self._json_headers, b'{"status":"ready"}')
        else:  # neither counted nor logged: whoever starts a server asks again and again
            answer = problem(NotReadyError(reason))
            proto.response_bytes(answer.status, answer.headers, answer.body)

    def _not_ready(self) -> str | None:
        """Why the server is not ready, if it is not: all workers must be."""
        board = self._board
        for worker, state in enumerate(board.states()):
            if state is not State.READY:
                return REASONS[state]
            if worker != self._worker and board.silent_s(worker) > SILENT_S:
                return f"worker {worker} has not stirred for {SILENT_S:g} s"
        return None

    def _metrics(self, scope: Scope, proto: HTTPProtocol) -> None:
        if scope.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(scope.method, scope.path, "GET")
        proto.response_bytes(200, [("content-type", exposition.PROMETHEUS)], exposition.prometheus(self._board))

    async def _models(
        self, scope: Scope, proto: HTTPProtocol, started: float, models: Models
    ) -> tuple[Served | None, int]:
        _, _, name, *rest = [*scope.path.split("/"), ""]
        if name and rest[:1] == ["invoke"]:
            served = models.use(unquote(name))
            try:
                await self._invocations(scope, proto, started, served)
            except Exception as error:  # noqa: BLE001  # counted for this model, not for the server
                return served, self._refuse(scope, proto, error, served.recorder)
            served.recorder.answered(200, perf_counter() - started)
            return served, 200
        if rest not in ([], [""]):
            raise NotFoundError(f"no such path: {scope.path}")
        body = await self._chunks(proto) if scope.method == "POST" else b""
        status, content = await models.manage(scope.method, unquote(name) or None, scope.query_string, body)
        proto.response_bytes(status, self._json_headers, content)
        return None, status

    def _failed(self, error: Exception) -> None:
        if self.state is State.READY:
            self._board.set_state(self._worker, State.BROKEN)
            log.error("not ready any more", extra={"reason": str(error)})
        if self._only is not None and self._mending is None:
            self._mending = self._loop.create_task(self._mend())

    async def _mend(self) -> None:
        """Replay the golden rows until the model gives them again: then it is whole."""
        while self.state is State.BROKEN:
            try:
                await self.verify()
            except Exception as error:  # noqa: BLE001  # whatever it is, the model stays broken, and the log says why
                log.error("the model is broken", extra={"reason": str(error)})
                await asyncio.sleep(MEND_S)
        self._mending = None

    def _refuse(self, scope: Scope, proto: HTTPProtocol, error: Exception, recorder: Recorder) -> int:
        if isinstance(error, OverloadedError):  # many and all the same: told together, so that refusing stays cheap
            recorder.failed(error.kind)
            self._overloads += 1
            proto.response_bytes(OVERLOADED.status, OVERLOADED.headers, OVERLOADED.body)
            return OVERLOADED.status
        answer = problem(error)
        recorder.failed(answer.kind)
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

    def _sweep(self) -> None:
        """Cancel what is over its deadline, watch the callers of what takes long.

        All have the same time to live, so the oldest come first.
        """
        now = self._loop.time()
        young = now + self._settings.deadline_s - SWEEP_S
        for task, flight in self._flights.items():
            if flight.deadline <= now:
                task.cancel()
            elif flight.deadline > young:
                break
            elif flight.watcher is None and flight.phase is Phase.ANSWERING:
                flight.watcher = self._loop.create_task(_watch(task, flight))
        if self._overloads:
            log.warning("refused: overloaded", extra={"status": OVERLOADED.status, "count": self._overloads})
            self._overloads = 0
        self._recorder.put(Cell.IN_FLIGHT, len(self._flights))
        if self._only is not None:
            self._recorder.put(Cell.QUEUED, self._only.batcher.waiting)
        self._sweeper = self._loop.call_later(min(SWEEP_S, self._settings.deadline_s / 4), self._sweep)

    def _beat(self) -> None:
        self._board.beat(self._worker)
        self._beater = self._loop.call_later(BEAT_S, self._beat)


class _Answer(NamedTuple):
    predictions: Predictions
    accept: str
    version: str
    latency_ms: float

    def encode(self) -> bytes:
        return codecs.encode(self.predictions, self.accept, version=self.version, latency_ms=self.latency_ms)


def _rows(model: Model, body: bytes, media_type: str, content_type: str | None) -> Rows | Sequence[Any]:
    """The rows of a body: typed, or for a small one in JSON as they were sent, to be read with their batch."""
    if media_type in (codecs.JSON, codecs.JSON_LINES):
        instances = codecs.instances(body, media_type)
        return instances if 0 < len(instances) <= RAW_ROWS else model.read(instances)
    return codecs.decode(body, media_type, model.reader, header=codecs.csv_header(content_type))


async def _watch(task: asyncio.Task[Any], flight: Flight) -> None:
    """Cancel a request whose caller has gone: its rows are taken off the queue."""
    await flight.proto.client_disconnect()
    flight.gone = True
    task.cancel()
