"""Runs an instance behind a fault, for fire drills: `python -m infra.cloud.drill COMMAND…`.

A model that has a file `drill.json` beside its others was made to misbehave on purpose: `{"delay_s": 0.2}` keeps every
answer back, `{"errors": 0.5}` makes that share of them a 500. The command serves the model as ever, on a port of its
own; this process takes its place, passes /ping on, and does the harm over real HTTP.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
from aiohttp import web

FILE = "drill.json"
_SKIPPED = ("content-length", "transfer-encoding", "connection", "date", "server")


class Drill:
    """A proxy that harms invocations as its plan says.

    Args:
        url: where the real server listens.
        delay_s: how long every answer is kept back.
        errors: the share of invocations that fail, 0 to 1.
    """

    def __init__(self, url: str, *, delay_s: float = 0.0, errors: float = 0.0) -> None:
        self._url = url
        self._delay_s = delay_s
        self._errors = errors
        self._due = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        if request.path == "/invocations":
            await asyncio.sleep(self._delay_s)
            self._due += self._errors
            if self._due >= 1:
                self._due -= 1
                return web.json_response({"error": "drill: this model fails on purpose"}, status=500)
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _SKIPPED}
        try:
            async with self._session.request(
                request.method, f"{self._url}{request.raw_path}", data=body, headers=headers
            ) as answer:
                fields = {name: value for name, value in answer.headers.items() if name.lower() not in _SKIPPED}
                return web.Response(status=answer.status, body=await answer.read(), headers=fields)
        except aiohttp.ClientError as error:
            return web.Response(status=503, text=f"the model's server does not answer: {error}")

    async def close(self) -> None:
        """Close the connections to the real server."""
        if self._session is not None:
            await self._session.close()


async def _main(command: list[str]) -> int:
    plan = json.loads((Path(os.environ["SAGESTAGE_BASE_DIR"]) / "model" / FILE).read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = await asyncio.create_subprocess_exec(*command, env=os.environ | {"SAGEMAKER_BIND_TO_PORT": str(port)})
    drill = Drill(f"http://127.0.0.1:{port}", **plan)
    runner = web.ServerRunner(web.Server(drill.handle, access_log=None, auto_decompress=False))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])).start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    ended = asyncio.ensure_future(server.wait())
    stopped = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await runner.cleanup()  # open requests are answered first
    await drill.close()
    if not ended.done():
        server.terminate()
    stopped.cancel()
    return await ended


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(sys.argv[1:])))
