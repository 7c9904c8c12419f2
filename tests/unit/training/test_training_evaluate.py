from __future__ import annotations

import math

import numpy as np
import pytest

from training import evaluate


def test_regression_metrics_of_known_numbers() -> None:
    found = evaluate.regression(np.array([1.0, 2.0, 5.0]), np.array([1.0, 2.0, 3.0]))
    assert found == pytest.approx({"r2": -1.0, "mae": 2 / 3, "rmse": math.sqrt(4 / 3)})


def test_r2_of_a_constant_target_is_undefined() -> None:
    assert "r2" not in evaluate.regression(np.array([1.0, 2.0]), np.array([3.0, 3.0]))


def test_auc_counts_pairs_with_ties_as_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    positive = np.array([False, False, True, True])
    pairs = [(s > t) + 0.5 * (s == t) for s in scores[positive] for t in scores[~positive]]
    assert evaluate.auc(scores, positive) == pytest.approx(np.mean(pairs))
    assert evaluate.auc(scores, np.ones(4, dtype=np.bool_)) is None


def test_classification_metrics_count_an_unknown_class_as_a_miss() -> None:
    odds = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    found = evaluate.classification(odds, np.array([0, 1, -1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.8, 1e-15])))
    assert found["auc"] == 1.0


def test_auc_of_many_classes_is_the_mean_over_those_that_occur() -> None:
    odds = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    actual = np.array([0, 1, 0, 1])
    each = [evaluate.auc(odds[:, index], actual == index) for index in (0, 1)]
    assert evaluate.classification(odds, actual)["auc"] == pytest.approx(np.mean([e for e in each if e is not None]))
