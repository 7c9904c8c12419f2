"""Metrics where the truth is known, with intervals that allow for rows which follow each other being alike.

A window is cut into equal spans of time, and only sums by span are kept. Each metric is a smooth function of such sums;
its influence on a span (the derivative times what the span adds) says how much the span moves it. Spans of rows that
are alike (weather, a campaign) move it together, so its standard error is that of batches of consecutive spans (batch
means: Fishman 1978), each of about as many rows, and four autocorrelation times long (their upper 99 % bound, as in
`chance`). With few batches the quantile is Student's. A share has Wilson's interval (1927) for as many independent rows
as its standard error is worth.

Influences of a row: y - mean on a mean; ((1 - R²) (y - mean)² - e²) / variance on R².

A window that is worth ten independent rows says little, of its own spread too: there 95 % intervals hold the truth in
about 90 of 100 windows, in longer ones in 93 to 97 (`benchmarks/monitor/simulate.py`, coverage).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from inference.contract.metrics import Monitored
from inference.contract.schema import Floats, Indices, Task
from training.monitor.chance import UPPER, autocorrelation_time

LEAST_LABELS = 50
"""Fewer rows with a label say nothing."""
SPANS = 512
BATCH_TIMES = 4.0
"""Autocorrelation times that a batch is long: neighbouring batches are then nearly independent."""
FEWEST_BATCHES, MOST_BATCHES = 4, 64
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric with its 95 % interval."""

    value: float
    low: float
    high: float


ROWS = 0
HITS, LOSS, WITH_ODDS = 1, 2, 3
"""Terms of a classification: whether it was right, its loss, and whether that is known."""
ERROR, ERROR2, AWAY, AWAY2 = 1, 2, 3, 4
"""Of a regression: how wrong it was, how far the truth is from the training rows' mean, and the squares of both."""
TERMS = 5


@dataclass
class Sums:
    """Sums of one variant (or one segment of it) by span, shape (SPANS, TERMS)."""

    spans: Floats = field(default_factory=lambda: np.zeros((SPANS, TERMS)))

    def add(self, place: Indices, terms: Sequence[Sequence[float] | Floats]) -> None:
        """Take in rows: the span of each, and its terms after the count of rows. Rows in one order give one sum."""
        for term, values in enumerate(([1.0] * len(place), *terms)):
            self.spans[:, term] += np.bincount(place, values, minlength=SPANS)

    @property
    def rows(self) -> int:
        """How many there were."""
        return int(self.spans[:, ROWS].sum())  # whole numbers far below 2 ** 53

    def mean(self, term: int) -> float:
        """The mean of a term over the rows."""
        return float(self.spans[:, term].sum()) / self.rows

    def figures(self, task: Task) -> dict[Monitored, Figure]:
        """The metrics; none where there are too few rows."""
        if self.rows < LEAST_LABELS:
            return {}
        if task is Task.CLASSIFICATION:
            found = {Monitored.ACCURACY: self._share(HITS)}
            if self.mean(WITH_ODDS) == 1.0:
                found[Monitored.LOG_LOSS] = self._average(LOSS)
            return found
        found = {Monitored.MAE: self._average(ERROR)}
        middle = self.mean(AWAY)
        variance = self.mean(AWAY2) - middle**2
        if variance > 0.0:
            lost = self.mean(ERROR2) / variance
            count, error, away, squares = (self.spans[:, term] for term in (ROWS, ERROR2, AWAY, AWAY2))
            half = self._half((error - lost * (squares - 2.0 * middle * away + middle**2 * count)) / variance)
            found[Monitored.R2] = Figure(1.0 - lost, 1.0 - lost - half, min(1.0 - lost + half, 1.0))
        return found

    def _average(self, term: int) -> Figure:
        """The mean of something that is never negative."""
        mean = self.mean(term)
        half = self._half(self.spans[:, term] - mean * self.spans[:, ROWS])
        return Figure(mean, max(mean - half, 0.0), mean + half)

    def _share(self, term: int) -> Figure:
        share = self.mean(term)
        error, quantile = self._error(self.spans[:, term] - share * self.spans[:, ROWS])
        alone = share * (1.0 - share)
        worth = min(alone / error**2, self.rows) if error > 0.0 else self.rows
        return wilson(share, worth, quantile)

    def _half(self, influence: Floats) -> float:
        error, quantile = self._error(influence)
        return error * quantile

    def _error(self, influence: Floats) -> tuple[float, float]:
        """Standard error of a mean over the rows from its influence by span, and how many of it the interval takes."""
        rows = self.spans[:, ROWS]
        there = rows > 0.0
        count, moved = rows[there], influence[there]
        time = autocorrelation_time(moved)
        time *= 1.0 + UPPER * math.sqrt(2.0 * time / max(len(moved), 1))  # so well is it known
        long = math.ceil(BATCH_TIMES * time)
        number = min(max(len(moved) // long, FEWEST_BATCHES), MOST_BATCHES, len(moved))
        if number < 2:  # one moment says nothing about the next
            return math.inf, 1.0
        before = np.cumsum(count) - count
        first = np.unique(np.searchsorted(before, np.arange(number) * count.sum() / number))
        batches = np.add.reduceat(moved, first[first < len(moved)])
        freedom = len(batches) - 1
        if freedom < 1:
            return math.inf, 1.0
        variance = float((batches**2).sum()) * len(batches) / freedom
        return math.sqrt(variance) / self.rows, float(special.stdtrit(freedom, (1.0 + LEVEL) / 2.0))


def wilson(share: float, rows: float, quantile: float) -> Figure:
    """A share of so many independent rows with Wilson's interval."""
    squared = quantile * quantile
    if rows <= 0.0:
        return Figure(share, 0.0, 1.0)
    centre = (share + squared / (2 * rows)) / (1 + squared / rows)
    half = quantile / (1 + squared / rows) * math.sqrt(share * (1 - share) / rows + squared / (4 * rows * rows))
    return Figure(share, max(centre - half, 0.0), min(centre + half, 1.0))
