"""Files read once, in chunks, into typed values on disk: one file, or all of a folder or of an S3 prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from inference.contract.schema import Column, Floats
from training import csvfile, storage
from training.columns import ColumnReader
from training.errors import DataError
from training.spill import Spill, SpillWriter

ENDINGS = (".csv", ".csv.gz", ".parquet", ".pq")
"""What is read of a folder or prefix; hidden files and those of Spark and Hadoop that begin with _ are not."""
PARQUET_ROWS = 65_536
OnRows = Callable[[int, float | None], None]
"""Called with the rows read so far and the fraction of the file (None where it is not known)."""


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
        names = _parquet_names(path) if _is_parquet(path) else csvfile.names(path)
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
    block_bytes: int = csvfile.BLOCK_BYTES,
    chunk_rows: int = PARQUET_ROWS,
    on_rows: OnRows = lambda _rows, _fraction: None,
) -> Spill:
    """Read the named columns of CSV (.csv, .csv.gz) or Parquet files into a spill at `into`.

    Raises:
        DataError: a file has no rows or cannot be parsed, a column's values do not agree, or the disk is full.
    """
    readers = [ColumnReader("", name, as_text=name in as_text) for name in names]
    files = sources(place)
    with SpillWriter(into, names) as spill:
        for number, path in enumerate(files):
            for reader in readers:
                reader.begin(path)
            done = 0
            try:
                for columns, fraction in _batches(path, readers, block_bytes, chunk_rows):
                    spill.write(columns)
                    done += len(columns[0])
                    on_rows(spill.rows, None if fraction is None else (number + fraction) / len(files))
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path}: cannot be read after row {done}: {_first_line(error)}") from None
        total = spill.rows
    if total == 0:
        raise DataError(f"{storage.name(place)}: has no rows below the column names")
    for reader in readers:
        reader.finish()
    return Spill(
        into,
        total,
        tuple(Column(name=reader.name, kind=reader.kind) for reader in readers),
        tuple(range(len(readers))),
        {reader.name: tuple(reader.codes) for reader in readers if reader.codes},
    )


def _is_parquet(path: str) -> bool:
    return path.endswith((".parquet", ".pq"))


def _batches(
    path: str, readers: Sequence[ColumnReader], block_bytes: int, rows: int
) -> Iterator[tuple[list[Floats], float | None]]:
    return _parquet_batches(path, readers, rows) if _is_parquet(path) else csvfile.read(path, readers, block_bytes)


def _parquet_names(path: str) -> tuple[str, ...]:
    with storage.opened(path) as raw:
        return tuple(pq.read_schema(raw).names)


def _parquet_batches(
    path: str, readers: Sequence[ColumnReader], rows: int
) -> Iterator[tuple[list[Floats], float | None]]:
    names = [reader.name for reader in readers]
    with storage.opened(path) as raw, pq.ParquetFile(raw) as file:
        total, done = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(batch_size=rows, columns=names, use_threads=False):
            done += len(batch)
            yield [reader.read(batch.column(reader.name)) for reader in readers], done / total


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
