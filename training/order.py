"""Rows in order: whether they are, how to put them, and what is odd about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from inference.contract.schema import Column, Floats, Indices, Kind

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
        step: the usual step, in seconds for times; None where no step makes up half of them.
        longest: the longest step.
    """

    was_sorted: bool
    duplicates: int
    gaps: int
    step: float | None
    longest: float

    def warnings(self, order: Sequence[str], *, times: bool) -> list[str]:
        """One sentence for each oddity."""
        columns = ", ".join(order)
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


def permutation(keys: Floats) -> Indices | None:
    """The stable order of rows by keys of shape (rows, columns), the first column first; None when in order already."""
    before, after = keys[:-1], keys[1:]
    tied = np.ones(len(before), dtype=np.bool_)
    for column in range(keys.shape[1]):
        if (tied & (after[:, column] < before[:, column])).any():
            return np.asarray(np.lexsort(keys.T[::-1]), dtype=np.int64)
        tied &= after[:, column] == before[:, column]
    return None


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


def report(keys: Floats, line: Floats | None, *, was_sorted: bool) -> OrderReport:
    """Look at rows in order: `keys` of shape (rows, columns) and their axis, if there is one."""
    duplicates = int(np.count_nonzero((keys[1:] == keys[:-1]).all(axis=1)))
    if line is None or len(line) < 2:  # a step takes two rows
        return OrderReport(was_sorted, duplicates, 0, None, 0.0)
    steps = np.diff(line)
    moving = np.sort(steps[steps > 0.0])
    if not len(moving):
        return OrderReport(was_sorted, duplicates, 0, None, 0.0)
    usual = float(moving[len(moving) // 2])
    regular = 2 * int(np.count_nonzero(moving == usual)) > len(moving)
    gaps = int(np.count_nonzero(moving > 1.5 * usual)) if regular else 0
    return OrderReport(was_sorted, duplicates, gaps, usual if regular else None, float(moving[-1]))


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
