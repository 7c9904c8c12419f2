"""Rows in order: whether they are, how to put them, and what is odd about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Column, Floats, Kind
from training.statistics import order_statistics

_SECONDS = (86_400.0, 3_600.0, 60.0, 1.0)
_BELOW = (None, 24.0, 60.0, 60.0)
"""A date, and integer columns below these, are taken for hour, minute and second of one clock."""


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What there is to know about the order of the rows.

    Attributes:
        was_sorted: whether the file was in order.
        duplicates: rows with the same order values as the row before.
        gaps: steps longer than the usual one; 0 where there is no usual one.
        step: the usual step of an entity, in seconds for times; None where no step makes up half of them.
        longest: the longest step.
    """

    was_sorted: bool
    duplicates: int
    gaps: int
    step: float | None
    longest: float

    def warnings(self, order: Sequence[str], *, times: bool, within: Sequence[str] = ()) -> list[str]:
        """One sentence for each oddity; `within` are the columns that name the entity."""
        columns = ", ".join([*within, *order])
        found = []
        if not self.was_sorted:
            found.append(f"the rows were not in order of {columns}: sorted (equal rows keep their order)")
        if self.duplicates:
            found.append(f"{self.duplicates} rows have the same {columns} as the row before")
        if self.gaps and self.step is not None:
            unit = " s" if times else ""
            found.append(
                f"{self.gaps} gaps in {columns}: steps longer than the usual {self.step:g}{unit}"
                f" (the longest {self.longest:g}{unit}); lags count rows"
            )
        return found


def axis(keys: Floats, columns: Sequence[Column]) -> Floats | None:
    """One number a row that grows with the order; seconds since 1970 where the first column is a time.

    A date may be followed by integer columns for its hour, minute and second. None for keys that make no axis.
    """
    if keys.shape[1] == 1:
        return keys[:, 0]
    if columns[0].kind is not Kind.TIME or keys.shape[1] > len(_SECONDS):
        return None
    total = keys[:, 0].copy()
    for column, seconds, below in zip(range(1, keys.shape[1]), _SECONDS[1:], _BELOW[1:], strict=False):
        values = keys[:, column]
        if columns[column].kind is not Kind.INTEGER or values.min() < 0.0 or (below and values.max() >= below):
            return None
        total += values * seconds
    return total


@dataclass
class Watch:
    """Whether rows are in order, block by block; the keys of a row's entity stand before those of its time."""

    sorted: bool = True
    _last: Floats | None = None

    def add(self, keys: Floats) -> None:
        """The next rows' keys, shape (rows, columns)."""
        if not self.sorted or not len(keys):
            return
        before = np.concatenate([keys[:1] if self._last is None else self._last, keys[:-1]])
        tied = np.ones(len(keys), dtype=np.bool_)
        for column in range(keys.shape[1]):
            if (tied & (keys[:, column] < before[:, column])).any():
                self.sorted = False
                return
            tied &= keys[:, column] == before[:, column]
        self._last = keys[-1:]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Rows in order: their keys, their places on the axis if there is one, and whether each begins an entity."""

    keys: Floats
    line: Floats | None
    begins: NDArray[np.bool_]

    def after(self, before: Stretch | None) -> Stretch:
        """The same rows behind the last one of the stretch before."""
        if before is None:
            return self
        return Stretch(
            np.concatenate([before.keys[-1:], self.keys]),
            None if before.line is None or self.line is None else np.concatenate([before.line[-1:], self.line]),
            np.concatenate([before.begins[-1:], self.begins]),
        )

    @property
    def steps(self) -> Floats:
        """From each row to the next of its entity, where they differ; none where there is no axis."""
        if self.line is None:
            return np.empty(0)
        steps = np.diff(self.line)[~self.begins[1:]]
        return np.asarray(steps[steps > 0.0])


Stretches = Callable[[], Iterator[Stretch]]


def report(stretches: Stretches, *, was_sorted: bool) -> OrderReport:
    """Look at rows in order, block by block."""
    duplicates, moves, shortest, longest = 0, 0, math.inf, 0.0
    for found in joined(stretches):
        same = (found.keys[1:] == found.keys[:-1]).all(axis=1)
        duplicates += int(np.count_nonzero(same & ~found.begins[1:]))
        steps = found.steps
        moves += len(steps)
        shortest = min(shortest, float(steps.min(initial=math.inf)))
        longest = max(longest, float(steps.max(initial=0.0)))
    if not moves:
        return OrderReport(was_sorted, duplicates, 0, None, 0.0)
    if shortest == longest:
        return OrderReport(was_sorted, duplicates, 0, longest, longest)
    middle = moves // 2
    usual = order_statistics(lambda: (found.steps[:, None] for found in joined(stretches)), [[middle]])[0][middle]
    same_steps, gaps = 0, 0
    for found in joined(stretches):
        same_steps += int(np.count_nonzero(found.steps == usual))
        gaps += int(np.count_nonzero(found.steps > 1.5 * usual))
    regular = 2 * same_steps > moves
    return OrderReport(was_sorted, duplicates, gaps if regular else 0, usual if regular else None, longest)


def joined(stretches: Stretches) -> Iterator[Stretch]:
    """Stretches that each begin with the last row of the one before."""
    before: Stretch | None = None
    for found in stretches():
        yield found.after(before)
        before = found


def describe(key: Floats, columns: Sequence[Column], line: float | None) -> str:
    """Where a row stands in the order, for people and manifests: an ISO time, or the order columns' values."""
    if columns[0].kind is Kind.TIME and line is not None:
        return datetime.fromtimestamp(line, UTC).replace(tzinfo=None).isoformat()
    return ", ".join(
        f"{column.name}={value!r}".removesuffix(".0") for column, value in zip(columns, key.tolist(), strict=True)
    )


def position(text: str, *, timed: bool) -> float:
    """Where on the axis a row stands that `describe` described.

    Raises:
        ValueError: the text is not of that form, or describes several columns that make no axis.
    """
    if timed:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    _, equals, value = text.partition("=")
    if not equals:
        raise ValueError(text)
    return float(value)
