"""Predictions kept on disk by InferenceId until the truth is joined to them, in parts that fit into memory.

Both sides of a join are dealt into the same number of files by the digest of the id; each pair of files is then joined
by itself. So the memory is that of one part, however many records and labels there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import orjson

PARTS = 64
BUFFER_BYTES = 1 << 16


class Told(NamedTuple):
    """What a model said: a value a row, and its probabilities."""

    values: Sequence[Any]
    probabilities: Sequence[Sequence[float]] | None = None


class Pairs:
    """Writes lines into the part of their id; without a folder it takes nothing."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder, self._name = folder, name
        self._files: list[BinaryIO] = []
        self._stack = ExitStack()

    @classmethod
    def writer(cls, folder: Path | None, reader: int, side: str = "told") -> Self:
        """For one reader of records ("told") or of labels ("truth")."""
        return cls(folder, f"{side}-{reader}")

    @property
    def open(self) -> bool:
        """Whether anything is kept."""
        return self._folder is not None

    def add(self, variant: str, identity: str, span: int, told: Told, segments: Sequence[Any] | None) -> None:
        """Keep the answers to one request, of a span of the window."""
        self.write(identity, [variant, span, list(told.values), told.probabilities, segments])

    def write(self, identity: str, content: Any) -> None:
        """Keep something of an id."""
        if self._files:
            line = orjson.dumps([identity, content], option=orjson.OPT_APPEND_NEWLINE)
            self._files[part_of(identity)].write(line)

    def __enter__(self) -> Self:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            for part in range(PARTS):
                place = self._folder / f"{self._name}-{part}"
                self._files.append(self._stack.enter_context(place.open("wb", buffering=BUFFER_BYTES)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)


def part_of(identity: str) -> int:
    """The part that an id is dealt into."""
    return zlib.crc32(identity.encode()) % PARTS


def lines(folder: Path, side: str, part: int) -> Iterator[tuple[str, Any]]:
    """What all readers of a side kept of a part: the id and its content."""
    for place in sorted(folder.glob(f"{side}-*-{part}")):
        with place.open("rb") as file:
            for line in file:
                identity, content = orjson.loads(line)
                yield identity, content
