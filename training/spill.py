"""Typed rows on disk: an Arrow IPC file in the run folder, written once and read by everything that follows.

Every column is float64 (ADR 7: a table is one matrix), for the kind of a column is only known at the end of its file.
Blocks have one size, so that a range of rows is found without an index, and reading one takes the memory of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from inference.contract.schema import Column, Floats
from training.errors import DataError

BLOCK_ROWS = 65_536
"""Rows of a block: 0.5 MiB a column, which the caches of a CPU still hold a few of."""


@dataclass(frozen=True)
class Spill:
    """Rows of float64 in a file.

    Attributes:
        path: the file.
        fields: where each column stands in the file, which may hold more.
        texts: for each categorical column its texts; a value is the position of its text.
        block_rows: rows of each block but the last.
    """

    path: Path
    rows: int
    columns: tuple[Column, ...]
    fields: tuple[int, ...]
    texts: dict[str, tuple[str, ...]]
    block_rows: int = BLOCK_ROWS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    def only(self, names: Sequence[str]) -> Spill:
        """The same rows with these columns, in this order; nothing is written."""
        places = [self.names.index(name) for name in names]
        return replace(
            self,
            columns=tuple(self.columns[place] for place in places),
            fields=tuple(self.fields[place] for place in places),
            texts={name: self.texts[name] for name in names if name in self.texts},
        )

    def read(self, start: int, stop: int) -> Floats:
        """Rows start..stop, shape (rows, columns), each column contiguous; NaN is a missing value."""
        values: Floats = np.empty((stop - start, len(self.fields)), order="F")
        with self._open() as (file, places):
            self._fill(file, places, values, start)
        return values

    def blocks(self, start: int = 0, stop: int | None = None, rows: int = BLOCK_ROWS) -> Iterator[tuple[int, Floats]]:
        """Rows start..stop in pieces that end at multiples of `rows`, each with its first row's number."""
        end = self.rows if stop is None else stop
        with self._open() as (file, places):
            while start < end:
                until = min(start // rows * rows + rows, end)
                values: Floats = np.empty((until - start, len(self.fields)), order="F")
                self._fill(file, places, values, start)
                yield start, values
                start = until

    def _open(self) -> _Opened:
        return _Opened(self.path, self.fields)

    def _fill(self, file: pa.ipc.RecordBatchFileReader, places: Sequence[int], values: Floats, start: int) -> None:
        done = 0
        while done < len(values):
            block, within = divmod(start + done, self.block_rows)
            batch = file.get_batch(block)
            count = min(batch.num_rows - within, len(values) - done)
            for index, place in enumerate(places):
                values[done : done + count, index] = batch.column(place).to_numpy()[within : within + count]
            done += count


class _Opened:
    """An Arrow file that is read by blocks, without a memory map: pages of a map would count as memory in use."""

    def __init__(self, path: Path, fields: Sequence[int]) -> None:
        self._source = pa.OSFile(str(path))
        wanted = sorted(set(fields))
        options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
        self._file = pa.ipc.open_file(self._source, options=options)
        self._places = [wanted.index(field) for field in fields]

    def __enter__(self) -> tuple[pa.ipc.RecordBatchFileReader, list[int]]:
        return self._file, self._places

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._source.close()


class SpillWriter:
    """Writes a spill, in blocks of one size however the rows come.

    Raises:
        DataError: the disk is full.
    """

    def __init__(self, path: Path, names: Sequence[str], block_rows: int = BLOCK_ROWS) -> None:
        self.rows = 0
        self._path, self._block_rows = path, block_rows
        self._schema = pa.schema([pa.field(f"{number}:{name}", pa.float64()) for number, name in enumerate(names)])
        self._waiting: list[list[Floats]] = []
        self._count = 0
        with room(path):
            self._sink = pa.OSFile(str(path), "wb")
            self._file = pa.ipc.new_file(self._sink, self._schema)

    def write(self, columns: Sequence[Floats]) -> None:
        """Append rows, given as one array a column."""
        self._waiting.append(list(columns))
        self._count += len(columns[0])
        self.rows += len(columns[0])
        if self._count >= self._block_rows:
            self._flush(self._count // self._block_rows * self._block_rows)

    def _flush(self, rows: int) -> None:
        if not self._count:
            return
        whole = [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*self._waiting, strict=True)]
        with room(self._path):
            for start in range(0, rows, self._block_rows):
                stop = min(start + self._block_rows, rows)
                arrays = [pa.array(column[start:stop], from_pandas=False) for column in whole]
                self._file.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._waiting = [[column[rows:] for column in whole]] if rows < self._count else []
        self._count -= rows

    def close(self) -> None:
        """Write what waits, and the end of the file."""
        self._flush(self._count)
        with room(self._path):
            self._file.close()
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        elif not self._sink.closed:
            self._sink.close()


class room:  # noqa: N801  # reads as what it is for: with room(path): write
    """Says in one line that there is no room to write to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, OSError):
            reason = os.strerror(error.errno) if error.errno else str(error).split("\n", 1)[0]
            raise DataError(f"{self._path}: cannot be written: {reason}: make room, or choose another output") from None
