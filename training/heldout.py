"""Held-out rows as a caller sends them, with the history that comes along: golden rows and rehearsals use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from inference.contract.schema import Column, Floats, Indices, Kind
from inference.contract.transform import Transform
from training.dataset import Dataset, Past
from training.split import PARTS, Part


@dataclass(frozen=True)
class HeldOut:
    """Test rows, in memory, which make JSON instances; they outlive the run folder.

    Attributes:
        numbers: which of the test rows these are.
    """

    columns: tuple[Column, ...]
    texts: dict[str, tuple[str, ...]]
    target: str
    numbers: Indices
    history_rows: int
    _values: Floats
    _emit: Indices
    _start: Indices

    @classmethod
    def of(cls, dataset: Dataset, transform: Transform, *, limit: int) -> HeldOut:
        """The first `limit` test rows, with the rows before them that lags and windows reach.

        Of many entities rows of all of them, spread evenly, that have their whole history (any, where none has).
        """
        reach = transform.history_rows
        total = dataset.sizes[Part.TEST]
        wanted = np.arange(min(limit, total))
        if dataset.grouped:
            whole = np.concatenate([_depth(past) >= reach for past in dataset.pasts(reach, Part.TEST)])
            good = np.flatnonzero(whole) if whole.any() else np.arange(total)
            wanted = good[np.unique(np.linspace(0, len(good) - 1, min(limit, len(good))).round().astype(np.int64))]
        values: list[Floats] = []
        starts, emits = [], []
        seen = held = 0
        for past in dataset.pasts(reach, Part.TEST):
            here = np.flatnonzero(past.part == PARTS.index(Part.TEST))
            for number in (wanted[(wanted >= seen) & (wanted < seen + len(here))] - seen).tolist():
                row = int(here[number])
                first = max(int(past.start[row]), row + past.halo - reach)
                rows = past.values[first : row + past.halo + 1]
                starts.append(held)
                held += len(rows)
                emits.append(held - 1)
                values.append(rows)
            seen += len(here)
            if len(wanted) and seen > wanted[-1]:
                break
        every = np.concatenate(values) if values else np.empty((0, len(dataset.columns)))
        return cls(
            dataset.columns,
            dataset.spill.texts,
            dataset.target,
            wanted,
            reach,
            every,
            np.array(emits),
            np.array(starts),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def instance(self, number: int) -> dict[str, Any]:
        """One JSON row: a record, or `{"row": record, "history": [records, oldest first]}` where the model has lags."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        here = int(self._emit[number])
        row = self._record(here, with_target=False)
        if self.history_rows == 0:
            return row
        history = [self._record(past, with_target=True) for past in range(int(self._start[number]), here)]
        return {"row": row, "history": history}

    def instances(self, numbers: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
        """The instances of these rows; of all by default."""
        return (self.instance(number) for number in (range(len(self)) if numbers is None else numbers))

    def _record(self, index: int, *, with_target: bool) -> dict[str, Any]:
        return {
            column.name: _value(column, value, self.texts)
            for column, value in zip(self.columns, self._values[index].tolist(), strict=True)
            if with_target or column.name != self.target
        }


def _depth(past: Past) -> Indices:
    """How many earlier rows each test row has, as far as they were read."""
    here = np.flatnonzero(past.part == PARTS.index(Part.TEST))
    return np.asarray(here + past.halo - past.start[here])


def _value(column: Column, value: float, texts: dict[str, tuple[str, ...]]) -> Any:
    """The JSON value of one cell, as it stood in the file."""
    if np.isnan(value):
        return None
    match column.kind:
        case Kind.NUMERIC:
            return value
        case Kind.INTEGER:
            return int(value)
        case Kind.CATEGORICAL:
            return texts[column.name][int(value)]
        case Kind.TIME:
            return datetime.fromtimestamp(value, UTC).replace(tzinfo=None).isoformat()
