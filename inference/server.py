"""The process around the application: one event loop, granian in it, signals, and draining."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from inference.app import App
from inference.contract.errors import ArtifactError
from inference.errors import StartError
from inference.logs import log
from inference.model import Model
from inference.settings import DRAIN_S, Settings

BACKLOG = 2_048
CONNECTIONS = 16_384
"""Open connections; requests are bounded by the settings, idle connections cost a few kilobytes each."""
HEADER_TIMEOUT_MS = 10_000
"""How long a caller may take over its request line and headers."""


def serve(model: Model, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain: requests that were accepted are answered.

    Raises:
        StartError: the port is taken, or not ours to take.
        ArtifactError: the model does not give its golden answers.
    """
    claim(settings.host, settings.port)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * CONNECTIONS)), hard))
    _run(_serve(model, settings))


def claim(host: str, port: int) -> None:
    """Check that the port is free: granian binds with SO_REUSEPORT, which would share it without a word.

    Raises:
        StartError: the address is in use or cannot be bound.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}: free it, or choose another with --port"
        ) from None


async def _serve(model: Model, settings: Settings) -> None:
    app = App(model, settings)
    server = Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
        log_enabled=False,
    )
    stop: Callable[[], None] = server.stop
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, _drain, loop, stop, app)
    serving = loop.create_task(server.serve())
    try:
        await app.verify()
        log.info(
            "ready",
            extra={
                "model": model.artifact.manifest.name,
                "model_version": model.version,
                "predictor": model.predictor.name,
                "address": f"{settings.host}:{settings.port}",
                "pid": os.getpid(),
            },
        )
    except ArtifactError:
        stop()
        raise
    finally:
        try:
            await serving
        except (OSError, RuntimeError) as error:  # another process took the port after it was claimed
            raise StartError(f"cannot serve on {settings.host}:{settings.port}: {error}") from error
        finally:
            app.close()
    log.info("stopped")


def _drain(loop: asyncio.AbstractEventLoop, stop: Callable[[], None], app: App) -> None:
    log.info("draining", extra={"in_flight": app.in_flight})
    stop()  # closes the listener and idle connections, answers what was accepted
    loop.call_later(DRAIN_S, app.refuse_all)
    loop.call_later(DRAIN_S + 1, _leave)


def _leave() -> None:
    """End although connections are open: callers that never finished their request hold nothing that was accepted."""
    log.warning("stopped with connections open")
    os._exit(0)


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed (a third more requests a second), else on asyncio."""
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  # optional

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)
