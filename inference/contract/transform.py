"""The fitted transform: frozen state and the only `apply` there is.

Training fits it, the archive carries it, the server applies it. The order of the steps is fixed: clip, impute,
scale, products, calendar, levels, lags and windows. Every feature of a row is computed from that row and its own
history, in a fixed order of operations, so the result depends neither on the rows beside it nor on
where a chunk begins: training in chunks, a batch of strangers and one row alone give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inference.contract.errors import InputError
from inference.contract.fits import (
    CalendarFit,
    CalendarPart,
    HistoryFit,
    LevelsFit,
    NumericFit,
    NumericVectors,
    add_in_order,
    calendar_phase,
    clip,
    cycle,
    one_hot,
    scale,
)
from inference.contract.schema import Floats, Frozen, Rows, Schema

__all__ = [
    "CalendarFit",
    "CalendarPart",
    "Features",
    "HistoryFit",
    "LevelsFit",
    "NumericFit",
    "Transform",
    "calendar_phase",
]


@dataclass(slots=True, eq=False)
class Features:
    """What `apply` makes of m rows. Not frozen, to be made fast.

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
    def remembered(self) -> tuple[str, ...]:
        """The columns whose earlier values are looked at, in the schema's order."""
        names = {fit.name for fit in self.history}
        return tuple(name for name in self.table.names if name in names)

    @cached_property
    def _numeric_fits(self) -> NumericVectors:
        return NumericVectors.of(self.table, self.numeric)

    @cached_property
    def _product_pairs(self) -> tuple[list[int], list[int]]:
        """Positions, among the numeric columns, of the factors of each product."""
        place = {fit.name: position for position, fit in enumerate(self.numeric)}
        pairs = [(place[left], place[right]) for left, right in combinations_with_replacement(self.products, 2)]
        return [left for left, _ in pairs], [right for _, right in pairs]

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """One name a column of the feature matrix."""
        return tuple(self._names())

    def apply(self, rows: Rows) -> Features:
        """Turn m emitted rows into a float32 matrix of shape (m, features).

        Raises:
            InputError: a row's history is incomplete and `missing_history` is "reject".
        """
        count = len(rows)
        changes = np.zeros((3, len(self.table.columns)), dtype=np.int64)
        complete = np.ones(count, dtype=np.bool_)
        here = rows.emitted
        scaled = self._scaled(here, changes)
        column = len(self.numeric)
        if column == len(self.feature_names):  # there is nothing to put together
            return Features(scaled.astype(np.float32), complete, *changes)
        matrix = np.empty((count, len(self.feature_names)), dtype=np.float32)
        matrix[:, :column] = scaled
        if self.products:
            left, right = self._product_pairs
            matrix[:, column : column + len(left)] = scaled[:, left] * scaled[:, right]
            column += len(left)
        for calendar in self.calendar:
            seconds = here[:, self.table.index(calendar.name)]
            for part in calendar.parts:
                matrix[:, column], matrix[:, column + 1] = cycle(seconds, part)
                column += 2
        for fit in self.levels:
            index = self.table.index(fit.name)
            hot, changes[1, index], changes[2, index] = one_hot(fit.codes, here[:, index])
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

    def _scaled(self, here: Floats, changes: NDArray[np.int64]) -> Floats:
        """The numeric columns clipped, imputed and standardised, which is counted in `changes`."""
        if not self.numeric:
            return here[:, :0]
        fits = self._numeric_fits
        values, missing, clipped = fits.clean(here)
        if not isinstance(missing, int):
            changes[0, fits.index], changes[1, fits.index] = clipped, missing
        return fits.scale(values)

    def _history(self, fit: HistoryFit, rows: Rows, complete: NDArray[np.bool_]) -> Iterator[Floats]:
        """The column's lags, then its rolling mean and std; marks the rows whose history is incomplete."""
        source = rows.values[:, self.table.index(fit.name)]
        numeric = next((known for known in self.numeric if known.name == fit.name), None)
        if numeric is not None:
            source = clip(numeric, source)
        steps = fit.steps.tolist()
        found: dict[int, Floats] = {}
        wanted = sorted(set(steps))
        for step, (values, absent) in zip(wanted, rows.back(source, wanted), strict=True):
            found[step] = values if absent is None else np.where(absent, fit.mean, values)
            if step and absent is not None:
                np.logical_and(complete, ~absent, out=complete)
        lags = len(fit.lags)
        yield from (scale(found[step], fit.mean, fit.std) for step in steps[:lags])
        if fit.window is None:
            return
        window = [found[step] for step in steps[lags:]]
        mean = add_in_order(window) / fit.window
        yield scale(mean, fit.mean, fit.std)
        spread = np.sqrt(add_in_order([np.square(values - mean) for values in window]) / (fit.window - 1))
        yield scale(spread, 0.0, fit.std)

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
