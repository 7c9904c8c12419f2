"""npy, Arrow, Parquet, CSV headers and the Accept header."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.contract import codecs, npy
from inference.contract.errors import InputError, UnsupportedContentTypeError
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Rows, Task
from tests.inference_support import artifacts

NUMBERS = RecordReader(artifacts.plain_transform(3))
MIXED = RecordReader(artifacts.transform(history=False))
VALUES = np.array([[1.5, -2.0, 0.25], [np.nan, 4.0, 1e9]])


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def stream(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return file.getvalue()


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def same(left: Rows, right: Rows) -> None:
    np.testing.assert_array_equal(left.values, right.values)


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<i8", "<u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_numbers_are_read_whatever_their_type(dtype: str, order: Any) -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], dtype=dtype, order=order)
    same(codecs.decode(saved(array), codecs.NPY, NUMBERS), codecs.decode(b"[[1,2,3],[4,5,6]]", codecs.JSON, NUMBERS))


def test_nan_is_a_missing_value_in_npy() -> None:
    expected = codecs.decode(b"[[1.5,-2,0.25],[null,4,1e9]]", codecs.JSON, NUMBERS)
    same(codecs.decode(saved(VALUES), codecs.NPY, NUMBERS), expected)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not a readable .npy"),
        (b"\x93NUMPY\x01\x00", "not a readable .npy"),
        (saved(VALUES)[:-1], "cut short"),
        (saved(VALUES) + b"x", "cut short or damaged"),
        (saved(np.array([{"a": 1}])), "pickles"),
        (saved(np.zeros((0, 3))), "no rows"),
        (saved(np.zeros(3)), r"shape \(3,\)"),
        (saved(np.zeros((2, 4))), r"shape \(2, 4\)"),
        (saved(np.array([[1.0, 2.0, np.inf]])), "row 0, column 'x2': expected a finite number, got inf"),
        (saved(np.array([["a", "b", "c"]])), "send float or integer"),
        (saved(np.zeros((1, 3))).replace(b"(1, 3)", b"(9, 3)"), "cut short"),
    ],
)
def test_a_wrong_npy_is_refused_in_words(body: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        codecs.decode(body, codecs.NPY, NUMBERS)


def test_a_header_that_promises_terabytes_takes_no_memory() -> None:
    body = saved(np.zeros((1, 3))).replace(b"(1, 3), }" + b" " * 12, b"(1000000000000, 3), }")
    with pytest.raises(InputError, match="cut short"):
        codecs.decode(body, codecs.NPY, NUMBERS)


def test_an_array_of_numbers_cannot_hold_texts() -> None:
    with pytest.raises(InputError, match=r"column 'sky'.*send JSON, CSV or Arrow"):
        codecs.decode(saved(np.zeros((1, 5))), codecs.NPY, MIXED)


def records(count: int) -> list[dict[str, Any]]:
    rows = [artifacts.record(number) for number in range(count)]
    rows[1]["temp"] = None
    rows[2]["sky"] = "never seen"
    return rows


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("kind", [codecs.ARROW, codecs.PARQUET])
def test_a_table_is_read_as_the_same_rows_in_json(kind: str, typed: bool) -> None:  # noqa: FBT001  # pytest's argument
    rows = records(40)
    expected = codecs.decode(orjson.dumps(rows), codecs.JSON, MIXED)
    columns: dict[str, Any] = {name: pa.array([row[name] for row in rows]) for name in rows[0]}
    if typed:
        times = [datetime.fromisoformat(row["when"]).replace(tzinfo=UTC) for row in rows]
        columns["when"] = pa.array(times, pa.timestamp("ms", "UTC"))
        columns["sky"] = columns["sky"].dictionary_encode()
        columns["season"] = columns["season"].cast(pa.int8())
    table = pa.table(columns)
    same(codecs.decode(stream(table) if kind == codecs.ARROW else parquet(table), kind, MIXED), expected)


def test_a_compressed_stream_of_several_batches_is_read() -> None:
    table = pa.table({f"x{number}": np.arange(3000.0) for number in range(3)})
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, max_chunksize=1000)
    assert len(codecs.decode(file.getvalue(), codecs.ARROW, NUMBERS)) == 3000


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x0": [1.0], "x1": [1.0]}, "lacks x2"),
        ({"x0": [1.0], "x1": [1.0], "x2": [1.0], "odd": [1]}, "does not know: odd"),
        ({"x0": [1.0, 2.0], "x1": [1.0, np.inf], "x2": [1.0, 1.0]}, "row 1, column 'x1'"),
        ({"x0": ["a"], "x1": [1.0], "x2": [1.0]}, "row 0, column 'x0': expected a finite number, got 'a'"),
        ({"x0": [True], "x1": [1.0], "x2": [1.0]}, "column 'x0': holds bool"),
        ({"x0": [[1.0]], "x1": [1.0], "x2": [1.0]}, "column 'x0': holds list"),
        (
            {"x0": pa.array([], pa.float64()), "x1": pa.array([], pa.float64()), "x2": pa.array([], pa.float64())},
            "no rows",
        ),
    ],
)
@pytest.mark.parametrize("kind", [codecs.ARROW, codecs.PARQUET])
def test_a_wrong_table_is_refused_in_words(kind: str, columns: dict[str, Any], words: str) -> None:
    table = pa.table(columns)
    with pytest.raises(InputError, match=words):
        codecs.decode(stream(table) if kind == codecs.ARROW else parquet(table), kind, NUMBERS)


@pytest.mark.parametrize("kind", [codecs.ARROW, codecs.PARQUET])
def test_noise_and_cut_tables_are_refused(kind: str) -> None:
    table = pa.table({f"x{number}": np.arange(100.0) for number in range(3)})
    whole = stream(table) if kind == codecs.ARROW else parquet(table)
    for body in (b"", b"noise" * 50, whole[: len(whole) // 2], whole[:20]):
        with pytest.raises(InputError):
            codecs.decode(body, kind, NUMBERS)


def test_a_parquet_bomb_is_refused_before_it_unfolds() -> None:
    table = pa.table({f"x{number}": pa.array(np.zeros(30_000_000, np.float32)) for number in range(3)})
    body = parquet(table)
    assert len(body) < 2**20
    with pytest.raises(InputError, match="unfolds to"):
        codecs.decode(body, codecs.PARQUET, NUMBERS)


@pytest.mark.parametrize("parameter", ["present", "absent"])
def test_the_content_type_says_whether_a_csv_has_a_header(parameter: str) -> None:
    header = codecs.csv_header(f"text/csv; charset=utf-8; header={parameter}")
    body = b"x2,x1,x0\n3,2,1\n" if parameter == "present" else b"1,2,3\n"
    same(codecs.decode(body, codecs.CSV, NUMBERS, header=header), codecs.decode(b"[[1,2,3]]", codecs.JSON, NUMBERS))


def test_a_promised_header_without_the_names_is_refused() -> None:
    with pytest.raises(InputError, match="header lacks x1"):
        codecs.decode(b"x0,x2\n1,2\n", codecs.CSV, NUMBERS, header=True)


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        (None, codecs.CSV),
        ("*/*", codecs.CSV),
        ("application/json", codecs.JSON),
        ("image/png, application/x-npy", codecs.NPY),
        ("application/json;q=0.5, application/x-npy;q=0.9, */*;q=0.1", codecs.NPY),
        ("application/json;q=0, */*", codecs.CSV),
        ("application/x-ndjson", codecs.JSON_LINES),
    ],
)
def test_the_accept_header_is_honoured(header: str | None, answer: str) -> None:
    assert codecs.accepted(header, codecs.CSV) == answer


def test_what_nobody_speaks_is_not_acceptable() -> None:
    with pytest.raises(UnsupportedContentTypeError):
        codecs.accepted("image/png, application/json;q=0", codecs.JSON)


@pytest.mark.parametrize("task", list(Task))
def test_answers_in_every_type_say_the_same(task: Task) -> None:
    of = artifacts.transform(task, history=False)
    model = artifacts.make(of)
    answers: Predictions = artifacts.answer(model, artifacts.instances(of, 5))
    bodies = {kind: codecs.encode(answers, kind, version="v", latency_ms=1.0) for kind in codecs.READABLE}
    np.testing.assert_array_equal(np.load(io.BytesIO(bodies[codecs.NPY])), answers.values)
    with pa.ipc.open_stream(bodies[codecs.ARROW]) as opened:
        from_arrow = opened.read_all()["prediction"].to_pylist()
    from_parquet = pq.read_table(io.BytesIO(bodies[codecs.PARQUET]))["prediction"].to_pylist()
    expected = answers.values.tolist() if answers.labels is None else list(answers.labels)
    assert from_arrow == from_parquet == expected


def test_reading_all_rows_at_once_is_reading_them_one_by_one() -> None:
    generator = np.random.default_rng(0)
    rows = [[None if value > 2 else value for value in row] for row in generator.normal(size=(50, 3)).tolist()]
    together = NUMBERS.read(rows)
    same(together, Rows.concat([NUMBERS.read([row]) for row in rows]))
    same(together, NUMBERS.read([dict(zip(("x0", "x1", "x2"), row, strict=True)) for row in rows]))


@pytest.mark.parametrize("wrong", [True, "1.5", [1], {"a": 1}, 1e999, 10**400])
def test_reading_all_rows_at_once_finds_the_same_faults(wrong: Any) -> None:
    rows: list[list[Any]] = [[1.0, 2.0, 3.0] for _ in range(10)]
    rows[7][1] = wrong
    if wrong == 10**400:
        with pytest.raises((InputError, OverflowError)):
            NUMBERS.read(rows)
        return
    with pytest.raises(InputError, match="row 7, column 'x1'"):
        NUMBERS.read(rows)


def test_npy_writes_what_numpy_reads() -> None:
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.write(VALUES[:, 1]))), VALUES[:, 1])
