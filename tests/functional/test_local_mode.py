"""SageMaker's local mode: the SDK 3 trains and serves the images, and its artifact serves in the embedded cloud."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.cloud import docker
from tests.cloud_support.helpers import Cloud, running
from tests.container_support.docker import INFERENCE, ROOT, TRAINING, absent, need_image
from training import demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PYTHON = ROOT / ".venv-aws/bin/python"
DRIVER = ROOT / "tests/local_mode_support/drive.py"
SETTINGS = {"target": "demand", "order": "timestamp", "epochs": "3", "hidden": "16,8"}


def drive(*words: str, folder: Path) -> Any:
    """What the driver answers, in the SDK's environment; nothing of its containers is left."""
    need_image(TRAINING)
    need_image(INFERENCE)
    if not PYTHON.exists():
        absent("the SageMaker SDK is not installed: make local-mode")
    if shutil.which("docker-compose") is None and not compose_plugin():
        absent("the SDK's local mode needs docker compose: apt-get install docker-compose")
    try:
        done = subprocess.run(
            [PYTHON, DRIVER, *words],
            cwd=folder, env=docker.environment(), capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    finally:
        clean(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def compose_plugin() -> bool:
    try:
        docker.call("compose", "version")
    except docker.DockerError:
        return False
    return True


def clean(folder: Path) -> None:
    """The SDK leaves its stopped containers and its network."""
    for name in docker.call("ps", "--all", "--quiet", "--filter", "network=sagemaker-local").split():
        docker.remove(name)
    for network in docker.call("network", "ls", "--quiet", "--filter", "name=sagemaker-local").split():
        docker.call("network", "rm", network)
    owner = f"{os.getuid()}:{os.getgid()}"
    docker.call("run", "--rm", "-v", f"{folder}:/f", "--entrypoint", "chown", INFERENCE, "-R", owner, "/f")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a job that the SDK ran in a container."""
    folder = tmp_path_factory.mktemp("local-mode")
    demo.write(folder / "data/demand.csv", rows=1_500)
    (folder / "root").mkdir()
    answer = drive(
        "train", TRAINING, str(folder / "data"), str(folder / "root"), "1", json.dumps(SETTINGS), folder=folder
    )
    assert "artifacts/output/data/metrics.json" in answer["files"]
    return folder / "root/compressed_artifacts/model.tar.gz"


def golden(archive: Path) -> tuple[list[Any], list[float]]:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(next(one for one in tar.getnames() if one.endswith("golden.json")))
        assert file is not None
        found = json.loads(file.read())
    return found["instances"], found["predictions"]


def test_an_endpoint_of_the_sdk_answers_in_every_format_that_the_server_has(trained: Path, tmp_path: Path) -> None:
    instances, expected = golden(trained)
    single = "\n".join(json.dumps(row) for row in instances)
    requests = [
        ("application/json", "application/json", json.dumps({"instances": instances})),
        ("application/jsonlines", "application/jsonlines", single),
        ("application/json", "text/csv", json.dumps({"instances": instances})),
    ]
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "root").mkdir()
    arguments = ("serve", INFERENCE, str(trained), str(tmp_path / "root"), str(port), str(tmp_path / "requests.json"))
    whole, lines, csv = drive(*arguments, folder=tmp_path)["answers"]
    np.testing.assert_allclose(json.loads(whole)["predictions"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        [json.loads(line)["prediction"] for line in lines.splitlines()], expected, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose([float(line) for line in csv.split()], expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud"), serve_command=None) as made:
        yield made


def test_its_artifact_serves_in_the_embedded_cloud(trained: Path, cloud: Cloud) -> None:
    instances, expected = golden(trained)
    model = cloud.model(archive=trained.read_bytes())
    endpoint = cloud.endpoint(cloud.config([{"ModelName": model}]))
    assert cloud.settle(endpoint)["EndpointStatus"] == "InService"
    answer = cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"instances": instances})
    )
    np.testing.assert_allclose(json.loads(answer["Body"].read())["predictions"], expected, rtol=1e-5, atol=1e-6)
