"""How far apart two distributions over the same cells are.

The population stability index is the symmetrised Kullback-Leibler divergence, sum of (p - q) ln(p / q): Kullback,
Information Theory and Statistics (1959), as credit scoring uses it. Half an observation is added to every cell that
either side knows (Jeffreys' prior), so that an empty cell does not make it infinite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Floats
from training.monitor.scales import Scale

Counts = NDArray[np.floating] | NDArray[np.integer]
HALF = 0.5


def shares(counts: Counts, used: NDArray[np.bool_]) -> Floats:
    """Smoothed shares of the used cells along the last axis; the others are 1, whose logarithm is 0.

    Args:
        counts: shape (…, cells).
        used: shape (cells,).
    """
    here: Floats = np.where(used, np.asarray(counts, dtype=np.float64) + HALF, 0.0)
    total = here.sum(axis=-1, keepdims=True)
    return np.where(used, here / np.maximum(total, HALF), 1.0)


def psi(window: Counts, baseline: Counts) -> Floats:
    """The index of each window against the baseline; 0 where both are the same.

    Args:
        window: counts, shape (…, cells).
        baseline: counts, shape (cells,).
    """
    known = np.asarray(baseline) > 0
    new = np.asarray(window).reshape(-1, len(known)).sum(axis=0) > 0
    used = known | new
    now, then = shares(window, used), shares(baseline, used)
    return np.asarray(((now - then) * np.log(now / then)).sum(axis=-1))


def jensen_shannon(window: Counts, baseline: Counts) -> float:
    """The Jensen-Shannon distance, base 2: 0 for the same distribution, 1 for two that share nothing."""
    now, then = _plain(window), _plain(baseline)
    middle = (now + then) / 2

    def divergence(one: Floats) -> float:
        there = one > 0
        return float((one[there] * np.log2(one[there] / middle[there])).sum())

    return float(np.sqrt(max((divergence(now) + divergence(then)) / 2, 0.0)))


def kolmogorov_smirnov(window: Counts, baseline: Counts, scale: Scale) -> float | None:
    """The greatest gap between the two distribution functions at the cells' edges; None for levels."""
    if scale.by_level:
        return None
    return float(np.abs(np.cumsum(_plain(window[:-1])) - np.cumsum(_plain(baseline[:-1]))).max())


def _plain(counts: Counts) -> Floats:
    total = float(np.sum(counts))
    return np.asarray(counts, dtype=np.float64) / total if total else np.zeros(len(counts))
