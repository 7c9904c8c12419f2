"""Held-out rows as a caller sends them, with the history that comes along: golden rows and rehearsals use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from inference.contract.schema import Column, Floats, Kind
from inference.contract.transform import Transform
from training.dataset import Dataset, Part


@dataclass(frozen=True)
class HeldOut:
    """The first rows of the test part, in memory, which make JSON instances; they outlive the run folder."""

    columns: tuple[Column, ...]
    texts: dict[str, tuple[str, ...]]
    target: str
    history_rows: int
    _values: Floats
    _halo: int

    @classmethod
    def of(cls, dataset: Dataset, transform: Transform, *, limit: int) -> HeldOut:
        """The first `limit` test rows, with the rows before them that lags and windows reach."""
        part = dataset.parts[Part.TEST]
        halo = transform.history_rows
        stop = min(part.start + limit, part.stop)
        values = np.array(dataset.spill.open()[part.start - halo : stop])
        return cls(dataset.columns, dataset.spill.texts, dataset.target, halo, values, halo)

    def __len__(self) -> int:
        return len(self._values) - self._halo

    def instance(self, number: int) -> dict[str, Any]:
        """One JSON row: a record, or `{"row": record, "history": [records, oldest first]}` where the model has lags."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        here = number + self._halo
        row = self._record(here, with_target=False)
        if self.history_rows == 0:
            return row
        history = [self._record(past, with_target=True) for past in range(here - self.history_rows, here)]
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


def records(columns: Sequence[Column], texts: dict[str, tuple[str, ...]], values: Floats) -> list[dict[str, Any]]:
    """Rows as JSON records, as they stood in the file."""
    return [
        {column.name: _value(column, value, texts) for column, value in zip(columns, row, strict=True)}
        for row in values.tolist()
    ]


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
