"""What a model has to beat: saying the last value, and gradient boosting by scikit-learn on the same features.

They learn from the training rows; boosting stops early by the validation rows, as the networks do.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.contract.schema import Floats, Indices, Task
from training import features as made
from training.dataset import Part
from training.prepared import Prepared
from training.split import PARTS

NAIVE, BOOSTING = "naive", "gradient boosting"
MAX_ROWS = 200_000
"""Boosting learns from at most so many training rows, drawn at random: it holds them in memory."""
ROUNDS = 400
PATIENCE = 10


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Predictions for the test rows: of shape (rows,), or probabilities of shape (rows, classes)."""

    name: str
    how: str
    predicted: Floats


def fit(prepared: Prepared) -> tuple[Baseline, ...]:
    """Both baselines."""
    return naive(prepared), boosting(prepared)


def naive(prepared: Prepared) -> Baseline:
    """The last value before each test row; without an order the mean, for classes their shares in training."""
    dataset, transform = prepared.dataset, prepared.transform
    count = dataset.sizes[Part.TEST]
    if transform.table.task is Task.CLASSIFICATION:
        classes = _rows(prepared, Part.TRAIN)[1].astype(np.int64)
        shares = np.bincount(classes, minlength=len(transform.classes)) / max(len(classes), 1)
        return Baseline(NAIVE, "the most frequent class", np.tile(shares, (count, 1)))
    mean = transform.target_mean
    if not dataset.ordered:
        return Baseline(NAIVE, "the mean of the training rows", np.full(count, mean))
    column = dataset.index(dataset.target)
    values = []
    for rows in made.rows_of(dataset, transform, Part.TEST):
        ((last, absent),) = rows.back(rows.values[:, column], [1])
        values.append(last.copy() if absent is None else np.where(absent, mean, last))
    how = "the value of the row before" + (" of the same entity" if dataset.grouped else "")
    return Baseline(NAIVE, how, np.concatenate(values))


def boosting(prepared: Prepared) -> Baseline:
    """HistGradientBoosting with its defaults and early stopping."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  # comes with scikit-learn

    with warnings.catch_warnings(), threadpool_limits(1):  # the workers train meanwhile; spinning threads cost them
        warnings.simplefilter("ignore")  # scikit-learn's own deprecations are not the user's concern
        from sklearn.ensemble import (  # noqa: PLC0415  # takes a second
            HistGradientBoostingClassifier,
            HistGradientBoostingRegressor,
        )

        transform, seed = prepared.transform, prepared.config.seed
        test, _ = prepared.features.table.whole(Part.TEST)
        x, y = _rows(prepared, Part.TRAIN)
        settings: dict[str, Any] = {
            "max_iter": ROUNDS, "early_stopping": True, "n_iter_no_change": PATIENCE, "random_state": seed,
        }  # fmt: skip
        model = (
            HistGradientBoostingClassifier(**settings)
            if transform.table.task is Task.CLASSIFICATION
            else HistGradientBoostingRegressor(**settings)
        )
        x_val, y_val = _rows(prepared, Part.VALIDATION)
        known = np.isin(y_val, y) if transform.table.task is Task.CLASSIFICATION else np.ones(len(y_val), np.bool_)
        if known.any():
            model.fit(x, y, X_val=x_val[known], y_val=y_val[known])
        else:
            model.set_params(early_stopping=False).fit(x, y)
        how = f"scikit-learn, {model.n_iter_} rounds on {len(x):,} rows of the same features"
        if transform.table.task is Task.REGRESSION:
            return Baseline(BOOSTING, how, model.predict(test) * transform.target_std + transform.target_mean)
        odds = np.zeros((len(test), len(transform.classes)))
        odds[:, model.classes_.astype(np.int64)] = model.predict_proba(test)
        return Baseline(BOOSTING, how, odds)


def _rows(prepared: Prepared, part: Part) -> tuple[np.ndarray[Any, np.dtype[np.float32]], Floats | Indices]:
    """Features and targets that enter the loss; a seeded sample of them where they are many."""
    features, targets = [], []
    chosen: Indices | None = None
    table = prepared.features.table
    count = int(np.count_nonzero(table.uses() == PARTS.index(part)))
    if count > MAX_ROWS:
        random = np.random.Generator(np.random.PCG64(prepared.config.seed))
        chosen = np.sort(random.choice(count, MAX_ROWS, replace=False))
    seen = 0
    for block, here in table.part(part):
        some = slice(None) if chosen is None else chosen[(chosen >= seen) & (chosen < seen + len(here))] - seen
        features.append(block[some])
        targets.append(here[some])
        seen += len(here)
    return np.concatenate(features), np.concatenate(targets)
