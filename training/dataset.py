"""The rows of a run: read, put in order, and split, before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np

from inference.contract.schema import Column, Floats, Indices, Kind
from training import chunks, order
from training.chunks import Spill
from training.config import TrainConfig
from training.errors import DataError

MIN_TRAIN, MIN_HELD_OUT = 16, 4
"""Fewer rows in a part say nothing: neither a fit nor a metric."""


class Part(StrEnum):
    """What rows are for. Nothing is fitted on validation (early stopping) or test (the gate) rows."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class At(Protocol):
    """Tells what is being done, and the fraction done."""

    def __call__(self, text: str, fraction: float | None = None) -> None:
        """Tell it; the fraction is None where it is not known."""


@dataclass(frozen=True)
class Dataset:
    """Typed rows on disk: the training rows first, then validation, then test.

    Attributes:
        spill: the columns of the model, in the file's order.
        parts: the rows of each part, as a range. In time order where there is an order, else a seeded shuffle.
        ordered: whether a row's predecessors are its past.
        line: where the test rows stand in the order, as one number each; None where there is no such number.
        timed: whether that number is seconds since 1970.
        until: where the last row that training saw (validation included) stands in the order.
        warnings: what is odd, in sentences.
    """

    source: Path
    spill: Spill
    target: str
    order: tuple[str, ...]
    parts: dict[Part, range]
    ordered: bool
    until: str | None = None
    line: Floats | None = None
    timed: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The model's columns."""
        return self.spill.columns

    def index(self, name: str) -> int:
        """Position of a column."""
        return [column.name for column in self.columns].index(name)

    def kind(self, name: str) -> Kind:
        """Kind of a column."""
        return self.columns[self.index(name)].kind

    def part(self, part: Part, chunk_rows: int) -> Iterator[Floats]:
        """The rows of a part in chunks of at most `chunk_rows`."""
        values, rows = self.spill.open(), self.parts[part]
        for start in range(rows.start, rows.stop, chunk_rows):
            yield np.asarray(values[start : min(start + chunk_rows, rows.stop)])


def load(config: TrainConfig, folder: Path, at: At) -> Dataset:
    """Read the file into the folder, put its rows in order or shuffle them, and split.

    Raises:
        DataError: the file cannot be read, lacks a named column, or has too few rows.
    """
    names = check(config)
    wanted = [name for name in names if name not in config.drop or name in config.order]
    spill = chunks.read(
        config.data,
        wanted,
        folder / "rows.f64",
        as_text=config.categorical,
        chunk_rows=config.chunk_rows,
        on_rows=lambda rows, fraction: at(f"reading, {rows:,} rows", fraction),
    )
    parts = split(spill.rows, config)
    warnings: list[str] = []
    until, stands, timed = None, None, False
    moved: Indices | None
    if config.order:
        at("ordering")
        keys, columns = _keys(config, spill)
        moved = order.permutation(keys)
        if moved is not None:
            keys = keys[moved]
        line = order.axis(keys, columns)
        found = order.report(keys, line, was_sorted=moved is None)
        warnings += found.warnings(config.order, times=columns[0].kind is Kind.TIME)
        timed = columns[0].kind is Kind.TIME
        stands = None if line is None else line[parts[Part.TEST].start :].copy()
        last = parts[Part.VALIDATION].stop - 1
        until = order.describe(keys[last], columns, None if line is None else float(line[last]))
    else:
        moved = np.random.Generator(np.random.PCG64(config.seed)).permutation(spill.rows)
    kept = [index for index, name in enumerate(wanted) if name not in config.drop]
    if moved is not None or len(kept) < len(wanted):
        at("rearranging")
        spill = _rearrange(spill, moved, kept, folder / "ordered.f64", config.chunk_rows)
    model_order = tuple(name for name in config.order if name not in config.drop)
    ordered = bool(config.order)
    return Dataset(
        config.data, spill, config.target, model_order, parts, ordered, until, stands, timed, tuple(warnings)
    )


def split(rows: int, config: TrainConfig) -> dict[Part, range]:
    """The rows of each part.

    Raises:
        DataError: too few rows.
    """
    held_out, test = round(rows * (config.validation + config.test)), round(rows * config.test)
    first, second = rows - held_out, rows - test
    parts = {Part.TRAIN: range(first), Part.VALIDATION: range(first, second), Part.TEST: range(second, rows)}
    short = [
        f"{part} gets {len(found)} and needs {least}"
        for (part, found), least in zip(parts.items(), (MIN_TRAIN, MIN_HELD_OUT, MIN_HELD_OUT), strict=True)
        if len(found) < least
    ]
    if short:
        raise DataError(f"{config.data}: {rows} rows are too few: {', '.join(short)}: give more rows")
    return parts


def check(config: TrainConfig) -> tuple[str, ...]:
    """The names of the file's columns, after a look whether those that the settings name are among them.

    Raises:
        DataError: they are not, or there is no such file.
    """
    names = chunks.header(config.data)
    asked = {
        "target": (config.target,),
        "order": config.order,
        "drop": config.drop,
        "categorical": config.categorical,
        "allow_leak": config.allow_leak,
        "history": config.history or (),
        "products": config.products or (),
    }
    problems = [
        f"{setting} names {name!r}" for setting, columns in asked.items() for name in columns if name not in names
    ]
    if problems:
        raise DataError(f"{config.data}: {', '.join(problems)}, but the columns are {', '.join(names)}")
    if not set(names) - set(config.drop) - {config.target}:
        raise DataError(
            f"{config.data}: no column is left to learn from beside the target {config.target!r}: drop fewer"
        )
    return names


def _keys(config: TrainConfig, spill: Spill) -> tuple[Floats, list[Column]]:
    """The order columns' values, shape (rows, order columns), all of them in memory."""
    names = [column.name for column in spill.columns]
    indices = [names.index(name) for name in config.order]
    columns = [spill.columns[index] for index in indices]
    for column in columns:
        if column.kind is Kind.CATEGORICAL:
            text = spill.texts[column.name][0]
            raise DataError(
                f"{config.data}: order column {column.name!r} holds texts such as {text!r}:"
                " order by numbers or ISO times"
            )
    keys = np.array(spill.open()[:, indices])
    if (missing := np.isnan(keys)).any():
        row, column_index = np.argwhere(missing)[0].tolist()
        raise DataError(
            f"{config.data}: row {row + 1} has no {columns[column_index].name!r}, which orders the rows"
            f" ({int(missing.any(axis=1).sum())} such rows): fill it in or remove them"
        )
    return keys, columns


def _rearrange(spill: Spill, moved: Indices | None, kept: list[int], path: Path, chunk_rows: int) -> Spill:
    """The kept columns in another order of rows, written chunk by chunk; the old file goes."""
    values = spill.open()
    with path.open("wb") as file:
        for start in range(0, spill.rows, chunk_rows):
            stop = min(start + chunk_rows, spill.rows)
            chunk = values[start:stop] if moved is None else values[moved[start:stop]]
            np.ascontiguousarray(chunk[:, kept]).tofile(file)
    spill.path.unlink()
    columns = tuple(spill.columns[index] for index in kept)
    texts = {column.name: spill.texts[column.name] for column in columns if column.name in spill.texts}
    return replace(spill, path=path, columns=columns, texts=texts)
