"""The metric store: distributions in narrow cells of time, so that any period and any percentile can be answered."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_MOST_CELLS = 20_000
_KEPT_NARROW = 10_000
_WIDE_S = 60.0
_DIGITS = 4
_PERCENT = 100


class Key(NamedTuple):
    """A metric. `dimensions` are (name, value) pairs, sorted."""

    region: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


@dataclass
class Cell:
    """The values of one span of time. `values` counts each value; None where only their statistics are known."""

    count: float = 0.0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    values: dict[float, float] | None = field(default_factory=dict)

    def add(self, values: Mapping[float, float]) -> None:
        """Take values, each with how often it came."""
        self.count += sum(values.values())
        self.total += sum(value * count for value, count in values.items())
        self.least, self.most = min(self.least, *values), max(self.most, *values)
        self._spread(values)

    def merge(self, other: "Cell") -> None:
        """Take what another cell has."""
        self.count += other.count
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self._spread(other.values)

    def _spread(self, values: Mapping[float, float] | None) -> None:
        if self.values is None or values is None:
            self.values = None
            return
        for value, count in values.items():
            near = rounded(value)
            self.values[near] = self.values.get(near, 0.0) + count

    def statistic(self, name: str) -> float | None:
        """Average, Sum, Minimum, Maximum, SampleCount or a percentile (p95); None where it cannot be known."""
        if not self.count:
            return None
        known = {
            "SampleCount": self.count,
            "Sum": self.total,
            "Average": self.total / self.count,
            "Minimum": self.least,
            "Maximum": self.most,
        }
        if name in known:
            return known[name]
        return None if self.values is None else percentile(self.values, float(name[1:]))


def percentile(values: Mapping[float, float], percent: float) -> float:
    """The value that `percent` of the counted values do not exceed, between two of them in proportion."""
    ordered = sorted(values.items())
    rank = percent / _PERCENT * (sum(values.values()) - 1)
    below, passed = ordered[0][0], 0.0
    for value, count in ordered:
        if passed + count - 1 >= rank:
            # `rank` falls on this value, or between the one before and this one.
            return value if rank >= passed else below + (value - below) * (rank - passed + 1)
        passed += count
        below = value
    return below


def rounded(value: float) -> float:
    """To four significant digits: a percentile is right within 0.05 %, and a cell stays small."""
    if value == 0 or (value == int(value) and abs(value) < 10**_DIGITS):
        return value
    return round(value, _DIGITS - 1 - math.floor(math.log10(abs(value))))


class Store:
    """All series. It is used by the event loop and by moto's threads.

    Args:
        cell_s: the width of a cell in seconds; what lies longer ago is kept in cells of a minute.
    """

    def __init__(self, cell_s: float = 1.0) -> None:
        self.cell_s = cell_s
        self._lock = threading.Lock()
        self._series: dict[Key, dict[int, Cell]] = {}
        self._units: dict[Key, str] = {}

    def put(self, key: Key, moment: float, values: Mapping[float, float], unit: str = "None") -> None:
        """Take values of a moment (seconds since 1970), each with how often it came."""
        if values:
            cell = Cell()
            cell.add(values)
            self.put_cell(key, moment, cell, unit)

    def put_cell(self, key: Key, moment: float, cell: Cell, unit: str = "None") -> None:
        """Take the statistics of a moment."""
        with self._lock:
            cells = self._series.setdefault(key, {})
            self._units[key] = unit
            index = int(moment // self.cell_s)
            if index in cells:
                cells[index].merge(cell)
            else:
                cells[index] = cell
            if len(cells) > _MOST_CELLS:
                self._series[key] = self._compacted(cells)

    def keys(self) -> list[Key]:
        """Every metric that has data."""
        with self._lock:
            return list(self._series)

    def unit(self, key: Key) -> str:
        """The unit that a metric was last put with."""
        return self._units.get(key, "None")

    def periods(self, key: Key, start: float, end: float, period_s: float) -> dict[float, Cell]:
        """The periods from `start` on and before `end` that have data, by the moment at which they begin.

        Periods are aligned to multiples of their length since 1970.
        """
        width = max(1, round(period_s / self.cell_s))
        first = int(start // self.cell_s) // width * width
        last = math.ceil(end / self.cell_s)
        found: dict[int, Cell] = {}
        with self._lock:
            cells = self._series.get(key, {})
            near = range(first, last) if last - first < len(cells) else sorted(cells)
            for index in near:
                if first <= index < last and index in cells:
                    found.setdefault(index // width, Cell()).merge(cells[index])
        return {number * width * self.cell_s: cell for number, cell in found.items()}

    def _compacted(self, cells: dict[int, Cell]) -> dict[int, Cell]:
        width = max(1, round(_WIDE_S / self.cell_s))
        ordered = sorted(cells)
        made: dict[int, Cell] = {}
        for index in ordered[:-_KEPT_NARROW]:
            made.setdefault(index // width * width, Cell()).merge(cells[index])
        for index in ordered[-_KEPT_NARROW:]:
            made.setdefault(index, Cell()).merge(cells[index])
        return made
