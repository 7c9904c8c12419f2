"""The application: GET /ping, POST /invocations, GET /metrics, and /models. One instance a worker process."""

from __future__ import annotations

import asyncio
from time import perf_counter
from urllib.parse import unquote

from inference import exposition
from inference.batcher import Batcher
from inference.board import Board, State
from inference.cache import Cache
from inference.errors import MethodNotAllowedError, NotFoundError, NotReadyError, ServingError, problem
from inference.exchange import Exchange
from inference.flights import SWEEP_S, Flights
from inference.invocation import JSON_HEADERS, UNVERIFIED, Invocations, Served
from inference.logs import log
from inference.management import Management, Models
from inference.model import Model
from inference.refusals import INFERENCE_ID, Refusals
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
        self._refusals = Refusals()
        self._invocations = Invocations(self._flights, self._refusals)
        self._only = self.serve(model, self._recorder) if model is not None else None
        self.models: Models | None = None
        self._changes: set[asyncio.Task[None]] = set()
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

    def begin(self, exchange: Exchange) -> None:
        """The headers are here: refuse now what need not be read."""
        self._route(exchange, whole=False)

    def complete(self, exchange: Exchange) -> None:
        """The whole request is here."""
        if (flight := self._flights.find(exchange)) is not None:
            flight.arrived()
        else:
            self._route(exchange, whole=True)

    def refuse(self, exchange: Exchange, error: ServingError) -> None:
        """The request cannot be read."""
        self._watch(exchange)
        if (flight := self._flights.find(exchange)) is not None:
            flight.fail(error)
        else:
            self._refuse(exchange, error)

    def gone(self, exchange: Exchange) -> None:
        """The caller has closed the connection before the answer."""
        self._flights.gone(exchange)

    def _route(self, exchange: Exchange, *, whole: bool) -> None:
        """Do what is asked; whatever happens becomes an answer."""
        self._watch(exchange)
        path = exchange.path
        try:
            if path == "/invocations" and self._only is not None:
                self._invoke(exchange, self._only, whole=whole)
            elif path == "/ping":
                self._ping(exchange)
            elif path == "/metrics":
                self._metrics(exchange)
            elif self.models is not None and path.startswith("/models"):
                self._models(exchange, self.models, whole=whole)
            else:
                raise NotFoundError(f"no such path: {path}")  # noqa: TRY301  # the one handler is below
        except Exception as error:  # noqa: BLE001  # the one handler: every error becomes an answer
            self._refuse(exchange, error)

    def _invoke(self, exchange: Exchange, served: Served, *, whole: bool) -> None:
        try:
            invocation = self._invocations.enter(exchange, served)
        except Exception as error:  # noqa: BLE001  # counted for this model, not for the server
            self._refusals.answer(exchange, error, served.recorder)
            return
        if whole:
            invocation.arrived()
        else:
            invocation.announce()

    def _ping(self, exchange: Exchange) -> None:
        _must_read(exchange)
        if (reason := self._not_ready()) is None:
            exchange.respond(200, JSON_HEADERS, b'{"status":"ready"}')
        else:  # neither counted nor logged: whoever starts a server asks again and again
            answer = problem(NotReadyError(reason))
            exchange.respond(answer.status, answer.headers, answer.body)

    def _not_ready(self) -> str | None:
        """Why the server is not ready, if it is not: all workers must be."""
        board = self._board
        for worker, state in enumerate(board.states()):
            if state is not State.READY:
                return REASONS[state]
            if worker != self._worker and board.silent_s(worker) > SILENT_S:
                return f"worker {worker} has not stirred for {SILENT_S:g} s"
        return None

    def _metrics(self, exchange: Exchange) -> None:
        _must_read(exchange)
        exchange.respond(200, (("content-type", exposition.PROMETHEUS),), exposition.prometheus(self._board))

    def _models(self, exchange: Exchange, models: Models, *, whole: bool) -> None:
        """Ask a model, or change which there are."""
        _, _, name, *rest = [*exchange.path.split("/"), ""]
        if name and rest[:1] == ["invoke"]:
            self._invoke(exchange, models.use(unquote(name)), whole=whole)
            return
        if rest not in ([], [""]):
            raise NotFoundError(f"no such path: {exchange.path}")
        change = Management(exchange, unquote(name) or None, models, self._flights, self._refuse, self._changes)
        if whole or exchange.method != "POST":
            change.arrived()
        else:
            self._flights.enter(change)

    def _refuse(self, exchange: Exchange, error: Exception) -> None:
        self._refusals.answer(exchange, error, self._recorder)

    def _watch(self, exchange: Exchange) -> None:
        if self._access_log and exchange.on_answer is None:
            exchange.on_answer = _tell

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


def _must_read(exchange: Exchange) -> None:
    """Raises MethodNotAllowedError for what is no GET or HEAD."""
    if exchange.method not in ("GET", "HEAD"):
        raise MethodNotAllowedError(exchange.method, exchange.path, "GET")


def _tell(exchange: Exchange, status: int) -> None:
    """A line of the access log."""
    log.info(
        "request",
        extra={
            "method": exchange.method,
            "path": exchange.path,
            "status": status,
            "ms": round((perf_counter() - exchange.started) * 1000, 3),
            "inference_id": exchange.headers.get(INFERENCE_ID),
        },
    )
