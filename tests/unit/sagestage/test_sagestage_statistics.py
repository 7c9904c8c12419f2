from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagestage.statistics import binomial_interval, percentile


@given(trials=st.integers(1, 400), probability=st.floats(0.01, 0.99))
def test_the_binomial_interval_leaves_at_most_half_a_per_mille_in_each_tail(trials: int, probability: float) -> None:
    low, high = binomial_interval(trials, probability)
    mass = [math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(trials + 1)]
    assert sum(mass[:low]) <= 0.0005 + 1e-9
    assert sum(mass[high + 1 :]) <= 0.0005 + 1e-9
    assert sum(mass[: low + 1]) > 0.0005 - 1e-9
    assert sum(mass[high:]) > 0.0005 - 1e-9


@pytest.mark.parametrize(("probability", "expected"), [(0.0, (0, 0)), (1.0, (50, 50))])
def test_a_certain_variant_gets_all_or_nothing(probability: float, expected: tuple[int, int]) -> None:
    assert binomial_interval(50, probability) == expected


def test_no_trials_no_interval() -> None:
    assert binomial_interval(0, 0.3) == (0, 0)


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=60), percent=st.floats(1, 100))
def test_percentiles_are_nearest_ranks(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == np.percentile(values, percent, method="inverted_cdf")


def test_no_values_no_percentile() -> None:
    assert math.isnan(percentile([], 50))
