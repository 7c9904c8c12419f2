"""Intervals of metrics by the moving-block bootstrap (Künsch, 1989): rows near each other in time are not independent.

Blocks of consecutive rows are drawn with replacement; or, where rows are of entities, whole entities: what one of them
does tomorrow is not independent of what it did today. Metrics that are made of sums over rows need no rows again: the
sum over a block is a difference of two prefix sums, that over an entity is made once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from inference.contract.metrics import Metric
from inference.contract.schema import Floats, Indices
from training.evaluate import LEAST

RESAMPLES = 1_000
AREA_RESAMPLES = 200
"""AUC looks at every row again for each resample."""
LEVEL = 0.95
Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> Interval | None:
        """Between the percentiles of the resamples; None when they are undefined."""
        finite = values[np.isfinite(values)]
        if len(finite) < len(values) // 2 or not len(finite):
            return None
        low, high = np.quantile(finite, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0]).tolist()
        return cls(low, high)


def block_length(rows: int, longest_lag: int, *, ordered: bool) -> int:
    """Rows a block: at least the longest lag, and the cube root of the rows; 1 where the rows have no order."""
    if not ordered:
        return 1
    usual = math.ceil(math.cbrt(rows))
    return max(1, min(max(longest_lag, usual), rows // 2))


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Resamples of consecutive rows.

    Attributes:
        rows: that there are.
        starts: first rows of the blocks of each resample, shape (resamples, blocks).
        block: rows of a block.
    """

    rows: int
    starts: Indices
    block: int

    def sums(self, values: Floats) -> Floats:
        """Sums of each resample, shape (resamples, k), of values of shape (rows, k)."""
        before = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        return np.stack([(before[row + self.block] - before[row]).sum(axis=0) for row in self.starts])

    def weights(self, resamples: int) -> Iterator[Floats]:
        """How often each row is in each of the first resamples."""
        for row in self.starts[:resamples]:
            ends = np.bincount(row, minlength=self.rows + 1) - np.bincount(row + self.block, minlength=self.rows + 1)
            yield np.cumsum(ends[:-1]).astype(np.float64)

    def __str__(self) -> str:
        return f"{self.block} rows a block"


@dataclass(frozen=True, slots=True, eq=False)
class Entities:
    """Resamples of whole entities.

    Attributes:
        place: of each row, the number of its entity among those that there are, from 0.
        times: how often each entity is in each resample, shape (resamples, entities).
    """

    place: Indices
    times: Floats

    def sums(self, values: Floats) -> Floats:
        """As Blocks.sums."""
        count = self.times.shape[1]
        each = [np.bincount(self.place, column, minlength=count) for column in values.T]
        return np.asarray(self.times @ np.column_stack(each))

    def weights(self, resamples: int) -> Iterator[Floats]:
        """As Blocks.weights."""
        return (times[self.place] for times in self.times[:resamples])

    def __str__(self) -> str:
        return f"{self.times.shape[1]} entities, drawn as wholes"


Resamples = Blocks | Entities


def draw(rows: int, block: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Blocks:
    """Resamples of blocks."""
    random = np.random.Generator(np.random.PCG64(seed))
    return Blocks(rows, random.integers(0, rows - block + 1, size=(resamples, math.ceil(rows / block))), block)


def draw_entities(entity: Indices, *, resamples: int = RESAMPLES, seed: int = 0) -> Entities:
    """Resamples of as many entities as there are, from the entity of each row."""
    _, place = np.unique(entity, return_inverse=True)
    count = int(place.max()) + 1
    random = np.random.Generator(np.random.PCG64(seed))
    return Entities(place, random.multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(np.float64))


def regression_terms(predicted: Floats, actual: Floats) -> Floats:
    """The terms of a regression's metrics, shape (rows, 5)."""
    errors, centred = predicted - actual, actual - actual.mean()
    return np.column_stack([np.ones(len(errors)), errors * errors, np.abs(errors), centred, centred * centred])


def regression_metrics(total: Floats) -> dict[Metric, Floats]:
    """Metrics of each resample from the sums of the terms."""
    rows, squares, distances, first, second = total.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = second - first * first / rows
        r2 = np.where(spread > 0.0, 1.0 - squares / spread, np.nan)
    return {Metric.R2: r2, Metric.MAE: distances / rows, Metric.RMSE: np.sqrt(squares / rows)}


def classification_terms(probabilities: Floats, actual: Indices) -> Floats:
    """The terms of accuracy and log loss, shape (rows, 3)."""
    known = actual >= 0
    chosen = np.where(known, probabilities[np.arange(len(actual)), np.maximum(actual, 0)], 0.0)
    hits = (probabilities.argmax(axis=1) == actual).astype(np.float64)
    return np.column_stack([np.ones(len(actual)), hits, -np.log(np.maximum(chosen, LEAST))])


def classification_metrics(total: Floats) -> dict[Metric, Floats]:
    """Metrics of each resample from the sums of the terms."""
    rows, hits, losses = total.T
    return {Metric.ACCURACY: hits / rows, Metric.LOG_LOSS: losses / rows}


def intervals(predicted: Floats, actual: Floats | Indices, drawn: Resamples) -> dict[str, Interval]:
    """Intervals of every metric that has one; `predicted` of shape (rows,), or of (rows, classes) for class indices."""
    if predicted.ndim == 1:
        found = regression_metrics(drawn.sums(regression_terms(predicted, actual.astype(np.float64))))
    else:
        classes = actual.astype(np.int64)
        found = classification_metrics(drawn.sums(classification_terms(predicted, classes)))
        found[Metric.AUC] = areas(predicted, classes, drawn)
    named = {str(metric): Interval.of(values) for metric, values in found.items()}
    return {name: interval for name, interval in named.items() if interval is not None}


def areas(probabilities: Floats, actual: Indices, drawn: Resamples, resamples: int = AREA_RESAMPLES) -> Floats:
    """AUC of each of the first resamples: each row counts as often as it was drawn."""
    ones = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])  # as evaluate.classification
    every = []
    for index in ones:
        scores = probabilities[:, index]
        _, place = np.unique(scores, return_inverse=True)
        positive = actual == index
        found = []
        for weight in drawn.weights(resamples):
            up = np.bincount(place, weight * positive)
            down = np.bincount(place, weight * ~positive)
            pairs = up.sum() * down.sum()
            below = np.cumsum(down) - down / 2.0  # ties count half
            found.append(float((up * below).sum() / pairs) if pairs else np.nan)
        every.append(np.array(found))
    with np.errstate(invalid="ignore"):
        defined = [one for one in every if not np.isnan(one).all()]
        return np.asarray(np.mean(defined, axis=0)) if defined else np.full(len(every[0]), np.nan)
