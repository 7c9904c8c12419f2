"""Every content type over real HTTP; what happens to requests that were given up; neighbours of bad requests."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.contract import codecs, npy
from inference.contract.artifact import Artifact
from tests.inference_support import artifacts, gated, servers
from tests.inference_support.servers import Server

OF = artifacts.plain_transform(4)
ROWS = artifacts.instances(OF, 700)


@pytest.fixture(scope="module")
def model() -> Artifact:
    return artifacts.make(OF)


@pytest.fixture(scope="module")
def server(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("types")
    artifacts.pack(model, directory / "model.tar.gz")
    with servers.running(directory / "model.tar.gz", directory / "log", SAGESTAGE_MAX_BATCH_ROWS="256") as running:
        yield running


def body(kind: str) -> bytes:
    table = pa.table({f"x{place}": [row[place] for row in ROWS] for place in range(4)})
    file = io.BytesIO()
    match kind:
        case codecs.JSON:
            return orjson.dumps({"inputs": ROWS})
        case codecs.JSON_LINES:
            return b"\n".join(orjson.dumps(row) for row in ROWS)
        case codecs.CSV:
            return "\n".join(",".join(map(str, row)) for row in ROWS).encode()
        case codecs.NPY:
            return npy.write(np.array(ROWS))
        case codecs.PARQUET:
            pq.write_table(table, file)
        case _:
            with pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)
    return file.getvalue()


def read(kind: str, content: bytes) -> list[float]:
    match kind:
        case codecs.JSON:
            return list(orjson.loads(content)["predictions"])
        case codecs.JSON_LINES:
            return [orjson.loads(line)["prediction"] for line in content.splitlines()]
        case codecs.CSV:
            return [float(line) for line in content.splitlines()]
        case codecs.NPY:
            return list(np.load(io.BytesIO(content)))
        case codecs.PARQUET:
            return list(pq.read_table(io.BytesIO(content))["prediction"].to_pylist())
    with pa.ipc.open_stream(content) as stream:
        return list(stream.read_all()["prediction"].to_pylist())


@pytest.mark.parametrize("answer", codecs.READABLE)
@pytest.mark.parametrize("kind", codecs.READABLE)
def test_every_type_is_answered_in_every_type(server: Server, model: Artifact, kind: str, answer: str) -> None:
    headers = {"content-type": kind, "accept": answer}
    got = httpx.post(f"{server.url}/invocations", content=body(kind), headers=headers)
    assert got.status_code == 200, got.text
    assert got.headers["content-type"] == answer
    expected = artifacts.answer(model, ROWS).values
    np.testing.assert_allclose(read(answer, got.content), expected, rtol=1e-5, atol=1e-6)
    if answer not in (codecs.JSON, codecs.JSON_LINES):
        assert len(got.headers["x-sagestage-model-version"]) == 12


def test_a_bad_request_in_a_batch_does_not_fail_its_neighbours(server: Server, model: Artifact) -> None:
    bodies = [orjson.dumps(ROWS[place : place + 2]) if place % 3 else b'[[1, 2, "x", 4]]' for place in range(120)]
    headers = {"content-type": codecs.JSON}
    with ThreadPoolExecutor(16) as threads, httpx.Client(timeout=30) as client:
        answers = list(
            threads.map(lambda one: client.post(f"{server.url}/invocations", content=one, headers=headers), bodies)
        )
    for place, answer in enumerate(answers):
        if place % 3 == 0:
            assert (answer.status_code, answer.json()["row"], answer.json()["column"]) == (400, 0, "x2")
            continue
        expected = artifacts.answer(model, ROWS[place : place + 2]).values
        np.testing.assert_allclose(answer.json()["predictions"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_caller_that_hangs_up_is_noticed_and_its_rows_leave_the_queue(
    model: Artifact, tmp_path: Path, workers: str
) -> None:
    gated.pack(model, tmp_path / "model.tar.gz")
    content = body(codecs.JSON)
    head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(content)}\r\n\r\n"
    environment = {"SAGESTAGE_MAX_BATCH_ROWS": "32", "SAGEMAKER_MODEL_SERVER_WORKERS": workers}
    environment |= gated.settings(tmp_path / "gate")
    with servers.running(tmp_path / "model.tar.gz", tmp_path / "log", **environment) as server:
        with gated.closed(tmp_path / "gate"):
            with socket.create_connection(("127.0.0.1", server.port)) as line:
                line.sendall(head.encode() + content)
                servers.wait_for(server, "sagestage_queue_rows{", len(ROWS) - 32)
            servers.wait_for(server, 'error="caller_gone"}', 1)
        servers.wait_for(server, "sagestage_queue_rows{", 0)
        servers.wait_for(server, "sagestage_rows_total{", 32)
