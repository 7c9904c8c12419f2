"""The process that keeps the server whole: it holds the port, starts the workers, and mends what crashes.

It loads no model and answers no request. The workers accept from its one listening socket, count in its shared memory,
and hear from it over a socket pair each; when it dies, they see the pair close and stop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference import exposition, sharing
from inference.board import Board, State
from inference.changes import Changes
from inference.errors import StartError
from inference.logs import log
from inference.settings import DRAIN_S, Settings
from inference.sharing import BACKLOG, Channel
from inference.telemetry import Totals

KILL_S = DRAIN_S + 3.0
"""When a worker that was told to stop is killed: SageMaker kills everything 30 s after SIGTERM."""
CRASHES = 5
CRASH_WINDOW_S = 60.0
"""More crashes than this within this time, and the server ends: starting again does not help."""


@dataclass
class Worker:
    """A worker process and what is known of it."""

    number: int
    process: subprocess.Popen[bytes]
    channel: Channel
    ready: bool = False
    waiting: dict[int, asyncio.Future[str | None]] = field(default_factory=dict)


def listen(host: str, port: int) -> socket.socket:
    """The listening socket that all workers accept from.

    Raises:
        StartError: the address is in use or cannot be bound.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}: free it, or choose another with --port"
        ) from None
    return listener


def supervise(model: Path | None, settings: Settings) -> None:
    """Serve with as many worker processes as the settings say, until SIGTERM or SIGINT.

    Raises:
        StartError: the port is taken, a worker cannot serve the model, or workers crash again and again.
    """
    listener = listen(settings.host, settings.port)
    try:
        asyncio.run(Supervisor(model, settings, listener).run())
    finally:
        listener.close()


class Supervisor:
    """Starts, watches, mends and stops the workers; has each change of models done by all of them."""

    def __init__(self, model: Path | None, settings: Settings, listener: socket.socket) -> None:
        self._model = model
        self._settings = settings
        self._listener = listener
        self._board = Board.create(settings.workers, 1 + (settings.max_models if settings.multi_model else 0))
        self._changes = Changes(settings, self._board, self._tell)
        self._workers: dict[int, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._crashes: list[float] = []
        self._over: asyncio.Future[None] | None = None
        self._digest: str | None = None
        self._stopping = False
        self._asked = 0

    async def run(self) -> None:
        """Until the last worker has ended."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._stop)
        try:
            if self._settings.multi_model:
                self._board.label(0, {})
            for number in range(self._settings.workers):
                self._spawn(number)
            if self._settings.emf_s:
                self._keep(self._emit(self._settings.emf_s))
            await self._over
        finally:
            left = list(self._workers.values())  # the table changes while they end
            for worker in left:
                worker.process.kill()
            for worker in left:
                await asyncio.to_thread(worker.process.wait)
            for task in self._tasks:
                task.cancel()

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _spawn(self, number: int) -> None:
        self._keep(self._live(number))

    async def _live(self, number: int) -> None:
        """One worker's life, from its start to its end; a crash starts the next one."""
        ours, theirs = socket.socketpair()
        fds = (self._listener.fileno(), self._board.fd, theirs.fileno())
        self._board.set_state(number, State.STARTING, 0)
        environment = {
            sharing.WORKER: str(number),
            sharing.LISTENER_FD: str(fds[0]),
            sharing.BOARD_FD: str(fds[1]),
            sharing.CHANNEL_FD: str(fds[2]),
            sharing.RESTARTED: str(int(self._digest is not None)),
            **self._settings.gpu_of(number),
        }
        arguments = [sys.executable, "-m", "inference", "serve"]
        arguments += ["--model", str(self._model)] if self._model is not None else []
        arguments += ["--host", self._settings.host, "--port", str(self._settings.port)]
        process = subprocess.Popen(  # noqa: S603, ASYNC220  # ourselves; starting takes a millisecond
            arguments, env=os.environ | environment, pass_fds=fds, cwd=None
        )
        theirs.close()
        worker = Worker(number, process, await Channel.over(ours))
        self._workers[number] = worker
        for name, (path, block) in self._changes.placed().items():
            worker.channel.say(do="load", id=0, name=name, path=path, block=block)
        worker.channel.say(do="begin")
        if self._stopping:
            process.send_signal(signal.SIGTERM)
        reason: str | None = None
        async for message in worker.channel:
            reason = self._heard(worker, message) or reason
        worker.channel.close()
        code = await asyncio.to_thread(process.wait)
        self._buried(worker, code, reason)

    def _heard(self, worker: Worker, message: Mapping[str, Any]) -> str | None:
        """Act on what a worker says; the reason why it cannot serve, if it says that."""
        match message:
            case {"ready": str(digest)}:
                if self._digest not in (None, digest):
                    return "the model on disk changed while the server ran: start the server again"
                self._digest = digest
                worker.ready = True
            case {"failed": str(reason)}:
                return reason
            case {"done": int(number), "error": error}:
                waiter = worker.waiting.pop(number, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(error)
            case {"ask": int(number), **change}:
                self._keep(self._change(worker, number, change))
        return None

    def _buried(self, worker: Worker, code: int, reason: str | None) -> None:
        """A worker has ended: by order, for a reason that will come again, or by a crash that is mended."""
        number = worker.number
        del self._workers[number]
        for waiter in worker.waiting.values():
            if not waiter.done():
                waiter.set_result(None)  # the next one starts with what was loaded
        self._board.set_state(number, State.STOPPING if self._stopping else State.STARTING, 0)
        self._board.forget_gauges(number)
        assert self._over is not None  # noqa: S101  # `run` made it
        if self._over.done():
            return
        if self._stopping:
            if not self._workers:
                self._over.set_result(None)
            return
        if reason is not None:
            self._over.set_exception(StartError(reason))
            return
        now = time.monotonic()
        self._crashes = [moment for moment in self._crashes if moment > now - CRASH_WINDOW_S] + [now]
        said = f"signal {-code}" if code < 0 else f"exit code {code}"
        if len(self._crashes) > CRASHES or (not worker.ready and len(self._crashes) > 1):
            self._over.set_exception(StartError(f"worker {number} ended again and again ({said}): see the log"))
            return
        log.error("a worker crashed and is started again", extra={"worker": number, "end": said})
        self._board.restarted()
        self._spawn(number)

    def _stop(self) -> None:
        """Close the port and have every worker drain."""
        if self._stopping:
            return
        self._stopping = True
        self._listener.close()
        for worker in self._workers.values():
            worker.process.send_signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(KILL_S, self._kill)

    def _kill(self) -> None:
        for worker in self._workers.values():
            log.warning("killed a worker that did not stop", extra={"worker": worker.number})
            worker.process.kill()

    async def _change(self, asker: Worker, number: int, change: Mapping[str, Any]) -> None:
        """Load or unload a model in all workers, and tell who asked."""
        status, text = await self._changes.make(change)
        asker.channel.say(answer=number, status=status, text=text)

    async def _tell(self, **order: Any) -> list[str]:
        """Have all workers do something and wait for it; what went wrong."""
        loop = asyncio.get_running_loop()
        waiters = []
        for worker in self._workers.values():
            self._asked += 1
            waiter: asyncio.Future[str | None] = loop.create_future()
            worker.waiting[self._asked] = waiter
            worker.channel.say(id=self._asked, **order)
            waiters.append(waiter)
        return [error for error in await asyncio.gather(*waiters) if error is not None]

    async def _emit(self, every_s: float) -> None:
        """CloudWatch's embedded metric format on stdout, a line a model and period."""
        before: dict[str, Totals] = {}
        while True:
            await asyncio.sleep(every_s)
            for total in self._board.totals():
                key = str(sorted(total.labels.items()))
                line = exposition.emf(total, before.get(key), milliseconds=time.time_ns() // 1_000_000)
                before[key] = total
                if line is not None:
                    sys.stdout.buffer.write(line)
            sys.stdout.flush()


def inherited(environment: Mapping[str, str]) -> Sequence[int] | None:
    """A worker's number, listener, board and channel, and whether it replaces another; None in other processes."""
    if sharing.WORKER not in environment:
        return None
    names = (sharing.WORKER, sharing.LISTENER_FD, sharing.BOARD_FD, sharing.CHANNEL_FD, sharing.RESTARTED)
    return [int(environment[name]) for name in names]
