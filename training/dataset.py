"""The rows of a run: read, put in order, and split, before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Column, Floats, Indices, Kind
from training import chunks, entities, order, sorting
from training.config import TrainConfig
from training.errors import DataError
from training.order import Stretch, Watch
from training.spill import BLOCK_ROWS, Spill
from training.split import PARTS, Part, Segments

__all__ = ["At", "Dataset", "Part", "Past", "check", "load"]

MIN_TRAIN, MIN_HELD_OUT = 16, 4
"""Fewer rows in a part say nothing: neither a fit nor a metric."""


class At(Protocol):
    """Tells what is being done, and the fraction done."""

    def __call__(self, text: str, fraction: float | None = None) -> None:
        """Tell it; the fraction is None where it is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Rows with what they may look back on.

    Attributes:
        first: the number of the first of `rows`.
        values: rows, of which the first `halo` only serve as the past of others.
        part, entity: of the others, as in Segments.
        start: for each of the others, where in `values` its past begins.
    """

    first: int
    values: Floats
    halo: int
    part: NDArray[np.int8]
    entity: Indices
    start: Indices


@dataclass(frozen=True)
class Dataset:
    """Typed rows on disk: entity after entity (one, where nothing names any), each in its order.

    Attributes:
        spill: the columns of the model, in the file's order.
        keys: the columns that name the entity, and those of the order.
        segments: which rows are for what. Later rows of an entity are later in the order; without one: a shuffle.
        ordered: whether a row's predecessors are its past.
        timed: whether the place on the axis is seconds since 1970.
        until: where the last row that training saw (validation included) stands in the order.
        warnings: what is odd, in sentences.
    """

    source: Path
    spill: Spill
    target: str
    order: tuple[str, ...]
    segments: Segments
    ordered: bool
    group: tuple[str, ...] = ()
    keys: tuple[Spill, Spill] | None = None
    until: str | None = None
    timed: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The model's columns."""
        return self.spill.columns

    @property
    def sizes(self) -> dict[Part, int]:
        """The rows of each part."""
        return self.segments.sizes

    @property
    def grouped(self) -> bool:
        """Whether there are entities."""
        return self.keys is not None and bool(self.keys[0].fields)

    def index(self, name: str) -> int:
        """Position of a column."""
        return [column.name for column in self.columns].index(name)

    def kind(self, name: str) -> Kind:
        """Kind of a column."""
        return self.columns[self.index(name)].kind

    def part(self, part: Part, chunk_rows: int = BLOCK_ROWS) -> Iterator[Floats]:
        """The rows of a part, at most `chunk_rows` at a time."""
        return self._of(self.spill, part, chunk_rows)

    def line(self, part: Part) -> Floats | None:
        """Where the rows of a part stand in the order, as one number each; None where there is no such number."""
        if self.keys is None:
            return None
        spill = self.keys[1]
        lines = [order.axis(keys, spill.columns) for keys in self._of(spill, part, BLOCK_ROWS)]
        found = [line for line in lines if line is not None]
        return np.concatenate(found) if found and len(found) == len(lines) else None

    def _of(self, spill: Spill, part: Part, chunk_rows: int) -> Iterator[Floats]:
        for start, stop in self.segments.spans(part, chunk_rows):
            values = spill.read(start, stop)
            here = self.segments.of(start, stop)[0] == PARTS.index(part)
            yield values if here.all() else values[here]

    def past(self, start: int, stop: int, reach: int) -> Past:
        """Rows start..stop with the `reach` rows before, of which each sees those of its own entity."""
        part, entity, first = self.segments.of(start, stop)
        halo = min(start, reach) if self.ordered else 0
        begin = np.maximum(first - (start - halo), 0) if self.ordered else np.arange(stop - start)
        return Past(start, self.spill.read(start - halo, stop), halo, part, entity, begin)

    def pasts(self, reach: int, part: Part | None = None, chunk_rows: int = BLOCK_ROWS) -> Iterator[Past]:
        """`past` of all rows, or of ranges that hold all rows of a part, chunk by chunk."""
        if part is None:
            spans = iter([(s, min(s + chunk_rows, self.spill.rows)) for s in range(0, self.spill.rows, chunk_rows)])
        else:
            spans = self.segments.spans(part, chunk_rows)
        return (self.past(start, stop, reach) for start, stop in spans)


def load(config: TrainConfig, folder: Path, at: At, *, run_rows: int = sorting.RUN_ROWS) -> Dataset:
    """Read the file into the folder, put its rows in order or shuffle them, and split; memory holds `run_rows` of them.

    Raises:
        DataError: the file cannot be read, lacks a named column, or has too few rows.
    """
    names = check(config)
    wanted = [name for name in names if name not in config.drop or name in (*config.order, *config.group_by)]
    spill = chunks.read(
        config.data,
        wanted,
        folder / "rows.arrow",
        as_text=config.categorical,
        chunk_rows=config.chunk_rows,
        on_rows=lambda rows, fraction: at(f"reading, {rows:,} rows", fraction),
    )
    kept = [name for name in wanted if name not in config.drop]
    if not config.order:
        segments = Segments.in_turn(split(spill.rows, config))
        random = np.random.Generator(np.random.PCG64(config.seed))
        at("shuffling")
        spill = sorting.sort(
            spill, lambda _, rows: random.random((len(rows), 1)), folder / "shuffled.arrow", run_rows=run_rows
        )
        return Dataset(config.data, spill.only(kept), config.target, (), segments, ordered=False)
    at("ordering")
    _check_keys(config, spill)
    was_sorted = _in_order(spill.only([*config.group_by, *config.order]))
    if not was_sorted:
        places = [wanted.index(name) for name in (*config.group_by, *config.order)]
        spill = sorting.sort(spill, lambda _, rows: rows[:, places], folder / "ordered.arrow", run_rows=run_rows)
    groups, times = spill.only(config.group_by), spill.only(config.order)
    if config.group_by:
        segments, last = entities.split(groups, times, config)
        _enough(segments.sizes, config)
    else:
        segments = Segments.in_turn(split(spill.rows, config))
        stop = spill.rows - segments.sizes[Part.TEST]
        last = times.read(stop - 1, stop)[0]

    def stretches() -> Iterator[Stretch]:
        for start, keys in times.blocks():
            line = order.axis(keys, times.columns)
            begins = np.arange(start, start + len(keys)) == segments.of(start, start + len(keys))[2]
            yield Stretch(keys, line, begins)

    found = order.report(stretches, was_sorted=was_sorted)
    timed = times.columns[0].kind is Kind.TIME
    place = order.axis(last[None, :], times.columns)
    on_axis = place is not None and all(stretch.line is not None for stretch in stretches())
    until = order.describe(last, times.columns, float(place[0]) if on_axis and place is not None else None)
    warnings = found.warnings(config.order, times=timed, within=config.group_by)
    return Dataset(
        config.data,
        spill.only(kept),
        config.target,
        tuple(name for name in config.order if name not in config.drop),
        segments,
        ordered=True,
        group=tuple(name for name in config.group_by if name not in config.drop),
        keys=(groups, times),
        until=until,
        timed=timed,
        warnings=tuple(warnings),
    )


def split(rows: int, config: TrainConfig) -> dict[Part, int]:
    """The rows of each part.

    Raises:
        DataError: too few rows.
    """
    held_out, test = round(rows * (config.validation + config.test)), round(rows * config.test)
    sizes = {Part.TRAIN: rows - held_out, Part.VALIDATION: held_out - test, Part.TEST: test}
    _enough(sizes, config)
    return sizes


def _enough(sizes: dict[Part, int], config: TrainConfig) -> None:
    short = [
        f"{part} gets {found} and needs {least}"
        for (part, found), least in zip(sizes.items(), (MIN_TRAIN, MIN_HELD_OUT, MIN_HELD_OUT), strict=True)
        if found < least
    ]
    if short:
        raise DataError(f"{config.data}: {sum(sizes.values())} rows are too few: {', '.join(short)}: give more rows")


def check(config: TrainConfig) -> tuple[str, ...]:
    """The names of the file's columns, after a look whether those that the settings name are among them.

    Raises:
        DataError: they are not, or there is no such file.
    """
    names = chunks.header(config.data)
    asked = {
        "target": (config.target,),
        "order": config.order,
        "group-by": config.group_by,
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


def _check_keys(config: TrainConfig, spill: Spill) -> None:
    """Raise DataError where a row has no place in the order, or no entity."""
    times = spill.only(config.order)
    for column in times.columns:
        if column.kind is Kind.CATEGORICAL:
            text = spill.texts[column.name][0]
            raise DataError(
                f"{config.data}: order column {column.name!r} holds texts such as {text!r}:"
                " order by numbers or ISO times"
            )
    for does, names in (("orders the rows", config.order), ("names the entity of a row", config.group_by)):
        _complete(config, spill.only(names), does)


def _complete(config: TrainConfig, keys: Spill, does: str) -> None:
    where: tuple[int, str] | None = None
    count = 0
    for start, values in keys.blocks():
        missing = np.isnan(values)
        if missing.any():
            row, column = np.argwhere(missing)[0].tolist()
            where = where or (start + row + 1, keys.names[column])
            count += int(missing.any(axis=1).sum())
    if where is not None:
        raise DataError(
            f"{config.data}: row {where[0]} has no {where[1]!r}, which {does}"
            f" ({count} such rows): fill it in or remove them"
        )


def _in_order(keys: Spill) -> bool:
    watch = Watch()
    for _, values in keys.blocks():
        watch.add(values)
        if not watch.sorted:
            return False
    return True
