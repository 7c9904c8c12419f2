"""Multi-model mode over real HTTP, with one worker and with several."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from inference.contract.artifact import Artifact
from tests.inference_support import artifacts, gated, servers
from tests.inference_support.servers import Server

JSON = {"content-type": "application/json"}
OF = artifacts.plain_transform(4)
ROWS = artifacts.instances(OF, 3)


@pytest.fixture(scope="module")
def models() -> dict[str, Artifact]:
    return {name: artifacts.make(OF, seed=seed, name=name) for seed, name in enumerate(("ant", "bee", "cat"))}


@pytest.fixture(scope="module")
def directory(models: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        artifacts.pack(model, directory / f"{name}.tar.gz")
    (directory / "broken.tar.gz").write_bytes((directory / "ant.tar.gz").read_bytes()[:300])
    return directory


@pytest.fixture(params=[1, 4], ids=["1 worker", "4 workers"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    environment = {
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(request.param),
        "SAGESTAGE_MAX_MODELS": "2",
    }
    with servers.running(None, tmp_path / "log", **environment) as running:
        yield running


def load(server: Server, name: str, path: Path) -> httpx.Response:
    return httpx.post(f"{server.url}/models", content=orjson.dumps({"model_name": name, "url": str(path)}), timeout=30)


def invoke(server: Server, name: str) -> httpx.Response:
    """Over a connection of its own: any worker may get it."""
    url = f"{server.url}/models/{name}/invoke"
    return httpx.post(url, content=orjson.dumps({"instances": ROWS}), headers=JSON, timeout=30)


def names(server: Server) -> list[Any]:
    return [model["modelName"] for model in httpx.get(f"{server.url}/models").json()["models"]]


def test_models_are_loaded_asked_described_listed_and_unloaded(
    server: Server, directory: Path, models: dict[str, Artifact]
) -> None:
    assert names(server) == []
    assert invoke(server, "ant").status_code == 404
    assert load(server, "ant", directory / "ant.tar.gz").status_code == 200
    assert load(server, "bee", directory / "bee.tar.gz").status_code == 200
    assert load(server, "ant", directory / "ant.tar.gz").status_code == 409
    for _ in range(8):  # loading has reached every worker
        for name in ("ant", "bee"):
            answer = invoke(server, name)
            assert answer.status_code == 200
            expected = artifacts.answer(models[name], ROWS).values
            np.testing.assert_allclose(answer.json()["predictions"], expected, rtol=1e-5, atol=1e-6)
        assert names(server) == ["ant", "bee"]
    described = httpx.get(f"{server.url}/models/ant").json()
    assert (described["modelName"], described["modelUrl"]) == ("ant", str(directory / "ant.tar.gz"))
    metrics = httpx.get(f"{server.url}/metrics").text
    assert metrics.count('status="200"} 8\n') == 2
    assert httpx.delete(f"{server.url}/models/ant").status_code == 200
    for _ in range(8):
        assert invoke(server, "ant").status_code == 404
    assert httpx.delete(f"{server.url}/models/ant").status_code == 404
    assert httpx.get(f"{server.url}/models/ant").status_code == 404
    assert names(server) == ["bee"]


def test_the_model_that_was_not_used_for_longest_makes_room(server: Server, directory: Path) -> None:
    for name in ("ant", "bee"):
        assert load(server, name, directory / f"{name}.tar.gz").status_code == 200
    assert invoke(server, "bee").status_code == 200
    assert invoke(server, "ant").status_code == 200
    assert load(server, "cat", directory / "cat.tar.gz").status_code == 200
    assert names(server) == ["ant", "cat"]


def test_wrong_loads_are_refused(server: Server) -> None:
    for body in (
        b"{",
        b"[]",
        b'{"model_name": "x"}',
        b'{"model_name": "a/b", "url": "/tmp"}',
        b'{"model_name": "x", "url": "/nowhere/model.tar.gz"}',
        orjson.dumps({"model_name": 100 * "\x01", "url": "/model"}),
        orjson.dumps({"model_name": "x", "url": "/" + 300 * "x"}),  # no file system takes such a name
    ):
        assert httpx.post(f"{server.url}/models", content=body).status_code == 400
    assert httpx.get(f"{server.url}/ping").status_code == 200
    assert names(server) == []


def test_a_load_whose_body_does_not_come_is_given_up(tmp_path: Path) -> None:
    settings = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MODEL_SERVER_TIMEOUT": "0.5"}
    with (
        servers.running(None, tmp_path / "log", **settings) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow,
    ):
        slow.sendall(b"POST /models HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
        assert b"408 Request Timeout" in slow.recv(1000)


def test_long_names_are_told_apart(server: Server, directory: Path) -> None:
    long = [600 * "ä" + end for end in ("1", "2")]
    for name in long:
        assert load(server, name, directory / "ant.tar.gz").status_code == 200
        assert invoke(server, name).status_code == 200
    assert names(server) == long
    text = httpx.get(f"{server.url}/metrics").text
    samples = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(samples) == len(set(samples))
    assert invoke(server, long[0]).status_code == 200
    assert load(server, "cat", directory / "cat.tar.gz").status_code == 200  # instead of the one not used for longer
    assert names(server) == ["cat", long[0]]


def test_a_damaged_model_is_not_loaded_and_disturbs_nobody(server: Server, directory: Path) -> None:
    assert load(server, "ant", directory / "ant.tar.gz").status_code == 200
    answer = load(server, "broken", directory / "broken.tar.gz")
    assert answer.status_code == 400
    assert "package the model again" in answer.json()["error"]
    assert names(server) == ["ant"]
    assert invoke(server, "ant").status_code == 200


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_model_that_never_fits_is_507(directory: Path, tmp_path: Path, workers: str) -> None:
    environment = {
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGESTAGE_MODELS_MEMORY_MB": "1",
        "SAGEMAKER_MODEL_SERVER_WORKERS": workers,
    }
    with servers.running(None, tmp_path / "log", **environment) as server:
        assert load(server, "ant", directory / "ant.tar.gz").status_code == 507


@pytest.mark.parametrize("workers", ["1", "4"])
def test_what_was_asked_of_a_model_is_answered_although_it_is_unloaded_meanwhile(
    directory: Path, tmp_path: Path, workers: str
) -> None:
    many = artifacts.instances(OF, 100)
    made = gated.pack(artifacts.make(OF), tmp_path / "model.tar.gz")
    environment = {
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_MODEL_SERVER_WORKERS": workers,
        "SAGESTAGE_MAX_BATCH_ROWS": "32",
        "SAGESTAGE_MAX_MODELS": "1",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "20",
    }
    gate = gated.settings(tmp_path / "gate")
    with servers.running(None, tmp_path / "log", **environment, **gate) as server, ThreadPoolExecutor(1) as thread:
        assert load(server, "slow", tmp_path / "model.tar.gz").status_code == 200
        with gated.closed(tmp_path / "gate"):
            asked = thread.submit(httpx.post, f"{server.url}/models/slow/invoke", json={"instances": many}, timeout=30)
            servers.wait_for(server, "sagestage_queue_rows{", len(many) - 32)
            assert httpx.delete(f"{server.url}/models/slow", timeout=30).status_code == 200
            assert invoke(server, "slow").status_code == 404
            assert load(server, "ant", directory / "ant.tar.gz").status_code == 200  # it counts where `slow` counted
        answer = asked.result()
        assert counted(server, "ant") == 0
    assert answer.status_code == 200, answer.text
    expected = artifacts.answer(made, many).values
    np.testing.assert_allclose(answer.json()["predictions"], expected, rtol=1e-5, atol=1e-6)


def counted(server: Server, name: str) -> float:
    """How many rows the server says that a model has answered, and how many requests."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    ours = [line for line in lines if f'model_name="{name}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in ours if "rows_total" in line or "requests_total" in line)


def test_a_worker_that_takes_a_dead_ones_place_has_the_same_models(server: Server, directory: Path) -> None:
    assert load(server, "ant", directory / "ant.tar.gz").status_code == 200
    ready = [orjson.loads(line) for line in server.log.read_text().splitlines() if '"ready"' in line]
    os.kill(ready[0]["pid"], signal.SIGKILL)
    while server.log.read_text().count('"ready"') <= len(ready):
        time.sleep(0.05)  # another process: there is no event to wait for
    servers.wait_ready(server)
    for _ in range(8):
        assert invoke(server, "ant").status_code == 200
