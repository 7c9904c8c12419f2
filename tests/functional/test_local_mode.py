"""SageMaker's local mode and the embedded cloud: each trains in containers what the other serves."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.cloud import docker
from tests.cloud_support.helpers import BUCKET, ROLE, Cloud, eventually, running
from tests.container_support.docker import INFERENCE, TRAINING, absent, need_image
from tests.local_mode_support.sdk import Sdk, driver
from training import demo, launch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SETTINGS = {"target": "demand", "order": "timestamp", "epochs": "3", "hidden": "16,8"}


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    """The SDK; nothing of its containers is left."""
    need_image(TRAINING)
    need_image(INFERENCE)
    if shutil.which("docker-compose") is None and not compose_plugin():
        absent("the SDK's local mode needs docker compose: apt-get install docker-compose")
    folder = tmp_path_factory.mktemp("sdk")
    with driver(folder) as made:
        yield made


def compose_plugin() -> bool:
    try:
        docker.call("compose", "version")
    except docker.DockerError:
        return False
    return True


@pytest.fixture
def root(tmp_path: Path) -> Iterator[str]:
    """A folder for the SDK, which leaves its stopped containers, its network, and files of root's."""
    (tmp_path / "root").mkdir()
    yield str(tmp_path / "root")
    clean(tmp_path)


def clean(folder: Path) -> None:
    for name in docker.call("ps", "--all", "--quiet", "--filter", "network=sagemaker-local").split():
        docker.remove(name)
    for network in docker.call("network", "ls", "--quiet", "--filter", "name=sagemaker-local").split():
        docker.call("network", "rm", network)
    if os.getuid():
        owner = f"{os.getuid()}:{os.getgid()}"
        docker.call("run", "--rm", "-v", f"{folder}:/f", "--entrypoint", "chown", INFERENCE, "-R", owner, "/f")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "demand.csv"
    demo.write(file, rows=1_500)
    return file


@pytest.fixture(scope="module", params=[1, 2], ids=["one host", "two hosts"])
def trained(request: pytest.FixtureRequest, sdk: Sdk, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a job that the SDK ran in one container, or in two."""
    folder = tmp_path_factory.mktemp("local-mode")
    more = {"workers": "2"} if request.param > 1 else {}
    try:
        files = sdk.do(
            "train",
            image=TRAINING,
            data=str(rows.parent),
            root=str(folder),
            hosts=request.param,
            hyperparameters=SETTINGS | more,
        )
        assert "artifacts/output/data/metrics.json" in files
        assert ("2 hosts are here: algo-1, algo-2" in sdk.log.read_text()) == (request.param > 1)
    finally:
        clean(folder)
    return folder / "compressed_artifacts/model.tar.gz"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An embedded cloud that trains in containers, and serves in them."""
    with running(tmp_path_factory.mktemp("cloud"), serve_command=None, hosting="container") as made:
        made.client("s3").create_bucket(Bucket=BUCKET)
        yield made


@pytest.fixture(scope="module")
def trained_in_the_cloud(cloud: Cloud, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a training job of the embedded cloud, which ran in a container."""
    need_image(TRAINING)
    client, s3 = cloud.client("sagemaker"), cloud.client("s3")
    s3.upload_file(str(rows), BUCKET, "rows/demand.csv")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/rows/"}
    client.create_training_job(
        TrainingJobName="demand",
        AlgorithmSpecification={
            "TrainingImage": TRAINING,
            "TrainingInputMode": "File",
            "MetricDefinitions": launch.metric_definitions(),
        },
        RoleArn=ROLE,
        HyperParameters=SETTINGS,
        InputDataConfig=[{"ChannelName": "training", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/training/"},
        ResourceConfig={"InstanceType": "ml.m6i.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 3_600},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/"},
    )
    label = f"label={docker.LABEL}={cloud.info.home}"
    eventually(
        lambda: docker.call("ps", "--filter", label, "--format", "{{.Image}}").split(), lambda one: one == [TRAINING]
    )
    job = eventually(
        lambda: client.describe_training_job(TrainingJobName="demand"),
        lambda one: one["TrainingJobStatus"] in ("Completed", "Failed"),
        deadline_s=200,
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert {"train:loss", "validation:loss", "test:r2"} <= {one["MetricName"] for one in job["FinalMetricDataList"]}
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="checkpoints/")["KeyCount"] == 1
    assert docker.call("ps", "--all", "--quiet", "--filter", label) == ""
    archive = tmp_path_factory.mktemp("made") / "model.tar.gz"
    s3.download_file(BUCKET, job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/"), str(archive))
    return archive


def golden(archive: Path) -> tuple[list[Any], list[float]]:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(next(one for one in tar.getnames() if one.endswith("golden.json")))
        assert file is not None
        found = json.loads(file.read())
    return found["instances"], found["predictions"]


def serves(sdk: Sdk, archive: Path, root: str) -> None:
    """An endpoint of the SDK answers in every format that the server has."""
    instances, expected = golden(archive)
    single = "\n".join(json.dumps(row) for row in instances)
    requests = [
        ("application/json", "application/json", json.dumps({"instances": instances})),
        ("application/jsonlines", "application/jsonlines", single),
        ("application/json", "text/csv", json.dumps({"instances": instances})),
    ]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    whole, lines, csv = sdk.do("serve", image=INFERENCE, artifact=str(archive), root=root, port=port, requests=requests)
    same(json.loads(whole)["predictions"], expected)
    same([json.loads(line)["prediction"] for line in lines.splitlines()], expected)
    same([float(line) for line in csv.split()], expected)


def same(found: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_local_mode_trained_serves_in_local_mode_and_in_the_embedded_cloud(
    sdk: Sdk, trained: Path, cloud: Cloud, root: str
) -> None:
    serves(sdk, trained, root)
    instances, expected = golden(trained)
    model = cloud.model(image=INFERENCE, archive=trained.read_bytes())
    endpoint = cloud.endpoint(cloud.config([{"ModelName": model}]))
    described = cloud.settle(endpoint)
    assert described["EndpointStatus"] == "InService", described
    answer = cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"instances": instances})
    )
    same(json.loads(answer["Body"].read())["predictions"], expected)
    cloud.client("sagemaker").delete_endpoint(EndpointName=endpoint)


def test_what_the_embedded_cloud_trained_serves_in_local_mode(sdk: Sdk, trained_in_the_cloud: Path, root: str) -> None:
    serves(sdk, trained_in_the_cloud, root)
