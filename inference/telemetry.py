"""What is counted for a model: plain numbers in a row of cells, which a worker writes and `board` adds up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

STATUSES = (200, 400, 404, 405, 406, 408, 409, 413, 415, 424, 431, 499, 500, 503, 504, 507)
ERRORS = (
    "input", "malformed", "unsupported_media_type", "not_acceptable", "payload_too_large", "slow_request", "overloaded",
    "not_ready", "stopping", "deadline", "caller_gone", "model", "server", "not_found", "method_not_allowed", "other",
)  # fmt: skip
STAGES = ("queue", "transform", "model", "encode", "request")
"""Where time goes: waiting for a batch, reading and transforming a batch, the forward pass of a batch, writing an
answer, and a request from its headers to its answer."""
SECONDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip
"""Upper bounds of the latency histograms."""
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
"""Upper bounds of the histogram of batch sizes."""
DOUBLE = 8
"""Bytes of a cell."""


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
    return memoryview(bytearray(CELLS * DOUBLE)).cast("d")


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
