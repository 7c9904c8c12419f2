"""What is counted, and where: cells of one piece of shared memory.

Each worker process adds to cells of its own (there is one writer a cell, so no lock), any process reads all of them
and adds them up. Counts therefore outlive the worker that made them, and one scrape of /metrics at any worker tells
about the whole server.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from time import monotonic

import orjson

STATUSES = (200, 400, 404, 405, 406, 408, 409, 413, 415, 424, 499, 500, 503, 504, 507)
ERRORS = (
    "input", "unsupported_media_type", "not_acceptable", "payload_too_large", "slow_request", "overloaded", "not_ready",
    "stopping", "deadline", "caller_gone", "model", "server", "not_found", "method_not_allowed", "other",
)  # fmt: skip
STAGES = ("queue", "transform", "model", "encode", "request")
"""Where time goes: waiting for a batch, reading and transforming a batch, the forward pass of a batch, writing an
answer, and a request from its headers to its answer."""
SECONDS = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    60.0,
)
"""Upper bounds of the latency histograms."""
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
"""Upper bounds of the histogram of batch sizes."""


class State(IntEnum):
    """Where a worker is; an empty cell is STARTING."""

    STARTING = 0
    READY = 1
    BROKEN = 2
    STOPPING = 3


class Cell(IntEnum):
    """Single cells of a recorder, before its histograms."""

    ROWS = 0
    QUEUED = 1
    IN_FLIGHT = 2
    CACHE_HITS = 3
    CACHE_MISSES = 4
    LAST_USED = 5


_STATUS = len(Cell)
_ERROR = _STATUS + len(STATUSES)
_BATCHES = _ERROR + len(ERRORS)
_STAGES = _BATCHES + len(ROWS) + 2
_WIDE = len(SECONDS) + 2  # a cell a bound, one for what is above the last, and the sum
CELLS = _STAGES + len(STAGES) * _WIDE
_STATUS_AT = {status: _STATUS + place for place, status in enumerate(STATUSES)}
_ERROR_AT = {error: _ERROR + place for place, error in enumerate(ERRORS)}
_STAGE_AT = {stage: _STAGES + place * _WIDE for place, stage in enumerate(STAGES)}
_GOOD = _STATUS_AT[200]
_QUEUE, _ENCODE, _REQUEST = (_STAGE_AT[stage] for stage in ("queue", "encode", "request"))
_ENCODE_SUM, _REQUEST_SUM = _ENCODE + _WIDE - 1, _REQUEST + _WIDE - 1

LABEL_BYTES = 512
_DOUBLE = 8


class Recorder:
    """One worker's cells for one model; every method is called on that worker's event loop alone."""

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview[float] | None = None) -> None:
        self._cells = cells if cells is not None else _private()

    @property
    def cells(self) -> Sequence[float]:
        """The raw numbers, for those who add them up."""
        return self._cells

    def detach(self) -> None:
        """Leave the cells to another: what is still counted goes nowhere."""
        self._cells = _private()

    def add(self, cell: Cell, amount: float = 1.0) -> None:
        """Add to a single cell."""
        self._cells[cell] += amount

    def put(self, cell: Cell, value: float) -> None:
        """Set a single cell, of a gauge."""
        self._cells[cell] = value

    def answered(self, status: int, seconds: float) -> None:
        """Count a request by its status, and the time that it took."""
        cells = self._cells
        cells[_STATUS_AT.get(status, _STATUS_AT[500])] += 1.0
        self.took("request", seconds)

    def failed(self, error: str) -> None:
        """Count an error by its kind, one of ERRORS."""
        self._cells[_ERROR_AT.get(error, _ERROR_AT["other"])] += 1.0

    def took(self, stage: str, seconds: float) -> None:
        """Put a duration into a stage's histogram."""
        cells, at = self._cells, _STAGE_AT[stage]
        cells[at + bisect_left(SECONDS, seconds)] += 1.0
        cells[at + _WIDE - 1] += seconds

    def good(self, whole_s: float, encode_s: float) -> None:
        """Count a request that was answered: the whole time that it took, and that of writing its answer."""
        cells = self._cells
        cells[_GOOD] += 1.0
        cells[_ENCODE + bisect_left(SECONDS, encode_s)] += 1.0
        cells[_ENCODE_SUM] += encode_s
        cells[_REQUEST + bisect_left(SECONDS, whole_s)] += 1.0
        cells[_REQUEST_SUM] += whole_s

    def batch(self, rows: int, waited_s: Sequence[float]) -> None:
        """Count a batch, its rows, and how long each request that begins in it has waited."""
        cells = self._cells
        for one in waited_s:
            cells[_QUEUE + bisect_left(SECONDS, one)] += 1.0
        cells[_QUEUE + _WIDE - 1] += sum(waited_s)
        cells[Cell.ROWS] += rows
        cells[_BATCHES + bisect_left(ROWS, rows)] += 1.0
        cells[_BATCHES + len(ROWS) + 1] += rows


def _private() -> memoryview[float]:
    return memoryview(bytearray(CELLS * _DOUBLE)).cast("d")


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound (the last bound is infinite), and the sum of what was observed."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of one model over all workers."""

    labels: dict[str, str]
    single: dict[Cell, float]
    statuses: dict[int, float]
    errors: dict[str, float]
    batches: Histogram
    stages: dict[str, Histogram]

    @property
    def last_used(self) -> float:
        """When the model was asked last, in seconds since 1970."""
        return self.single[Cell.LAST_USED]

    @classmethod
    def of(cls, labels: dict[str, str], cells: Sequence[float]) -> Totals:
        """Read the cells that a Recorder writes."""
        batches = cells[_BATCHES:_STAGES]
        stages = {stage: cells[at : at + _WIDE] for stage, at in _STAGE_AT.items()}
        return cls(
            labels=labels,
            single={cell: cells[cell] for cell in Cell},
            statuses={status: cells[at] for status, at in _STATUS_AT.items()},
            errors={error: cells[at] for error, at in _ERROR_AT.items()},
            batches=Histogram(ROWS, tuple(batches[:-1]), batches[-1]),
            stages={stage: Histogram(SECONDS, tuple(part[:-1]), part[-1]) for stage, part in stages.items()},
        )


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
        numbers = workers * (self._HEADER + blocks * CELLS) * _DOUBLE
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
        return workers * (cls._HEADER + blocks * CELLS) * _DOUBLE + blocks * LABEL_BYTES

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
        """Name what a block counts; None takes the block out of the totals and clears it."""
        data = orjson.dumps(labels) if labels is not None else b""
        if len(data) > LABEL_BYTES:
            data = orjson.dumps({name: value[:100] for name, value in (labels or {}).items()})
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
            cells[Cell.LAST_USED] = max(part[Cell.LAST_USED] for part in parts)
            yield Totals.of(labels, cells)

    def forget_gauges(self, worker: int) -> None:
        """Clear what a dead worker held: its queue and its requests in flight."""
        for block in range(self.blocks):
            recorder = self.recorder(worker, block)
            recorder.put(Cell.QUEUED, 0.0)
            recorder.put(Cell.IN_FLIGHT, 0.0)

    def _at(self, worker: int, block: int) -> int:
        return self.workers * self._HEADER + (block * self.workers + worker) * CELLS
