"""CSV files in batches: typed at once where the values seen so far say how, as texts where they do not.

Numbers are parsed by several threads, a block of whole lines each. What a block holds against expectation is parsed
again as texts, which the column's reader takes or refuses with row and value. A file with quotes, whose lines may
go on behind a newline, is read by Arrow's own stream of texts from the first quote on.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from inference.contract.schema import Floats
from training import storage
from training.columns import ColumnReader, Form
from training.errors import DataError

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
"""Cells of a CSV file that are missing values."""
BLOCK_BYTES = 2 * 2**20
"""Bytes of a CSV file that are parsed at once; a row must fit in them."""
FIRST_BYTES = 2**16
"""The first block, which is read as texts, is smaller."""
HEADER_BYTES = 2**20
MAX_THREADS = 4
_TYPES = {Form.INTEGER: pa.int64(), Form.NUMBER: pa.float64()}
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def names(path: str) -> tuple[str, ...]:
    """The cells of the first line.

    Raises:
        DataError: it is not UTF-8, or the only line.
    """
    with storage.opened(path) as raw, plain(path, raw) as stream:
        start = stream.read(HEADER_BYTES)
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(start) < HEADER_BYTES or error.start < len(start) - 4:  # else the read ended within a character
            raise DataError(_not_utf8(path, start, error, -1)) from None
        text = start[: error.start].decode("utf-8-sig")
    if text.strip() and len(start) < HEADER_BYTES and "\n" not in text and "\r" not in text:
        raise DataError(f"{path}: has one line only: it needs a first line of column names and rows below")
    for cells in csv.reader(io.StringIO(text, newline="")):
        return tuple(cell.strip() for cell in cells)
    return ()


def plain(path: str, raw: Any) -> Any:
    """The bytes of a file that may be compressed."""
    return pa.CompressedInputStream(raw, "gzip") if path.endswith(".gz") else raw


def read(
    path: str, readers: Sequence[ColumnReader], block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[list[Floats], float | None]]:
    """The columns of the readers, batch by batch, with the fraction of the file done.

    Raises:
        DataError: the file cannot be parsed, changed meanwhile, or a value does not fit those before it.
    """
    with storage.opened(path) as raw, plain(path, raw) as stream, ThreadPoolExecutor(_threads(), "csv") as pool:
        before, total = storage.state(path), raw.size()
        parser = _Parser(path, names(path), readers)
        waiting: deque[tuple[bytes, Future[pa.Table]]] = deque()
        for number, block in enumerate(blocks := _Blocks(stream, block_bytes)):
            if number == 0:
                yield parser.texts(block, first=True), _fraction(raw, total)  # it decides the first types
                continue
            waiting.append((block, pool.submit(parser.typed, block)))
            if len(waiting) > _threads():
                yield parser.take(*waiting.popleft()), _fraction(raw, total)
        while waiting:
            yield parser.take(*waiting.popleft()), _fraction(raw, total)
        if blocks.rest is not None:
            for found in parser.quoted(_Chained(blocks.rest, stream), block_bytes, first=not blocks.given):
                yield found, _fraction(raw, total)
        if (raw is stream and raw.tell() < total) or storage.state(path) != before:
            raise DataError(f"{path}: changed while it was read: give it to the run when it is complete")


def _threads() -> int:
    return min(len(os.sched_getaffinity(0)), MAX_THREADS)


def _fraction(raw: Any, total: int) -> float | None:
    return min(raw.tell() / total, 1.0) if total else None


class _Blocks:
    """Whole lines, about `size` bytes at a time, up to the first quote; `rest` is what was read from there on."""

    def __init__(self, stream: Any, size: int) -> None:
        self.rest: bytes | None = None
        self.given = 0
        self._stream, self._size = stream, size

    def __iter__(self) -> Iterator[bytes]:
        held = b""
        while piece := self._stream.read(self._size if self.given else min(FIRST_BYTES, self._size)):
            held += piece
            end = held.rfind(b"\n") + 1
            if not end and len(held) < self._size:
                continue
            if held.find(b'"') >= 0 or not end:
                self.rest = held  # a quote, or lines that end otherwise
                return
            self.given += 1
            yield held[:end]
            held = held[end:]
        if held:
            self.given += 1
            yield held


class _Chained(io.RawIOBase):
    """Bytes, then the rest of a stream."""

    def __init__(self, first: bytes, then: Any) -> None:
        self._first, self._then = first, then

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._first:
            found, self._first = (self._first, b"") if size < 0 else (self._first[:size], self._first[size:])
            return found
        rest: bytes = self._then.read() if size < 0 else self._then.read(size)
        return rest


@dataclass
class _Parser:
    """Parses blocks; only `typed` runs in other threads."""

    path: str
    every: tuple[str, ...]
    readers: Sequence[ColumnReader]

    def typed(self, block: bytes) -> pa.Table:
        """The block with the types that its columns have by now."""
        forms = {reader.name: _TYPES.get(reader.form, pa.string()) for reader in self.readers}  # type: ignore[arg-type]
        return self._parse(block, forms, first=False)

    def take(self, block: bytes, parsed: Future[pa.Table]) -> list[Floats]:
        """The values of a block that was parsed."""
        rows = self.readers[0].rows
        try:
            return self._values(parsed.result())
        except (pa.ArrowInvalid, DataError):  # not as expected: the texts tell why
            for reader in self.readers:
                reader.rows = rows
            return self.texts(block)

    def texts(self, block: bytes, *, first: bool = False) -> list[Floats]:
        """The values of a block that is read as texts; its first line may be the names."""
        forms = {reader.name: pa.string() for reader in self.readers}
        rows = self.readers[0].rows
        try:
            return self._values(self._parse(block, forms, first=first))
        except pa.ArrowInvalid as error:
            raise DataError(self._explained(error, block, rows, first=first)) from None

    def quoted(self, stream: Any, block_bytes: int, *, first: bool) -> Iterator[list[Floats]]:
        """The values of the rest of a file with quotes. One thread: an error knows its row."""
        rows = self.readers[0].rows
        try:
            reader = pacsv.open_csv(
                pa.PythonFile(stream, mode="r"),
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=block_bytes, column_names=self.every,
                    skip_rows_after_names=int(first),
                ),
                parse_options=pacsv.ParseOptions(newlines_in_values=True),
                convert_options=self._options(dict.fromkeys(self.every, pa.string())),
            )  # fmt: skip
            for batch in reader:
                yield self._values(batch)
        except pa.ArrowInvalid as error:
            raise DataError(self._explained(error, b"", rows, first=first)) from None

    def _parse(self, block: bytes, forms: dict[str, pa.DataType], *, first: bool) -> pa.Table:
        if first and not block.partition(b"\n")[2].strip():
            return pa.table({name: pa.array([], pa.string()) for name in forms})  # names alone, which Arrow refuses
        return pacsv.read_csv(
            pa.BufferReader(block),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=len(block) + 1, column_names=self.every, skip_rows_after_names=int(first)
            ),
            convert_options=self._options(forms),
        )

    def _options(self, forms: dict[str, pa.DataType]) -> pacsv.ConvertOptions:
        return pacsv.ConvertOptions(
            column_types=forms,
            include_columns=[reader.name for reader in self.readers],
            null_values=list(NULLS),
            strings_can_be_null=True,
        )

    def _values(self, found: pa.Table | pa.RecordBatch) -> list[Floats]:
        return [reader.read(_whole(found.column(index))) for index, reader in enumerate(self.readers)]

    def _explained(self, error: Exception, block: bytes, rows: int, *, first: bool) -> str:
        """What Arrow says, with the row of the file in place of that of the block; rows count without the names."""
        try:
            block.decode("utf-8-sig")
        except UnicodeDecodeError as odd:
            return _not_utf8(self.path, block, odd, rows - int(first))
        text = str(error).strip().split("\n", 1)[0]
        if found := _RAGGED.search(text):
            row = rows + int(found.group(1)) - int(first)
            cells = text.partition(f"got {found.group(3)}: ")[2][:80]
            return (
                f"{self.path}: row {row}: expected {found.group(2)} columns, got {found.group(3)}"
                f"{f' ({cells})' if cells else ''}: mend the row, or quote values that hold commas"
            )
        return f"{self.path}: cannot be read after row {rows}: {text}"


def _not_utf8(path: str, content: bytes, error: UnicodeDecodeError, rows: int) -> str:
    row = rows + content[: error.start].count(b"\n") + 1
    where = f"byte {error.start} is {content[error.start]:#x}" if rows <= 0 else f"{content[error.start]:#x}"
    return f"{path}: row {max(row, 1)} is not UTF-8 ({where}): convert the file"


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
