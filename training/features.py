"""The features of all rows on disk, made chunk by chunk by the one `apply` there is: none is computed here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.contract.network import Single
from inference.contract.schema import UNSEEN, Floats, Indices, Kind, Rows, Task
from inference.contract.transform import Transform
from training import parallel
from training.config import Missing, TrainConfig
from training.dataset import At, Dataset, Past
from training.errors import DataError
from training.parallel import Elsewhere, Work
from training.spill import BLOCK_ROWS, Spill
from training.split import PARTS, Part
from training.table import LEFT_OUT, FeatureTable

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

    @classmethod
    def of(cls, faults: NDArray[np.bool_]) -> LeftOut:
        """From whether each row lacks its target, its history, an input: shape (3, rows)."""
        target, history, inputs = faults
        return cls(
            target=int(np.count_nonzero(target)),
            history=int(np.count_nonzero(history & ~target)),
            inputs=int(np.count_nonzero(inputs & ~history & ~target)),
        )

    @property
    def total(self) -> int:
        """Rows that are left out."""
        return self.target + self.history + self.inputs

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(self.target + other.target, self.history + other.history, self.inputs + other.inputs)


@dataclass(frozen=True)
class FeatureSet:
    """The features of all rows, in the order of the data set's, in files of the run folder.

    Attributes:
        table: features, target and use of each row.
        counts: values changed, by column.
        left_out: by part.
        processes: that made them.
    """

    table: FeatureTable
    counts: dict[str, Counts]
    left_out: dict[Part, LeftOut]
    processes: int


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
        coded = values.copy(order="K") if self._lookups else values
        for index, lookup in self._lookups.items():
            codes = coded[:, index]
            coded[:, index] = lookup[np.where(np.isnan(codes), -1.0, codes).astype(np.int64)]
        return coded


def rows_of(dataset: Dataset, transform: Transform, part: Part, chunk_rows: int = BLOCK_ROWS) -> Iterator[Rows]:
    """The rows of a part with the earlier rows that they need, coded for the transform, chunk by chunk."""
    coder = Coder(transform, dataset.spill)
    for past in dataset.pasts(transform.history_rows, part, chunk_rows):
        here = np.flatnonzero(past.part == PARTS.index(part))
        yield Rows(coder(past.values), here + past.halo, past.start[here])


def picked(dataset: Dataset, transform: Transform, part: Part, numbers: Indices) -> Iterator[tuple[Floats, Rows]]:
    """Some rows of a part, by their numbers in it (in order): as they are, and coded with the rows that they need."""
    coder, seen = Coder(transform, dataset.spill), 0
    for past in dataset.pasts(transform.history_rows, part):
        here = np.flatnonzero(past.part == PARTS.index(part))
        some = here[numbers[(numbers >= seen) & (numbers < seen + len(here))] - seen]
        seen += len(here)
        if len(some):
            yield past.values[some + past.halo], Rows(coder(past.values), some + past.halo, past.start[some])


def actual(dataset: Dataset, transform: Transform, part: Part) -> Floats:
    """The targets of the rows of a part, coded for the transform."""
    coder, column = Coder(transform, dataset.spill), dataset.index(dataset.target)
    return np.concatenate([coder(chunk)[:, column] for chunk in dataset.part(part)])


@dataclass(frozen=True)
class Recipe:
    """How features are made of rows: all that another process needs to know."""

    transform: Transform
    coder: Coder
    drop_missing: bool

    @classmethod
    def of(cls, dataset: Dataset, transform: Transform, config: TrainConfig) -> Recipe:
        """The recipe of a run."""
        # Whether serving refuses a row without its history is not the question for the first rows of a file.
        lenient = transform.model_copy(update={"missing_history": "impute"})
        return cls(lenient, Coder(transform, dataset.spill), config.missing is Missing.DROP)

    def rows(self, past: Past) -> Rows:
        """Rows as `apply` takes them."""
        emit = np.arange(past.halo, len(past.values), dtype=np.int64)
        return Rows(self.coder(past.values), emit, past.start)

    def make(self, past: Past) -> Block:
        """The features of rows; the same bits wherever they are made, and whatever rows stand beside them."""
        rows = self.rows(past)
        made = self.transform.apply(rows)
        here = rows.emitted
        target = self.transform.table.index(self.transform.table.target)
        targets, known = _targets(self.transform, here[:, target])
        absent = np.isnan(here).sum(axis=1) > np.isnan(here[:, target])
        faults = np.stack([~known, ~made.complete, absent & self.drop_missing])
        use = np.where(faults.any(axis=0) & (past.part != PARTS.index(Part.TEST)), LEFT_OUT, past.part)
        left = {part: LeftOut.of(faults[:, past.part == PARTS.index(part)]) for part in (Part.TRAIN, Part.VALIDATION)}
        return Block(
            made.matrix, targets, use.astype(np.int8), np.stack([made.clipped, made.imputed, made.unseen]), left
        )


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Features of rows that stand one behind the other, as they are written; and what was changed and left out."""

    matrix: Single
    targets: Floats
    use: NDArray[np.int8]
    changes: NDArray[np.int64]
    left_out: dict[Part, LeftOut]


def build(
    dataset: Dataset,
    transform: Transform,
    config: TrainConfig,
    folder: Path,
    at: At,
    elsewhere: Elsewhere | None = None,
) -> FeatureSet:
    """Write the features and targets of all rows, and which rows enter the loss.

    They are made in this process; in several from PARALLEL_ROWS rows on, or as many as the settings say; or
    `elsewhere`, on the machines of a cluster. The plan of chunks is the same, and so is every bit.

    Raises:
        DataError: too few rows are left to train or to stop early by.
    """
    recipe = Recipe.of(dataset, transform, config)
    changes = np.zeros((3, len(dataset.columns)), dtype=np.int64)
    left_out = {part: LeftOut() for part in (Part.TRAIN, Part.VALIDATION)}
    count = 1 if elsewhere is not None else parallel.processes(dataset.spill.rows, config.processes)
    table = FeatureTable(
        folder / "features", dataset.spill.rows, len(transform.feature_names), transform.table.task is Task.REGRESSION
    )
    done = 0
    work = Work(recipe, dataset, table, config.chunk_rows)
    for rows, changed, left in parallel.run(work, count, elsewhere):
        changes += changed
        left_out = {part: left_out[part] + left[part] for part in left_out}
        done += rows
        at(f"features, {done:,} of {dataset.spill.rows:,} rows", done / dataset.spill.rows)
    for part, out in left_out.items():
        least = MIN_USABLE if part is Part.TRAIN else 1
        if (left_rows := dataset.sizes[part] - out.total) < least:
            raise DataError(_too_few(dataset, transform, part, left_rows, least, out))
    counts = {column.name: Counts(*changes[:, index].tolist()) for index, column in enumerate(dataset.columns)}
    return FeatureSet(table, counts, left_out, count)


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


def _too_few(dataset: Dataset, transform: Transform, part: Part, left: int, least: int, out: LeftOut) -> str:
    reasons = [
        f"{out.target} lack a known target" if out.target else "",
        f"{out.history} lack one of the {transform.history_rows} earlier rows that lags need" if out.history else "",
        f"{out.inputs} lack an input (missing impute keeps them)" if out.inputs else "",
    ]
    why = ", ".join(reason for reason in reasons if reason)
    return (
        f"{dataset.source}: {left} of {dataset.sizes[part]} {part} rows are left, at least {least} are needed:"
        f" {why}; give more rows, or shorter lags"
    )
