"""What the functional tests of the embedded cloud share: a real cloud, real AWS clients, a real serving process."""

import io
import os
import signal
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.config

from infra.cloud import control

CONTAINER = (sys.executable, str(Path(__file__).with_name("container.py")))
BUCKET = "artifacts"
IMAGE = "sagestage-inference:tests"
ROLE = "arn:aws:iam::123456789012:role/execution"
_DEADLINE_S = 60.0
_STEP_S = 0.05


class Cloud:
    """A running cloud and its clients."""

    def __init__(self, info: control.CloudInfo) -> None:
        self.info = info
        self._open = ExitStack()
        self._names = 0

    def client(self, service: str, region: str = "us-east-1") -> Any:
        made = boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.info.url,
            region_name=region,
            aws_access_key_id="sagestage",
            aws_secret_access_key="sagestage",
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )
        self._open.callback(made.close)
        return made

    def close(self) -> None:
        self._open.close()

    def name(self, word: str) -> str:
        """A name that no other test of this cloud has."""
        self._names += 1
        return f"{word}-{self._names}"

    def model(self, environment: Mapping[str, str] | None = None, image: str = IMAGE, archive: bytes = b"") -> str:
        name = self.name("model")
        s3 = self.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        key = f"models/{name}/model.tar.gz"
        s3.put_object(Bucket=BUCKET, Key=key, Body=archive or archived({"manifest.json": b"{}"}))
        container = {"Image": image, "ModelDataUrl": f"s3://{BUCKET}/{key}", "Environment": dict(environment or {})}
        self.client("sagemaker").create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return name

    def config(self, variants: Sequence[Mapping[str, Any]], **more: Any) -> str:
        name = self.name("config")
        self.client("sagemaker").create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**VARIANT, **variant} for variant in variants], **more
        )
        return name

    def endpoint(self, config: str, **more: Any) -> str:
        """Create an endpoint and wait until it is InService or Failed."""
        name = self.name("endpoint")
        self.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config, **more)
        self.settle(name)
        return name

    def settle(self, name: str) -> dict[str, Any]:
        """Wait for the end of what is being done to an endpoint; its description."""
        client = self.client("sagemaker")
        described: dict[str, Any] = eventually(
            lambda: client.describe_endpoint(EndpointName=name),
            lambda answer: answer["EndpointStatus"] in ("InService", "Failed"),
        )
        return described

    def processes(self, endpoint: str) -> dict[str, list[int]]:
        """Variant name to the process ids of its healthy instances."""
        found = next(e for e in fetch_status(self.info.url)["endpoints"] if e["name"] == endpoint)
        return {v["name"]: [process["pid"] for process in v["processes"]] for v in found["variants"]}


VARIANT = {
    "VariantName": "main",
    "InstanceType": "ml.c6i.xlarge",
    "InitialInstanceCount": 1,
    "InitialVariantWeight": 1.0,
}


@contextmanager
def running(home: Path, **settings: Any) -> Iterator[Cloud]:
    """A cloud of its own, on a free port; nothing of it is left afterwards."""
    info = control.start(home, **{"port": free_port(), "serve_command": CONTAINER, "seed": 7, **settings})
    cloud = Cloud(info)
    try:
        yield cloud
    finally:
        cloud.close()
        control.stop(home)


def killed_and_started(cloud: Cloud, **settings: Any) -> Cloud:
    """The same home after a SIGKILL of the cloud's process."""
    os.kill(cloud.info.pid, signal.SIGKILL)
    eventually(lambda: control.status(cloud.info.home), lambda found: found is None)
    return Cloud(control.start(cloud.info.home, **{"serve_command": CONTAINER, "seed": 7, **settings}))


def free_port() -> int:
    import socket  # noqa: PLC0415 - one use

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def archived(files: Mapping[str, bytes]) -> bytes:
    """A model.tar.gz of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def eventually(ask: Callable[[], Any], right: Callable[[Any], bool], deadline_s: float = _DEADLINE_S) -> Any:
    """Ask another process until its answer is right."""
    deadline = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if right(answer):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(_STEP_S)  # the AWS API has no event to wait for


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def fetch_status(url: str) -> Any:
    import httpx  # noqa: PLC0415 - one use

    return httpx.get(f"{url}/_sagestage/status").json()


def environment(cloud: Cloud) -> dict[str, str]:
    """What makes the AWS CLI talk to a cloud."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ENDPOINT_URL": cloud.info.url,
        "AWS_ACCESS_KEY_ID": "sagestage",
        "AWS_SECRET_ACCESS_KEY": "sagestage",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
