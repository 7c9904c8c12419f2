from __future__ import annotations

import numpy as np
import pytest

from inference.contract.network import NetworkSpec, forward
from training import bootstrap, calibrate, charts, evaluate
from training.assess import gain, losses


def random(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_the_metrics_of_a_resample_are_those_of_its_rows() -> None:
    predicted, actual = random().normal(size=(2, 50))
    drawn = bootstrap.draw(50, 7, resamples=5)
    found = bootstrap.regression_metrics(drawn.sums(bootstrap.regression_terms(predicted, actual)))
    for number, row in enumerate(drawn.starts):
        rows = (row[:, None] + np.arange(7)).ravel()
        expected = evaluate.regression(predicted[rows], actual[rows])
        assert {str(name): values[number] for name, values in found.items()} == pytest.approx(expected)


def test_the_area_of_a_resample_is_that_of_its_rows() -> None:
    odds = random().random(60).round(1)
    actual = random(1).integers(0, 2, 60)
    probabilities = np.column_stack([1 - odds, odds])
    drawn = bootstrap.draw(60, 5, resamples=9)
    found = bootstrap.areas(probabilities, actual, drawn)
    for number, row in enumerate(drawn.starts):
        rows = (row[:, None] + np.arange(5)).ravel()
        assert found[number] == pytest.approx(evaluate.auc(odds[rows], actual[rows] == 1))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    hits = 0
    for seed in range(100):
        noise = random(seed).normal(size=400)
        interval = bootstrap.intervals(noise, np.zeros(400), bootstrap.draw(400, 1, seed=seed))["rmse"]
        hits += interval.low <= 1.0 <= interval.high
    assert 86 <= hits <= 100, "the 99.9 % binomial interval around 95 of 100"


def test_neighbours_that_are_alike_widen_the_interval() -> None:
    walk = np.repeat(random().normal(size=40), 20)
    alone, blocks = (bootstrap.intervals(walk, np.zeros(800), bootstrap.draw(800, block))["rmse"] for block in (1, 20))
    assert blocks.high - blocks.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("rows", "lag", "ordered", "expected"),
    [(1000, 30, True, 30), (1000, 3, True, 10), (1000, 30, False, 1), (20, 30, True, 10)],
)
def test_a_block_holds_the_longest_lag(rows: int, lag: int, *, ordered: bool, expected: int) -> None:
    assert bootstrap.block_length(rows, lag, ordered=ordered) == expected


def test_a_gain_is_paired_on_the_same_rows() -> None:
    actual = random().normal(size=300)
    ours, theirs = losses(actual + 0.1, actual), losses(actual + 0.2, actual)
    share, interval = gain(ours, theirs, bootstrap.draw(300, 10))
    assert share == pytest.approx(0.75)
    assert interval is not None
    assert interval.low == pytest.approx(0.75)
    assert interval.high == pytest.approx(0.75), "the noise of the rows is in both and goes"


def test_a_temperature_undoes_overconfidence_and_moves_into_the_last_layer() -> None:
    logits = random().normal(size=(4_000, 3))
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = (random(1).random(4_000)[:, None] > odds.cumsum(axis=1)).sum(axis=1)
    by = calibrate.temperature(5.0 * logits, classes)
    assert by == pytest.approx(5.0, rel=0.1)
    spec = NetworkSpec(inputs=2, hidden=(4,), outputs=3)
    weights = {name: random(2).normal(size=shape).astype(np.float32) for name, shape in spec.shapes.items()}
    rows = random(3).normal(size=(5, 2)).astype(np.float32)
    cooled = forward(spec, calibrate.cool(weights, spec, by), rows)
    np.testing.assert_allclose(cooled, forward(spec, weights, rows) / by, rtol=1e-5)


def test_ticks_are_round_numbers_within_the_bounds() -> None:
    assert charts.ticks(0.0, 973.0) == [0.0, 200.0, 400.0, 600.0, 800.0]
    assert charts.ticks(-0.3, 0.4) == pytest.approx([-0.2, 0.0, 0.2, 0.4])
    assert charts.ticks(1.0, 1.0) == [1.0]


def test_a_few_rows_without_an_error_do_not_make_a_model_certain() -> None:
    classes = np.arange(75) % 3
    outputs = 3.0 * np.eye(3)[classes] + 0.1 * random().normal(size=(75, 3))
    cooled = outputs / calibrate.temperature(outputs, classes)
    odds = np.exp(cooled) / np.exp(cooled).sum(axis=1, keepdims=True)
    assert 0.97 < odds.max(axis=1).mean() < 0.995, "about 76 of 77"


def test_entities_are_drawn_as_wholes() -> None:
    entity = np.repeat([4, 7, 9], [2, 3, 5])
    predicted, actual = random().normal(size=(2, 10))
    drawn = bootstrap.draw_entities(entity, resamples=6)
    assert (drawn.times.sum(axis=1) == 3).all()
    found = bootstrap.regression_metrics(drawn.sums(bootstrap.regression_terms(predicted, actual)))
    for number, weight in enumerate(drawn.weights(6)):
        rows = np.repeat(np.arange(10), weight.astype(int))
        for name, value in evaluate.regression(predicted[rows], actual[rows]).items():
            assert {str(metric): values[number] for metric, values in found.items()}[name] == pytest.approx(value)


def test_entities_that_differ_widen_the_interval() -> None:
    entity = np.repeat(np.arange(12), 50)
    errors = np.repeat(random().normal(size=12), 50) + 0.1 * random(1).normal(size=600)
    alone = bootstrap.intervals(errors, np.zeros(600), bootstrap.draw(600, 1))["rmse"]
    wholes = bootstrap.intervals(errors, np.zeros(600), bootstrap.draw_entities(entity))["rmse"]
    assert wholes.high - wholes.low > 3 * (alone.high - alone.low)
