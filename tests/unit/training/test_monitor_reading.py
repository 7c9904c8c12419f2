from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.contract.schema import Task
from tests.training_support import traffic
from tests.training_support.traffic import NAMES, START, VERSION, WINDOW
from training.errors import ConfigError, DataError
from training.monitor import window as windows
from training.monitor.problems import Problem
from training.monitor.reading import read, suitable
from training.monitor.records import Plan, Read
from training.monitor.tally import Tally
from training.monitor.window import Window


def reading(folder: Path, *, readers: int = 1, window: Window = WINDOW, task: Task = Task.REGRESSION) -> Read:
    plan = Plan(str(folder), window, {"champion": traffic.baseline(task=task)})
    return read(windows.files(folder, window), plan, readers=readers)


def only(found: Read) -> Tally:
    assert list(found.tallies) == [("champion", VERSION)]
    return found.tallies["champion", VERSION]


def counts(tally: Tally) -> list[list[int]]:
    every = [*tally.columns, *([tally.prediction] if tally.prediction else [])]
    return [[*one.cells.tolist(), one.violations, one.outside, one.total, one.squares] for one in every]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.integers(1, 6), seed=st.integers(0, 99))
def test_neither_file_boundaries_nor_order_change_a_count(
    tmp_path_factory: pytest.TempPathFactory, files: int, seed: int
) -> None:
    made = traffic.records(traffic.rows(300))
    straight = reading(traffic.write(tmp_path_factory.mktemp("one"), made))
    np.random.Generator(np.random.PCG64(seed)).shuffle(made)  # type: ignore[arg-type]  # a list is shuffled in place
    dealt = reading(traffic.write(tmp_path_factory.mktemp("many"), made, files=files))
    assert counts(only(straight)) == counts(only(dealt))
    assert (straight.records, straight.problems) == (dealt.records, dealt.problems)


def test_two_readers_count_what_one_does(tmp_path: Path) -> None:
    traffic.write(tmp_path, traffic.records(traffic.rows(400)), files=4)
    assert counts(only(reading(tmp_path))) == counts(only(reading(tmp_path, readers=2)))


@pytest.mark.parametrize(
    ("size", "cores", "load", "wanted"),
    [(1 << 20, 8, 0.0, 1), (1 << 30, 2, 0.4, 2), (1 << 30, 2, 1.3, 1), (1 << 30, 8, 2.0, 6), (1 << 30, 2, 9.0, 1)],
)
def test_readers_take_the_cores_that_nobody_uses(size: int, cores: int, load: float, wanted: int) -> None:
    assert suitable(size, cores, load) == wanted


def table(made: list[dict[str, Any]]) -> pa.Table:
    return pa.table({name: [row[name] for row in made] for name in NAMES})


def arrow(made: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table(made).schema) as stream:
        stream.write_table(table(made))
    return file.getvalue()


def parquet(made: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(table(made), file)
    return file.getvalue()


def comma(made: list[dict[str, Any]], *, header: bool = False) -> bytes:
    lines = [",".join(NAMES)] if header else []
    return "\n".join([*lines, *(",".join(str(row[name]) for name in NAMES) for row in made)]).encode()


FORMS: dict[str, tuple[Callable[[list[dict[str, Any]]], bytes], str, str]] = {
    "objects": (lambda made: orjson.dumps({"instances": made}), "application/json", "JSON"),
    "arrays": (lambda made: orjson.dumps([[row[n] for n in NAMES] for row in made]), "application/json", "JSON"),
    "with history": (
        lambda made: orjson.dumps({"inputs": [{"row": row, "history": [row | {"demand": 1}] * 3} for row in made]}),
        "application/json",
        "JSON",
    ),
    "undeclared": (lambda made: orjson.dumps({"instances": made}), "application/json", "BASE64"),
    "lines": (lambda made: b"\n".join(orjson.dumps(row) for row in made), "application/jsonlines", "JSON"),
    "csv": (comma, "text/csv", "CSV"),
    "csv with names": (lambda made: comma(made, header=True), "text/csv; header=present", "CSV"),
    "csv undeclared": (comma, "text/csv", "BASE64"),
    "arrow": (arrow, "application/vnd.apache.arrow.stream", "BASE64"),
    "parquet": (parquet, "application/vnd.apache.parquet", "BASE64"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_content_type_and_both_encodings_count_the_same(tmp_path: Path, form: str) -> None:
    make, kind, encoding = FORMS[form]
    made = traffic.rows(60)
    expected = only(reading(traffic.write(tmp_path / "json", traffic.records(made))))
    answer = [row["temp"] for row in made]
    one = traffic.record(make(made), answer, content_type=kind, encoding=encoding)
    found = only(reading(traffic.write(tmp_path / "form", [one])))
    assert (found.records, found.rows) == (1, 60)
    assert counts(found) == counts(expected)


def test_numbers_in_npy_are_read_where_no_column_holds_texts(tmp_path: Path) -> None:
    base = traffic.baseline()
    numbers = base.model_copy(update={"columns": base.columns[1:3]})
    file = io.BytesIO()
    np.save(file, np.array([[15.0, 2.0], [np.nan, 3.0]]))
    answers = io.BytesIO()
    np.save(answers, np.array([1.5, 2.5]))
    said = traffic.side(answers.getvalue(), "application/x-npy", "BASE64", "OUTPUT")
    one = traffic.record(file.getvalue(), said, content_type="application/x-npy", encoding="BASE64")
    traffic.write(tmp_path, [one])
    found = read(windows.files(tmp_path, WINDOW), Plan(str(tmp_path), WINDOW, {"champion": numbers}))
    tally = found.tallies["champion", VERSION]
    assert tally.columns[0].missing == 1
    assert tally.columns[1].cells.tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert tally.prediction is not None
    assert tally.prediction.seen == 2
    assert found.problems == {Problem.NO_VERSION: 1}


@pytest.mark.parametrize("kind", ["text/csv", "application/vnd.apache.arrow.stream", "application/jsonlines"])
def test_answers_of_every_type_are_read(tmp_path: Path, kind: str) -> None:
    if kind == "text/csv":
        body = b"warm\ncold\n"
    elif kind == "application/jsonlines":
        body = b'{"prediction": 1, "label": "warm"}\n{"prediction": 0, "label": "cold"}\n'
    else:
        file = io.BytesIO()
        with pa.ipc.new_stream(file, pa.schema([("prediction", pa.string())])) as stream:
            stream.write_table(pa.table({"prediction": ["warm", "cold"]}))
        body = file.getvalue()
    encoding = {"text/csv": "CSV", "application/jsonlines": "JSON"}.get(kind, "BASE64")
    said = traffic.side(body, kind, encoding, "OUTPUT")
    traffic.write(tmp_path, [traffic.record(traffic.rows(2), said)])
    found = reading(tmp_path, task=Task.CLASSIFICATION)
    tally = only(found)
    assert tally.prediction is not None
    assert tally.prediction.cells.tolist() == [1, 1, 0, 0]


WRONG = traffic.side(b"{}", "application/json", "JSON", "OUTPUT")
BAD: list[tuple[str, Any, Problem]] = [
    ("a truncated line", orjson.dumps(traffic.record(traffic.rows(1)))[:80], Problem.LINE),
    ("no record", b'{"hello": 1}\n', Problem.LINE),
    ("an older schema", traffic.record([{"temp": 1.0, "sky": "clear"}]), Problem.SCHEMA),
    ("a newer schema", traffic.record([traffic.rows(1)[0] | {"rain": 1, "snow": 2}]), Problem.SCHEMA),
    ("a wrong body", traffic.record(b"{", [1.0]), Problem.PAYLOAD),
    ("a body that is no base64", traffic.record(b"{}", [1.0]), Problem.PAYLOAD),
    ("a wrong answer", traffic.record(traffic.rows(1), WRONG), Problem.NO_ANSWER),
    ("mixed encodings", traffic.record(b"[[1,2,3,4]]", [1.0], encoding="BASE64"), Problem.ENCODINGS),
    ("another model", traffic.record(traffic.rows(1), version="f" * 12), Problem.OTHER_MODEL),
    ("a clock that is off", traffic.record(traffic.rows(1), at=START + timedelta(days=2)), Problem.CLOCK),
]  # fmt: skip


@pytest.mark.parametrize(("what", "bad", "problem"), BAD, ids=[one[0] for one in BAD])
def test_what_cannot_be_read_is_counted_and_the_rest_is_read(
    tmp_path: Path, what: str, bad: Any, problem: Problem
) -> None:
    if what == "a body that is no base64":
        bad["captureData"]["endpointInput"] |= {"data": "***", "encoding": "BASE64"}
    good = traffic.records(traffic.rows(20))
    found = reading(traffic.write(tmp_path, [*good, bad, *([b"\n"] if isinstance(bad, bytes) else [])]))
    assert found.problems[problem] == 1
    tally = found.tallies["champion", VERSION]
    assert tally.rows >= 20
    assert any(line.startswith("1 ") and str(problem) in line for line in found.problems.lines())


def test_a_file_that_is_cut_off_within_its_compression_counts_up_to_there(tmp_path: Path) -> None:
    place = traffic.write(tmp_path, traffic.records(traffic.rows(10))) / "champion/2026/01/01/10"
    lines = b"".join(orjson.dumps(one) + b"\n" for one in traffic.records(traffic.rows(50)))
    (place / "cut.jsonl.gz").write_bytes(gzip.compress(lines)[:-400])
    found = reading(tmp_path)
    assert found.problems[Problem.FILE] == 1
    assert only(found).rows >= 10


def test_a_record_counts_in_the_window_of_its_time_even_in_the_file_of_the_hour_after(tmp_path: Path) -> None:
    late = traffic.record(traffic.rows(1), at=START + timedelta(minutes=59, seconds=59))
    after = traffic.record(traffic.rows(1), at=START + timedelta(hours=1))
    traffic.write(tmp_path, [late, after], hour=START + timedelta(hours=1))
    found = reading(tmp_path)
    assert only(found).records == 1
    assert not found.problems


def test_values_of_another_type_are_violations_and_beyond_the_range_are_counted(tmp_path: Path) -> None:
    row = traffic.rows(1)[0]
    odd = [row | {"temp": "hot"}, row | {"wind": 1.5}, row | {"sky": 7}, row | {"temp": 500.0}, row | {"sky": "fog"},
           row | {"temp": None}, row | {"wind": True}]  # fmt: skip
    _, temp, wind, sky = only(reading(traffic.write(tmp_path, traffic.records(odd)))).columns
    assert (temp.violations, temp.outside, temp.missing) == (1, 1, 1)
    assert wind.violations == 2
    assert (sky.violations, sky.cells[sky.scale.other]) == (1, 1)


def test_traffic_of_a_variant_without_a_baseline_is_counted(tmp_path: Path) -> None:
    traffic.write(tmp_path, traffic.records(traffic.rows(5)), variant="stranger")
    found = reading(tmp_path)
    assert found.problems == {Problem.NO_BASELINE: 5}


def test_a_place_that_is_gone_and_a_window_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is nothing there: is capture on"):
        windows.files(tmp_path / "gone", WINDOW)
    with pytest.raises(ConfigError, match=r"ends .* before it begins"):
        Window(WINDOW.end, WINDOW.start)
    with pytest.raises(ConfigError, match="got 'soon'"):
        windows.seconds("soon")
    with pytest.raises(ConfigError, match="got 'yesterday'"):
        windows.moment("yesterday")
    assert [windows.seconds(text) for text in ("1h", "90m", "30s", "1d")] == [3_600, 5_400, 30, 86_400]
