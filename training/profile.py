"""What the training rows are like: one look, on which the report of their quality, the fit and the baseline rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from inference.contract.schema import Floats, Kind
from training.dataset import Dataset, Part
from training.spill import BLOCK_ROWS
from training.statistics import Distinct, Moments, moments, quantiles

QUARTILES = (0.25, 0.5, 0.75)
FLAG = 2
MAX_CODES = 32
"""An integer column with at most so many distinct values is a code, with a feature a value; with more, a quantity."""
MAX_CLASSES = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Of each column of the training rows, in the order of the data set's.

    Attributes:
        quartiles: shape (columns, 3).
        moments: of the values as they are.
        distinct: by name; for texts the codes of the spill.
    """

    quartiles: Floats
    moments: Moments
    distinct: Mapping[str, Distinct]

    @property
    def centre(self) -> Floats:
        """The medians; 0 for a column without values."""
        return np.nan_to_num(self.quartiles[:, 1])


def look(dataset: Dataset, chunk_rows: int = BLOCK_ROWS) -> Profile:
    """Pass over the training rows."""
    width = len(dataset.columns)
    distinct = {column.name: Distinct(_limit(dataset, column.name, column.kind)) for column in dataset.columns}
    first_look = True

    def chunks() -> Iterator[Floats]:
        nonlocal first_look
        counts, first_look = first_look, False
        for chunk in dataset.part(Part.TRAIN, chunk_rows):
            if counts:
                for index, counted in enumerate(distinct.values()):
                    counted.add(chunk[:, index])
            yield chunk

    quartiles = quantiles(chunks, width, QUARTILES)
    return Profile(quartiles, moments(chunks, width, quartiles[:, 1]), distinct)


def _limit(dataset: Dataset, name: str, kind: Kind) -> int:
    """Up to how many distinct values of a column are of interest."""
    if kind is Kind.CATEGORICAL:
        return len(dataset.spill.texts.get(name, ()))
    if kind is Kind.INTEGER:
        return MAX_CLASSES if name == dataset.target else MAX_CODES
    return FLAG if kind is Kind.NUMERIC else 0
