"""What an index is when nothing has changed: windows of the same length, drawn in blocks from the baseline.

Rows that follow each other are alike (weather, queues, campaigns), so a thousand of them may say as little as ten
independent ones, and a formula for independent rows would cry drift all day. Windows are therefore put together from
blocks of consecutive training rows (the moving-block bootstrap: Kuensch 1989), which keep that likeness:

- a block is twice the integrated autocorrelation time of the worst column (Sokal's window) long; what cutting windows
  into blocks loses is given back: by the ratio of the mean index of uncut windows to that of those in blocks;
- the baseline is a sample too: indices of n rows against N are 1 + n / N times those against the truth;
- N rows of a column with autocorrelation time t tell a variance no better than with relative error sqrt(2 t / N):
  chance is taken to be its upper 99 % bound, for a false alarm costs more than a late one.

Of each column's indices a scaled chi-square gives p-values, and the smallest over the columns of each drawn window is
what the level is corrected by (Westfall and Young 1993): columns that move together are no reason for more alarms. The
level is taken a standard error of its quantile on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from inference.contract.schema import Floats
from training.monitor.indices import psi
from training.monitor.scales import Cells, Codes, counted

LEVEL = 0.01
"""Share of windows without drift in which some column may be said to drift."""
DRAWS = 2_000
SHORTEST_BLOCK, BLOCK_TIMES = 25, 2.0
MOST_BLOCKS = 64
"""A longer window is drawn shorter: its index is chance's divided by the length, and 64 blocks are many enough."""
UPPER = 2.33
"""Of a normal distribution: 99 %."""
SOKAL = 5.0
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Chance:
    """One column's index without drift.

    Attributes:
        mean: what the index is on average, its small-sample bias.
        bound: what it exceeds by chance so rarely that a column beyond it counts as drifted.
    """

    mean: float
    bound: float


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Chance for all columns of one window length.

    Attributes:
        columns: in the order of the codes.
        block, time: length of a block, and the autocorrelation time, both in rows.
        effective: independent rows that the window is worth.
    """

    columns: tuple[Chance, ...]
    block: int
    time: float
    effective: float


def autocorrelation_time(values: Codes | Floats) -> float:
    """The integrated autocorrelation time of a series (of cells, or numbers), in rows; 1 where rows are independent.

    Sokal's rule (1997): the sum is cut at the first lag that is 5 times the sum so far.
    """
    series = values.astype(np.float64)
    series -= series.mean()
    variance = float((series * series).mean())
    if variance <= 0.0 or len(series) < 4:
        return 1.0
    spectrum = np.fft.rfft(series, 2 * len(series))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: len(series)] / (len(series) * variance)
    sums = 2.0 * np.cumsum(correlation) - 1.0
    enough = np.arange(len(sums)) >= SOKAL * sums
    return max(float(sums[int(np.argmax(enough))]), 1.0) if enough.any() else float(len(series))


def draw(
    series: Codes, sizes: Sequence[int], rows: int, *, weights: Floats | None = None, seed: int = 0, draws: int = DRAWS
) -> Drawn:
    """Chance for windows of so many rows.

    Args:
        series: cells of consecutive training rows, shape (N, columns).
        sizes: the number of cells of each column.
        rows: of the window.
        weights: of the training rows, shape (N,), mean 1: where the window has other hours than the baseline.
        seed: of the draws: the same data give the same alarm.
        draws: how many windows are drawn.
    """
    total, columns = series.shape
    worth = np.ones(total) if weights is None else weights
    effective_total = float(worth.sum() ** 2 / np.square(worth).sum())
    length = max(round(rows * total / effective_total), 1)  # weights make rows worth less: as many more are drawn
    times = [autocorrelation_time(series[:, column]) for column in range(columns)]
    time = max(times, default=1.0)
    block = int(min(max(BLOCK_TIMES * time, SHORTEST_BLOCK), length, max(total // 4, 1)))
    random = np.random.Generator(np.random.PCG64(seed))
    pieces = _starts(random, total, min(length, MOST_BLOCKS * block), block, draws)
    uncut = _starts(random, total, length, min(length, max(total // 4, 1)), draws) if block < length else pieces
    found: list[Floats] = []
    ratios: list[float] = []
    grow: list[float] = []
    for column in range(columns):
        sums = _summed(series[:, column], sizes[column], worth)
        whole = sums[-1]
        cut = _indices(sums, pieces, whole) * (_rows(pieces) / length)
        mean, scale = float(cut.mean()), float(_indices(sums, uncut, whole).mean())
        found.append(cut)
        grow.append((1.0 + length / total) * (1.0 + UPPER * math.sqrt(2.0 * times[column] / total)))
        ratios.append(scale / mean if mean > 0.0 else 1.0)
    lost = max(1.0, float(np.mean(ratios))) if ratios and block > SHORTEST_BLOCK else 1.0
    return _judged(found, grow, lost, (rows, total), (block, time))


def _judged(
    found: Sequence[Floats], grow: Sequence[float], lost: float, sizes: tuple[int, int], lengths: tuple[int, float]
) -> Drawn:
    """The level, corrected for the number of columns, as a bound on each column's index."""
    (rows, total), (block, time) = sizes, lengths
    fits = []
    smallest: Floats | None = None
    for cut, growth in zip(found, grow, strict=True):
        values = cut * growth * lost
        mean, variance = float(values.mean()), float(values.var())
        least = 1.0 / rows + 1.0 / total  # what one degree of freedom is worth: a constant column has none
        freedom, scale = (2.0 * mean**2 / variance, variance / (2.0 * mean)) if variance > 0.0 else (1.0, least)
        fits.append((freedom, scale, float(cut.mean()) * lost * (1.0 + rows / total)))
        odds = special.gammaincc(freedom / 2.0, values / (2.0 * scale))
        smallest = odds if smallest is None else np.minimum(smallest, odds)
    if smallest is None:
        return Drawn((), block, time, rows / time)
    unsure = math.sqrt(LEVEL * (1.0 - LEVEL) / len(smallest))  # so many draws tell a quantile no better
    level = max(float(np.quantile(smallest, max(LEVEL - unsure, 0.0))), _TINY)
    columns = tuple(
        Chance(mean, 2.0 * scale * float(special.gammainccinv(freedom / 2.0, level))) for freedom, scale, mean in fits
    )
    return Drawn(columns, block, time, rows / time)


def counts_of(codes: Codes, size: int, weights: Floats | None) -> Floats | Cells:
    """Rows by cell, each with its weight."""
    if weights is None:
        return counted(codes, size)
    return np.bincount(codes, weights, minlength=size)[:size]


def _summed(codes: Codes, size: int, weights: Floats) -> NDArray[np.float64]:
    """Weights by cell of all rows before each, shape (N + 1, cells)."""
    every = np.zeros((len(codes) + 1, size))
    every[np.arange(1, len(codes) + 1), codes] = weights
    return np.cumsum(every, axis=0)


def _starts(
    random: np.random.Generator, total: int, length: int, block: int, draws: int
) -> list[tuple[NDArray[np.int64], int]]:
    """Where the blocks of each window begin, and how long they are."""
    number, rest = divmod(length, block)
    sizes = [block] * number + ([rest] if rest else [])
    return [(random.integers(0, total - size + 1, draws), size) for size in sizes]


def _rows(pieces: Sequence[tuple[NDArray[np.int64], int]]) -> int:
    return sum(size for _, size in pieces)


def _indices(sums: Floats, pieces: Sequence[tuple[NDArray[np.int64], int]], whole: Floats) -> Floats:
    """The index of each drawn window against the whole series."""
    counts = np.zeros((len(pieces[0][0]), sums.shape[1]))
    for starts, size in pieces:
        counts += sums[starts + size] - sums[starts]
    return psi(counts, whole)
