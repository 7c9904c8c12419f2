"""Metrics on the held-out rows, by numpy's forward pass: what serving computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from inference.contract.metrics import Metric
from inference.contract.network import NetworkSpec, Single, forward
from inference.contract.predictions import Predictions
from inference.contract.schema import Floats, Indices
from inference.contract.transform import Transform
from training.features import class_indices

LEAST = 1e-15
"""A probability of 0 for what happened would make the log loss infinite."""


def predict(
    transform: Transform, network: NetworkSpec, weights: Mapping[str, Single], features: Iterable[Single]
) -> Predictions:
    """The offline predictions for features that come in pieces of shape (rows, features)."""
    return Predictions.of(transform, np.concatenate([forward(network, weights, piece) for piece in features]))


def metrics(predictions: Predictions, transform: Transform, targets: Floats) -> dict[str, float]:
    """Every metric of the task that is defined on these rows; rows without a target (NaN) are left out.

    `targets` are coded for the transform. A class that training did not see is always a miss. R² needs a target that
    varies, AUC two classes.
    """
    known = ~np.isnan(targets)
    if predictions.probabilities is None:
        return regression(predictions.values[known].astype(np.float64), targets[known])
    return classification(predictions.probabilities[known], class_indices(transform, targets[known]))


def regression(predicted: Floats, actual: Floats) -> dict[str, float]:
    """R² (against the mean of these rows), mean absolute error, root mean squared error."""
    errors = predicted - actual
    spread = float(np.square(actual - actual.mean()).sum())
    found = {}
    if spread > 0.0:
        found[str(Metric.R2)] = 1.0 - float(np.square(errors).sum()) / spread
    found[str(Metric.MAE)] = float(np.abs(errors).mean())
    found[str(Metric.RMSE)] = float(np.sqrt(np.square(errors).mean()))
    return found


def classification(probabilities: Floats, actual: Indices) -> dict[str, float]:
    """Accuracy, log loss, and AUC: of the second class against the first, or the mean of one class against the rest."""
    known = actual >= 0
    chosen = np.where(known, probabilities[np.arange(len(actual)), np.maximum(actual, 0)], 0.0)
    found = {
        str(Metric.ACCURACY): float((probabilities.argmax(axis=1) == actual).mean()),
        str(Metric.LOG_LOSS): float(-np.log(np.maximum(chosen, LEAST)).mean()),
    }
    classes = probabilities.shape[1]
    ones = [1] if classes == 2 else range(classes)  # binary: one of the two says it all
    areas = [auc(probabilities[:, index], actual == index) for index in ones]
    if defined := [area for area in areas if area is not None]:
        found[str(Metric.AUC)] = float(np.mean(defined))
    return found


def auc(scores: Floats, positive: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float | None:
    """The share of pairs (positive, negative) that the scores put in order, ties counting half (Mann-Whitney U).

    None when all rows are of one kind.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[places]  # tied scores share the mean of their ranks, which count from 1
    return float((ranks[positive].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))
