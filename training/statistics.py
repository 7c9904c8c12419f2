"""Statistics of columns that are read in chunks and do not depend on where a chunk ends.

Quantiles are exact order statistics, found by counting the ordered bits of the float64s, 16 at a time, until few
enough values share the bits found to be kept: counts add, so neither the chunks nor their order matter, and memory is
bounded. Sums are taken over blocks of rows that are aligned to the first row, and the sums of the blocks are added
without rounding (math.fsum): the same bits for every chunk size. Values are finite, or NaN where they are missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Floats

Chunks = Callable[[], Iterable[Floats]]
"""Gives the rows again, in chunks of shape (any number of rows, columns); NaN is a missing value."""
BLOCK = 256
"""Rows whose sum is rounded once; the error of a sum stays below BLOCK times the float64's."""
FEW = 32_768
"""Values that are kept, at most, for each rank that is looked for."""
WIDE = 64
"""Columns that are counted in one pass: 0.5 MiB of counts each."""
MAX_CODE = 4_096
_DIGITS = 16
_BUCKETS = 1 << _DIGITS
_TOP = np.uint64(64 - _DIGITS)
_SIGN = np.uint64(1 << 63)
_NOT_A_NUMBER = 0x7FF0
_GLANCE = 64


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the values that are there: how many, their mean and their standard deviation (ddof 1, 0 for one value).

    Each of shape (columns,); mean and std are 0 for a column without values.
    """

    count: NDArray[np.int64]
    mean: Floats
    std: Floats

    def of(self, columns: Sequence[int]) -> Moments:
        """Those of some columns."""
        return Moments(self.count[columns], self.mean[columns], self.std[columns])


def moments(chunks: Chunks, columns: int, centre: Floats | None = None) -> Moments:
    """One pass, by the sums of the distances from `centre`, shape (columns,), and of their squares.

    The centre must lie within a few standard deviations of the mean, or digits are lost: a median always lies within
    one. It is looked for where it is not given.
    """
    middle = quantiles(chunks, columns, (0.5,))[:, 0] if centre is None else centre
    middle = np.nan_to_num(middle)
    sums = Sums(columns)
    with np.errstate(over="ignore", invalid="ignore"):  # numbers too large to square have no finite moments
        for chunk in chunks():
            sums.add(np.asarray(chunk) - middle)
        return sums.moments(middle)


class Sums:
    """Of the values of each column, and of their squares; the rest of a block waits for the next chunk."""

    def __init__(self, columns: int) -> None:
        self._rest: Floats = np.empty((0, columns), order="F")
        self._count = np.zeros(columns, dtype=np.int64)
        self._first: list[list[float]] = [[] for _ in range(columns)]
        self._second: list[list[float]] = [[] for _ in range(columns)]

    def add(self, rows: Floats) -> None:
        """The next rows, shape (any, columns)."""
        if len(self._rest):
            rows = np.concatenate([self._rest, rows])
        whole = len(rows) // BLOCK * BLOCK
        for column in range(rows.shape[1]):
            self._add(column, np.ascontiguousarray(rows[:whole, column]))
        self._rest = rows[whole:].copy(order="F")

    def _add(self, column: int, values: Floats) -> None:
        blocks = values.reshape(-1, BLOCK)
        first = blocks.sum(axis=1)
        count = len(values)
        if np.isnan(first).any():
            missing = np.isnan(blocks)
            blocks = np.where(missing, 0.0, blocks)
            count -= int(np.count_nonzero(missing))
            first = blocks.sum(axis=1)
        self._count[column] += count
        self._first[column] += first.tolist()
        self._second[column] += np.square(blocks).sum(axis=1).tolist()

    def moments(self, centre: Floats) -> Moments:
        """Of values of which `centre` was taken away."""
        count, first, second = self._result()
        shift = first / np.maximum(count, 1)
        squares = np.maximum(second - first * shift, 0.0)
        mean = np.where(count > 0, centre + shift, 0.0)
        return Moments(count, mean, np.sqrt(squares / np.maximum(count - 1, 1)))

    def _result(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        rest = self._rest
        padded = np.full((BLOCK, rest.shape[1]), np.nan)
        padded[: len(rest)] = rest
        for column in range(rest.shape[1] if len(rest) else 0):
            self._add(column, np.ascontiguousarray(padded[:, column]))
        self._rest = rest[:0]
        first, second = (np.array([_total(sums) for sums in every]) for every in (self._first, self._second))
        return self._count, first, second


def _total(sums: list[float]) -> float:
    """The sum without rounding; infinite where it is none."""
    try:
        return math.fsum(sums)
    except OverflowError:
        return math.inf


def quantiles(chunks: Chunks, columns: int, shares: Sequence[float]) -> Floats:
    """The quantiles of each column, shape (columns, shares), by numpy's default method ("linear").

    NaN for a column without values.
    """
    return np.concatenate([_quantiles(chunks, range(low, min(low + WIDE, columns)), shares)
                           for low in range(0, columns, WIDE)]) if columns else np.empty((0, len(shares)))  # fmt: skip


def _quantiles(chunks: Chunks, columns: range, shares: Sequence[float]) -> Floats:
    counts = _top_counts(chunks, columns)
    ranks: list[list[int]] = []
    sizes = [int(histogram.sum()) for histogram in counts]
    for size in sizes:
        positions = [math.floor((size - 1) * share) for share in shares] if size else []
        ranks.append(sorted({rank for low in positions for rank in (low, min(low + 1, size - 1))}))
    found = _descend(chunks, columns, counts, ranks)
    result = np.full((len(columns), len(shares)), np.nan)
    for column, size in enumerate(sizes):
        for index, share in enumerate(shares if size else ()):
            position = (size - 1) * share
            low = math.floor(position)
            pair = [found[column][low], found[column][min(low + 1, size - 1)]]
            result[column, index] = np.quantile(pair, position - low)  # numpy's own interpolation of the two
    return result


def order_statistics(chunks: Chunks, ranks: Sequence[Sequence[int]]) -> list[dict[int, float]]:
    """For each column the values of the given ranks (0 is the smallest); each must be below the count of values."""
    columns = range(len(ranks))
    return _descend(chunks, columns, _top_counts(chunks, columns), ranks)


def _top_counts(chunks: Chunks, columns: range) -> list[NDArray[np.int64]]:
    """How often each pattern of the top 16 bits occurs, in the order of the values; missing values do not count."""
    counts = [np.zeros(_BUCKETS, dtype=np.int64) for _ in columns]
    for chunk in chunks():
        for index, column in enumerate(columns):
            counts[index] += np.bincount(_top(chunk[:, column]), minlength=_BUCKETS)
    for histogram in counts:
        histogram[_NOT_A_NUMBER : _BUCKETS // 2] = 0
        histogram[_BUCKETS // 2 + _NOT_A_NUMBER :] = 0
    return [np.concatenate([histogram[: _BUCKETS // 2 - 1 : -1], histogram[: _BUCKETS // 2]]) for histogram in counts]


def _top(values: Floats) -> NDArray[np.int64]:
    return (np.ascontiguousarray(values).view(np.uint64) >> _TOP).view(np.int64)


@dataclass
class _Search:
    """One rank: the leading bits of its value found so far, and its rank among the values that share them."""

    rank: int
    within: int
    bits: int = 0
    prefix: int = 0
    few: bool = False

    def descend(self, histogram: NDArray[np.int64]) -> None:
        below = np.cumsum(histogram)
        bucket = int(np.searchsorted(below, self.within, side="right"))
        self.within -= int(below[bucket - 1]) if bucket else 0
        self.prefix = (self.prefix << _DIGITS) | bucket
        self.bits += _DIGITS
        self.few = int(histogram[bucket]) <= FEW


def _descend(
    chunks: Chunks, columns: range, counts: Sequence[NDArray[np.int64]], ranks: Sequence[Sequence[int]]
) -> list[dict[int, float]]:
    searches = [[_Search(rank, rank) for rank in wanted] for wanted in ranks]
    for wanted, histogram in zip(searches, counts, strict=True):
        for search in wanted:
            search.descend(histogram)
    found: list[dict[int, float]] = [{} for _ in columns]
    while any(searches):
        looks = [_Look(column) for column in searches]
        for chunk in chunks():
            for look, column in zip(looks, columns, strict=True):
                if look.searches:
                    look.add(np.ascontiguousarray(chunk[:, column]))
        for index, look in enumerate(looks):
            found[index].update(look.values())
            searches[index] = [search for search in look.searches if search.rank not in found[index]]
    return found


class _Look:
    """One pass over a column: keeps what shares the bits found where that is little, else counts the next bits."""

    def __init__(self, searches: list[_Search]) -> None:
        self.searches = searches
        self._kept: dict[tuple[int, int], list[NDArray[np.uint64]]] = {}
        self._counts: dict[tuple[int, int], NDArray[np.int64]] = {}
        self._tops = np.zeros(_BUCKETS, dtype=np.bool_)
        for search in searches:
            key = search.bits, search.prefix
            if search.few or search.bits == 64:
                self._kept[key] = []
            else:
                self._counts[key] = np.zeros(_BUCKETS, dtype=np.int64)
            top = search.prefix >> (search.bits - _DIGITS)
            self._tops[_BUCKETS - 1 - top if top < _BUCKETS // 2 else top - _BUCKETS // 2] = True

    def add(self, values: Floats) -> None:
        bits = _ordered_bits(values[self._tops[_top(values)]])
        for (known, prefix), kept in self._kept.items():
            kept.append(bits[bits >> np.uint64(64 - known) == np.uint64(prefix)])
        for known, prefix in self._counts:
            here = bits[bits >> np.uint64(64 - known) == np.uint64(prefix)]
            digits = (here >> np.uint64(64 - known - _DIGITS)) & np.uint64(_BUCKETS - 1)
            self._counts[known, prefix] += np.bincount(digits.view(np.int64), minlength=_BUCKETS)

    def values(self) -> Iterator[tuple[int, float]]:
        """The ranks that are found; the others go down by 16 bits."""
        ordered = {key: np.sort(np.concatenate(kept)) for key, kept in self._kept.items()}
        for search in self.searches:
            key = search.bits, search.prefix
            if key in ordered:
                yield search.rank, _value(int(ordered[key][search.within]))
            else:
                search.descend(self._counts[key])
                if search.bits == 64:
                    yield search.rank, _value(search.prefix)


def _ordered_bits(values: Floats) -> NDArray[np.uint64]:
    """Integers in the order of the values: negative numbers have all their bits turned, others the sign."""
    bits = values.view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(bits: int) -> float:
    word = np.uint64(bits)
    raw = word ^ _SIGN if word & _SIGN else ~word
    return float(np.array([raw], dtype=np.uint64).view(np.float64)[0]) + 0.0  # -0.0 is 0.0


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
        if len(present) and self._codes(present):
            return
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

    def _codes(self, present: Floats) -> bool:
        """Count small whole numbers, which takes no sort; False where there are others."""
        if self.limit < _GLANCE // 2 or not 0.0 <= present[0] < MAX_CODE:
            return False
        low, high = present.min(), present.max()
        if low < 0.0 or high >= MAX_CODE:
            return False
        codes = present.astype(np.int64)
        if (codes != present).any():
            return False
        numbers = np.bincount(codes)
        for value in np.flatnonzero(numbers).tolist():
            self.counts[float(value)] = self.counts.get(float(value), 0) + int(numbers[value])
        if len(self.counts) > self.limit:
            self.exceeded = True
            self.counts.clear()
        return True

    @property
    def values(self) -> tuple[float, ...]:
        """The values in order; empty when there are more than the limit."""
        return tuple(sorted(self.counts))
