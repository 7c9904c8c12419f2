"""A file read once, in chunks, into typed values on disk.

The text is parsed once; what follows reads float64 rows from the run folder through a memory map, so
memory does not grow with the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from inference.contract.schema import Column, Floats
from training.columns import ColumnReader
from training.errors import DataError

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
"""Cells of a CSV file that are missing values."""
BLOCK_BYTES = 4 * 2**20
"""Bytes of a CSV file that are parsed at once; a row must fit in them."""
HEADER_BYTES = 2**20
OnRows = Callable[[int, float | None], None]
"""Called with the rows read so far and the fraction of the file (None where it is not known)."""


@dataclass(frozen=True)
class Spill:
    """Rows of float64 in a file, row after row.

    Attributes:
        path: the file, 8 bytes a value.
        texts: for each categorical column its texts; a value is the position of its text.
    """

    path: Path
    rows: int
    columns: tuple[Column, ...]
    texts: dict[str, tuple[str, ...]]

    def open(self) -> Floats:
        """The rows as a read-only memory map of shape (rows, columns)."""
        return np.memmap(self.path, dtype=np.float64, mode="r", shape=(self.rows, len(self.columns)))


def header(path: Path) -> tuple[str, ...]:
    """The names of the file's columns.

    Raises:
        DataError: there is no such file, it is empty, or names are missing or repeated.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder: name a file' if path.is_dir() else 'no such file'}")
    try:
        names = _parquet_names(path) if _is_parquet(path) else _csv_names(path)
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from None
    if not names:
        raise DataError(f"{path}: is empty: it needs a first line of column names and rows below")
    if unnamed := [number for number, name in enumerate(names, start=1) if not name]:
        raise DataError(f"{path}: column {unnamed[0]} has no name in the first line")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: columns appear twice: {', '.join(repeated)}: rename one of each")
    return names


def read(
    path: Path,
    names: Sequence[str],
    into: Path,
    *,
    as_text: Sequence[str] = (),
    block_bytes: int = BLOCK_BYTES,
    chunk_rows: int = 65_536,
    on_rows: OnRows = lambda _rows, _fraction: None,
) -> Spill:
    """Read the named columns of a CSV (.csv, .csv.gz) or Parquet file into a spill at `into`.

    Raises:
        DataError: the file has no rows or cannot be parsed, or a column's values do not agree.
    """
    readers = [ColumnReader(str(path), name, as_text=name in as_text) for name in names]
    rows = 0
    try:
        batches = (
            _parquet_batches(path, names, chunk_rows) if _is_parquet(path) else _csv_batches(path, names, block_bytes)
        )
        with into.open("wb") as file:
            for batch, fraction in batches:
                matrix = np.empty((len(batch), len(readers)))
                for index, reader in enumerate(readers):
                    matrix[:, index] = reader.read(batch.column(index))
                matrix.tofile(file)
                rows += len(batch)
                on_rows(rows, fraction)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read after row {rows}: {_first_line(error)}") from None
    if rows == 0:
        raise DataError(f"{path}: has no rows below the column names")
    for reader in readers:
        reader.finish()
    return Spill(
        into,
        rows,
        tuple(Column(name=reader.name, kind=reader.kind) for reader in readers),
        {reader.name: tuple(reader.codes) for reader in readers if reader.codes},
    )


def _is_parquet(path: Path) -> bool:
    return path.suffix in (".parquet", ".pq")


def _parquet_names(path: Path) -> tuple[str, ...]:
    return tuple(pq.read_schema(path).names)


def _parquet_batches(path: Path, names: Sequence[str], rows: int) -> Iterator[tuple[pa.RecordBatch, float | None]]:
    with pq.ParquetFile(path) as file:
        total, done = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(batch_size=rows, columns=list(names), use_threads=False):
            done += len(batch)
            yield batch.select(list(names)), done / total


def _csv_names(path: Path) -> tuple[str, ...]:
    with pa.input_stream(str(path)) as stream:
        start = stream.read(HEADER_BYTES)
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(start) < HEADER_BYTES or error.start < len(start) - 4:  # else the read ended within a character
            raise DataError(
                f"{path}: is not UTF-8 (byte {error.start} is {start[error.start]:#x}): convert it"
            ) from None
        text = start[: error.start].decode("utf-8-sig")
    if text.strip() and len(start) < HEADER_BYTES and "\n" not in text and "\r" not in text:
        raise DataError(f"{path}: has one line only: it needs a first line of column names and rows below")
    for cells in csv.reader(io.StringIO(text, newline="")):
        return tuple(cell.strip() for cell in cells)
    return ()


def _csv_batches(path: Path, names: Sequence[str], block_bytes: int) -> Iterator[tuple[pa.RecordBatch, float | None]]:
    """Batches of texts. One thread: the rows come in order, and an error knows its row."""
    every = _csv_names(path)
    total = path.stat().st_size
    raw = pa.OSFile(str(path))
    stream = pa.CompressedInputStream(raw, "gzip") if path.suffix == ".gz" else raw
    with raw, stream:
        reader = pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=block_bytes, column_names=every, skip_rows_after_names=1
            ),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(every, pa.string()),
                include_columns=list(names),
                null_values=list(NULLS),
                strings_can_be_null=True,
            ),
        )
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            yield batch, min(raw.tell() / total, 1.0) if total else None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
