"""Multi-model mode, as SageMaker drives it: GET, POST and DELETE below /models, and an invocation by name.

A worker reads and checks a model, then asks the supervisor, which has all workers load it (or none) before the
caller is answered. Documented statuses: 200, 404 not loaded, 409 loaded already, 507 no room even alone.
"""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from inference import model as models
from inference.board import Board
from inference.contract.errors import ContractError, InputError
from inference.errors import (
    MethodNotAllowedError,
    ModelLoadedError,
    ModelNotFoundError,
    NoMemoryError,
    ServingError,
    StartError,
)
from inference.logs import log
from inference.settings import Settings
from inference.sharing import Channel
from inference.telemetry import Cell

if TYPE_CHECKING:
    from inference.app import App
    from inference.invocation import Served

PAGE = 100
"""Models in one answer of GET /models; `next_page_token` asks for the rest."""


class MultiModel:
    """The models that this worker holds; changes go through the supervisor."""

    def __init__(self, app: App, settings: Settings, board: Board, worker: int, channel: Channel) -> None:
        self._app = app
        self._settings = settings
        self._board = board
        self._worker = worker
        self._channel = channel
        self._served: dict[str, Served] = {}
        self._paths: dict[str, str] = {}
        self._asked: dict[int, asyncio.Future[tuple[int, str]]] = {}

    def use(self, name: str) -> Served:
        """The loaded model of that name; raises ModelNotFoundError."""
        served = self._served.get(name)
        if served is None:
            raise ModelNotFoundError(f"no model {name!r} is loaded")
        served.recorder.put(Cell.LAST_USED, time())
        return served

    def waiting(self) -> None:
        """Say in each model's counters how many rows wait for it."""
        for served in self._served.values():
            served.recorder.put(Cell.QUEUED, served.batcher.waiting)

    async def manage(self, method: str, name: str | None, query: str, body: bytes) -> tuple[int, bytes]:
        """List, load, describe or unload; status and JSON body."""
        match method, name:
            case "GET", None:
                return 200, orjson.dumps(self._listed(query))
            case "GET", str():
                self.use(name)
                return 200, orjson.dumps(self._described(name))
            case "POST", None:
                return 200, await self._load(body)
            case "DELETE", str():
                return 200, await self._ask(do="unload", name=name)
        raise MethodNotAllowedError(method, "/models" if name is None else f"/models/{name}", "GET, POST or DELETE")

    async def told(self, message: dict[str, Any]) -> None:
        """Do what the supervisor says to all workers, or take its answer."""
        match message:
            case {"do": "load", "id": number, "name": name, "path": path, "block": block}:
                error = None
                try:
                    loaded = await asyncio.to_thread(self._read, path)
                    self._served[name] = self._app.serve(
                        loaded, self._board.recorder(self._worker, block), verified=True
                    )
                    self._served[name].recorder.put(Cell.LAST_USED, time())
                    self._paths[name] = path
                except Exception as problem:  # noqa: BLE001  # whatever it is, who asked must hear of it
                    error = str(problem) or type(problem).__name__
                    log.error("a model was not loaded", extra={"model_name": name, "reason": error})
                self._channel.say(done=number, error=error)
            case {"do": "unload", "id": number, "name": name}:
                self._paths.pop(name, None)
                served = self._served.pop(name, None)
                if served is not None:
                    served.recorder.detach()
                    del served  # what was asked of it holds it until that is answered
                    gc.collect()  # now: its memory must be free before another model is loaded into it
                self._channel.say(done=number, error=None)
            case {"answer": number, "status": status, "text": text}:
                self._asked.pop(number).set_result((status, text))

    def _read(self, path: str) -> models.Model:
        """Read a model and replay its golden rows."""
        settings = self._settings.model_copy(update={"model_sha256": None})
        loaded = models.load(Path(path), settings)
        loaded.verify()
        return loaded

    async def _load(self, body: bytes) -> bytes:
        try:
            wish = orjson.loads(body)
            name, path = wish["model_name"], wish["url"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise InputError('expected {"model_name": …, "url": …}') from None
        if not (isinstance(name, str) and isinstance(path, str) and name and name.isprintable() and "/" not in name):
            raise InputError("model_name and url must be texts, and model_name is printable and has no '/'")
        if name in self._served:
            raise ModelLoadedError(f"model {name!r} is loaded already")
        try:
            loaded = await asyncio.to_thread(self._read, path)
        except (StartError, ContractError) as error:
            raise InputError(str(error)) from None
        return await self._ask(do="load", name=name, path=path, bytes=loaded.memory_bytes, version=loaded.version)

    async def _ask(self, **change: Any) -> bytes:
        number = len(self._asked) + 1
        while number in self._asked:
            number += 1
        answer: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._channel.say(ask=number, **change)
        status, text = await asyncio.shield(answer)
        match status:
            case 404:
                raise ModelNotFoundError(text)
            case 409:
                raise ModelLoadedError(text)
            case 507:
                raise NoMemoryError(text)
            case 400:
                raise InputError(text)
            case 500:
                raise ServingError(text)
        return orjson.dumps({"status": text})

    def _described(self, name: str) -> dict[str, Any]:
        return {
            "modelName": name,
            "modelUrl": self._paths[name],
            "modelVersion": self._served[name].model.version,
        }

    def _listed(self, query: str) -> dict[str, Any]:
        names = sorted(self._served)
        token = parse_qs(query).get("next_page_token", ["0"])[0]
        start = int(token) if token.isdigit() else 0
        page: dict[str, Any] = {"models": [self._described(name) for name in names[start : start + PAGE]]}
        if start + PAGE < len(names):
            page["nextPageToken"] = str(start + PAGE)
        return page
