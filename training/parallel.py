"""Who makes the features: a plan of chunks, each with the rows before that its windows need, and who takes which.

Every row's features depend on its own rows alone, so the plan changes no bit, and neither does who follows it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.split import Part
from training.table import BLOCK_ROWS, FeatureTable, Writer

if TYPE_CHECKING:
    from training.dataset import Dataset, Past
    from training.features import Block, LeftOut, Recipe

PARALLEL_ROWS = 8_000_000
"""From so many rows on several processes are used: of 8,000,000 rows two make the features in 1.9 s, one in 2.3 s; of
1,000,000 in 1.7 s and 0.2 s (docs/training.md)."""
Made = tuple[int, NDArray[np.int64], "dict[Part, LeftOut]"]
"""Of some rows: how many, values changed, and what does not enter the loss."""
Elsewhere = Callable[["Callable[[Past], Block]", "Iterable[Past]"], "Iterator[Block]"]
"""Applies a function to each of the arguments on other machines, and gives the answers in order."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows start..stop, which need the `reach` rows before."""

    start: int
    stop: int
    reach: int


def plan(start: int, stop: int, reach: int, size: int) -> list[Chunk]:
    """Rows start..stop in chunks of at most `size`."""
    return [Chunk(first, min(first + size, stop), reach) for first in range(start, stop, size)]


def stretches(rows: int, count: int) -> list[tuple[int, int]]:
    """At most `count` ranges of rows, of whole blocks of a feature table."""
    blocks = -(-rows // BLOCK_ROWS)
    ends = sorted({min(blocks * number // count * BLOCK_ROWS, rows) for number in range(1, count)} | {0, rows})
    return list(pairwise(ends))


def processes(rows: int, asked: int | None) -> int:
    """How many processes make the features."""
    if asked is not None:
        return asked
    return len(os.sched_getaffinity(0)) if rows >= PARALLEL_ROWS else 1


@dataclass(frozen=True)
class Work:
    """All that is needed to make features.

    Attributes:
        chunk_rows: of a chunk, at most.
    """

    recipe: Recipe
    dataset: Dataset
    table: FeatureTable
    chunk_rows: int

    def pasts(self, start: int, stop: int) -> Iterator[Past]:
        """The rows start..stop as the plan says."""
        reach = self.recipe.transform.history_rows
        return (
            self.dataset.past(chunk.start, chunk.stop, chunk.reach)
            for chunk in plan(start, stop, reach, self.chunk_rows)
        )

    def write(self, blocks: Iterator[Block], first: int) -> Iterator[Made]:
        """Write features of rows that follow each other into a file of their own."""
        with Writer(self.table, first) as file:
            for block in blocks:
                file.write(block.matrix, block.targets, block.use)
                yield len(block.use), block.changes, block.left_out


def run(work: Work, count: int, elsewhere: Elsewhere | None) -> Iterator[Made]:
    """Write all features into the table, by `count` processes or elsewhere, and tell what was made.

    Raises:
        TrainingError: a process died.
    """
    rows = work.dataset.spill.rows
    if elsewhere is not None:
        yield from work.write(elsewhere(work.recipe.make, work.pasts(0, rows)), 0)
        return
    shares = stretches(rows, count)
    if len(shares) == 1:
        yield from work.write(map(work.recipe.make, work.pasts(0, rows)), 0)
        return
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        try:
            for made in pool.map(_share, [work] * len(shares), shares):
                yield from made
        except BrokenProcessPool:
            raise TrainingError("a process that makes features died: is there enough memory? (processes 1)") from None


def _share(work: Work, rows: tuple[int, int]) -> list[Made]:
    return list(work.write(map(work.recipe.make, work.pasts(*rows)), rows[0]))
