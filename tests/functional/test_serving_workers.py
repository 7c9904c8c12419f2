"""One server, whatever its number of workers: health, metrics, crashes, draining."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from inference.contract.artifact import Artifact
from tests.inference_support import artifacts, servers
from tests.inference_support.servers import Server

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def model() -> Artifact:
    return artifacts.make(artifacts.plain_transform(4))


@pytest.fixture(scope="module")
def archive(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workers") / "model.tar.gz"
    artifacts.pack(model, path)
    return path


@pytest.fixture(params=[1, 4], ids=["1 worker", "4 workers"])
def server(request: pytest.FixtureRequest, archive: Path, tmp_path: Path) -> Iterator[Server]:
    with servers.running(archive, tmp_path / "log", SAGEMAKER_MODEL_SERVER_WORKERS=str(request.param)) as running:
        until(lambda: len(workers(running)) == request.param)  # a worker is ready a moment before it says so in the log
        yield running


def post(url: str, body: bytes) -> httpx.Response:
    """A request over a connection of its own: any worker may get it."""
    return httpx.post(f"{url}/invocations", content=body, headers=JSON)


def sample(text: str, pattern: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE))


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)  # another process: there is no event to wait for


def workers(server: Server) -> dict[int, int]:
    """Process id by number of the workers that became ready last."""
    lines = [orjson.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return {line["worker"]: line["pid"] for line in lines if line["event"] == "ready"}


def test_metrics_are_the_sum_over_workers(server: Server, model: Artifact) -> None:
    body = orjson.dumps(artifacts.instances(model.manifest.transform, 3))
    for _ in range(20):
        assert post(server.url, body).status_code == 200
    assert post(server.url, b"[[1]]").status_code == 400
    timed = r'sagestage_latency_seconds_count\{.*stage="request"\}'
    until(lambda: sample(httpx.get(f"{server.url}/metrics").text, timed) == 21)  # counted once they have been sent
    for _ in range(4):  # whichever worker answers
        text = httpx.get(f"{server.url}/metrics").text
        assert sample(text, r'sagestage_requests_total\{.*status="200"\}') == 20
        assert sample(text, r'sagestage_requests_total\{.*status="400"\}') == 1
        assert sample(text, r'sagestage_errors_total\{.*error="input"\}') == 1
        assert sample(text, r"sagestage_batch_rows_count\{.*\}") >= 1
        assert sample(text, timed) == 21
        assert f'model="{version_of(server)}"' in text


def version_of(server: Server) -> str:
    lines = [orjson.loads(line) for line in server.log.read_text().splitlines()]
    return next(str(line["model_version"]) for line in lines if line["event"] == "ready")


def test_a_killed_worker_is_seen_and_mended_and_only_its_own_requests_are_lost(server: Server, model: Artifact) -> None:
    instances = artifacts.instances(model.manifest.transform, 2)
    body, expected = orjson.dumps(instances), artifacts.answer(model, instances).values
    before = workers(server)
    wrong: list[object] = []
    lost = [0]
    stop = threading.Event()

    def load() -> None:
        with httpx.Client(timeout=20) as client:
            while not stop.is_set():
                try:
                    answer = client.post(f"{server.url}/invocations", content=body, headers=JSON)
                except httpx.TransportError:
                    lost[0] += 1
                    continue
                if answer.status_code != 200 or not np.allclose(answer.json()["predictions"], expected, rtol=1e-5):
                    wrong.append(answer.text)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: workers(server)[0] != before[0])
    servers.wait_ready(server)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert lost[0] <= len(threads)  # at most what it held: one request a connection
    text = httpx.get(f"{server.url}/metrics").text
    assert sample(text, "sagestage_worker_restarts_total") == 1
    assert sample(text, r'sagestage_workers\{state="ready"\}') == len(before)


def test_ping_is_not_200_while_a_worker_is_not_ready(server: Server) -> None:
    number = len(workers(server))
    os.kill(workers(server)[0], signal.SIGKILL)
    until(lambda: "a worker crashed" in server.log.read_text())
    until(lambda: httpx.get(f"{server.url}/ping", timeout=30).status_code == 200)
    text = httpx.get(f"{server.url}/metrics").text
    assert sample(text, r'sagestage_workers\{state="ready"\}') == number
    assert sample(text, "sagestage_worker_restarts_total") == 1


def test_ping_is_503_while_one_of_several_workers_is_not_ready(archive: Path, tmp_path: Path) -> None:
    with servers.running(archive, tmp_path / "log", SAGEMAKER_MODEL_SERVER_WORKERS="2") as server:
        until(lambda: len(workers(server)) == 2)
        os.kill(workers(server)[1], signal.SIGKILL)
        seen: set[int] = set()
        until(lambda: seen.add(httpx.get(f"{server.url}/ping").status_code) or {200, 503} <= seen)  # type: ignore[func-returns-value]
        servers.wait_ready(server)


def test_counts_outlive_the_worker_that_made_them(server: Server) -> None:
    count = 12
    for _ in range(count):
        assert post(server.url, b"[[1, 2, 3, 4]]").status_code == 200
    answered = r'sagestage_requests_total\{.*status="200"\}'
    # An answer is counted once it has been sent: the last one may still be on its way into the counters.
    until(lambda: sample(httpx.get(f"{server.url}/metrics").text, answered) == count)
    old = workers(server)
    for pid in old.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not set(workers(server).values()) & set(old.values()))
    servers.wait_ready(server)
    assert sample(httpx.get(f"{server.url}/metrics").text, answered) == count


def test_sigterm_ends_all_processes(server: Server) -> None:
    pids = workers(server).values()
    assert server.stop() == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_workers_do_not_outlive_a_killed_supervisor(server: Server) -> None:
    pids = workers(server).values()
    server.process.kill()
    server.process.wait()
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])


@pytest.mark.parametrize("number", ["1", "4"])
def test_emf_lines_tell_what_happened(archive: Path, tmp_path: Path, number: str) -> None:
    output = tmp_path / "stdout"
    environment = {"SAGESTAGE_EMF_S": "0.2", "SAGEMAKER_MODEL_SERVER_WORKERS": number}
    with servers.running(archive, tmp_path / "log", stdout=output, **environment) as server:
        post(server.url, b"[[1, 2, 3, 4], [1, 2, 3, 4]]")
        post(server.url, b"[[1]]")
        until(lambda: sum(orjson.loads(line)["Requests"] for line in output.read_text().splitlines()) == 2)
    lines = [orjson.loads(line) for line in output.read_text().splitlines()]
    assert sum(line["Requests"] - line["Errors4XX"] for line in lines) == 1
    assert sum(line["Errors4XX"] for line in lines) == 1
    directive = lines[0]["_aws"]["CloudWatchMetrics"][0]
    assert directive["Dimensions"] == [["model", "model_name"]]
    assert all(metric["Name"] in lines[0] for metric in directive["Metrics"])
