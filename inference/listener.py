"""The listening socket of a worker: accepts callers, cuts off slow ones, and drains."""

from __future__ import annotations

import asyncio
import socket
from email.utils import formatdate

from inference.connection import Connection
from inference.exchange import Handler
from inference.logs import log

CONNECTIONS = 16_384
"""Open connections of a worker; requests are bounded by the settings, idle connections cost a few kilobytes each."""
RECEIVE_BYTES = 16_384
LOOK_S = 1.0
"""How often slow callers are looked for, at least."""
GRACE_S = 0.1
"""When the server stops, idle connections are closed after so long: a request may be on its way in them."""


class Listener:
    """Hands what callers send to `handler`, from `serve` until all connections are closed after `stop`.

    `fd` is a listening socket, which other processes may share.
    """

    def __init__(self, handler: Handler, fd: int, *, max_body_bytes: int, header_timeout_s: float) -> None:
        self.handler = handler
        self.buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.max_body_bytes = max_body_bytes
        self.header_timeout_s = header_timeout_s
        self.draining = False
        self.date = _date()
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)  # noqa: FBT003  # as the standard library has it
        self._connections: dict[Connection, None] = {}  # the oldest first
        self._opening: dict[Connection, asyncio.Task[None]] = {}
        self._graced = False  # idle connections were closed
        self._over: asyncio.Future[None] = self._loop.create_future()

    @property
    def callers(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def serve(self) -> None:
        """Accept callers until `stop`; then wait until the last connection is closed."""
        if not self.draining:
            self._loop.add_reader(self._socket.fileno(), self._accept)
            self._look()
        await self._over

    def stop(self) -> None:
        """Accept no more than who has connected already, answer what was sent, close."""
        if self.draining:
            return
        self.draining = True
        while self._accept():
            continue
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._loop.call_later(GRACE_S, self._close_idle)

    def opened(self, connection: Connection) -> None:
        """A caller has connected."""
        self._opening.pop(connection, None)
        self._connections[connection] = None

    def closed(self, connection: Connection) -> None:
        """A connection is closed."""
        self._connections.pop(connection, None)
        self._end()

    def _accept(self) -> bool:
        """Take one caller, so that workers that share the socket get their share; whether there was one."""
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:  # no more descriptors, or no memory: who waits in the backlog may have luck later
            log.error("cannot accept a caller", extra={"reason": error.strerror})
            if not self.draining:
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(LOOK_S, self._accept_again)
            return False
        if len(self._connections) + len(self._opening) >= CONNECTIONS and not self._make_room():
            accepted.close()
            return True
        accepted.setblocking(False)  # noqa: FBT003  # as above
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, self._loop)
        self._opening[connection] = self._loop.create_task(self._open(connection, accepted))
        return True

    def _accept_again(self) -> None:
        if not self.draining:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    async def _open(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # the caller has gone again
            self._opening.pop(connection, None)
            self._end()

    def _make_room(self) -> bool:
        """Close the idle connection that is the oldest; whether there is one."""
        idle = next((connection for connection in self._connections if connection.idle), None)
        if idle is None:
            return False
        idle.close()
        return True

    def _look(self) -> None:
        """Cut off slow callers, and keep the date."""
        now = self._loop.time()
        for connection in list(self._connections):
            connection.look(now)
        self.date = _date()
        if not self._over.done():
            self._loop.call_later(min(LOOK_S, self.header_timeout_s / 4), self._look)

    def _close_idle(self) -> None:
        self._graced = True
        for connection in list(self._connections):
            if connection.idle:
                connection.close()
        self._end()

    def _end(self) -> None:
        if self._graced and not (self._connections or self._opening or self._over.done()):
            self._over.set_result(None)


def _date() -> bytes:
    return f"date: {formatdate(usegmt=True)}\r\n".encode()
