"""Rows put in order with bounded memory: runs that are sorted in memory, then merged from disk.

The number of a row is its last key, so that no two keys are equal: rows that are equal otherwise keep their order,
and neither the size of the runs nor that of the blocks changes the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Floats, Indices
from training.spill import Spill, SpillWriter

RUN_ROWS = 524_288
"""Rows that are sorted in memory, and that a merge holds of all runs together."""
MIN_BLOCK_ROWS = 256
Keys = Callable[[int, Floats], Floats]
"""From the number of the first row and rows of the file (all its columns) to keys of shape (rows, any number)."""


def by(keys: Floats) -> Indices:
    """The stable order of rows by keys of shape (rows, columns), the first column first."""
    return np.asarray(np.lexsort(keys.T[::-1]), dtype=np.int64)


def sort(spill: Spill, keys: Keys, into: Path, *, run_rows: int = RUN_ROWS) -> Spill:
    """The rows in the order of their keys, in a new file; the old one goes.

    `spill` must show all columns of its file, in their order. Memory: about three times `run_rows` rows.

    Raises:
        DataError: the disk is full.
    """
    runs: list[Spill] = []
    merge_rows = max(run_rows // max(math.ceil(spill.rows / run_rows), 1), MIN_BLOCK_ROWS)
    alone = spill.rows <= run_rows
    for start in range(0, spill.rows, run_rows):
        values = spill.read(start, min(start + run_rows, spill.rows))
        key = keys(start, values)
        order = by(key)
        path = into if alone else into.with_name(f"{into.name}.run-{len(runs)}")
        extra = [] if alone else [*key.T, np.arange(start, start + len(values), dtype=np.float64)]
        names = [*spill.names, *(f"key {number}" for number in range(len(extra)))]
        with SpillWriter(path, names, spill.block_rows if alone else merge_rows) as file:
            for first in range(0, len(order), spill.block_rows):
                some = order[first : first + spill.block_rows]
                file.write([column[some] for column in (*values.T, *extra)])
        runs.append(_run(spill, path, len(values), len(names), merge_rows))
    spill.path.unlink()
    made = replace(spill, path=into)
    if not alone:
        with SpillWriter(into, spill.names, spill.block_rows) as file:
            _merge(runs, len(spill.fields), file)
        for run in runs:
            run.path.unlink()
    return made


def _run(spill: Spill, path: Path, rows: int, width: int, block_rows: int) -> Spill:
    """A sorted run, with its keys as further columns."""
    return Spill(path, rows, spill.columns, tuple(range(width)), {}, block_rows)


def _merge(runs: list[Spill], width: int, file: SpillWriter) -> None:
    """Write what is below the least of the last keys that each run has in memory, until nothing is left."""
    readers = [run.blocks(rows=run.block_rows) for run in runs]
    held = [next(reader)[1] for reader in readers]
    open_ = [True] * len(runs)
    while any(len(rows) for rows in held):
        ends = [rows[-1, width:] for rows, more in zip(held, open_, strict=True) if more and len(rows)]
        limit = min(ends, key=lambda key: key.tolist()) if ends else None
        taken = [rows if limit is None else rows[: _up_to(rows[:, width:], limit)] for rows in held]
        held = [rows[len(part) :] for rows, part in zip(held, taken, strict=True)]
        together = np.concatenate(taken)
        order = by(together[:, width:])
        file.write([together[order, column] for column in range(width)])
        for number, rows in enumerate(held):
            if not len(rows) and open_[number]:
                found = next(readers[number], None)
                open_[number] = found is not None
                if found is not None:
                    held[number] = found[1]


def _up_to(keys: Floats, limit: Floats) -> int:
    """How many of these sorted keys are not above the limit."""
    return int(np.count_nonzero(~above(keys, limit)))


def above(keys: Floats, limit: Floats) -> NDArray[np.bool_]:
    """Whether each key, a row, comes after the limit."""
    later = np.zeros(len(keys), dtype=np.bool_)
    tied = np.ones(len(keys), dtype=np.bool_)
    for column, value in enumerate(limit.tolist()):
        later |= tied & (keys[:, column] > value)
        tied &= keys[:, column] == value
    return later
