"""Intervals of metrics by the moving-block bootstrap (Künsch, 1989): rows near each other in time are not independent.

Blocks of consecutive rows are drawn with replacement. Metrics that are made of sums over rows need no rows again: the
sum over a block is a difference of two prefix sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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


def draw(rows: int, block: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Indices:
    """First rows of the blocks of each resample, shape (resamples, blocks)."""
    random = np.random.Generator(np.random.PCG64(seed))
    return random.integers(0, rows - block + 1, size=(resamples, math.ceil(rows / block)))


def sums(values: Floats, starts: Indices, block: int) -> Floats:
    """Sums of each resample, shape (resamples, k), of values of shape (rows, k)."""
    before = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return np.stack([(before[row + block] - before[row]).sum(axis=0) for row in starts])


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


def intervals(predicted: Floats, actual: Floats | Indices, *, block: int, seed: int = 0) -> dict[str, Interval]:
    """Intervals of every metric that has one; `predicted` of shape (rows,), or of (rows, classes) for class indices."""
    starts = draw(len(actual), block, seed=seed)
    if predicted.ndim == 1:
        found = regression_metrics(sums(regression_terms(predicted, actual.astype(np.float64)), starts, block))
    else:
        classes = actual.astype(np.int64)
        found = classification_metrics(sums(classification_terms(predicted, classes), starts, block))
        found[Metric.AUC] = _areas(predicted, classes, starts[:AREA_RESAMPLES], block)
    named = {str(metric): Interval.of(values) for metric, values in found.items()}
    return {name: interval for name, interval in named.items() if interval is not None}


def _areas(probabilities: Floats, actual: Indices, starts: Indices, block: int) -> Floats:
    """AUC of each resample: each row counts as often as it was drawn."""
    ones = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])  # as evaluate.classification
    every = []
    for index in ones:
        scores = probabilities[:, index]
        _, place = np.unique(scores, return_inverse=True)
        positive = actual == index
        areas = np.empty(len(starts))
        for number, row in enumerate(starts):
            ends = np.bincount(row, minlength=len(actual) + 1) - np.bincount(row + block, minlength=len(actual) + 1)
            weight = np.cumsum(ends[:-1]).astype(np.float64)
            up = np.bincount(place, weight * positive)
            down = np.bincount(place, weight * ~positive)
            pairs = up.sum() * down.sum()
            below = np.cumsum(down) - down / 2.0  # ties count half
            areas[number] = float((up * below).sum() / pairs) if pairs else np.nan
        every.append(areas)
    with np.errstate(invalid="ignore"):
        defined = [areas for areas in every if not np.isnan(areas).all()]
        return np.asarray(np.mean(defined, axis=0)) if defined else np.full(len(starts), np.nan)
