"""One worker process: an event loop, the application, its listener, and the channel to the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from inference import model as models
from inference.app import App
from inference.board import Board, State
from inference.contract.errors import ArtifactError, ContractError
from inference.errors import StartError
from inference.listener import CONNECTIONS, Listener
from inference.logs import log
from inference.multimodel import MultiModel
from inference.settings import DRAIN_S, Settings
from inference.sharing import Channel

GARBAGE = 50_000
"""So many new objects let Python's collector look for cycles; its default, 700, costs small requests 5 %."""


def work(path: Path | None, settings: Settings, fds: Sequence[int]) -> None:
    """Serve until SIGTERM, SIGINT or the end of the supervisor, then drain: what was accepted is answered.

    A model that cannot be served is told to the supervisor, which says so once for all workers.
    """
    number, listener, board, channel, restarted = fds
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * CONNECTIONS)), hard))
    blocks = 1 + (settings.max_models if settings.multi_model else 0)
    _run(
        _work(
            path, settings, number, listener, Board(board, settings.workers, blocks), channel, restarted=bool(restarted)
        )
    )


async def _work(
    path: Path | None, settings: Settings, number: int, listener: int, board: Board, channel_fd: int, *, restarted: bool
) -> None:
    channel = await Channel.over(socket.socket(fileno=channel_fd))
    loop = asyncio.get_running_loop()
    try:
        model = None if settings.multi_model else models.load(path or settings.model, settings)
    except (StartError, ContractError) as error:
        channel.say(failed=str(error))
        channel.close()
        return
    if model is not None:
        board.label(0, {"model": model.version, "model_name": model.artifact.manifest.name})
    app = App(model, settings, board, number)
    if settings.multi_model:
        app.models = MultiModel(app, settings, board, number, channel)
    server = Listener(
        app, listener, max_body_bytes=settings.max_payload_bytes, header_timeout_s=settings.header_timeout_s
    )
    drain = partial(_drain, loop, server, app)
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, drain)
    begun: asyncio.Future[None] = loop.create_future()
    hearing = loop.create_task(_hear(channel, app, begun, drain))
    # The first worker says 503 until it is ready. One that takes a dead one's place lets callers wait in the backlog.
    serving = None if restarted else loop.create_task(server.serve())
    try:
        await begun
        _collect_seldom()
        await app.verify()
        serving = serving or loop.create_task(server.serve())
        channel.say(ready=model.version if model is not None else "")
        log.info(
            "ready",
            extra={
                "model": model.artifact.manifest.name if model is not None else None,
                "model_version": model.version if model is not None else None,
                "predictor": model.predictor.name if model is not None else None,
                "address": f"{settings.host}:{settings.port}",
                "worker": number,
                "pid": os.getpid(),
            },
        )
        await serving
        log.info("stopped", extra={"worker": number})
    except ArtifactError as error:
        channel.say(failed=str(error))
        if serving is not None:
            server.stop()
            await serving
    finally:
        hearing.cancel()
        app.close()
        channel.close()


def _collect_seldom() -> None:
    """What was made so far stays, and answers leave no cycles behind: Python's collector need not look each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)


async def _hear(channel: Channel, app: App, begun: asyncio.Future[None], drain: Callable[[], None]) -> None:
    """Do what the supervisor says; when it is gone, stop."""
    async for message in channel:
        if message.get("do") == "begin":
            begun.set_result(None)
        elif isinstance(app.models, MultiModel):
            await app.models.told(message)
    drain()


def _drain(loop: asyncio.AbstractEventLoop, server: Listener, app: App) -> None:
    if app.state is State.STOPPING:  # told twice: a signal to the whole group, say
        return
    log.info("draining", extra={"in_flight": app.in_flight, "connections": server.callers})
    app.stopping()
    server.stop()  # closes the listener and idle connections, answers what was accepted
    loop.call_later(DRAIN_S, app.refuse_all)
    loop.call_later(DRAIN_S + 1, _leave, server)


def _leave(server: Listener) -> None:
    """End although connections are open: callers that never finished their request hold nothing that was accepted."""
    log.warning("stopped with connections open", extra={"connections": server.callers})
    os._exit(0)


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed (a third more requests a second), else on asyncio."""
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  # optional

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)
