"""A worker's share of an epoch: the blocks of a feature table in a shuffled order, and the rows of some of them mixed.

All workers draw the same order of blocks from the seed and the number of the epoch, and each reads its own stretch of
it: every epoch another one. Where the rows fit into one window this is a shuffle of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np

from inference.contract.network import Single
from inference.contract.schema import Indices
from training.split import PARTS, Part
from training.table import BLOCK_ROWS, FeatureTable, Targets

WINDOW_ROWS = 131_072
WINDOW_BYTES = 64 * 2**20
"""Rows that are mixed: as many as both bounds allow, and at least a block."""


class Shards:
    """The rows of a table that enter the loss, as one of several workers reads them."""

    def __init__(self, table: FeatureTable, *, seed: int, rank: int = 0, workers: int = 1) -> None:
        self._table, self._seed, self._rank, self._workers = table, seed, rank, workers
        uses = table.uses()
        self._wanted = {part: uses == PARTS.index(part) for part in (Part.TRAIN, Part.VALIDATION)}
        blocks = np.arange(0, table.rows, BLOCK_ROWS)
        self._counts = {part: np.add.reduceat(wanted, blocks, dtype=np.int64) for part, wanted in self._wanted.items()}
        self.rows = int(self._counts[Part.TRAIN].sum()) // workers
        """Training rows of an epoch for each worker; what is left over changes from epoch to epoch."""
        self.window = max(min(WINDOW_ROWS, WINDOW_BYTES // (4 * table.width)), BLOCK_ROWS)

    def batches(self, batch: int) -> int:
        """How many batches an epoch has."""
        return math.ceil(self.rows / batch)

    def epoch(self, number: int, batch: int) -> Iterator[tuple[Single, Targets]]:
        """The batches of an epoch; the last may be smaller."""
        random = np.random.Generator(np.random.PCG64([self._seed, number]))
        counts = self._counts[Part.TRAIN]
        order = random.permutation(np.flatnonzero(counts))
        mine = np.random.Generator(np.random.PCG64([self._seed, number, self._rank]))
        features: list[Single] = []
        targets: list[Targets] = []
        held = 0
        for block_features, block_targets in self._share(order, counts[order]):
            features.append(block_features)
            targets.append(block_targets)
            held += len(block_targets)
            if held >= self.window:
                whole = held // batch * batch
                rest = yield from _mixed(features, targets, mine.permutation(held), batch, whole)
                features, targets, held = [rest[0]], [rest[1]], held - whole
        if held:
            yield from _mixed(features, targets, mine.permutation(held), batch, held)

    def _share(self, order: Indices, counts: Indices) -> Iterator[tuple[Single, Targets]]:
        """The rows from rank * rows to (rank + 1) * rows of the blocks one behind the other."""
        first, last = self._rank * self.rows, (self._rank + 1) * self.rows
        ends = np.cumsum(counts)
        with self._table.open() as file:
            for block, end, count in zip(order.tolist(), ends.tolist(), counts.tolist(), strict=True):
                low, high = max(first - (end - count), 0), min(last - (end - count), count)
                if low >= high:
                    continue
                features, targets = file.read(block)
                rows = self._wanted[Part.TRAIN][block * BLOCK_ROWS : block * BLOCK_ROWS + len(targets)]
                whole = count == len(targets)
                yield (
                    features[low:high] if whole else features[rows][low:high],
                    targets[low:high] if whole else targets[rows][low:high],
                )

    def validation(self) -> Iterator[tuple[Single, Targets]]:
        """This worker's share of the validation rows, block by block."""
        blocks = np.flatnonzero(self._counts[Part.VALIDATION])[self._rank :: self._workers]
        with self._table.open() as file:
            for block in blocks.tolist():
                features, targets = file.read(block)
                rows = self._wanted[Part.VALIDATION][block * BLOCK_ROWS : block * BLOCK_ROWS + len(targets)]
                yield features[rows], targets[rows]


def _mixed(
    features: list[Single], targets: list[Targets], order: Indices, batch: int, whole: int
) -> Generator[tuple[Single, Targets], None, tuple[Single, Targets]]:
    """Batches of the first `whole` rows in this order; returns the others."""
    x = np.concatenate(features)[order] if len(features) > 1 else features[0][order]
    y = np.concatenate(targets)[order] if len(targets) > 1 else targets[0][order]
    for start in range(0, whole, batch):
        stop = min(start + batch, whole)
        yield x[start:stop], y[start:stop]
    return x[whole:], y[whole:]  # `yield from` hands it on
