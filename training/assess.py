"""One thorough look at the test rows: intervals, baselines, segments, calibration, importance.

Everything here describes; nothing is chosen by it: epochs and calibration were chosen on validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inference.contract.predictions import Predictions
from inference.contract.schema import Floats, Indices, Kind, Rows, Task
from inference.contract.transform import Transform
from training import bootstrap, evaluate, features
from training.baselines import Baseline
from training.bootstrap import Interval, Resamples
from training.dataset import Dataset, Part
from training.features import class_indices
from training.prepared import Prepared
from training.split import PARTS

IMPORTANCE_ROWS, IMPORTANCE_REPEATS = 5_000, 3
MAX_SEGMENTS = 12
"""A column with more values is no segmentation that a person reads."""
LEAST_SEGMENT_ROWS = 20
BINS = 10
Predict = Callable[[Rows], Predictions]


@dataclass(frozen=True, slots=True)
class Contender:
    """A baseline on the test rows.

    Attributes:
        gain: by how much the model's loss (mean squared error, or log loss) is below the baseline's, as a share
            of it, with its paired interval; None where it is undefined.
    """

    name: str
    how: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    gain: float | None
    gain_interval: Interval | None


@dataclass(frozen=True, slots=True)
class Segment:
    """The metrics of the rows that have one value of a column, or lie in one quarter of the test part."""

    column: str
    value: str
    rows: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Importance:
    """How much the loss grows, as a share of it, when a column's values are shuffled: its mean and its spread."""

    column: str
    growth: float
    spread: float


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows with predictions near each other: the mean that was predicted, and what came of it."""

    rows: int
    predicted: float
    actual: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What the test rows showed.

    Attributes:
        intervals: of the model's metrics.
        drawn: how they were drawn: by blocks of so many rows, or by entities.
        calibration: of the predicted number, or of the probability of the likeliest class.
        calibration_error: the mean distance of the bins, weighted by rows (ECE); in the target's unit for numbers.
        predicted, actual: of the rows that have a target: numbers, or class indices (-1: a class that is new).
        probabilities: of those rows; None for a regression.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    drawn: str
    baselines: tuple[Contender, ...]
    segments: tuple[Segment, ...]
    importances: tuple[Importance, ...]
    calibration: tuple[CalibrationBin, ...]
    calibration_error: float
    predicted: Floats | Indices
    actual: Floats | Indices
    probabilities: Floats | None


def assess(
    prepared: Prepared,
    predictions: Predictions,
    actual: Floats,
    metrics: dict[str, float],
    predict: Predict,
    rivals: Sequence[Baseline],
) -> Evaluation:
    """Look at all test rows; `actual` is coded for the transform, `predict` answers raw rows."""
    dataset, transform = prepared.dataset, prepared.transform
    known = np.flatnonzero(~np.isnan(actual))
    scores = _scores(predictions)[known]
    truth = _truth(transform, actual[known])
    drawn = resamples(dataset, known, transform.history_rows, seed=prepared.config.seed)
    loss = losses(scores, truth)
    calibration = _calibration(scores, truth)
    total = sum(bin_.rows for bin_ in calibration)
    return Evaluation(
        metrics=metrics,
        intervals=bootstrap.intervals(scores, truth, drawn),
        drawn=str(drawn),
        baselines=tuple(_contender(rival, rival.predicted[known], truth, loss, drawn) for rival in rivals),
        segments=tuple(_segments(dataset, known, scores, truth)),
        importances=_importances(prepared, predict),
        calibration=calibration,
        calibration_error=sum(bin_.rows * abs(bin_.predicted - bin_.actual) for bin_ in calibration) / max(total, 1),
        predicted=predictions.values[known],
        actual=truth,
        probabilities=None if predictions.probabilities is None else predictions.probabilities[known],
    )


def resamples(dataset: Dataset, known: Indices, longest_lag: int, *, seed: int = 0) -> Resamples:
    """Draws of these test rows: of entities where there are several, else of blocks."""
    if dataset.grouped:
        entity = np.concatenate(
            [past.entity[past.part == PARTS.index(Part.TEST)] for past in dataset.pasts(0, Part.TEST)]
        )
        if len(np.unique(entity[known])) > 1:
            return bootstrap.draw_entities(entity[known], seed=seed)
    block = bootstrap.block_length(len(known), longest_lag, ordered=dataset.ordered)
    return bootstrap.draw(len(known), block, seed=seed)


def _scores(predictions: Predictions) -> Floats:
    """Predicted numbers, or probabilities."""
    if predictions.probabilities is None:
        return predictions.values.astype(np.float64)
    return predictions.probabilities


def _truth(transform: Transform, actual: Floats) -> Floats | Indices:
    return actual if transform.table.task is Task.REGRESSION else class_indices(transform, actual)


def losses(scores: Floats, truth: Floats | Indices) -> Floats:
    """The loss of each row: the squared error, or the log loss."""
    if scores.ndim == 1:
        return np.asarray(np.square(scores - truth), dtype=np.float64)
    return np.asarray(bootstrap.classification_terms(scores, truth.astype(np.int64))[:, 2])


def measure(scores: Floats, truth: Floats | Indices) -> dict[str, float]:
    """The task's metrics."""
    if scores.ndim == 1:
        return evaluate.regression(scores, truth.astype(np.float64))
    return evaluate.classification(scores, truth.astype(np.int64))


def gain(ours: Floats, theirs: Floats, drawn: Resamples) -> tuple[float | None, Interval | None]:
    """By which share our mean loss is below theirs, on the same rows, and its interval on the same resamples."""
    if not theirs.sum() > 0.0:
        return None, None
    total = drawn.sums(np.column_stack([ours, theirs]))
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = 1.0 - total[:, 0] / total[:, 1]
    return 1.0 - float(ours.sum() / theirs.sum()), Interval.of(gains)


def _contender(rival: Baseline, scores: Floats, truth: Floats | Indices, ours: Floats, drawn: Resamples) -> Contender:
    better, interval = gain(ours, losses(scores, truth), drawn)
    return Contender(
        rival.name,
        rival.how,
        measure(scores, truth),
        bootstrap.intervals(scores, truth, drawn),
        better,
        interval,
    )


def _segments(dataset: Dataset, known: Indices, scores: Floats, truth: Floats | Indices) -> list[Segment]:
    """By each column of few values, and by the quarters of the test part where it has an order."""
    values = np.concatenate(list(dataset.part(Part.TEST)))[known]
    found = []
    if dataset.ordered:
        line = dataset.line(Part.TEST) if dataset.grouped else None
        turn = np.arange(len(known)) if line is None else np.argsort(line[known], kind="stable")
        for number, rows in enumerate(np.array_split(turn, 4), start=1):
            if len(rows) >= LEAST_SEGMENT_ROWS:
                found.append(Segment("test part", f"quarter {number}", len(rows), measure(scores[rows], truth[rows])))
    for index, column in enumerate(dataset.columns):
        if column.name == dataset.target or column.kind not in (Kind.INTEGER, Kind.CATEGORICAL):
            continue
        here = values[:, index]
        levels = np.unique(here[~np.isnan(here)])
        if not 2 <= len(levels) <= MAX_SEGMENTS:
            continue
        texts = dataset.spill.texts.get(column.name)
        for level in levels.tolist():
            rows = np.flatnonzero(here == level)
            if len(rows) >= LEAST_SEGMENT_ROWS:
                name = texts[int(level)] if texts else f"{level:g}"
                found.append(Segment(column.name, name, len(rows), measure(scores[rows], truth[rows])))
    return found


def _importances(prepared: Prepared, predict: Predict) -> tuple[Importance, ...]:
    """Shuffle one raw column after the other, history included, and send the rows through the whole transform."""
    dataset, transform = prepared.dataset, prepared.transform
    rows = next(features.rows_of(dataset, transform, Part.TEST, IMPORTANCE_ROWS))
    raw = rows.values
    actual = rows.emitted[:, dataset.index(dataset.target)]
    known = ~np.isnan(actual)
    if not known.any():
        return ()
    truth = _truth(transform, actual[known])

    def loss(values: Floats) -> float:
        return float(losses(_scores(predict(Rows(values, rows.emit, rows.start)))[known], truth).mean())

    base = loss(raw)
    past = {fit.name for fit in transform.history}
    random = np.random.Generator(np.random.PCG64(prepared.config.seed))
    found = []
    for index, column in enumerate(dataset.columns):
        if base <= 0.0 or (column.name == dataset.target and column.name not in past):
            continue
        growths = []
        for _ in range(IMPORTANCE_REPEATS):
            shuffled = raw.copy()
            shuffled[:, index] = random.permutation(raw[:, index])
            growths.append(loss(shuffled) / base - 1.0)
        name = f"{column.name} (earlier rows)" if column.name == dataset.target else column.name
        found.append(Importance(name, float(np.mean(growths)), float(np.std(growths, ddof=1))))
    return tuple(sorted(found, key=lambda one: -one.growth))


def _calibration(scores: Floats, truth: Floats | Indices) -> tuple[CalibrationBin, ...]:
    """Tenths of the rows by what was predicted, or by the probability of the likeliest class."""
    if scores.ndim == 1:
        predicted, actual = scores, truth.astype(np.float64)
    else:
        predicted, actual = scores.max(axis=1), (scores.argmax(axis=1) == truth).astype(np.float64)
    order = np.argsort(predicted, kind="stable")
    return tuple(
        CalibrationBin(len(rows), float(predicted[rows].mean()), float(actual[rows].mean()))
        for rows in np.array_split(order, BINS)
        if len(rows)
    )
