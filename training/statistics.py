"""Statistics of columns that are read in chunks and do not depend on where a chunk ends.

Quantiles are exact order statistics, found by counting the ordered bits of the float64s, 16 at a time: counts add, so
neither the chunks nor their order matter, and memory is bounded. Sums are taken over blocks of rows that are aligned
to the first row, and the sums of the blocks are added without rounding (math.fsum): the same bits for every chunk size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Floats

Chunks = Callable[[], Iterable[Floats]]
"""Gives the rows again, in chunks of shape (any number of rows, columns); NaN is a missing value."""
BLOCK = 256
"""Rows whose sum is rounded once; the error of a sum stays below BLOCK times the float64's."""
_SIGN = np.uint64(1 << 63)
_DIGITS = 16
_GLANCE = 64
_BUCKETS = 1 << _DIGITS


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the values that are there: how many, their mean and their standard deviation (ddof 1, 0 for one value).

    Each of shape (columns,); mean and std are 0 for a column without values.
    """

    count: NDArray[np.int64]
    mean: Floats
    std: Floats


def moments(chunks: Chunks, columns: int) -> Moments:
    """Two passes: the mean, then the squared deviations from it."""
    first = _Sums(columns)
    for chunk in chunks():
        first.add(chunk)
    total, count = first.result()
    mean = np.where(count > 0, total / np.maximum(count, 1), 0.0)
    second = _Sums(columns)
    for chunk in chunks():
        second.add(np.square(chunk - mean))
    squares, _ = second.result()
    return Moments(count, mean, np.sqrt(squares / np.maximum(count - 1, 1)))


@dataclass
class _Sums:
    """The sum of each column; the rest of a block waits for the next chunk."""

    columns: int
    _count: NDArray[np.int64] = field(init=False)
    _blocks: list[Floats] = field(default_factory=list)
    _rest: Floats = field(init=False)

    def __post_init__(self) -> None:
        self._count = np.zeros(self.columns, dtype=np.int64)
        self._rest = np.empty((0, self.columns))

    def add(self, chunk: Floats) -> None:
        missing = np.isnan(chunk)
        self._count += len(chunk) - missing.sum(axis=0)
        rows = np.concatenate([self._rest, np.where(missing, 0.0, chunk)])
        whole = len(rows) // BLOCK * BLOCK
        if whole:
            self._blocks.append(_block_sums(rows[:whole]))
        self._rest = rows[whole:].copy()

    def result(self) -> tuple[Floats, NDArray[np.int64]]:
        padded = np.zeros((BLOCK, self.columns))
        padded[: len(self._rest)] = self._rest
        sums = np.concatenate([*self._blocks, _block_sums(padded)])
        return np.array([math.fsum(column) for column in sums.T.tolist()]), self._count


def _block_sums(rows: Floats) -> Floats:
    """Sums of each BLOCK rows, in a fixed order of additions: halves are added to halves."""
    blocks = rows.reshape(len(rows) // BLOCK, BLOCK, rows.shape[1])
    while blocks.shape[1] > 1:
        half = blocks.shape[1] // 2
        blocks = blocks[:, :half] + blocks[:, half:]
    return blocks[:, 0]


def quantiles(chunks: Chunks, columns: int, shares: Sequence[float]) -> Floats:
    """The quantiles of each column, shape (columns, shares), by numpy's default method ("linear").

    NaN for a column without values.
    """
    counts = np.zeros(columns, dtype=np.int64)
    for chunk in chunks():
        counts += len(chunk) - np.isnan(chunk).sum(axis=0)
    ranks: list[list[int]] = []
    for count in counts.tolist():
        positions = [math.floor((count - 1) * share) for share in shares] if count else []
        ranks.append(sorted({rank for low in positions for rank in (low, min(low + 1, count - 1))}))
    found = order_statistics(chunks, ranks)
    result = np.full((columns, len(shares)), np.nan)
    for column, count in enumerate(counts.tolist()):
        for index, share in enumerate(shares if count else ()):
            position = (count - 1) * share
            low = math.floor(position)
            pair = [found[column][low], found[column][min(low + 1, count - 1)]]
            result[column, index] = np.quantile(pair, position - low)  # numpy's own interpolation of the two
    return result


def order_statistics(chunks: Chunks, ranks: Sequence[Sequence[int]]) -> list[dict[int, float]]:
    """For each column the values of the given ranks (0 is the smallest); each must be below the count of values."""
    searches = [[_Search(rank, rank) for rank in wanted] for wanted in ranks]
    for shift in (48, 32, 16, 0):
        histograms = [{search.prefix: np.zeros(_BUCKETS, dtype=np.int64) for search in column} for column in searches]
        for chunk in chunks():
            for index, histogram in enumerate(histograms):
                if histogram:
                    _count(chunk[:, index], histogram, shift)
        for column, histogram in zip(searches, histograms, strict=True):
            for search in column:
                search.descend(histogram[search.prefix])
    return [{search.rank: _value(search.prefix) for search in column} for column in searches]


@dataclass
class _Search:
    """One rank: the leading bits of its value found so far, and its rank among the values that share them."""

    rank: int
    within: int
    prefix: int = 0

    def descend(self, histogram: NDArray[np.int64]) -> None:
        below = np.cumsum(histogram)
        bucket = int(np.searchsorted(below, self.within, side="right"))
        self.within -= int(below[bucket - 1]) if bucket else 0
        self.prefix = (self.prefix << _DIGITS) | bucket


def _count(values: Floats, histograms: dict[int, NDArray[np.int64]], shift: int) -> None:
    """Count the 16 bits at `shift` of the values, by the bits above them."""
    bits = _ordered_bits(values[~np.isnan(values)])
    digits = (bits >> np.uint64(shift)) & np.uint64(_BUCKETS - 1)
    if shift == 48:  # the first of the four 16-bit digits: nothing stands above it
        histograms[0] += np.bincount(digits.astype(np.int64), minlength=_BUCKETS)
        return
    above = bits >> np.uint64(shift + _DIGITS)
    for prefix in histograms:
        histograms[prefix] += np.bincount(digits[above == np.uint64(prefix)].astype(np.int64), minlength=_BUCKETS)


def _ordered_bits(values: Floats) -> NDArray[np.uint64]:
    """Integers in the order of the values: negative numbers have all their bits turned, others the sign."""
    bits = (values + 0.0).view(np.uint64)  # adding 0.0 turns -0.0 into 0.0: they are one value
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(bits: int) -> float:
    word = np.uint64(bits)
    raw = word ^ _SIGN if word & _SIGN else ~word
    return float(np.array([raw], dtype=np.uint64).view(np.float64)[0])


@dataclass
class Distinct:
    """The distinct values of a column with their counts, as long as there are at most `limit` of them."""

    limit: int
    counts: dict[float, int] = field(default_factory=dict)
    exceeded: bool = False

    def add(self, values: Floats) -> None:
        """Count the values of a chunk; missing ones do not count."""
        if self.exceeded:
            return
        present = values[~np.isnan(values)]
        few = len(np.unique(present[: 4 * self.limit + _GLANCE])) <= self.limit  # most columns are seen through at once
        found, numbers = np.unique(present, return_counts=True) if few else (present[:0], np.zeros(0, np.int64))
        if not few or len(found) > self.limit:
            self.exceeded = True
            self.counts.clear()
            return
        for value, number in zip(found.tolist(), numbers.tolist(), strict=True):
            self.counts[value] = self.counts.get(value, 0) + number
        if len(self.counts) > self.limit:
            self.exceeded = True
            self.counts.clear()

    @property
    def values(self) -> tuple[float, ...]:
        """The values in order; empty when there are more than the limit."""
        return tuple(sorted(self.counts))
