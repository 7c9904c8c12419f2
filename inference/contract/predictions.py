"""From the network's raw outputs to what a caller reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Floats, Indices, Task
from inference.contract.transform import Transform


@dataclass(slots=True, eq=False)
class Predictions:
    """The answers for m rows. One is made for every request, and a frozen dataclass takes three times as long to make.

    Attributes:
        values: shape (m,): the predicted number (float64), or the index of the likeliest class (int64).
        probabilities: float64, shape (m, classes), or None for a regression.
        labels: the likeliest class of each row, or None for a regression.
    """

    values: Floats | NDArray[np.int64]
    probabilities: Floats | None = None
    labels: Sequence[str | int] | None = None

    @classmethod
    def of(cls, transform: Transform, outputs: Floats) -> Predictions:
        """Read raw outputs, float64 of shape (m, outputs) as the transform's task says."""
        if transform.table.task is Task.REGRESSION:
            return cls(outputs[:, 0] * transform.target_std + transform.target_mean)
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        likeliest = outputs.argmax(axis=1)
        return cls(
            values=likeliest,
            probabilities=shifted / shifted.sum(axis=1, keepdims=True),
            labels=[transform.classes[index] for index in likeliest.tolist()],
        )

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """The answers of several, one after the other."""
        if len(parts) == 1:
            return parts[0]
        odds = [part.probabilities for part in parts if part.probabilities is not None]
        labels = [part.labels for part in parts if part.labels is not None]
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate(odds) if odds else None,
            list(chain.from_iterable(labels)) if labels else None,
        )

    def part(self, start: int, stop: int) -> Predictions:
        """The answers for rows start..stop."""
        if self.probabilities is None or self.labels is None:
            return Predictions(self.values[start:stop])
        return Predictions(self.values[start:stop], self.probabilities[start:stop], self.labels[start:stop])

    def rows(self, numbers: Indices) -> Predictions:
        """The answers for these rows."""
        return Predictions(
            self.values[numbers],
            None if self.probabilities is None else self.probabilities[numbers],
            None if self.labels is None else [self.labels[number] for number in numbers.tolist()],
        )

    def __len__(self) -> int:
        return len(self.values)
