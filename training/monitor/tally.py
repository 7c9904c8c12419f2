"""Counts of one model behind one variant: integers, so that neither order nor file boundaries nor readers matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np

from inference.contract.schema import Floats, Kind
from training.monitor.baseline import HOURS, NO_HOUR, Baseline
from training.monitor.payloads import Row
from training.monitor.scales import VIOLATION, Cells, Codes, Scale, counted

FINE = 1 << 16
"""Means and deviations are summed in steps of a 65,536th of the training rows' standard deviation."""
FAR = 64.0
"""A value further from their mean than so many standard deviations counts as so far."""
ISO_SECONDS = 19
_NUMBERS = {float, int, type(None)}
_TEXTS = {str, type(None)}


@dataclass
class ColumnTally:
    """What was seen of one column.

    Attributes:
        cells: values by cell.
        violations: values of another type; they are in no cell.
        outside: numbers below the least or above the greatest training value.
        low, high: the least and the greatest number.
        total, squares: of the values in steps (FINE) from the training rows' mean, and of their squares.
    """

    scale: Scale
    cells: Cells
    violations: int = 0
    outside: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    total: int = 0
    squares: int = 0

    @classmethod
    def of(cls, scale: Scale) -> Self:
        """Nothing seen yet."""
        return cls(scale, np.zeros(scale.size, dtype=np.int64))

    def add(self, values: Sequence[Any]) -> None:
        """Count values as JSON has them."""
        kind = self.scale.kind
        if kind is Kind.CATEGORICAL:
            codes = self._texts(values)
        elif kind is Kind.TIME:
            codes = self._times(values)
        else:
            codes = self._numbers(values)
        self.cells += counted(codes, self.scale.size)
        self.violations += int(np.count_nonzero(codes == VIOLATION))

    def _texts(self, values: Sequence[Any]) -> Codes:
        places, other = self.scale.places, self.scale.size - 2
        if set(map(type, values)) <= _TEXTS:
            return np.array([places.get(value, other) for value in values], dtype=np.uint8)
        fit = (places.get(v, other) if v is None or isinstance(v, str) else VIOLATION for v in values)
        return np.fromiter(fit, dtype=np.uint8, count=len(values))

    def _times(self, values: Sequence[Any]) -> Codes:
        missing = self.scale.missing
        fit = (missing if v is None else 0 if isinstance(v, str | int | float) else VIOLATION for v in values)
        return np.fromiter(fit, dtype=np.uint8, count=len(values))

    def _numbers(self, values: Sequence[Any]) -> Codes:
        wrong = None
        if not set(map(type, values)) <= _NUMBERS:
            wrong = np.array([type(value) not in _NUMBERS for value in values])
            values = [None if bad else value for value, bad in zip(values, wrong.tolist(), strict=True)]
        numbers: Floats = np.array(values, dtype=np.float64)
        there = ~np.isnan(numbers)
        present = numbers if there.all() else numbers[there]
        if self.scale.kind is Kind.INTEGER:
            broken = np.rint(present) != present
            if broken.any():
                places = np.flatnonzero(there)[broken]
                wrong = np.zeros(len(numbers), dtype=np.bool_) if wrong is None else wrong
                wrong[places] = True
                present = present[~broken]
        self._sum(present)
        codes = self.scale.of(numbers)
        if wrong is not None:
            codes[wrong] = VIOLATION
        return codes

    def _sum(self, present: Floats) -> None:
        scale = self.scale
        if not len(present):
            return
        low, high = float(present.min()), float(present.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if scale.low is not None and scale.high is not None and (low < scale.low or high > scale.high):
            self.outside += int(np.count_nonzero((present < scale.low) | (present > scale.high)))
        step = (scale.std or 1.0) / FINE
        steps = np.clip(np.rint((present - scale.mean) / step), -FAR * FINE, FAR * FINE).astype(np.int64)
        self.total += int(steps.sum())
        self.squares += int((steps * steps).sum())  # at most 2 ** 44 each: 2 ** 19 of them fit

    @property
    def seen(self) -> int:
        """Values in cells, missing ones among them."""
        return int(self.cells.sum())

    @property
    def missing(self) -> int:
        """Values that were missing."""
        return int(self.cells[-1])

    def moments(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the numbers; None where there was none."""
        count = self.seen - self.missing
        if self.scale.kind is Kind.CATEGORICAL or count <= 0 or self.low > self.high:
            return None
        step = (self.scale.std or 1.0) / FINE
        mean = self.total / count
        return self.scale.mean + mean * step, float(np.sqrt(max(self.squares / count - mean**2, 0.0))) * step

    def merge(self, other: ColumnTally) -> None:
        """Take in what another reader counted."""
        self.cells += other.cells
        self.violations += other.violations
        self.outside += other.outside
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.total += other.total
        self.squares += other.squares


@dataclass
class Tally:
    """All columns, the answers and the hours of one model behind one variant.

    Attributes:
        records: captured requests.
        rows: rows of them.
        hours: rows by hour of the day, of those that tell it.
        first, last: when the first and the last record was made, ISO 8601.
    """

    columns: list[ColumnTally]
    prediction: ColumnTally | None
    clock: int | None
    clock_is_time: bool
    records: int = 0
    rows: int = 0
    hours: Cells = field(default_factory=lambda: np.zeros(HOURS, dtype=np.int64))
    first: str = ""
    last: str = ""

    @classmethod
    def of(cls, baseline: Baseline) -> Self:
        """Nothing seen yet."""
        names = [scale.name for scale in baseline.columns]
        return cls(
            [ColumnTally.of(scale) for scale in baseline.columns],
            None if baseline.prediction is None else ColumnTally.of(baseline.prediction),
            None if baseline.clock is None else names.index(baseline.clock),
            baseline.clock_is_time,
        )

    def add(self, rows: Sequence[Row], answers: Sequence[Any]) -> None:
        """Count rows, and the answers of some of them."""
        if rows:
            columns = list(zip(*rows, strict=True))
            for tally, values in zip(self.columns, columns, strict=True):
                tally.add(values)
            self.rows += len(rows)
            if self.clock is not None:
                codes = [_hour(value, is_time=self.clock_is_time) for value in columns[self.clock]]
                self.hours += counted(np.array(codes, dtype=np.uint8), HOURS)
        if answers and self.prediction is not None:
            if self.prediction.scale.kind is Kind.CATEGORICAL:
                answers = [value if value is None else _name(value) for value in answers]
            self.prediction.add(answers)

    def merge(self, other: Tally) -> None:
        """Take in what another reader counted."""
        for mine, theirs in zip(self.columns, other.columns, strict=True):
            mine.merge(theirs)
        if self.prediction is not None and other.prediction is not None:
            self.prediction.merge(other.prediction)
        self.records += other.records
        self.rows += other.rows
        self.hours += other.hours
        self.first = min(filter(None, (self.first, other.first)), default="")
        self.last = max(self.last, other.last)

    def seen_at(self, moment: str) -> None:
        """Note when a record was made."""
        if not self.first or moment < self.first:
            self.first = moment
        self.last = max(self.last, moment)


def _name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _hour(value: Any, *, is_time: bool) -> int:
    """The hour of the day that a value tells."""
    if type(value) is str and is_time:
        if len(value) == ISO_SECONDS and value[11:13].isdigit():  # a naive time is UTC: 2026-01-31T12:00:00
            return int(value[11:13])
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return NO_HOUR
        return (found.astimezone(UTC) if found.tzinfo else found).hour
    if type(value) in (int, float):
        hour = int(value % 86_400 // 3_600) if is_time else int(value)
        return hour if 0 <= hour < HOURS else NO_HOUR
    return NO_HOUR
