"""The server over real HTTP, in a process of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from inference.contract.artifact import Artifact
from inference.contract.schema import Task
from tests.inference_support import artifacts, servers
from tests.inference_support.servers import Server

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def regression() -> Artifact:
    return artifacts.make(artifacts.transform())


@pytest.fixture(scope="module")
def classification() -> Artifact:
    return artifacts.make(artifacts.transform(Task.CLASSIFICATION))


@pytest.fixture(scope="module", params=["1", "4"], ids=["1 worker", "4 workers"])
def server(
    request: pytest.FixtureRequest, regression: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("regression")
    artifacts.pack(regression, directory / "model.tar.gz")
    environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": request.param}
    with servers.running(directory / "model.tar.gz", directory / "log", **environment) as running:
        yield running


@pytest.fixture(scope="module")
def classifier(classification: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("classification")
    artifacts.pack(classification, directory / "model.tar.gz")
    with servers.running(directory / "model.tar.gz", directory / "log") as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


def assert_equal(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)  # what the design calls equal


def ask(client: httpx.Client, server: Server, instances: list[Any]) -> httpx.Response:
    return client.post(f"{server.url}/invocations", content=orjson.dumps({"instances": instances}), headers=JSON)


def test_ping_answers_once_the_golden_rows_were_replayed(client: httpx.Client, server: Server) -> None:
    assert client.get(f"{server.url}/ping").status_code == 200


def test_an_answer_looks_as_the_design_says(client: httpx.Client, server: Server, regression: Artifact) -> None:
    instances = artifacts.instances(regression.manifest.transform, 5)
    answer = ask(client, server, instances).json()
    assert set(answer) == {"predictions", "model_version", "latency_ms"}
    assert_equal(answer["predictions"], artifacts.answer(regression, instances).values)
    assert len(answer["model_version"]) == 12
    assert answer["latency_ms"] > 0


def test_a_classification_adds_probabilities_and_labels(
    client: httpx.Client, classifier: Server, classification: Artifact
) -> None:
    instances = artifacts.instances(classification.manifest.transform, 5)
    expected = artifacts.answer(classification, instances)
    answer = ask(client, classifier, instances).json()
    assert answer["labels"] == expected.labels
    assert_equal(answer["probabilities"], expected.probabilities)


def test_json_lines_and_csv_give_the_same_answers(
    client: httpx.Client, classifier: Server, classification: Artifact
) -> None:
    instances = artifacts.instances(classification.manifest.transform, 4)
    plural = ask(client, classifier, instances).json()
    url = f"{classifier.url}/invocations"
    body = b"\n".join(map(orjson.dumps, instances))
    lines = client.post(url, content=body, headers={"content-type": "application/jsonlines"})
    assert [orjson.loads(line)["label"] for line in lines.text.splitlines()] == plural["labels"]
    text = "".join(",".join(str(value) for value in instance.values()) + "\n" for instance in instances)
    cells = client.post(url, content=text, headers={"content-type": "text/csv; charset=utf-8"})
    assert cells.text.splitlines() == plural["labels"]
    assert cells.headers["content-type"] == "text/csv"
    assert cells.headers["x-sagestage-model-version"] == plural["model_version"]
    assert float(cells.headers["x-sagestage-latency-ms"]) > 0
    as_json = client.post(url, content=text, headers={"content-type": "text/csv", "accept": "application/json"})
    assert as_json.json()["labels"] == plural["labels"]


def test_rows_give_the_same_answers_alone_together_and_in_a_crowd(
    client: httpx.Client, server: Server, regression: Artifact
) -> None:
    instances = artifacts.instances(regression.manifest.transform, 60)
    expected = artifacts.answer(regression, instances).values
    with ThreadPoolExecutor(16) as crowd:
        alone = list(crowd.map(lambda one: ask(client, server, [one]).json()["predictions"][0], instances))
    assert_equal(alone, expected)
    assert_equal(ask(client, server, instances).json()["predictions"], expected)


def test_bad_neighbours_leave_a_request_alone(client: httpx.Client, server: Server, regression: Artifact) -> None:
    good = artifacts.instances(regression.manifest.transform, 40)
    huge = {"row": good[0]["row"] | {"wind": 1e300}, "history": good[0]["history"]}
    wrong = {"row": good[0]["row"] | {"temp": "warm"}, "history": []}
    requests = [
        [good[number]] if number % 4 else [good[number], (huge, wrong)[number % 8 == 0]] for number in range(40)
    ]
    expected = artifacts.answer(regression, good).values
    with ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(lambda instances: ask(client, server, instances), requests))
    for number, answer in enumerate(answers):
        if number % 4:
            assert_equal(answer.json()["predictions"], [expected[number]])
        else:
            assert answer.status_code == 400
            assert answer.json()["row"] == 1


def test_a_request_larger_than_a_batch_is_answered_in_order(
    client: httpx.Client, classifier: Server, classification: Artifact
) -> None:
    instances = artifacts.instances(classification.manifest.transform, 3_000)
    answer = ask(client, classifier, instances).json()
    assert answer["labels"] == artifacts.answer(classification, instances).labels


BAD_BODIES = [
    (b"{", "not valid JSON", None, None),
    (b"{}", "no 'instances'", None, None),
    (b'{"instances": []}', "send at least one", None, None),
    (b'{"instances": [[1, 2]]}', "row 0: has 2 values, expected 5: when, temp, wind, season, sky", 0, None),
    (b'{"instances": [[0, 1, 1, 1, "mist"], [0, "warm", 1, 1, "mist"]]}', "expected a finite number", 1, "temp"),
    (b'{"instances": [[0, NaN, 1, 1, "mist"]]}', "not valid JSON", None, None),
    (b'{"instances": [[0, 1, 1, 1.5, "mist"]]}', "expected an integer", 0, "season"),
    (b'{"instances": [[0, 1, 1, 1, 7]]}', "expected a text", 0, "sky"),
    (b'{"instances": [["soon", 1, 1, 1, "mist"]]}', "expected a time", 0, "when"),
    (b'{"instances": [{"temp": 1}]}', "lacks when, wind, season, sky", 0, None),
]


@pytest.mark.parametrize(("body", "problem", "row", "column"), BAD_BODIES)
def test_a_bad_row_is_named(
    client: httpx.Client, server: Server, body: bytes, problem: str, row: int | None, column: str | None
) -> None:
    answer = client.post(f"{server.url}/invocations", content=body, headers=JSON)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]
    assert (answer.json().get("row"), answer.json().get("column")) == (row, column)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/invocations", {}, 405),
        ("PUT", "/invocations", JSON, 405),
        ("POST", "/ping", {}, 405),
        ("POST", "/invocations", {"content-type": "image/png"}, 415),
        ("POST", "/invocations", JSON | {"accept": "image/png"}, 406),
    ],
)
def test_wrong_requests_get_their_status(
    client: httpx.Client, server: Server, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client.request(method, f"{server.url}{path}", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]


def test_a_body_beyond_the_limit_is_refused_unread(client: httpx.Client, server: Server) -> None:
    answer = client.post(f"{server.url}/invocations", content=bytes(7 * 2**20), headers=JSON)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    chunks = (bytes(2**16) for _ in range(7 * 16))
    assert client.post(f"{server.url}/invocations", content=chunks, headers=JSON).status_code == 413


def test_a_body_without_a_length_is_read(client: httpx.Client, classifier: Server, classification: Artifact) -> None:
    body = orjson.dumps(artifacts.instances(classification.manifest.transform, 50))
    chunks = (body[start : start + 1000] for start in range(0, len(body), 1000))
    answer = client.post(f"{classifier.url}/invocations", content=chunks, headers=JSON)
    assert len(answer.json()["predictions"]) == 50


def test_custom_attributes_come_back_and_the_inference_id_is_logged(client: httpx.Client, server: Server) -> None:
    names = {"x-amzn-sagemaker-custom-attributes": "trace=7", "x-amzn-sagemaker-inference-id": "id-4711"}
    row = {"row": artifacts.record(1), "history": []}
    good = client.post(f"{server.url}/invocations", content=orjson.dumps([row]), headers=JSON | names)
    assert good.status_code == 200
    assert good.headers["x-amzn-sagemaker-custom-attributes"] == "trace=7"
    client.post(f"{server.url}/invocations", content=b"[", headers=JSON | names)
    lines = [orjson.loads(line) for line in server.log.read_text().splitlines()]
    assert [line["status"] for line in lines if line.get("inference_id") == "id-4711"] == [400]
    assert not [line for line in lines if line["event"] == "request"]  # no access log unless asked for


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00\xff\xfe" * 100 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"a" * 600_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_noise_on_the_line_leaves_the_server_up(client: httpx.Client, server: Server, noise: bytes) -> None:
    with (
        suppress(OSError),  # the server may hang up on it at any moment
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as line,
    ):
        line.sendall(noise)
        line.shutdown(socket.SHUT_WR)
        while line.recv(65_536):
            pass
    assert client.get(f"{server.url}/ping").status_code == 200


def test_bad_requests_leave_no_trace_of_python_in_the_log(server: Server) -> None:
    text = server.log.read_text()
    assert "Traceback" not in text
    assert '"level":"error"' not in text


def test_a_slow_body_is_given_up(regression: Artifact, tmp_path: Path) -> None:
    artifacts.pack(regression, tmp_path / "model.tar.gz")
    limits = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "0.3", "SAGESTAGE_MAX_REQUESTS": "1"}
    with (
        servers.running(tmp_path / "model.tar.gz", tmp_path / "log", **limits) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow,
        httpx.Client(timeout=20) as client,
    ):
        slow.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 50\r\n\r\n")
        assert b"100 Continue" in slow.recv(1000)  # now the server reads
        full = ask(client, server, [1])
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
        assert b"408 Request Timeout" in slow.recv(1000)
        instances = artifacts.instances(regression.manifest.transform, 1)
        assert ask(client, server, instances).status_code == 200


def test_the_cache_answers_what_was_asked_before_and_never_for_another_model(
    regression: Artifact, client: httpx.Client, tmp_path: Path
) -> None:
    path, instances = tmp_path / "model.tar.gz", artifacts.instances(regression.manifest.transform, 3)
    backwards = [
        {"history": [dict(reversed(past.items())) for past in one["history"]], "row": one["row"]} for one in instances
    ]
    seen = []
    for model in (regression, artifacts.make(artifacts.transform(), seed=1)):
        artifacts.pack(model, path)
        with servers.running(path, tmp_path / "log", SAGESTAGE_CACHE_ITEMS="2") as server:
            answers = [ask(client, server, [one]) for one in (*instances[:2], *backwards[:2], instances[2])]
            assert_equal([answer.json()["predictions"][0] for answer in answers[2:4]],
                         artifacts.answer(model, instances[:2]).values)  # fmt: skip
            metrics = client.get(f"{server.url}/metrics").text
            seen.append(
                [line.rpartition(" ")[2] for line in metrics.splitlines() if line.startswith("sagestage_cache")]
            )
    assert seen == [["2", "3"], ["2", "3"]], "of five requests two repeat others, for either model"
