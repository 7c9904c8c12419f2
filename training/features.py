"""The feature matrix on disk, made chunk by chunk by the one `apply` there is.

This module plans which rows a chunk takes along as history; it computes no feature itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.contract.network import Single
from inference.contract.schema import UNSEEN, Floats, Indices, Kind, Rows, Task
from inference.contract.transform import Features, Transform
from training.chunks import Spill
from training.config import Missing, TrainConfig
from training.dataset import At, Dataset, Part
from training.errors import DataError

MIN_USABLE = 8
"""Fewer training rows that can enter the loss are refused."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened to the values of one column, over all rows."""

    clipped: int = 0
    imputed: int = 0
    unseen: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Training and validation rows that do not enter the loss, by the first reason that holds.

    Attributes:
        target: the target is missing, or a class that the training rows lack.
        history: earlier rows, or a value in them, are missing.
        inputs: an input is missing and the policy is to drop.
    """

    target: int = 0
    history: int = 0
    inputs: int = 0


@dataclass(frozen=True)
class FeatureSet:
    """The features of all rows, in files of the run folder.

    Attributes:
        features: .npy, float32, shape (rows, features).
        targets: .npy, float32 (scaled) of a regression, int64 (class) of a classification; shape (rows,).
        usable: for training and validation a .npy of int64: the rows that enter the loss.
        counts: by column.
        left_out: by part.
    """

    features: Path
    targets: Path
    usable: dict[Part, Path]
    counts: dict[str, Counts]
    left_out: dict[Part, LeftOut]

    def matrix(self) -> Single:
        """The features as a read-only memory map."""
        matrix: Single = np.load(self.features, mmap_mode="r")
        return matrix


class Coder:
    """Puts the transform's codes (levels, classes) in place of a spill's codes of texts."""

    def __init__(self, transform: Transform, spill: Spill) -> None:
        levels = {fit.name: fit.levels for fit in transform.levels}
        if transform.table.task is Task.CLASSIFICATION:
            levels[transform.table.target] = transform.classes
        self._lookups: dict[int, Floats] = {}
        for index, column in enumerate(spill.columns):
            if column.kind is Kind.CATEGORICAL:
                codes = {level: float(code) for code, level in enumerate(levels.get(column.name, ()))}
                known = [codes.get(text, UNSEEN) for text in spill.texts.get(column.name, ())]
                self._lookups[index] = np.array([*known, np.nan])  # the last for missing values

    def __call__(self, values: Floats) -> Floats:
        """The rows with the transform's codes, as `RecordReader` would read them."""
        coded = np.array(values)
        for index, lookup in self._lookups.items():
            codes = coded[:, index]
            coded[:, index] = lookup[np.where(np.isnan(codes), -1.0, codes).astype(np.int64)]
        return coded


def coded_rows(dataset: Dataset, transform: Transform, start: int, stop: int) -> Rows:
    """Rows start..stop with the earlier rows that they need, coded for the transform."""
    halo = min(start, transform.history_rows) if dataset.ordered else 0
    values = Coder(transform, dataset.spill)(np.asarray(dataset.spill.open()[start - halo : stop]))
    return Rows.contiguous(values, halo=halo) if dataset.ordered else Rows.alone(values)


def applied(dataset: Dataset, transform: Transform, chunk_rows: int) -> Iterator[tuple[int, Rows, Features]]:
    """The first row, the rows and the features of each chunk, in order."""
    # Whether serving refuses a row without its history is not the question for the first rows of a file.
    lenient = transform.model_copy(update={"missing_history": "impute"})
    for start in range(0, dataset.spill.rows, chunk_rows):
        rows = coded_rows(dataset, lenient, start, min(start + chunk_rows, dataset.spill.rows))
        yield start, rows, lenient.apply(rows)


def build(dataset: Dataset, transform: Transform, config: TrainConfig, folder: Path, at: At) -> FeatureSet:
    """Write the features and targets of all rows, and which rows enter the loss.

    Raises:
        DataError: too few rows are left to train or to stop early by.
    """
    total, width = dataset.spill.rows, len(transform.feature_names)
    regression = transform.table.task is Task.REGRESSION
    features = _on_disk(folder / "features.npy", np.float32, (total, width))
    targets = _on_disk(folder / "targets.npy", np.float32 if regression else np.int64, (total,))
    faults = np.empty((3, total), dtype=np.bool_)
    changes = np.zeros((3, len(dataset.columns)), dtype=np.int64)
    for start, rows, made in applied(dataset, transform, config.chunk_rows):
        stop = start + len(rows)
        features[start:stop] = made.matrix
        changes += np.stack([made.clipped, made.imputed, made.unseen])
        here = rows.values[rows.emit]
        scaled, known = _targets(transform, here[:, dataset.index(dataset.target)])
        targets[start:stop] = scaled
        absent = np.delete(np.isnan(here), dataset.index(dataset.target), axis=1).any(axis=1)
        faults[:, start:stop] = ~known, ~made.complete, absent & (config.missing is Missing.DROP)
        at(f"features, {stop:,} of {total:,} rows", stop / total)
    features.flush()
    targets.flush()
    usable, left_out = {}, {}
    for part in (Part.TRAIN, Part.VALIDATION):
        rows_of = dataset.parts[part]
        found = faults[:, rows_of.start : rows_of.stop]
        usable[part], left_out[part] = _usable(found, rows_of.start, folder / f"{part}.npy")
        least = MIN_USABLE if part is Part.TRAIN else 1
        if (left := len(rows_of) - int(found.any(axis=0).sum())) < least:
            raise DataError(_too_few(dataset, transform, part, left, least, left_out[part]))
    counts = {column.name: Counts(*changes[:, index].tolist()) for index, column in enumerate(dataset.columns)}
    return FeatureSet(folder / "features.npy", folder / "targets.npy", usable, counts, left_out)


def _on_disk(path: Path, kind: type[np.float32 | np.int64], shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """A new .npy file as a memory map. Its room is taken at once: a map meets a full disk with a signal."""
    matrix = np.lib.format.open_memmap(path, "w+", kind, shape)
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = path.stat().st_size
        raise DataError(f"{path}: no room for {size:,} bytes of features: {error.strerror}: make room") from None
    return matrix


def _targets(transform: Transform, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Targets as the loss takes them (0 where there is none), and whether there is one."""
    if transform.table.task is Task.REGRESSION:
        known = ~np.isnan(values)
        return np.where(known, (values - transform.target_mean) / transform.target_std, 0.0), known
    classes = class_indices(transform, values)
    return np.where(classes >= 0, classes, 0).astype(np.float64), classes >= 0


def class_indices(transform: Transform, values: Floats) -> Indices:
    """The class of each coded target: its index, -1 for a class that training did not see, -2 for a missing value."""
    if transform.table.columns[transform.table.index(transform.table.target)].kind is Kind.CATEGORICAL:
        return np.where(np.isnan(values), -2, values).astype(np.int64)
    known = np.array(transform.classes, dtype=np.float64)
    places = np.clip(np.searchsorted(known, values), 0, len(known) - 1)
    return np.where(np.isnan(values), -2, np.where(known[places] == values, places, -1)).astype(np.int64)


def _usable(faults: NDArray[np.bool_], first: int, path: Path) -> tuple[Path, LeftOut]:
    target, history, inputs = faults
    rows = np.flatnonzero(~faults.any(axis=0)) + first
    np.save(path, rows.astype(np.int64))
    return path, LeftOut(
        target=int(target.sum()),
        history=int((history & ~target).sum()),
        inputs=int((inputs & ~history & ~target).sum()),
    )


def _too_few(dataset: Dataset, transform: Transform, part: Part, left: int, least: int, out: LeftOut) -> str:
    reasons = [
        f"{out.target} lack a known target" if out.target else "",
        f"{out.history} lack one of the {transform.history_rows} earlier rows that lags need" if out.history else "",
        f"{out.inputs} lack an input (missing impute keeps them)" if out.inputs else "",
    ]
    why = ", ".join(reason for reason in reasons if reason)
    return (
        f"{dataset.source}: {left} of {len(dataset.parts[part])} {part} rows are left, at least {least} are needed:"
        f" {why}; give more rows, or shorter lags"
    )
