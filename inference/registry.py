"""Which models are loaded in multi-model mode, where they count, and which must go for another: decisions on values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that all workers hold: where it came from, its block of counters, and its bytes in one worker."""

    path: str
    block: int
    size: int


class Registry:
    """At most `max_models` models of together `limit` bytes in each worker. Block 0 is the server's own."""

    def __init__(self, limit: int, max_models: int) -> None:
        self._limit = limit
        self._loaded: dict[str, Loaded] = {}
        self._free = list(range(max_models, 0, -1))

    def has(self, name: str) -> bool:
        """Whether a model of that name is loaded."""
        return name in self._loaded

    def placed(self) -> dict[str, tuple[str, int]]:
        """Path and block of every model."""
        return {name: (one.path, one.block) for name, one in self._loaded.items()}

    def victims(self, size: int, last_used: Mapping[str, float]) -> list[str] | None:
        """The models to unload so that `size` bytes fit: those not used for longest. None when it never fits."""
        if size > self._limit:
            return None
        used = sum(one.size for one in self._loaded.values())
        free = len(self._free)
        victims: list[str] = []
        for name in sorted(self._loaded, key=lambda name: last_used.get(name, 0.0)):
            if used + size <= self._limit and free > 0:
                break
            victims.append(name)
            used -= self._loaded[name].size
            free += 1
        return victims

    def add(self, name: str, path: str, size: int) -> int:
        """Note a model; the block that counts it."""
        block = self._free.pop()
        self._loaded[name] = Loaded(path, block, size)
        return block

    def remove(self, name: str) -> int:
        """Forget a model; the block that it had."""
        block = self._loaded.pop(name).block
        self._free.append(block)
        return block
