"""Which rows are for what: parts, entities, and the past that a row may look back on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Indices


class Part(StrEnum):
    """What rows are for. Nothing is fitted on validation (early stopping) or test (the gate) rows."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


PARTS = tuple(Part)


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Stretches of rows of one part and one entity, in the order of the rows; each array has one value a stretch.

    Attributes:
        first: its first row.
        part: its part, as a position in PARTS.
        entity: the number of its entity, from 0.
        past: the first row of its entity, which is as far as a row may look back.
        rows: of all stretches together.
    """

    first: Indices
    part: NDArray[np.int8]
    entity: Indices
    past: Indices
    rows: int

    @classmethod
    def in_turn(cls, sizes: dict[Part, int]) -> Segments:
        """One entity whose parts follow each other."""
        counts = [sizes[part] for part in PARTS]
        zeros = np.zeros(len(PARTS), dtype=np.int64)
        first = np.cumsum([0, *counts[:-1]], dtype=np.int64)
        return cls(first, np.arange(len(PARTS), dtype=np.int8), zeros, zeros, sum(counts))

    @property
    def sizes(self) -> dict[Part, int]:
        """The rows of each part."""
        lengths = np.diff(np.append(self.first, self.rows))
        return {part: int(lengths[self.part == number].sum()) for number, part in enumerate(PARTS)}

    @property
    def entities(self) -> int:
        """How many entities there are."""
        return int(self.entity[-1]) + 1

    def spans(self, part: Part, block: int) -> Iterator[tuple[int, int]]:
        """Ranges of at most `block` rows, whose ends are multiples of it, that hold all rows of a part."""
        here = self.part == PARTS.index(part)
        first, last = self.first[here], np.append(self.first, self.rows)[1:][here]
        blocks = {
            number for low, high in zip(first.tolist(), last.tolist(), strict=True) if high > low
            for number in range(low // block, (high - 1) // block + 1)
        }  # fmt: skip
        if not blocks:
            return
        begin, end = int(first[0]), int(last[-1])
        for number in sorted(blocks):
            yield max(number * block, begin), min((number + 1) * block, end)

    def of(self, start: int, stop: int) -> tuple[NDArray[np.int8], Indices, Indices]:
        """Part, entity and first row of the past of each of the rows start..stop."""
        low, high = (int(np.searchsorted(self.first, row, side="right")) for row in (start, stop - 1))
        ends = np.clip(np.append(self.first, self.rows)[low - 1 : high + 1], start, stop)
        here, lengths = slice(low - 1, high), np.diff(ends)
        return (
            np.repeat(self.part[here], lengths),
            np.repeat(self.entity[here], lengths),
            np.repeat(self.past[here], lengths),
        )


class SegmentsBuilder:
    """Makes segments of rows in order of their entities, block by block."""

    def __init__(self) -> None:
        self._first: list[Indices] = []
        self._part: list[NDArray[np.int8]] = []
        self._begins: list[NDArray[np.bool_]] = []
        self._rows = 0
        self._last = -1

    def add(self, part: NDArray[np.int8], begins: NDArray[np.bool_]) -> None:
        """The next rows: their parts, and whether each is the first of its entity."""
        before = np.concatenate([[self._last], part[:-1]])
        new = np.flatnonzero(begins | (part != before))
        self._first.append(new + self._rows)
        self._part.append(part[new])
        self._begins.append(begins[new])
        self._rows += len(part)
        self._last = int(part[-1])

    def build(self) -> Segments:
        """The segments of all rows."""
        first, begins = np.concatenate(self._first), np.concatenate(self._begins)
        entity = np.cumsum(begins) - 1
        past = first[begins][entity]
        return Segments(first, np.concatenate(self._part), entity, past, self._rows)
