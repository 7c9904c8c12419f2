"""The codecs answer every body: with rows, or with an InputError. Nothing else, ever."""

from __future__ import annotations

import json  # writes NaN and integers of any size, as hostile callers do
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference.contract import codecs
from inference.contract.errors import InputError
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Task
from tests.inference_support import artifacts

TRANSFORM = artifacts.transform()
READER = RecordReader(TRANSFORM)
PLAIN = artifacts.transform(history=False)
NAMES = [column.name for column in TRANSFORM.table.inputs]

values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
anything = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.sampled_from([*NAMES, "row", "history"]) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=25,
)
records = st.fixed_dictionaries(dict.fromkeys(NAMES, values), optional={"count": values, "odd": values})


def reads_or_refuses(body: bytes, content_type: str) -> None:
    try:
        rows = codecs.decode(body, content_type, READER)
    except InputError:
        return
    assert len(rows) >= 1
    assert not np.isinf(rows.values).any()
    with np.errstate(over="ignore", invalid="ignore"):  # the server refuses what overflows, with its row
        assert len(TRANSFORM.apply(rows).matrix) == len(rows)


@given(st.binary(max_size=300), st.sampled_from(codecs.READABLE))
@example(b"", codecs.JSON)
@example(b"", codecs.CSV)
@example(b"\n\n", codecs.JSON_LINES)
@example(b"[" * 5000, codecs.JSON)
@example(b'{"instances": [[NaN, 1, 2, 3, "mist"]]}', codecs.JSON)
@example(b"[[0, 1e999, 1, 1, null]]", codecs.JSON)
@example(b'\xef\xbb\xbf"', codecs.CSV)
@example(b"0,nan,1,1,mist", codecs.CSV)
@example(b"0,inf,1,1,mist", codecs.CSV)
@example(b"0,1,1,99999999999999999999999,mist", codecs.CSV)
@example(b"0,1\x00,1,1,mist", codecs.CSV)
def test_noise_is_read_or_refused(body: bytes, content_type: str) -> None:
    reads_or_refuses(body, content_type)


@given(anything)
@example([[10**400, 1, 1, 1, "mist"]])
@example([{"row": [0, 1, 1, 1, "mist"], "history": [[0]]}])
@example([["9999-12-31T23:59:59-23:59", 1, 1, 1, "mist"]])
@example([["0001-01-01T00:00:00+23:59", 1, 1, 1, "mist"]])
@example([[1e300, 1, 1, 1, "mist"]])
def test_any_json_is_read_or_refused(content: Any) -> None:
    try:
        body = orjson.dumps(content)
    except TypeError:  # integers beyond 64 bits, lone surrogates: what orjson does not write
        body = json.dumps(content).encode()
    reads_or_refuses(body, codecs.JSON)
    reads_or_refuses(b'{"instances":' + body + b"}", codecs.JSON)


@given(st.lists(records, min_size=1, max_size=4))
def test_any_records_are_read_or_refused(content: list[dict[str, Any]]) -> None:
    reads_or_refuses(json.dumps({"instances": content}).encode(), codecs.JSON)
    reads_or_refuses("\n".join(map(json.dumps, content)).encode(), codecs.JSON_LINES)


@given(st.lists(st.lists(st.text(max_size=8), max_size=7), max_size=5))
def test_any_csv_is_read_or_refused(lines: list[list[str]]) -> None:
    reads_or_refuses("\n".join(",".join(line) for line in lines).encode("utf-8", "surrogatepass"), codecs.CSV)


rows = st.lists(
    st.fixed_dictionaries(
        {
            "when": st.datetimes().map(lambda time: time.isoformat()),
            "temp": st.none() | st.floats(-1e6, 1e6),
            "wind": st.none() | st.floats(-1e6, 1e6),
            "season": st.none() | st.integers(-5, 9),
            "sky": st.none() | st.sampled_from([*artifacts.SKIES, "snow"]),
        }
    ),
    min_size=1,
    max_size=6,
)


@given(rows)
def test_all_content_types_mean_the_same_rows(content: list[dict[str, Any]]) -> None:
    arrays = [[record[name] for name in NAMES] for record in content]
    cells = [
        ["" if value is None else repr(value) if isinstance(value, float) else str(value) for value in line]
        for line in arrays
    ]
    csv = "".join(",".join(line) + "\n" for line in cells)
    bodies = [
        (orjson.dumps({"instances": content}), codecs.JSON),
        (orjson.dumps({"inputs": content}), codecs.JSON),
        (orjson.dumps({"instances": arrays}), codecs.JSON),
        (orjson.dumps(arrays), codecs.JSON),
        (orjson.dumps([{"row": record, "history": []} for record in content]), codecs.JSON),
        (b"\n".join(map(orjson.dumps, content)), codecs.JSON_LINES),
    ]
    if not any(all(cell == "" for cell in line) for line in cells):
        bodies += [(f"{','.join(NAMES)}\n{csv}".encode(), codecs.CSV)]
    expected = codecs.decode(*bodies[0], READER)
    for body, content_type in bodies[1:]:
        actual = codecs.decode(body, content_type, READER)
        np.testing.assert_array_equal(actual.values, expected.values)
        np.testing.assert_array_equal(actual.emit, expected.emit)


@pytest.mark.parametrize("task", list(Task))
@given(count=st.integers(1, 9))
def test_every_answer_can_be_read_back(task: Task, count: int) -> None:
    made = artifacts.make(artifacts.transform(task))
    answers = artifacts.answer(made, artifacts.instances(made.manifest.transform, count))
    plural = orjson.loads(codecs.encode(answers, codecs.JSON, version="abc", latency_ms=1.5))
    lines = codecs.encode(answers, codecs.JSON_LINES, version="abc", latency_ms=1.5).splitlines()
    cells = codecs.encode(answers, codecs.CSV, version="abc", latency_ms=1.5).decode().splitlines()
    assert plural["predictions"] == answers.values.tolist()
    assert [orjson.loads(line)["prediction"] for line in lines] == plural["predictions"]
    assert (plural["model_version"], plural["latency_ms"]) == ("abc", 1.5)
    if task is Task.CLASSIFICATION:
        assert answers.probabilities is not None
        np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1.0)
        assert plural["labels"] == answers.labels == cells
        assert [orjson.loads(line)["label"] for line in lines] == plural["labels"]
    else:
        assert [float(cell) for cell in cells] == plural["predictions"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_parts_of_an_answer_are_the_answers_of_the_parts(sizes: list[int]) -> None:
    made = artifacts.make(PLAIN)
    instances = artifacts.instances(PLAIN, sum(sizes))
    together: Predictions = artifacts.answer(made, instances)
    begin = 0
    for size in sizes:
        part, own = together.part(begin, begin + size), artifacts.answer(made, instances[begin : begin + size])
        np.testing.assert_allclose(part.values, own.values, rtol=1e-5, atol=1e-6)
        begin += size


@pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris is not installed: it has wheels for x86-64 Linux only"
)
def test_bodies_that_reach_new_code_are_read_or_refused(tmp_path: Path) -> None:
    fuzzer = Path(__file__).parents[1] / "fuzz" / "codecs.py"
    command = [sys.executable, str(fuzzer), str(tmp_path / "corpus"), "-runs=20000", f"-artifact_prefix={tmp_path}/"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "Done 20000 runs" in ran.stderr
    assert len(list((tmp_path / "corpus").iterdir())) > len(codecs.READABLE), "some bodies reached new code"
