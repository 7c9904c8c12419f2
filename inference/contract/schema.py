"""Typed columns, and the rows that hold their values.

A table is one float64 matrix whose columns stand in the schema's order. That makes rows of several
requests one concatenation, and a chunk of a file the same thing as a request:

| kind        | in the matrix                                     | missing | never seen in training |
|-------------|---------------------------------------------------|---------|------------------------|
| numeric     | the value                                         | NaN     | -                      |
| integer     | the value (exact up to 2**53)                     | NaN     | -                      |
| categorical | the index of the level in the fitted levels       | NaN     | -1                     |
| time        | seconds since 1970-01-01 UTC (naive times as UTC) | NaN     | -                      |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

UNSEEN = -1.0
"""The code of a categorical level that was not in the training rows."""
_FEW = 256
"""Rows up to which looking up all steps at once is faster than a slice for each of them."""


class Frozen(BaseModel):
    """A value that cannot be changed and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __eq__(self, other: object) -> bool:
        """Equal in type and fields; what is cached beside them (arrays, which have no one truth) does not count."""
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in type(self).model_fields)))


class Kind(StrEnum):
    """How a column's values are read."""

    NUMERIC = "numeric"
    INTEGER = "integer"
    CATEGORICAL = "categorical"
    TIME = "time"


class Task(StrEnum):
    """What the model predicts."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"


class Column(Frozen):
    """A named column of one kind."""

    name: str
    kind: Kind


class Schema(Frozen):
    """The columns of a table: which is predicted, which put its rows in order, which name the entity of a row.

    The history of a row is of its own entity, wherever the entity can be told.
    """

    columns: tuple[Column, ...]
    target: str
    task: Task
    order: tuple[str, ...] = ()
    group: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_must_exist_once(self) -> Self:
        names = [column.name for column in self.columns]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"columns appear twice: {', '.join(repeated)}")
        if missing := [name for name in (self.target, *self.order, *self.group) if name not in names]:
            raise ValueError(f"no column is named {', '.join(missing)}; there are {', '.join(names)}")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, in the matrix's order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that a caller sends, in order: all but the target."""
        return tuple(column for column in self.columns if column.name != self.target)

    def index(self, name: str) -> int:
        """Position of the column in the matrix. Raises KeyError when there is none of that name."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(name) from None


def finite(values: NDArray[np.floating[Any]]) -> bool:
    """Whether all are neither NaN nor infinite; to count takes half the time of `all` where there are few."""
    return bool(np.count_nonzero(np.isfinite(values)) == values.size)


@dataclass(slots=True, eq=False)
class Rows:
    """Rows to be transformed, each with the earlier rows that its lags and windows may see. Not frozen: made faster.

    Attributes:
        values: float64, shape (all rows, columns), in the schema's order.
        emit: int64, shape (m,): the rows that become features.
        start: int64, shape (m,): for each emitted row, the first row that belongs to its history.
    """

    values: Floats
    emit: Indices
    start: Indices

    @classmethod
    def alone(cls, values: Floats) -> Rows:
        """Every row is emitted and none has a history."""
        every = np.arange(len(values), dtype=np.int64)
        return cls(values, every, every)

    @classmethod
    def contiguous(cls, values: Floats, *, halo: int = 0) -> Rows:
        """One run of rows in order, whose first `halo` rows only serve as history."""
        emit = np.arange(halo, len(values), dtype=np.int64)
        return cls(values, emit, np.zeros(len(emit), dtype=np.int64))

    @classmethod
    def after(cls, past: Floats, lengths: Sequence[int], values: Floats) -> Rows:
        """Each of the rows `values` behind its own history: so many rows of `past`, which holds them in turn."""
        before = np.array(lengths, dtype=np.int64)
        emit = np.cumsum(before) + np.arange(len(values))
        matrix: Floats = np.empty((len(past) + len(values), values.shape[1]))
        history = np.ones(len(matrix), dtype=np.bool_)
        history[emit] = False
        matrix[history], matrix[emit] = past, values
        return cls(matrix, emit, emit - before)

    @classmethod
    def concat(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of several requests as one; no request sees another's history."""
        if len(parts) == 1:
            return parts[0]
        if all(part.emit is part.start for part in parts):  # as `alone` makes them: no row has a history
            return cls.alone(np.concatenate([part.values for part in parts]))
        offsets = np.cumsum([0, *(len(part.values) for part in parts[:-1])])
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.emit + offset for part, offset in zip(parts, offsets, strict=True)]),
            np.concatenate([part.start + offset for part, offset in zip(parts, offsets, strict=True)]),
        )

    @property
    def _run(self) -> slice | None:
        """The emitted rows as a slice, where they stand one behind the other: nothing is copied then."""
        if self.emit is self.start:  # as `alone` makes them: all rows
            return slice(0, len(self.emit))
        count = len(self.emit)
        if not count or self.emit[-1] - self.emit[0] != count - 1 or (np.diff(self.emit) != 1).any():
            return None
        return slice(int(self.emit[0]), int(self.emit[0]) + count)

    @property
    def emitted(self) -> Floats:
        """The rows that become features, shape (m, columns); not to be written to."""
        run = self._run
        return self.values[self.emit] if run is None else self.values[run]

    def back(self, source: Floats, steps: Sequence[int]) -> list[tuple[Floats, NDArray[np.bool_] | None]]:
        """For each step, a column's values so many rows before each emitted row; and which are missing, None: none is.

        What is before the beginning of a row's history is missing. `source` has the length of `values`.
        """
        run, reach = self._run, self.emit - self.start
        if run is None or len(self.emit) <= _FEW:
            behind = np.asarray(steps, dtype=np.int64)[:, None]
            every = source[np.maximum(self.emit - behind, 0)]
            gone = (reach < behind) | np.isnan(every)
            return [
                (found, absent if some else None)
                for found, absent, some in zip(every, gone, gone.any(axis=1).tolist(), strict=True)
            ]
        pairs: list[tuple[Floats, NDArray[np.bool_] | None]] = []
        for step in steps:
            inside = run.start >= step
            found = source[run.start - step : run.stop - step] if inside else source[np.maximum(self.emit - step, 0)]
            absent: NDArray[np.bool_] = (reach < step) | np.isnan(found)
            pairs.append((found, absent if absent.any() else None))
        return pairs

    def __len__(self) -> int:
        return len(self.emit)
