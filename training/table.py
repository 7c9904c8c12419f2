"""Features, targets and the use of each row on disk, as Arrow IPC files: written in parts by whoever makes them.

Training, the baselines and the evaluation all read them here: a part of the rows in order, or a worker's shard of an
epoch in a shuffled order, with bounded memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from inference.contract.network import Single
from training.spill import room
from training.split import PARTS, Part

BLOCK_ROWS = 8_192
"""Rows of a block, which is read as a whole."""
LEFT_OUT = -1
"""The use of a row of a part that does not enter the loss."""
Targets = NDArray[Any]
"""float32 (scaled) of a regression, int64 (class) of a classification."""


@dataclass(frozen=True)
class FeatureTable:
    """Where the features are.

    Attributes:
        folder: with the files, of which the rows stand in the order of their names.
        width: features of a row, float32.
    """

    folder: Path
    rows: int
    width: int
    regression: bool

    @property
    def schema(self) -> pa.Schema:
        """Of the files."""
        target = pa.float32() if self.regression else pa.int64()
        return pa.schema([("use", pa.int8()), ("target", target), ("features", pa.list_(pa.float32(), self.width))])

    def path(self, first: int) -> Path:
        """The file whose first row has this number."""
        return self.folder / f"from-{first:015}.arrow"

    def uses(self) -> NDArray[np.int8]:
        """The use of each row: its part, as a position in PARTS, or LEFT_OUT."""
        with self.open([0]) as file:
            return np.concatenate([file.batch(block).column(0).to_numpy() for block in range(file.blocks)])

    def open(self, fields: Sequence[int] = (0, 1, 2)) -> _Opened:
        """Read by blocks."""
        return _Opened(self, fields)

    def part(self, part: Part) -> Iterator[tuple[Single, Targets]]:
        """Features and targets of the rows of a part that are of use, block by block."""
        number = PARTS.index(part)
        wanted = self.uses() == number
        with self.open() as file:
            for block in np.unique(np.flatnonzero(wanted) // BLOCK_ROWS).tolist():
                features, targets = file.read(block)
                here = wanted[block * BLOCK_ROWS : block * BLOCK_ROWS + len(targets)]
                yield features[here], targets[here]

    def whole(self, part: Part) -> tuple[Single, Targets]:
        """The same in memory."""
        found = list(self.part(part))
        if not found:
            return np.empty((0, self.width), np.float32), np.empty(0, np.float32 if self.regression else np.int64)
        return np.concatenate([features for features, _ in found]), np.concatenate([targets for _, targets in found])

    def digest(self) -> str:
        """The sha256 of what the networks see, however the rows are spread over files."""
        every = hashlib.sha256()
        with self.open() as file:
            for block in range(file.blocks):
                batch = file.batch(block)
                every.update(batch.column(0).to_numpy().tobytes())
                features, targets = file.read(block)
                every.update(np.ascontiguousarray(targets).tobytes())
                every.update(np.ascontiguousarray(features).tobytes())
        return every.hexdigest()


class Writer:
    """Writes one file: rows that stand one behind the other, from the first of a block on.

    Raises:
        DataError: the disk is full.
    """

    def __init__(self, table: FeatureTable, first: int) -> None:
        self._table = table
        self._path = table.path(first)
        table.folder.mkdir(exist_ok=True)
        self._schema = table.schema
        self._waiting: list[tuple[Single, Targets, NDArray[np.int8]]] = []
        self._count = 0
        with room(self._path):
            self._sink = pa.OSFile(str(self._path), "wb")
            self._file = pa.ipc.new_file(self._sink, self._schema)

    def write(self, matrix: Single, targets: Targets, use: NDArray[np.int8]) -> None:
        """Append rows; what makes no whole block waits."""
        self._waiting.append((matrix, targets, use))
        self._count += len(use)
        if self._count >= BLOCK_ROWS:
            self._flush(self._count // BLOCK_ROWS * BLOCK_ROWS)

    def _flush(self, rows: int) -> None:
        whole = [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*self._waiting, strict=True)]
        matrix, targets, use = whole
        kind = np.float32 if self._table.regression else np.int64
        with room(self._path):
            for start in range(0, rows, BLOCK_ROWS):
                part = slice(start, min(start + BLOCK_ROWS, rows))
                flat = pa.array(np.ascontiguousarray(matrix[part]).reshape(-1), from_pandas=False)
                arrays = [
                    pa.array(use[part], from_pandas=False),
                    pa.array(targets[part].astype(kind), from_pandas=False),
                    pa.FixedSizeListArray.from_arrays(flat, self._table.width),
                ]
                self._file.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._waiting = [(matrix[rows:], targets[rows:], use[rows:])] if rows < self._count else []
        self._count -= rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and self._count:
            self._flush(self._count)
        with room(self._path):
            if kind is None:
                self._file.close()
            self._sink.close()


class _Opened:
    """The files of a table, read by blocks without a memory map."""

    def __init__(self, table: FeatureTable, fields: Sequence[int]) -> None:
        self._width = table.width
        options = pa.ipc.IpcReadOptions(included_fields=list(fields), use_threads=False)
        if not table.path(0).exists():
            raise FileNotFoundError(f"{table.folder}: holds no features")
        self._sources = [pa.OSFile(str(path)) for path in sorted(table.folder.glob("from-*.arrow"))]
        files = [pa.ipc.open_file(source, options=options) for source in self._sources]
        self._places = [(file, number) for file in files for number in range(file.num_record_batches)]
        self.blocks = len(self._places)

    def batch(self, block: int) -> pa.RecordBatch:
        """A block as Arrow has it."""
        file, number = self._places[block]
        return file.get_batch(number)

    def read(self, block: int) -> tuple[Single, Targets]:
        """Features, shape (rows, width), and targets of a block; views of memory that must not be written to."""
        batch = self.batch(block)
        features = batch.column("features").flatten().to_numpy().reshape(-1, self._width)
        return features, batch.column("target").to_numpy()

    def close(self) -> None:
        """Let go of the files."""
        for source in self._sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
