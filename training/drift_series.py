"""`drift.json` of a trained model: its columns' cells, those of training rows in their order, and of its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from inference.contract.predictions import Predictions
from inference.contract.schema import Column, Floats, Kind, Rows
from inference.contract.transform import Transform
from training import features, storage
from training.dataset import Dataset, Part
from training.drift import DECILES, baseline
from training.monitor.baseline import FILE, HOURS, NO_HOUR, Baseline, prediction_scale, runs
from training.monitor.scales import FEW, MAX_LEVELS, Codes, Scale
from training.statistics import Distinct, moments, quantiles

SECONDS_A_DAY, SECONDS_AN_HOUR = 86_400.0, 3_600.0
Predict = Callable[[Rows], Predictions]


def series(dataset: Dataset, transform: Transform, predict: Predict, *, name: str, sha256: str) -> Baseline:
    """The baseline that goes with an archive of this digest.

    Args:
        dataset: the run's rows.
        transform: what was fitted on them.
        predict: the model's answers for rows coded for the transform.
        name: the model's.
        sha256: of its archive.
    """
    scales = _scales(dataset, transform)
    monitored = [scale for scale in scales if scale.monitored]
    clock, is_time = _clock(dataset)
    taken = np.concatenate([np.arange(run.start, run.stop) for run in runs(dataset.sizes[Part.TRAIN])])
    codes, hours, answers = [], [], []
    for rows, coded in features.picked(dataset, transform, Part.TRAIN, taken):
        columns = [_coded(scale, rows[:, dataset.index(scale.name)], dataset) for scale in monitored]
        codes.append(np.column_stack(columns) if columns else np.zeros((len(rows), 0), dtype=np.uint8))
        if clock is not None:
            hours.append(_hours(rows[:, dataset.index(clock)], is_time=is_time))
        answers.append(predict(coded))
    scale = prediction_scale(np.concatenate([one.values for one in answers]), transform.classes)
    return Baseline.packed(
        np.concatenate(codes),
        np.concatenate([_answered(scale, one) for one in answers]),
        np.concatenate(hours) if hours else None,
        model=name,
        sha256=sha256,
        task=transform.table.task,
        target=transform.table.target,
        rows=dataset.sizes[Part.TRAIN],
        columns=scales,
        prediction=scale,
        clock=clock,
        clock_is_time=is_time,
        target_mean=transform.target_mean,
    )


def write(folder: Path, dataset: Dataset, transform: Transform, predict: Predict, *, name: str, sha256: str) -> None:
    """Put the three files of the baseline beside the archive.

    Raises:
        TrainingError: they cannot be written.
    """
    for file, content in baseline(dataset).items():
        storage.write_bytes(folder / file, orjson.dumps(content))
    made = series(dataset, transform, predict, name=name, sha256=sha256)
    storage.write_bytes(folder / FILE, made.dump())


def _scales(dataset: Dataset, transform: Transform) -> tuple[Scale, ...]:
    width = len(dataset.columns)
    found = moments(lambda: dataset.part(Part.TRAIN), width)
    deciles = quantiles(lambda: dataset.part(Part.TRAIN), width, DECILES)
    few = _few(dataset)
    scales = []
    for column in transform.table.inputs:
        index = dataset.index(column.name)
        watched = column.kind is not Kind.TIME and column.name not in dataset.order
        if column.kind is Kind.CATEGORICAL:
            made = Scale(name=column.name, kind=column.kind, levels=_levels(dataset, index))
        else:
            mean, std = float(found.mean[index]), float(found.std[index])
            made = Scale.of_numbers(column.name, column.kind, deciles[index].tolist(), mean, std)
            if column.name in few:
                made = made.model_copy(update={"levels": few[column.name], "edges": ()})
        scales.append(made.model_copy(update={"monitored": watched}))
    return tuple(scales)


def _few(dataset: Dataset) -> dict[str, tuple[float, ...]]:
    """The values of integer columns that have few of them."""
    seen = {column.name: Distinct(FEW) for column in dataset.columns if column.kind is Kind.INTEGER}
    for chunk in dataset.part(Part.TRAIN):
        for name, distinct in seen.items():
            distinct.add(chunk[:, dataset.index(name)])
    return {name: distinct.values for name, distinct in seen.items() if distinct.values}


def _levels(dataset: Dataset, index: int) -> tuple[str, ...]:
    """The texts of a column in the training rows, the most frequent first."""
    texts = dataset.spill.texts.get(dataset.columns[index].name, ())
    counts = np.zeros(len(texts), dtype=np.int64)
    for chunk in dataset.part(Part.TRAIN):
        there = chunk[~np.isnan(chunk[:, index]), index]
        counts += np.bincount(there.astype(np.int64), minlength=len(texts))
    ranked = sorted(range(len(texts)), key=lambda code: (-int(counts[code]), texts[code]))
    return tuple(texts[code] for code in ranked[:MAX_LEVELS] if counts[code])


def _coded(scale: Scale, values: Floats, dataset: Dataset) -> Codes:
    if scale.kind is not Kind.CATEGORICAL:
        return scale.of(values)
    lookup = [scale.places.get(text, scale.size - 2) for text in dataset.spill.texts.get(scale.name, ())]
    places = np.array([*lookup, scale.missing], dtype=np.uint8)
    return places[np.where(np.isnan(values), -1.0, values).astype(np.int64)]


def _answered(scale: Scale, answers: Predictions) -> Codes:
    if answers.labels is None:
        return scale.of(np.asarray(answers.values, dtype=np.float64))
    return np.asarray(answers.values, dtype=np.uint8)  # the position of the class is its cell


def _clock(dataset: Dataset) -> tuple[str | None, bool]:
    """The column that tells the hour of the day: a time that does not stand still, or an ordering hour of 0 to 23."""

    def varies(column: Column, *, is_time: bool) -> bool:
        index = dataset.index(column.name)
        seen: set[int] = set()
        for chunk in dataset.part(Part.TRAIN):
            values = chunk[:, index]
            present = values[~np.isnan(values)]
            if not is_time and len(present) and not (present.min() >= 0 and present.max() < HOURS):
                return False
            seen |= set(np.unique(_hours(present, is_time=is_time)).tolist())
        return len(seen) > 1

    for column in dataset.columns:
        if column.kind is Kind.TIME and varies(column, is_time=True):
            return column.name, True
    for column in dataset.columns:
        if column.kind is Kind.INTEGER and column.name in dataset.order and varies(column, is_time=False):
            return column.name, False
    return None, True


def _hours(values: Floats, *, is_time: bool) -> Codes:
    """The hour of the day of times (seconds since 1970) or of hours; none for a missing one."""
    hour = np.mod(values, SECONDS_A_DAY) // SECONDS_AN_HOUR if is_time else values
    return np.where(np.isnan(hour), NO_HOUR, hour).astype(np.uint8)
