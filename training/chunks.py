"""Files read once, in chunks, into typed values on disk: one file, or all of a folder or of an S3 prefix.

The text is parsed once; what follows reads float64 rows from the run folder through a memory map, so
memory does not grow with the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from inference.contract.schema import Column, Floats
from training import storage
from training.columns import ColumnReader
from training.errors import DataError

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
"""Cells of a CSV file that are missing values."""
BLOCK_BYTES = 4 * 2**20
"""Bytes of a CSV file that are parsed at once; a row must fit in them."""
HEADER_BYTES = 2**20
ENDINGS = (".csv", ".csv.gz", ".parquet", ".pq")
"""What is read of a folder or prefix; hidden files and those of Spark and Hadoop that begin with _ are not."""
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


def sources(place: Path) -> tuple[str, ...]:
    """The files that a place stands for, in the order of their names: itself, or what lies below it.

    Raises:
        DataError: there is nothing, or nothing that can be read.
    """
    from pyarrow import fs  # noqa: PLC0415  # loads AWS's libraries

    shown = storage.name(place)
    system, path = storage.filesystem(place)
    with storage.explained(place):
        info = system.get_file_info(path.rstrip("/"))
        if info.type == fs.FileType.File:
            return (shown,)
        if info.type == fs.FileType.NotFound:
            raise DataError(f"{shown}: no such file")
        below = system.get_file_info(fs.FileSelector(info.path, recursive=True))
    prefix = storage.S3 if storage.is_s3(place) else ""
    visible = sorted(
        found.path
        for found in below
        if found.type == fs.FileType.File
        and not any(part.startswith((".", "_")) for part in found.path[len(info.path) :].split("/"))
    )
    readable = [found for found in visible if found.endswith(ENDINGS)]
    if not readable:
        seen = ", ".join(found.rsplit("/", 1)[-1] for found in visible[:5]) or "nothing"
        raise DataError(f"{shown}: holds {seen}: no file ends with {', '.join(ENDINGS)}")
    return tuple(prefix + found for found in readable)


def header(place: Path) -> tuple[str, ...]:
    """The names of the columns, which all files must have; the first file's order counts.

    Raises:
        DataError: there is no such file, it is empty, or names are missing, repeated or not the same everywhere.
    """
    first, *others = sources(place)
    names = _header(first)
    for other in others:
        if odd := sorted(set(_header(other)) ^ set(names)):
            raise DataError(f"{other}: has other columns than {first}: {', '.join(odd)} is only in one of them")
    return names


def _header(path: str) -> tuple[str, ...]:
    try:
        names = _parquet_names(path) if _is_parquet(path) else _csv_names(path)
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
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
    place: Path,
    names: Sequence[str],
    into: Path,
    *,
    as_text: Sequence[str] = (),
    block_bytes: int = BLOCK_BYTES,
    chunk_rows: int = 65_536,
    on_rows: OnRows = lambda _rows, _fraction: None,
) -> Spill:
    """Read the named columns of CSV (.csv, .csv.gz) or Parquet files into a spill at `into`.

    Raises:
        DataError: a file has no rows or cannot be parsed, a column's values do not agree, or the disk is full.
    """
    readers = [ColumnReader("", name, as_text=name in as_text) for name in names]
    files = sources(place)
    total = 0
    try:
        with into.open("wb") as spill:
            for number, path in enumerate(files):
                for reader in readers:
                    reader.begin(path)
                rows = 0
                try:
                    for batch, fraction in _batches(path, names, block_bytes, chunk_rows):
                        matrix = np.empty((len(batch), len(readers)))
                        for index, reader in enumerate(readers):
                            matrix[:, index] = reader.read(batch.column(index))
                        _write(spill, matrix)
                        rows += len(batch)
                        on_rows(total + rows, None if fraction is None else (number + fraction) / len(files))
                except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
                    raise DataError(f"{path}: cannot be read after row {rows}: {_first_line(error)}") from None
                total += rows
    except OSError as error:
        raise DataError(f"{into.parent}: cannot hold the rows: {error.strerror}: choose another output") from None
    if total == 0:
        raise DataError(f"{storage.name(place)}: has no rows below the column names")
    for reader in readers:
        reader.finish()
    return Spill(
        into,
        total,
        tuple(Column(name=reader.name, kind=reader.kind) for reader in readers),
        {reader.name: tuple(reader.codes) for reader in readers if reader.codes},
    )


def _write(file: BinaryIO, matrix: Floats) -> None:
    """Append rows; numpy's own `tofile` says of a full disk only how many items were left."""
    try:
        file.write(matrix.data)
    except OSError as error:
        raise DataError(
            f"{file.name}: cannot be written: {error.strerror}: make room, or choose another output"
        ) from None


def _is_parquet(path: str) -> bool:
    return path.endswith((".parquet", ".pq"))


def _open(path: str) -> Any:
    """A file for reading, here or in S3."""
    system, place = storage.filesystem(path)
    return system.open_input_file(place)


def _batches(
    path: str, names: Sequence[str], block_bytes: int, rows: int
) -> Iterator[tuple[pa.RecordBatch, float | None]]:
    return _parquet_batches(path, names, rows) if _is_parquet(path) else _csv_batches(path, names, block_bytes)


def _parquet_names(path: str) -> tuple[str, ...]:
    with _open(path) as raw:
        return tuple(pq.read_schema(raw).names)


def _parquet_batches(path: str, names: Sequence[str], rows: int) -> Iterator[tuple[pa.RecordBatch, float | None]]:
    with _open(path) as raw, pq.ParquetFile(raw) as file:
        total, done = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(batch_size=rows, columns=list(names), use_threads=False):
            done += len(batch)
            yield batch.select(list(names)), done / total


def _csv_names(path: str) -> tuple[str, ...]:
    with _open(path) as raw, _plain(path, raw) as stream:
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


def _plain(path: str, raw: Any) -> Any:
    """The bytes of a file that may be compressed."""
    return pa.CompressedInputStream(raw, "gzip") if path.endswith(".gz") else raw


def _csv_batches(path: str, names: Sequence[str], block_bytes: int) -> Iterator[tuple[pa.RecordBatch, float | None]]:
    """Batches of texts. One thread: the rows come in order, and an error knows its row."""
    every = _csv_names(path)
    with _open(path) as raw, _plain(path, raw) as stream:
        total = raw.size()
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
