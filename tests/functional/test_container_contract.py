"""What SageMaker asks of a container, with plain `docker run` and a hand-made /opt/ml."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from infra.cloud.docker import DockerError
from tests.container_support.docker import INFERENCE, TRAINING, Container, job, need_image, run, running
from training.checkpoint import read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SETTINGS = {"target": "demand", "order": "timestamp", "epochs": "4", "hidden": "[16, 8]", "learning-rate": '"0.01"'}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The /opt/ml of a job that ran in a container without a network, with limited memory."""
    need_image(TRAINING)
    base = job(tmp_path_factory.mktemp("ml"), SETTINGS)
    options = ("--network", "none", "--memory", "3g", "--memory-swap", "3g", "--volume", f"{base}:/opt/ml")
    with running(TRAINING, "train", options=options) as container:
        code = container.wait()
        (base / "log").write_text(container.logs())
        assert code == 0, container.logs()
        assert not container.inspect()["State"]["OOMKilled"]
    return base


def golden(base: Path) -> tuple[list[Any], list[float]]:
    """Rows of the model's own, and what it must answer."""
    rows = json.loads((base / "model/golden.json").read_text())
    return rows["instances"], rows["predictions"]


def test_a_container_trains_from_texts_and_a_channel(trained: Path) -> None:
    manifest = json.loads((trained / "model/manifest.json").read_text())
    assert manifest["network"]["hidden"] == [16, 8]
    measured = json.loads((trained / "output/data/metrics.json").read_text())
    assert measured["epochs"] <= 4
    assert "epoch=1 train_loss=" in (trained / "log").read_text()
    assert not (trained / "output/failure").exists()


def test_a_failure_is_told_where_sagemaker_looks(tmp_path: Path) -> None:
    need_image(TRAINING)
    base = job(tmp_path, {"target": "demnad"}, rows=50)
    with running(TRAINING, "train", options=("--network", "none", "--volume", f"{base}:/opt/ml")) as container:
        assert container.wait() == 1
        assert "Traceback" not in container.logs()
    assert "target names 'demnad'" in (base / "output/failure").read_text()
    assert not (base / "model").exists()


def test_a_training_that_is_terminated_keeps_its_checkpoint_and_says_why(tmp_path: Path) -> None:
    need_image(TRAINING)
    base = job(tmp_path, SETTINGS | {"epochs": "400", "patience": "400"}, rows=4_000)
    (base / "checkpoints").mkdir()
    options = ("--network", "none", "--volume", f"{base}:/opt/ml")
    with running(TRAINING, options=options) as container:  # CMD is train
        container.follow("epoch=2 ")
        container.kill("TERM")
        assert container.wait() != 0
        assert not container.inspect()["State"]["OOMKilled"]
    (checkpoint,) = (base / "checkpoints").glob("*.safetensors")
    state = read(str(checkpoint))
    assert state is not None
    assert len(state.figures["epochs"]) >= 2
    assert (base / "output/failure").read_text() == "terminated by SIGTERM"
    assert not (base / "model").exists()


@pytest.fixture
def server(trained: Path) -> Iterator[Container]:
    """A server as locked up as it can be: nothing writable, no capability, little memory."""
    need_image(INFERENCE)
    options = (
        "--publish", "127.0.0.1::8080", "--read-only", "--cap-drop", "ALL", "--memory", "384m",
        "--memory-swap", "384m", "--volume", f"{trained / 'model'}:/opt/ml/model:ro",
    )  # fmt: skip
    with running(INFERENCE, "serve", options=options) as container:
        yield container


def test_a_container_serves_what_another_trained(server: Container, trained: Path) -> None:
    url = server.ready()
    instances, expected = golden(trained)
    answer = httpx.post(f"{url}/invocations", json={"instances": instances}).json()
    np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5, atol=1e-6)
    state = server.inspect()
    assert not state["State"]["OOMKilled"]
    assert state["HostConfig"]["ReadonlyRootfs"]


def test_the_image_knows_whether_it_is_healthy(server: Container) -> None:
    server.ready()
    command, *check = server.inspect()["Config"]["Healthcheck"]["Test"]
    assert command == "CMD"
    run("exec", server.name, *check)
    with pytest.raises(DockerError):
        run("exec", "--env", "SAGEMAKER_BIND_TO_PORT=8081", server.name, *check)  # where nothing answers


def test_a_server_that_is_terminated_answers_what_it_has_begun(server: Container, trained: Path) -> None:
    address = urlsplit(server.ready())
    instances, expected = golden(trained)
    body = json.dumps({"instances": instances[:1]}).encode()
    fields = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    head = f"POST /invocations HTTP/1.1\r\n{fields}\r\n\r\n"
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30) as connection:
        connection.sendall(head.encode() + body[:5])
        httpx.get(f"{address.geturl()}/ping")  # by then the server has read the beginning
        server.kill("TERM")
        connection.sendall(body[5:])
        answer = b""
        while part := connection.recv(65536):
            answer += part
            if b"latency_ms" in answer:
                break
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"] == pytest.approx(expected[:1])
    assert server.wait() == 0


def test_a_server_needs_no_network(trained: Path) -> None:
    need_image(INFERENCE)
    instances, expected = golden(trained)
    options = ("--network", "none", "--volume", f"{trained / 'model'}:/opt/ml/model:ro")
    with running(INFERENCE, options=options) as container:  # CMD is serve
        container.follow("ready")
        ask = (
            "import json, urllib.request as r; q = r.Request('http://127.0.0.1:8080/invocations',"
            f" json.dumps({{'instances': {instances[:1]!r}}}).encode(), {{'content-type': 'application/json'}});"
            "print(r.urlopen(q).read().decode())"
        )
        assert json.loads(container.python(ask))["predictions"] == pytest.approx(expected[:1])


def test_a_model_that_is_not_there_ends_the_server_in_one_line(tmp_path: Path) -> None:
    need_image(INFERENCE)
    (tmp_path / "model").mkdir()
    with running(INFERENCE, "serve", options=("--volume", f"{tmp_path}/model:/opt/ml/model:ro")) as container:
        assert container.wait() == 1
        said = container.logs()
    assert "error: " in said
    assert "Traceback" not in said


def test_two_hosts_on_a_network_train_one_model(tmp_path: Path) -> None:
    """Each has its own /opt/ml, and they find each other by the names that SageMaker gives them."""
    need_image(TRAINING)
    names = ["algo-1", "algo-2"]
    network = f"sagestage-test-{uuid.uuid4().hex[:12]}"
    run("network", "create", "--internal", network)  # no way out of it
    try:
        with ExitStack() as stack:
            hosts = []
            for name in names:
                base = job(tmp_path / name, SETTINGS | {"workers": "2"})
                resources = {"current_host": name, "hosts": names, "network_interface_name": "eth0"}
                (base / "input/config/resourceconfig.json").write_text(json.dumps(resources))
                options = ["--network", network, "--network-alias", name, "--hostname", name]
                options += ["--volume", f"{base}:/opt/ml"]
                hosts.append(stack.enter_context(running(TRAINING, "train", options=options)))
            codes = [host.wait() for host in hosts]
            assert codes == [0, 0], [host.logs() for host in hosts]
    finally:
        run("network", "rm", network)
    assert (tmp_path / "algo-1/model/manifest.json").is_file()
    assert not list((tmp_path / "algo-2/model").glob("*"))  # SageMaker would pack both into one archive
