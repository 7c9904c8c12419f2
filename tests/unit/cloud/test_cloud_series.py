"""The metric store and metric math."""

import numpy as np
import pytest

from infra.cloud.metric_math import MathError, evaluate, names
from infra.cloud.series import Cell, Key, Store, rounded

KEY = Key("us-east-1", "AWS/SageMaker", "ModelLatency", (("EndpointName", "demand"),))


def test_percentiles_are_those_of_all_values() -> None:
    store = Store()
    values = [float(value) for value in np.random.default_rng(1).lognormal(9, 1, 5000)]
    for number, value in enumerate(values):
        store.put(KEY, 60_000 + number % 60, {value: 1})
    (cell,) = store.periods(KEY, 60_000, 60_060, 60).values()
    for percent in (0.1, 10, 50, 95, 99, 99.9, 100):
        assert cell.statistic(f"p{percent}") == pytest.approx(float(np.percentile(values, percent)), rel=1e-3)
    assert cell.statistic("Sum") == pytest.approx(sum(values))
    assert (cell.statistic("Minimum"), cell.statistic("Maximum")) == (min(values), max(values))


def test_periods_are_aligned_and_half_open() -> None:
    store = Store()
    for moment in (119, 120, 179, 180):
        store.put(KEY, moment, {1.0: 1})
    found = store.periods(KEY, 120, 180, 60)
    assert {at: cell.count for at, cell in found.items()} == {120: 2}


def test_where_time_runs_fast_periods_are_shorter_than_a_second() -> None:
    store = Store(10 / 60)
    for tenth in range(20):
        store.put(KEY, 1000 + tenth / 10, {float(tenth): 1})
    assert [cell.count for cell in store.periods(KEY, 1000, 1002, 1.0).values()] == [10, 10]


def test_the_statistics_of_a_set_are_known_and_its_percentiles_are_not() -> None:
    cell = Cell(10, 55, 1, 10, None)
    assert cell.statistic("Average") == 5.5
    assert cell.statistic("p50") is None


def test_old_data_are_kept_by_the_minute() -> None:
    store = Store()
    for second in range(20_001):
        store.put(KEY, second, {1.0: 1})
    assert sum(cell.count for cell in store.periods(KEY, 0, 30_000, 3600).values()) == 20_001
    assert len(store.periods(KEY, 0, 30_000, 1)) < 10_300


@pytest.mark.parametrize(
    ("value", "kept"), [(0, 0), (17, 17), (0.123456, 0.1235), (123_456, 123_500), (-98.7654, -98.77)]
)
def test_four_digits_are_kept(value: float, kept: float) -> None:
    assert rounded(value) == pytest.approx(kept)


A, B = {0.0: 10.0, 60.0: 20.0, 120.0: 0.0}, {0.0: 2.0, 60.0: 5.0, 120.0: 0.0}
MOMENTS = (0.0, 60.0, 120.0, 180.0)


@pytest.mark.parametrize(
    ("expression", "made"),
    [
        ("a / b", {0.0: 5.0, 60.0: 4.0}),
        ("100 * b / a", {0.0: 20.0, 60.0: 25.0}),
        ("-a + 1", {0.0: -9.0, 60.0: -19.0, 120.0: 1.0}),
        ("b^2", {0.0: 4.0, 60.0: 25.0, 120.0: 0.0}),
        ("SUM([a, b])", {0.0: 12.0, 60.0: 25.0, 120.0: 0.0}),
        ("AVG(METRICS())", {0.0: 6.0, 60.0: 12.5, 120.0: 0.0}),
        ("MAX(a)", dict.fromkeys(MOMENTS, 20.0)),
        ("FILL(b, 7)", {**B, 180.0: 7.0}),
        ("IF(a > 10, b, 1)", {0.0: 1.0, 60.0: 5.0, 120.0: 1.0}),
        ("CEIL(b / 2)", {0.0: 1.0, 60.0: 3.0, 120.0: 0.0}),
    ],
)
def test_metric_math(expression: str, made: dict[float, float]) -> None:
    assert evaluate(expression, {"a": A, "b": B}, MOMENTS) == made


@pytest.mark.parametrize(
    "expression", ["a +", "c", "__import__('os')", "a.real", "ANOMALY_DETECTION_BAND(a)", "[a, b] + 1"]
)
def test_what_is_not_simple_is_refused(expression: str) -> None:
    with pytest.raises(MathError):
        evaluate(expression, {"a": A, "b": B}, MOMENTS)


def test_names_are_found_in_expressions() -> None:
    assert names("100 * SUM([m1, m2]) / IF(e_1 > 0, m1)") == {"m1", "m2", "e_1"}
