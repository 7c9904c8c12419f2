"""How the values of a column fall into cells: the same cells for the training rows and for every window.

| column                      | cells                                                                  |
|-----------------------------|------------------------------------------------------------------------|
| numeric, integer            | between the training rows' deciles (equal ones are one), then missing   |
| categorical, few integers   | a cell a level, then all other values, then missing                     |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Floats, Frozen, Kind

Codes = NDArray[np.uint8]
Cells = NDArray[np.int64]
MAX_LEVELS = 50
"""More levels than this: the rarest share the cell of all other values."""
FEW = 20
"""An integer column of at most so many values has a cell for each."""
PREDICTION = "prediction"
VIOLATION = 255
"""The code of a value of the wrong type, which is in no cell."""


class Scale(Frozen):
    """The cells of one column.

    Attributes:
        monitored: whether drift is looked for; not in columns that order the rows or tell the time.
        edges: of a numeric column: cell i holds values up to edge i that are above edge i - 1; one more lies above.
        levels: of a categorical column, or of an integer with few values; empty for a scale with edges.
        low, high: the least and the greatest training value of a numeric column; None where there was none.
        mean, std: of the training values of a numeric column.
    """

    name: str
    kind: Kind
    monitored: bool = True
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] | tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    mean: float = 0.0
    std: float = 0.0

    @classmethod
    def of_numbers(cls, name: str, kind: Kind, deciles: Sequence[float], mean: float, std: float) -> Self:
        """From the training values' eleven deciles, least and greatest included; NaN where there was no value."""
        if math.isnan(deciles[0]):
            return cls(name=name, kind=kind)
        inner = sorted(set(deciles[1:-1]))
        if inner[0] == deciles[0]:  # a tenth and more are the least value: what lies below is no neighbour of it
            inner.insert(0, float(np.nextafter(deciles[0], -math.inf)))
        return cls(
            name=name, kind=kind, edges=tuple(inner), low=deciles[0], high=deciles[-1], mean=mean, std=max(std, 0.0)
        )

    @property
    def by_level(self) -> bool:
        """Whether a cell is a level."""
        return self.kind is Kind.CATEGORICAL or bool(self.levels)

    @property
    def size(self) -> int:
        """The number of cells: the last is for missing values."""
        return (len(self.levels) if self.by_level else len(self.edges)) + 2

    @property
    def missing(self) -> int:
        """The cell of missing values."""
        return self.size - 1

    @property
    def other(self) -> int | None:
        """The cell of levels that training did not see, or saw rarely; None for a scale with edges."""
        return self.size - 2 if self.by_level else None

    @cached_property
    def places(self) -> dict[Any, int]:
        """The cell of each level; None is a missing value."""
        return {None: self.missing, **{level: place for place, level in enumerate(self.levels)}}

    @cached_property
    def _edges(self) -> Floats:
        return np.asarray(self.edges, dtype=np.float64)

    def of(self, values: Floats) -> Codes:
        """The cells of numbers; NaN is a missing value."""
        if self.by_level:
            known = np.asarray(self.levels, dtype=np.float64)
            found = np.minimum(np.searchsorted(known, values), max(len(known) - 1, 0))
            cells = np.where(known[found] == values, found, self.size - 2)
        else:
            cells = np.searchsorted(self._edges, values, side="left")
        return np.where(np.isnan(values), self.missing, cells).astype(np.uint8)

    def label(self, cell: int) -> str:
        """What people call a cell."""
        if cell == self.missing:
            return "missing"
        if self.by_level:
            if cell == self.other:
                return "other"
            level = self.levels[cell]
            return level if isinstance(level, str) else f"{level:g}"
        low = self.edges[cell - 1] if cell else self.low
        high = self.edges[cell] if cell < len(self.edges) else self.high
        return f"{low:.4g} to {high:.4g}" if low is not None and high is not None else "any"


def counted(codes: Codes, size: int) -> Cells:
    """Values by cell; those of the wrong type are left out."""
    return np.bincount(codes, minlength=VIOLATION + 1)[:size].astype(np.int64)
