"""The little statistics that a report needs; exact, without a library."""

from __future__ import annotations

import math
from collections.abc import Sequence


def binomial_interval(trials: int, probability: float, level: float = 0.999) -> tuple[int, int]:
    """The central interval of a binomial count: each tail outside holds at most (1 - level) / 2.

    Exact, by summing the probability mass from either end.
    """
    if probability <= 0.0 or trials == 0:
        return 0, 0
    if probability >= 1.0:
        return trials, trials
    tail = (1.0 - level) / 2.0
    return _first_above(trials, probability, tail), trials - _first_above(trials, 1.0 - probability, tail)


def _first_above(trials: int, probability: float, tail: float) -> int:
    """The smallest count whose cumulative probability exceeds `tail`."""
    cumulative = 0.0
    for count in range(trials + 1):
        log_mass = (
            math.lgamma(trials + 1)
            - math.lgamma(count + 1)
            - math.lgamma(trials - count + 1)
            + count * math.log(probability)
            + (trials - count) * math.log1p(-probability)
        )
        cumulative += math.exp(log_mass)
        if cumulative > tail:
            return count
    return trials


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile (the smallest value that at least `percent` of the values do not exceed)."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(math.ceil(percent / 100.0 * len(ordered)), 1) - 1]
