"""Bad input over real HTTP: the right 4xx, row and column named, counted, logged once; nobody else is touched."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import orjson
import pytest

from inference.contract import codecs, npy
from inference.contract.artifact import Artifact
from tests.inference_support import artifacts, servers
from tests.inference_support.servers import Server

OF = artifacts.transform(history=False)
GOOD = artifacts.instances(OF, 3)


@pytest.fixture(scope="module")
def model() -> Artifact:
    return artifacts.make(OF)


@pytest.fixture(scope="module")
def archive(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bad") / "model.tar.gz"
    artifacts.pack(model, path)
    return path


@pytest.fixture(scope="module", params=["1", "4"], ids=["1 worker", "4 workers"])
def server(request: pytest.FixtureRequest, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": request.param, "SAGESTAGE_UNSEEN_LEVELS": "reject"}
    with servers.running(archive, tmp_path_factory.mktemp("log") / "log", **environment) as running:
        yield running


class Bad(NamedTuple):
    """A body, and what its caller is told."""

    kind: str
    body: bytes
    words: str
    row: int | None = None
    column: str | None = None
    status: int = 400


def rows(**changes: object) -> bytes:
    """Three rows of which the second is wrong."""
    return orjson.dumps({"instances": [GOOD[0], GOOD[1] | changes, GOOD[2]]})


def without(name: str) -> bytes:
    return orjson.dumps([GOOD[0], {key: value for key, value in GOOD[1].items() if key != name}])


CSV = "2024-03-01T00:00:00,1.5,2.5,1,mist\n"
NUMBERS = artifacts.plain_transform(4)
BAD = {
    "malformed JSON": Bad(codecs.JSON, b'{"instances": [', "not valid JSON"),
    "malformed line": Bad(codecs.JSON_LINES, orjson.dumps(GOOD[0]) + b"\n{", "not valid JSON", 1),
    "no rows key": Bad(codecs.JSON, b'{"rows": []}', "no 'instances'"),
    "not rows": Bad(codecs.JSON, b'{"instances": 7}', "must be an array"),
    "not a row": Bad(codecs.JSON, b"[7]", "expected a record or an array", 0),
    "text for a number": Bad(codecs.JSON, rows(temp="warm"), "expected a finite number, got 'warm'", 1, "temp"),
    "true for a number": Bad(codecs.JSON, rows(temp=True), "expected a finite number, got True", 1, "temp"),
    "number for a text": Bad(codecs.JSON, rows(sky=3), "expected a text, got 3", 1, "sky"),
    "fraction for an integer": Bad(codecs.JSON, rows(season=1.5), "expected an integer", 1, "season"),
    "no time": Bad(codecs.JSON, rows(when="soon"), "expected a time", 1, "when"),
    "too few columns": Bad(codecs.JSON, without("wind"), "lacks wind", 1),
    "too many columns": Bad(codecs.JSON, rows(moon=1), "does not know: moon", 1),
    "too few values": Bad(codecs.JSON, b'[[0, 1, 1, 1, "mist"], [0, 1]]', "has 2 values, expected 5", 1),
    "too many values": Bad(codecs.JSON, b'[[0, 1, 1, 1, "mist", 9]]', "has 6 values, expected 5", 0),
    "unknown category": Bad(codecs.JSON, rows(sky="green"), "none of the levels", 1, "sky"),
    "unknown category of integers": Bad(codecs.JSON, rows(season=9), "none of the levels", 1, "season"),
    "NaN": Bad(codecs.JSON, b'[[0, NaN, 1, 1, "mist"]]', "not valid JSON"),
    "infinity": Bad(codecs.JSON, b'[[0, Infinity, 1, 1, "mist"]]', "not valid JSON"),
    "infinity by size": Bad(codecs.JSON, b'[[0, 1e999, 1, 1, "mist"]]', "not valid JSON"),
    "infinity in CSV": Bad(codecs.CSV, (CSV + CSV.replace("1.5", "inf")).encode(), "finite number", 1, "temp"),
    "NaN in CSV": Bad(codecs.CSV, (CSV + CSV.replace("1.5", "nan")).encode(), "finite number", 1, "temp"),
    "beyond float32": Bad(codecs.JSON, rows(wind=1e300), "too large", 1),
    "CSV cut": Bad(codecs.CSV, (CSV + "2024-03-01T00:00:00,1.5").encode(), "has 2 values, expected 5", 1),
    "text in CSV": Bad(codecs.CSV, (CSV + CSV.replace("2.5", "x")).encode(), "expected a number, got 'x'", 1, "wind"),
    "CSV in no UTF-8": Bad(codecs.CSV, b"\xff\xfe\xfd", "not UTF-8"),
    "an open quote": Bad(codecs.CSV, b'"2024', "not valid CSV"),
    "texts by npy": Bad(codecs.NPY, npy.write(np.zeros((2, 5))), "holds texts", None, "sky"),
    "a pickle in npy": Bad(codecs.NPY, b"\x93NUMPY\x01\x00", ".npy"),
    "empty batch": Bad(codecs.JSON, b'{"instances": []}', "no rows"),
    "empty body": Bad(codecs.JSON, b"", "not valid JSON"),
    "empty lines": Bad(codecs.JSON_LINES, b"\n\n", "no rows"),
    "empty CSV": Bad(codecs.CSV, b"", "no rows"),
    "noise as JSON": Bad(codecs.JSON, bytes(range(256)) * 20, "not valid JSON"),
    "noise as Arrow": Bad(codecs.ARROW, bytes(range(256)) * 20, "Arrow"),
    "noise as Parquet": Bad(codecs.PARQUET, bytes(range(256)) * 20, "Parquet"),
    "wrong content type": Bad("image/png", b"\x89PNG", "content type 'image/png'", status=415),
    "10 MB": Bad(codecs.JSON, b"[" + b"1" * 10 * 2**20, "larger than", status=413),
}


def logged(server: Server, inference_id: str) -> list[dict[str, object]]:
    lines = [orjson.loads(line) for line in server.log.read_text().splitlines()]
    return [line for line in lines if line.get("inference_id") == inference_id]


def refused(server: Server) -> float:
    """How many requests were not answered as asked, by /metrics."""
    text = httpx.get(f"{server.url}/metrics").text
    return sum(map(float, re.findall(r'^sagestage_requests_total\{.*status="[45]\d\d"\} (\S+)$', text, re.MULTILINE)))


def answers(server: Server, model: Artifact) -> bool:
    got = httpx.post(f"{server.url}/invocations", json={"instances": GOOD}, timeout=20)
    return bool(np.allclose(got.json()["predictions"], artifacts.answer(model, GOOD).values, rtol=1e-5, atol=1e-6))


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_counted_and_logged_once(server: Server, model: Artifact, name: str) -> None:
    bad, before = BAD[name], refused(server)
    mine = f"id {name}"
    headers = {"content-type": bad.kind, "x-amzn-sagemaker-inference-id": mine}
    answer = httpx.post(f"{server.url}/invocations", content=bad.body, headers=headers, timeout=20)
    assert answer.status_code == bad.status, answer.text
    told = answer.json()
    assert bad.words in told["error"]
    assert (told.get("row"), told.get("column")) == (bad.row, bad.column)
    assert len(answer.content) < 2_000
    assert refused(server) == before + 1
    (line,) = logged(server, mine)
    assert (line["event"], line["status"]) == ("refused", bad.status)
    assert answers(server, model)


def test_a_body_cut_short_is_counted_and_logged_once(server: Server, model: Artifact) -> None:
    before = refused(server)
    head = "POST /invocations HTTP/1.1\r\nhost: x\r\nx-amzn-sagemaker-inference-id: cut\r\ncontent-length: 500\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        line.sendall(head.encode() + b'{"instances": [')
        line.shutdown(socket.SHUT_WR)
        while line.recv(65_536):
            pass
    end = time.monotonic() + 20
    while not (found := logged(server, "cut")) and time.monotonic() < end:
        time.sleep(0.02)  # another process: there is no event to wait for
    assert [entry["status"] for entry in found] == [499]
    assert refused(server) == before + 1
    assert answers(server, model)


def test_nothing_bad_was_a_fault_of_the_server(server: Server) -> None:
    text = server.log.read_text()
    assert "Traceback" not in text
    assert '"level":"error"' not in text


def test_ten_megabytes_are_read_where_the_limit_allows_them(archive: Path, model: Artifact, tmp_path: Path) -> None:
    many = artifacts.instances(OF, 500) * 280
    body = orjson.dumps({"instances": many})
    assert len(body) > 10 * 10**6
    with servers.running(archive, tmp_path / "log", SAGEMAKER_MAX_PAYLOAD_IN_MB="16") as server:
        got = httpx.post(f"{server.url}/invocations", content=body, headers={"content-type": codecs.JSON}, timeout=60)
        expected = artifacts.answer(model, many[:500]).values
        np.testing.assert_allclose(got.json()["predictions"][-500:], expected, rtol=1e-5, atol=1e-6)


def test_callers_that_never_finish_their_headers_are_cut_off_and_hold_nobody_up(
    archive: Path, model: Artifact, tmp_path: Path
) -> None:
    with ExitStack() as lines, servers.running(archive, tmp_path / "log", SAGESTAGE_HEADER_TIMEOUT_S="1") as server:
        slow = [
            lines.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30)) for _ in range(100)
        ]
        for line in slow:
            line.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\nx-drip: ")
        assert answers(server, model)
        for line in slow:
            while line.recv(1000):
                pass
        assert answers(server, model)


def test_unknown_categories_are_none_of_the_levels_unless_they_are_refused(archive: Path, tmp_path: Path) -> None:
    with servers.running(archive, tmp_path / "log") as server:
        got = httpx.post(f"{server.url}/invocations", content=rows(sky="green"), headers={"content-type": codecs.JSON})
        assert got.status_code == 200
