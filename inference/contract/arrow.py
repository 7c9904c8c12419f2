"""Arrow streams and Parquet files. The only module of the contract that imports pyarrow, and itself imported on use."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from inference.contract.errors import InputError
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Floats, Kind, Rows

MAX_TABLE_BYTES = 512 * 2**20
"""A body that unfolds to more is taken for a bomb (Parquet and Arrow compress)."""


def read(body: bytes | memoryview, reader: RecordReader, *, parquet: bool) -> Rows:
    """Typed rows of a table with the input columns by name; the target may be among them and is ignored.

    Raises:
        InputError: the body is not of that format, unfolds to too much, or a column does not fit the schema.
    """
    try:
        table = unpacked(body, parquet=parquet)
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = "Parquet file" if parquet else "Arrow stream"
        raise InputError(f"not a readable {kind}: {str(error).splitlines()[0]}") from None
    reader.check_names(table.column_names)
    if not table.num_rows:
        raise InputError("there are no rows: send at least one")
    return reader.read_columns({name: _values(table.column(name), name, reader) for name in reader.input_names})


def read_file(path: Path, reader: RecordReader) -> Rows:
    """The rows of a Parquet or CSV file that holds all columns, the target too, in the order of the training rows.

    Raises:
        InputError: not readable as its suffix says, or a column is missing or does not fit.
    """
    try:
        table = csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if missing := [name for name in reader.names if name not in table.column_names]:
        raise InputError(f"{path} lacks {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return reader.read_run({name: _values(table.column(name), name, reader) for name in reader.names})


def write(predictions: Predictions, *, parquet: bool) -> bytes:
    """A table with one column, `prediction`: numbers, or a classification's labels."""
    answers = predictions.values if predictions.labels is None else list(predictions.labels)
    table = pa.table({"prediction": pa.array(answers)})
    file = io.BytesIO()
    if parquet:
        pq.write_table(table, file)
    else:
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    return file.getvalue()


def unpacked(body: bytes | memoryview, *, parquet: bool) -> pa.Table:
    """The table of a body, within bounds.

    Raises:
        InputError: it unfolds to too much.
        pyarrow.ArrowException, OSError, ValueError: it is not of that format.
    """
    table = _parquet(body) if parquet else _stream(body)
    return table.rename_columns(table.column_names)  # names that are no UTF-8 are found here: no format checks them


def _parquet(body: bytes | memoryview) -> pa.Table:
    file = pq.ParquetFile(io.BytesIO(body))
    groups = range(file.metadata.num_row_groups)
    promised = sum(file.metadata.row_group(group).total_byte_size for group in groups)
    cells = 8 * file.metadata.num_rows * file.metadata.num_columns
    _bound(max(promised, cells))
    table = file.read(use_threads=False)
    table.validate(full=True)
    return table


def _stream(body: bytes | memoryview) -> pa.Table:
    with pa.ipc.open_stream(body) as stream:
        batches, total = [], 0
        for batch in stream:
            batch.validate(full=True)
            total += batch.nbytes
            _bound(total)
            batches.append(batch)
        return pa.Table.from_batches(batches, stream.schema)


def _bound(size: int) -> None:
    if size > MAX_TABLE_BYTES:
        raise InputError(f"the table unfolds to {size} bytes, at most {MAX_TABLE_BYTES} are read: send fewer rows")


def _values(column: pa.ChunkedArray, name: str, reader: RecordReader) -> Floats | list[object]:
    """float64 with NaN for null where the column holds numbers, else Python's values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if reader.kind(name) is not Kind.TIME:
            raise InputError(f"holds {kind}, expected {reader.kind(name)}", column=name)
        micros = pc.cast(column, pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None)).cast(pa.int64())
        return np.asarray(micros.to_numpy(zero_copy_only=False), dtype=np.float64) / 1e6
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values: list[object] = column.to_pylist()
        return values
    raise InputError(f"holds {kind}, expected {reader.kind(name)}", column=name)
