"""Multi-model mode as the supervisor has it done: a model is loaded or unloaded by all workers, or by none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from inference.board import Board
from inference.logs import log
from inference.registry import Registry
from inference.settings import Settings

Tell = Callable[..., Awaitable[list[str]]]
"""Has all workers do something (its keywords) and waits for it; gives what went wrong."""


class Changes:
    """One change at a time of the models that all workers hold."""

    def __init__(self, settings: Settings, board: Board, tell: Tell) -> None:
        self._settings = settings
        self._board = board
        self._tell = tell
        self._registry = Registry(settings.models_memory_mb * 2**20 // settings.workers, settings.max_models)
        self._turn = asyncio.Lock()

    def placed(self) -> dict[str, tuple[str, int]]:
        """Path and block of every model: what a new worker begins with."""
        return self._registry.placed()

    async def make(self, change: Mapping[str, Any]) -> tuple[int, str]:
        """Load or unload what a worker was asked to; status and text for its caller."""
        async with self._turn:
            try:
                return await (self._unloaded(change) if change["do"] == "unload" else self._loaded(change))
            except Exception:  # noqa: BLE001  # whatever it is, who asked must hear of it
                log.exception("a model could not be loaded or unloaded", extra={"change": dict(change)})
                return 500, "the server failed on this request"

    async def _unloaded(self, change: Mapping[str, Any]) -> tuple[int, str]:
        name = str(change["name"])
        if not self._registry.has(name):
            return 404, f"no model {name!r} is loaded"
        await self._unload(name)
        return 200, f"unloaded {name!r}"

    async def _loaded(self, change: Mapping[str, Any]) -> tuple[int, str]:
        name = str(change["name"])
        if self._registry.has(name):
            return 409, f"model {name!r} is loaded already"
        size = int(change["bytes"])
        used = {name: self._board.last_used(block) for name, (_, block) in self._registry.placed().items()}
        victims = self._registry.victims(size, used)
        if victims is None:
            taken, limit = size * self._settings.workers, self._settings.models_memory_mb
            return 507, f"model {name!r} takes {taken} bytes, models may take {limit} MB in all"
        for victim in victims:
            log.info("unloaded the model that was not used for longest", extra={"model_name": victim})
            await self._unload(victim)
        path = str(change["path"])
        block = self._registry.add(name, path, size)
        self._board.label(block, None)
        errors = await self._tell(do="load", name=name, path=path, block=block)
        if errors:
            await self._unload(name)
            return 400, errors[0]
        self._board.label(block, {"model_name": name, "model": str(change["version"])})
        return 200, f"loaded {name!r}"

    async def _unload(self, name: str) -> None:
        block = self._registry.remove(name)
        await self._tell(do="unload", name=name)
        self._board.label(block, None)
