"""The shared memory in which a server's processes count, and say how they are.

Each worker process adds to cells of its own (there is one writer a cell, so no lock), any process reads all of them
and adds them up. Counts therefore outlive the worker that made them, and one scrape of /metrics at any worker tells
about the whole server.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from enum import IntEnum
from time import monotonic

import orjson

from inference.telemetry import CELLS, DOUBLE, Cell, Recorder, Totals

LABEL_BYTES = 512
"""For the labels of a block, as JSON."""
SHORT = 30
"""Characters that are left of a label where two do not fit: one has up to six bytes in JSON."""


class State(IntEnum):
    """Where a worker is; an empty cell is STARTING."""

    STARTING = 0
    READY = 1
    BROKEN = 2
    STOPPING = 3


class Board:
    """The shared memory: a state, a process id and a heartbeat a worker, and blocks of recorders, one a model.

    Block 0 is the server's own: its model in single-model mode, and what belongs to no model otherwise.
    """

    _HEADER = 4

    def __init__(self, fd: int, workers: int, blocks: int) -> None:
        self.fd = fd
        self.workers = workers
        self.blocks = blocks
        self._map = mmap.mmap(fd, self._size(workers, blocks))
        whole = memoryview(self._map)
        numbers = workers * (self._HEADER + blocks * CELLS) * DOUBLE
        self._cells = whole[:numbers].cast("d")
        self._labels = whole[numbers:]

    @classmethod
    def create(cls, workers: int, blocks: int) -> Board:
        """An empty board, in memory that processes share by its file descriptor."""
        fd = os.memfd_create("sagestage-board", 0)
        os.ftruncate(fd, cls._size(workers, blocks))
        return cls(fd, workers, blocks)

    @classmethod
    def private(cls) -> Board:
        """A board of one worker and one block that nobody else sees."""
        board = cls.create(1, 1)
        os.close(board.fd)
        board.label(0, {})
        return board

    @classmethod
    def _size(cls, workers: int, blocks: int) -> int:
        return workers * (cls._HEADER + blocks * CELLS) * DOUBLE + blocks * LABEL_BYTES

    def set_state(self, worker: int, state: State, pid: int | None = None) -> None:
        """Say where a worker is."""
        self._cells[worker * self._HEADER] = float(state)
        if pid is not None:
            self._cells[worker * self._HEADER + 1] = float(pid)

    def states(self) -> list[State]:
        """Where each worker is."""
        return [State(int(self._cells[worker * self._HEADER])) for worker in range(self.workers)]

    def pids(self) -> list[int]:
        """The process of each worker."""
        return [int(self._cells[worker * self._HEADER + 1]) for worker in range(self.workers)]

    def beat(self, worker: int) -> None:
        """Note that the worker's event loop turns."""
        self._cells[worker * self._HEADER + 2] = monotonic()

    def silent_s(self, worker: int) -> float:
        """For how long the worker's loop has not turned."""
        return monotonic() - self._cells[worker * self._HEADER + 2]

    def restarted(self) -> None:
        """Count the restart of a worker."""
        self._cells[3] += 1.0

    @property
    def restarts(self) -> float:
        """How many workers were started again after a crash."""
        return self._cells[3]

    def recorder(self, worker: int, block: int = 0) -> Recorder:
        """A worker's cells of a block."""
        start = self._at(worker, block)
        return Recorder(self._cells[start : start + CELLS])

    def label(self, block: int, labels: dict[str, str] | None) -> None:
        """Name what a block counts; None takes the block out of the totals and clears it. Long names are shortened."""
        data = orjson.dumps(labels) if labels is not None else b""
        if len(data) > LABEL_BYTES:
            data = orjson.dumps({name: _short(value) for name, value in (labels or {}).items()})
        if labels is None:
            for worker in range(self.workers):
                start = self._at(worker, block)
                for cell in range(start, start + CELLS):
                    self._cells[cell] = 0.0
        self._labels[block * LABEL_BYTES : (block + 1) * LABEL_BYTES] = data.ljust(LABEL_BYTES, b"\0")

    def labels(self, block: int) -> dict[str, str] | None:
        """What a block counts; None for a free one."""
        data = bytes(self._labels[block * LABEL_BYTES : (block + 1) * LABEL_BYTES]).rstrip(b"\0")
        if not data:
            return None
        labels: dict[str, str] = orjson.loads(data)
        return labels

    def totals(self) -> Iterator[Totals]:
        """The sums over all workers, a block at a time."""
        for block in range(self.blocks):
            labels = self.labels(block)
            if labels is None:
                continue
            starts = [self._at(worker, block) for worker in range(self.workers)]
            parts = [self._cells[start : start + CELLS].tolist() for start in starts]
            cells = [sum(column) for column in zip(*parts, strict=True)]
            yield Totals.of(labels, cells)

    def last_used(self, block: int) -> float:
        """When the model of a block was asked last, by any worker, in seconds since 1970."""
        return max(self._cells[self._at(worker, block) + Cell.LAST_USED] for worker in range(self.workers))

    def forget_gauges(self, worker: int) -> None:
        """Clear what a dead worker held: its queue and its requests in flight."""
        for block in range(self.blocks):
            recorder = self.recorder(worker, block)
            recorder.put(Cell.QUEUED, 0.0)
            recorder.put(Cell.IN_FLIGHT, 0.0)

    def _at(self, worker: int, block: int) -> int:
        return self.workers * self._HEADER + (block * self.workers + worker) * CELLS


def _short(value: str) -> str:
    """A label that stays different from others that begin alike."""
    if len(value) <= SHORT:
        return value
    return f"{value[:SHORT]}…{hashlib.sha256(value.encode()).hexdigest()[:12]}"
