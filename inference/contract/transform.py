"""The fitted transform: frozen state and the only `apply` there is.

Training fits it, the archive carries it, the server applies it. The order of the steps is fixed: clip, impute,
scale, products, calendar, levels, lags and windows. Every feature of a row is computed from that row and its own
history, in a fixed order of operations, so the result depends neither on the rows beside it nor on
where a chunk begins: training in chunks, a batch of strangers and one row alone give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inference.contract.errors import InputError
from inference.contract.schema import Floats, Frozen, Rows, Schema

SECONDS_A_DAY = 86_400.0


class NumericFit(Frozen):
    """A numeric or integer input: clipped to its bounds if it has any, missing values imputed, standardised.

    `std` has ddof 1; a constant column (std 0) scales to 0.
    """

    name: str
    impute: float
    mean: float
    std: float
    lower: float | None = None
    upper: float | None = None


class LevelsFit(Frozen):
    """A categorical input, or an integer that is a code: one feature a level.

    A missing or unseen level is 0 in all of them. `levels` are texts for categorical columns, numbers for integers.
    """

    name: str
    levels: tuple[str, ...] | tuple[float, ...]


class CalendarPart(StrEnum):
    """A cycle of the calendar, told by the sine and cosine of its phase."""

    HOUR = "hour"
    WEEKDAY = "weekday"
    YEARDAY = "yearday"


class CalendarFit(Frozen):
    """A time input: the cycles that varied in the training rows. A missing time is 0 in all of them."""

    name: str
    parts: tuple[CalendarPart, ...]


class HistoryFit(Frozen):
    """Lags and a rolling mean and std (ddof 1) of one column, over the rows before.

    The target's window ends at the row before; an input's window includes the row itself. A row that is missing from
    the history counts as `mean`. All are scaled by `mean` and `std` (a std of 0 scales to 0).
    """

    name: str
    lags: tuple[int, ...]
    window: int | None
    mean: float
    std: float
    of_target: bool

    @property
    def rows(self) -> int:
        """How many earlier rows are needed."""
        reach = 0 if self.window is None else self.window - (0 if self.of_target else 1)
        return max((*self.lags, reach), default=0)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What `apply` makes of m rows.

    Attributes:
        matrix: float32, shape (m, features), in the order of `Transform.feature_names`.
        complete: bool, shape (m,): whether every row of the needed history was there, with a value.
        clipped, imputed, unseen: int64, shape (columns,): values changed, by column of the schema.
    """

    matrix: NDArray[np.float32]
    complete: NDArray[np.bool_]
    clipped: NDArray[np.int64]
    imputed: NDArray[np.int64]
    unseen: NDArray[np.int64]


class Transform(Frozen):
    """Everything that was fitted on the training rows, and how it is applied.

    `table` names and types the columns; each input column stands in at most one of `numeric`, `calendar` and `levels`;
    `products` are numeric columns whose squares and pairwise products (of scaled values) become features.
    `target_mean` and `target_std` scale a regression's output back; `classes` are a classification's labels in the
    order of the network's outputs. `missing_history` says what a row without its earlier rows gets: the mean of the
    column, or a refusal.
    """

    table: Schema
    numeric: tuple[NumericFit, ...] = ()
    products: tuple[str, ...] = ()
    calendar: tuple[CalendarFit, ...] = ()
    levels: tuple[LevelsFit, ...] = ()
    history: tuple[HistoryFit, ...] = ()
    missing_history: Literal["impute", "reject"] = "impute"
    target_mean: float = 0.0
    target_std: float = 1.0
    classes: tuple[str, ...] | tuple[int, ...] = ()

    @cached_property
    def history_rows(self) -> int:
        """How many earlier rows a row needs."""
        return max((fit.rows for fit in self.history), default=0)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """One name a column of the feature matrix."""
        return tuple(self._names())

    def apply(self, rows: Rows) -> Features:
        """Turn m emitted rows into a float32 matrix of shape (m, features).

        Raises:
            InputError: a row's history is incomplete and `missing_history` is "reject".
        """
        count, columns = len(rows), len(self.table.columns)
        changes = np.zeros((3, columns), dtype=np.int64)
        matrix = np.empty((count, len(self.feature_names)), dtype=np.float32)
        complete = np.ones(count, dtype=np.bool_)
        column = 0
        here = rows.values[rows.emit]
        scaled: dict[str, Floats] = {}
        for numeric in self.numeric:
            index = self.table.index(numeric.name)
            values = _clean(numeric, here[:, index], changes[:, index])
            scaled[numeric.name] = _scale(values, numeric.mean, numeric.std)
            matrix[:, column] = scaled[numeric.name]
            column += 1
        for left, right in combinations_with_replacement(self.products, 2):
            matrix[:, column] = scaled[left] * scaled[right]
            column += 1
        for calendar in self.calendar:
            seconds = here[:, self.table.index(calendar.name)]
            for part in calendar.parts:
                matrix[:, column], matrix[:, column + 1] = _cycle(seconds, part)
                column += 2
        for fit in self.levels:
            index = self.table.index(fit.name)
            hot, changes[1, index], changes[2, index] = _one_hot(fit, here[:, index])
            matrix[:, column : column + len(fit.levels)] = hot
            column += len(fit.levels)
        for past in self.history:
            for values in self._history(past, rows, complete):
                matrix[:, column] = values
                column += 1
        if self.missing_history == "reject" and not complete.all():
            row = int(np.flatnonzero(~complete)[0])
            raise InputError(f"needs {self.history_rows} earlier rows in 'history', each with its values", row=row)
        return Features(matrix, complete, *changes)

    def _history(self, fit: HistoryFit, rows: Rows, complete: NDArray[np.bool_]) -> Iterator[Floats]:
        """The column's lags, then its rolling mean and std; marks the rows whose history is incomplete."""
        source = rows.values[:, self.table.index(fit.name)]
        numeric = next((known for known in self.numeric if known.name == fit.name), None)
        if numeric is not None:
            source = _clip(numeric, source)

        def earlier(steps: int) -> Floats:
            position = rows.emit - steps
            found: Floats = np.where(position >= rows.start, source[np.maximum(position, 0)], np.nan)
            absent = np.isnan(found)
            if steps > 0:
                np.logical_and(complete, ~absent, out=complete)
            return np.where(absent, fit.mean, found)

        for lag in fit.lags:
            yield _scale(earlier(lag), fit.mean, fit.std)
        if fit.window is None:
            return
        first = 1 if fit.of_target else 0
        window = [earlier(steps) for steps in range(first, first + fit.window)]
        mean = _sum(window) / fit.window
        yield _scale(mean, fit.mean, fit.std)
        spread = np.sqrt(_sum([np.square(values - mean) for values in window]) / (fit.window - 1))
        yield _scale(spread, 0.0, fit.std)

    def _names(self) -> Iterator[str]:
        yield from (fit.name for fit in self.numeric)
        yield from (f"{left}*{right}" for left, right in combinations_with_replacement(self.products, 2))
        for calendar in self.calendar:
            for part in calendar.parts:
                yield f"{calendar.name}.{part}.sin"
                yield f"{calendar.name}.{part}.cos"
        for fit in self.levels:
            yield from (f"{fit.name}={level}" for level in fit.levels)
        for past in self.history:
            yield from (f"{past.name}.lag{lag}" for lag in past.lags)
            if past.window is not None:
                yield f"{past.name}.mean{past.window}"
                yield f"{past.name}.std{past.window}"


def calendar_phase(seconds: Floats, part: CalendarPart) -> Floats:
    """The phase, in 0..1, of times (seconds since 1970 UTC) in a cycle of the calendar."""
    days = np.floor(seconds / SECONDS_A_DAY)
    if part is CalendarPart.HOUR:
        return np.asarray(seconds / SECONDS_A_DAY - days)
    if part is CalendarPart.WEEKDAY:
        return np.asarray(np.mod(days + 3.0, 7.0) / 7.0)  # 1970-01-01 was a Thursday; Monday has phase 0
    date = np.where(np.isnan(days), 0.0, days).astype("datetime64[D]")
    yearday = (date - date.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64)
    return np.where(np.isnan(days), np.nan, yearday / 366.0)


def _cycle(seconds: Floats, part: CalendarPart) -> tuple[Floats, Floats]:
    angle = 2.0 * np.pi * calendar_phase(seconds, part)
    missing = np.isnan(angle)
    return np.where(missing, 0.0, np.sin(angle)), np.where(missing, 0.0, np.cos(angle))


def _clip(fit: NumericFit, values: Floats) -> Floats:
    if fit.lower is None or fit.upper is None:
        return values
    return np.clip(values, fit.lower, fit.upper)


def _clean(fit: NumericFit, values: Floats, changes: NDArray[np.int64]) -> Floats:
    """Clip and impute; count both in `changes` (clipped, imputed, unseen)."""
    clipped = _clip(fit, values)
    missing = np.isnan(values)
    changes[1] = np.count_nonzero(missing)
    changes[0] = np.count_nonzero(clipped != values) - changes[1]  # NaN differs from itself
    return np.where(missing, fit.impute, clipped)


def _scale(values: Floats, mean: float, std: float) -> Floats:
    return (values - mean) / std if std > 0.0 else np.zeros_like(values)


def _sum(terms: list[Floats]) -> Floats:
    """Add in the order given: numpy's own reduction may group the terms differently for other shapes."""
    total = terms[0].copy()
    for term in terms[1:]:
        total += term
    return total


def _one_hot(fit: LevelsFit, values: Floats) -> tuple[NDArray[np.bool_], int, int]:
    """One column a level, the number of missing values, and of values that are no level."""
    numbers = [float(level) if isinstance(level, float | int) else code for code, level in enumerate(fit.levels)]
    hot = values[:, None] == np.asarray(numbers, dtype=np.float64)[None, :]
    missing = int(np.count_nonzero(np.isnan(values)))
    return hot, missing, len(values) - int(np.count_nonzero(hot)) - missing
