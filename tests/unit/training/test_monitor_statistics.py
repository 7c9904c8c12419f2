from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.monitor.simulate import TRUE, coverage, simulate, uneven
from inference.contract.metrics import Monitored
from inference.contract.schema import Kind, Task
from training.monitor import chance
from training.monitor.indices import jensen_shannon, kolmogorov_smirnov, psi
from training.monitor.scales import Scale, counted
from training.monitor.sums import Sums

COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=8)


def scale(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Scale:
    deciles = np.quantile(values, np.arange(11) / 10).tolist()
    return Scale.of_numbers("x", Kind.NUMERIC, deciles, float(values.mean()), float(values.std()))


@given(COUNTS)
def test_the_index_of_a_distribution_against_itself_is_zero_and_any_other_is_positive(counts: list[int]) -> None:
    here = np.array(counts)
    assert psi(here, here) == pytest.approx(0.0, abs=1e-12)
    other = here + np.arange(len(here)) * 50
    assert psi(other, here) >= -1e-12
    assert psi(other, here) == pytest.approx(psi(here, other))  # symmetric
    assert 0.0 <= jensen_shannon(other, here) <= 1.0


def test_the_index_of_half_a_standard_deviation_is_about_a_quarter() -> None:
    random = np.random.Generator(np.random.PCG64(0))
    then, now = random.normal(size=200_000), random.normal(0.5, 1.0, 200_000)
    cells = scale(then)
    before, after = (counted(cells.of(values), cells.size) for values in (then, now))
    assert float(psi(after, before)) == pytest.approx(0.235, abs=0.02)
    assert kolmogorov_smirnov(after, before, cells) == pytest.approx(0.19, abs=0.02)


def test_a_category_from_10_to_20_percent_has_an_index_of_about_8_hundredths() -> None:
    then, now = np.array([40_000, 30_000, 20_000, 10_000]), np.array([35_556, 26_667, 17_778, 20_000])
    assert float(psi(now, then)) == pytest.approx(0.081, abs=0.002)


@pytest.mark.parametrize(
    ("values", "below"),
    [([5.0] * 100, 4.0), ([0.0] * 60 + [1.0, 2.0, 3.0, 4.0] * 10, -1.0)],
    ids=["constant", "mostly its least value"],
)
def test_a_value_below_a_frequent_least_one_has_a_cell_of_its_own(values: list[float], below: float) -> None:
    cells = scale(np.array(values))
    assert cells.of(np.array([below]))[0] != cells.of(np.array([min(values)]))[0]


def test_missing_values_and_other_levels_have_their_cells() -> None:
    number = scale(np.arange(100.0))
    assert number.of(np.array([np.nan]))[0] == number.missing
    few = Scale(name="k", kind=Kind.INTEGER, levels=(1.0, 2.0, 4.0))
    assert few.of(np.array([1.0, 2.0, 3.0, 4.0, 9.0, np.nan])).tolist() == [0, 1, 3, 2, 3, 4]
    assert [few.label(cell) for cell in range(few.size)] == ["1", "2", "4", "other", "missing"]


@pytest.mark.parametrize(("keep", "low", "high"), [(0.0, 1.0, 1.4), (0.9, 12.0, 26.0)])
def test_the_autocorrelation_time_is_that_of_an_autoregression(keep: float, low: float, high: float) -> None:
    random = np.random.Generator(np.random.PCG64(4))
    values = np.empty(40_000)
    values[0] = 0.0
    for row, noise in enumerate(random.normal(0.0, np.sqrt(1 - keep**2), len(values) - 1), 1):
        values[row] = keep * values[row - 1] + noise
    assert low <= chance.autocorrelation_time(scale(values).of(values)) <= high  # (1 + r) / (1 - r) = 19 at 0.9


def test_chance_falls_with_the_windows_length_and_grows_with_likeness() -> None:
    random = np.random.Generator(np.random.PCG64(5))
    values = random.normal(size=10_000)
    cells = scale(values)
    series = cells.of(values)[:, None]
    few, many = (chance.draw(series, [cells.size], rows).columns[0] for rows in (500, 5_000))
    assert few.mean == pytest.approx(9 / 500, rel=0.15)  # nine degrees of freedom, as for independent rows
    assert few.mean > many.mean
    assert few.bound > few.mean
    alike = np.repeat(series, 20, axis=0)[:10_000]
    assert chance.draw(alike, [cells.size], 500).columns[0].mean > 5 * few.mean


def test_the_same_data_give_the_same_bound() -> None:
    series = np.random.Generator(np.random.PCG64(6)).integers(0, 4, (3_000, 3)).astype(np.uint8)
    assert chance.draw(series, [6, 6, 6], 700).columns == chance.draw(series, [6, 6, 6], 700).columns


def test_a_constant_column_is_no_reason_for_an_alarm_until_it_moves() -> None:
    series = np.zeros((2_000, 1), dtype=np.uint8)
    bound = chance.draw(series, [3], 500).columns[0].bound
    whole = counted(series[:, 0], 3)
    assert float(psi(np.array([500, 0, 0]), whole)) <= bound
    assert float(psi(np.array([450, 50, 0]), whole)) > bound


@pytest.mark.parametrize("keep", [0.0, 0.98], ids=["independent", "weather"])
def test_few_windows_without_drift_are_said_to_drift(keep: float) -> None:
    """The benchmark has the exact figures; this many windows allow at most so many at 1 % (99.9 % of the time)."""
    rates = simulate(keep=keep, baselines=4, windows=50, seed=7)
    assert rates.hits["false"] <= 8
    if keep == 0.0:
        assert rates.share("half") == rates.share("category") == rates.share("sigma index") == 1.0


def test_capture_of_every_tenth_record_raises_nothing() -> None:
    assert simulate(keep=0.9, baselines=2, windows=40, thin=10, seed=8).hits["false"] <= 3


def test_traffic_that_is_uneven_over_the_day_raises_nothing() -> None:
    assert uneven(baselines=1, windows=5, seed=3).hits["false"] == 0
    assert uneven(baselines=1, windows=1, clock=False, seed=3).hits["false"] == 1, "it would be, against all hours"


@pytest.mark.parametrize(
    ("keep", "least"), [(0.0, 0.92), (0.9, 0.87), (0.98, 0.8)], ids=["independent", "alike", "weather"]
)
def test_intervals_of_quality_hold_the_truth_though_rows_are_alike(keep: float, least: float) -> None:
    """Of 95 %; an interval for independent rows holds it in about 35 of 100 weather-like windows of 1,000."""
    rates = coverage(keep=keep, windows=40, seed=9)
    assert rates.windows == 200
    assert min(rates.share(metric) for metric in TRUE) >= least


def test_one_moment_says_nothing_about_the_next() -> None:
    sums = Sums()
    sums.add(np.zeros(60, dtype=np.int64), [[1.0] * 50 + [0.0] * 10, [0.5] * 60, [1.0] * 60])
    figures = sums.figures(Task.CLASSIFICATION)
    accuracy = figures[Monitored.ACCURACY]
    assert (accuracy.low, accuracy.high) == (0.0, 1.0)
    assert figures[Monitored.LOG_LOSS].high == float("inf")
    assert Sums().figures(Task.REGRESSION) == {}
