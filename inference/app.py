"""The RSGI application: GET /ping, POST /invocations, GET /metrics, and /models. One instance a worker process."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Protocol
from urllib.parse import unquote

from granian.rsgi import HTTPProtocol, Scope  # type: ignore[attr-defined]  # granian does not mark what it re-exports

from inference import exposition
from inference.batcher import Batcher
from inference.board import Board, State
from inference.cache import Cache
from inference.errors import MethodNotAllowedError, NotFoundError, NotReadyError, SlowRequestError, problem
from inference.flights import SWEEP_S, Flights
from inference.invocation import UNVERIFIED, Invocations, Served
from inference.logs import log
from inference.model import Model
from inference.refusals import INFERENCE_ID, Refusals
from inference.reply import JSON_HEADERS
from inference.settings import Settings
from inference.telemetry import Cell, Recorder

REASONS = {
    State.STARTING: UNVERIFIED,
    State.READY: "ready",
    State.BROKEN: "the model failed",
    State.STOPPING: "the server stops",
}
MEND_S = 1.0
"""How often a broken model's golden rows are tried again."""
BEAT_S = 1.0
SILENT_S = 15.0
"""A worker whose event loop has not turned for so long is not ready."""


class Models(Protocol):
    """Multi-model mode: what answers below /models."""

    async def manage(self, method: str, name: str | None, query: str, body: bytes) -> tuple[int, bytes]:
        """List, load, describe or unload; status and JSON body."""

    def use(self, name: str) -> Served:
        """The loaded model of that name; raises ModelNotFoundError."""

    def waiting(self) -> None:
        """Say in each model's counters how many rows wait for it."""


class App:
    """Routes, and says how the worker is. Made on the event loop that serves it.

    `board` is where this worker (number `worker`) counts and says how it is; alone, it has one of its own.
    """

    def __init__(self, model: Model | None, settings: Settings, board: Board | None = None, worker: int = 0) -> None:
        self._settings = settings
        self._access_log = settings.access_log
        self._loop = asyncio.get_running_loop()
        self._board = board or Board.private()
        self._worker = worker
        self._recorder = self._board.recorder(worker)
        limit = -(-settings.max_requests // self._board.workers)
        self._flights = Flights(limit=limit, deadline_s=settings.deadline_s)
        self._invocations = Invocations(settings, self._flights)
        self._refusals = Refusals()
        self._only = self.serve(model, self._recorder) if model is not None else None
        self.models: Models | None = None
        self._mending: asyncio.Task[None] | None = None
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        self._beat()

    @property
    def in_flight(self) -> int:
        """How many requests are being read or answered."""
        return len(self._flights)

    @property
    def state(self) -> State:
        """Where this worker is; /ping is 200 only when all workers are READY."""
        return self._board.states()[self._worker]

    def serve(self, model: Model, recorder: Recorder, *, verified: bool = False) -> Served:
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
        return Served(model, batcher, recorder, cache, verified)

    async def verify(self) -> None:
        """Replay the golden rows; READY from then on. Raises ArtifactError when an answer differs."""
        if self._only is not None:
            await self._invocations.threaded(self._only.model.verify)
            self._only.verified = True
        if self.state is not State.STOPPING:
            self._board.set_state(self._worker, State.READY)

    def stopping(self) -> None:
        """Not ready any more; what was accepted is answered."""
        self._board.set_state(self._worker, State.STOPPING)

    def refuse_all(self) -> None:
        """Answer every request that is still in flight with a 503: the time to drain is over."""
        self._flights.refuse_all()

    def close(self) -> None:
        """Give the threads back."""
        self._sweeper.cancel()
        self._beater.cancel()
        if self._only is not None:
            self._only.batcher.close()
        self._invocations.close()

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        """Answer one request, whatever happens to it."""
        started = perf_counter()
        path, status, served = scope.path, 200, self._only
        try:
            if path == "/invocations" and served is not None:
                await self._invocations.answer(scope, proto, started, served)
            elif path == "/ping":
                self._ping(scope, proto)
            elif path == "/metrics":
                self._metrics(scope, proto)
            elif self.models is not None and path.startswith("/models"):
                served, status = await self._models(scope, proto, started, self.models)
            else:
                raise NotFoundError(f"no such path: {path}")  # noqa: TRY301  # the one handler is below
        except Exception as error:  # noqa: BLE001  # the one handler: every error becomes an answer
            status = self._refuse(scope, proto, error, served, started)
        if self._access_log:
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

    def _refuse(
        self, scope: Scope, proto: HTTPProtocol, error: Exception, served: Served | None, started: float
    ) -> int:
        recorder = served.recorder if served is not None else self._recorder
        status = self._refusals.answer(scope, proto, error, recorder)
        recorder.answered(status, perf_counter() - started)
        return status

    def _ping(self, scope: Scope, proto: HTTPProtocol) -> None:
        if scope.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(scope.method, scope.path, "GET")
        if (reason := self._not_ready()) is None:
            proto.response_bytes(200, JSON_HEADERS, b'{"status":"ready"}')
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
        """The model that was asked, if one was, and the status."""
        _, _, name, *rest = [*scope.path.split("/"), ""]
        if name and rest[:1] == ["invoke"]:
            served = models.use(unquote(name))
            try:
                await self._invocations.answer(scope, proto, started, served)
            except Exception as error:  # noqa: BLE001  # counted for this model, not for the server
                return served, self._refuse(scope, proto, error, served, started)
            return served, 200
        if rest not in ([], [""]):
            raise NotFoundError(f"no such path: {scope.path}")
        deadline_s = self._settings.deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                body = await self._invocations.body(proto) if scope.method == "POST" else b""
        except TimeoutError:
            raise SlowRequestError(deadline_s) from None
        status, content = await models.manage(scope.method, unquote(name) or None, scope.query_string, body)
        proto.response_bytes(status, JSON_HEADERS, content)
        return None, status

    def _failed(self, error: Exception) -> None:
        if self._only is None:  # of several models one fails: its callers are told so, and the others are well
            return
        if self.state is State.READY:
            self._board.set_state(self._worker, State.BROKEN)
            log.error("not ready any more", extra={"reason": str(error)})
        if self._mending is None:
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

    def _sweep(self) -> None:
        self._flights.sweep()
        self._refusals.tell()
        self._recorder.put(Cell.IN_FLIGHT, len(self._flights))
        if self._only is not None:
            self._recorder.put(Cell.QUEUED, self._only.batcher.waiting)
        if self.models is not None:
            self.models.waiting()
        self._sweeper = self._loop.call_later(min(SWEEP_S, self._settings.deadline_s / 4), self._sweep)

    def _beat(self) -> None:
        self._board.beat(self._worker)
        self._beater = self._loop.call_later(BEAT_S, self._beat)
