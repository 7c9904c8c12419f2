"""Answers that are kept for a while: one model's, by its digest and the row as it was sent.

A row's key is its canonical JSON (sorted names) with its history. Rows that are asked for while the same row is being
computed wait for that one answer. Bounded, with a time to live; off by default.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import numpy as np
import orjson

from inference.contract.errors import InputError
from inference.contract.predictions import Predictions
from inference.telemetry import Cell, Recorder

Submit = Callable[[Sequence[Any]], asyncio.Future[Predictions]]

LONG = 512
"""Bytes of a row that are kept as they are: the memory of a cache must not grow with the texts that callers send."""


class Cache:
    """At most `max_items` answers, each for `ttl_s` seconds, of the model whose version is `version`."""

    def __init__(self, version: str, *, max_items: int, ttl_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._version = version
        self._max_items = max_items
        self._ttl_s = ttl_s
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Predictions]] = OrderedDict()
        self._coming: dict[bytes, asyncio.Future[Predictions | None]] = {}  # None: its request failed, ask anew

    def __len__(self) -> int:
        return len(self._kept)

    def key(self, row: Any) -> bytes:
        """What a row is kept by: the model's version and the row, canonically; of a long row its sha256."""
        canonical = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
        return self._version.encode() + (canonical if len(canonical) <= LONG else hashlib.sha256(canonical).digest())

    async def get(self, rows: Sequence[Any], submit: Submit, recorder: Recorder) -> Predictions:
        """The answers for JSON rows: kept ones, those that are on their way, and `submit`'s for the rest.

        Raises:
            InputError: as `submit` does; nothing is kept of a request that fails.
        """
        keys = [self.key(row) for row in rows]
        found = [self._find(key) for key in keys]
        hits = sum(one is not None for one in found)
        recorder.add(Cell.CACHE_HITS, hits)
        recorder.add(Cell.CACHE_MISSES, len(keys) - hits)
        if hits == 0 and len(set(keys)) == len(keys):
            return await self._compute(rows, keys, submit)
        asked = (self._one(place, row, key, submit) for place, (row, key) in enumerate(zip(rows, keys, strict=True)))
        return Predictions.joined(await asyncio.gather(*asked))

    async def _one(self, place: int, row: Any, key: bytes, submit: Submit) -> Predictions:
        """The answer for one row of a request; `place` is where it stands there."""
        found = self._find(key)
        if isinstance(found, Predictions):
            return found
        if found is not None and (answer := await asyncio.shield(found)) is not None:
            return answer
        try:
            return await self._compute([row], [key], submit)
        except InputError as error:
            raise InputError(error.problem, row=place, column=error.column) from None

    def _find(self, key: bytes) -> Predictions | asyncio.Future[Predictions | None] | None:
        kept = self._kept.get(key)
        if kept is not None:
            if kept[0] > self._clock():
                self._kept.move_to_end(key)
                return kept[1]
            del self._kept[key]
        return self._coming.get(key)

    async def _compute(self, rows: Sequence[Any], keys: Sequence[bytes], submit: Submit) -> Predictions:
        future = submit(rows)
        loop = asyncio.get_running_loop()
        shares: list[asyncio.Future[Predictions | None]] = [loop.create_future() for _ in keys]
        for key, share in zip(keys, shares, strict=True):
            self._coming.setdefault(key, share)
        try:
            answers = await future
        except BaseException:
            for share in shares:  # another who waits may have more luck, and has row numbers of its own
                share.set_result(None)
            raise
        else:
            until = self._clock() + self._ttl_s
            for place, (key, share) in enumerate(zip(keys, shares, strict=True)):
                one = answers.rows(np.array([place]))  # a copy: a part would keep the numbers of its whole batch
                share.set_result(one)
                self._kept[key] = (until, one)
                self._kept.move_to_end(key)
            while len(self._kept) > self._max_items:
                self._kept.popitem(last=False)
            return answers
        finally:
            for key, share in zip(keys, shares, strict=True):
                if self._coming.get(key) is share:
                    del self._coming[key]
