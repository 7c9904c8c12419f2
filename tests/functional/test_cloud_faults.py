"""Faults, each a real one: nothing hangs, and each ends in the documented error or status."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from infra.cloud import control
from tests.cloud_support.helpers import (
    BUCKET,
    CONTAINER,
    Cloud,
    alive,
    eventually,
    fetch_status,
    free_port,
    running,
)

MANY = 5_000


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture(scope="module")
def endpoint(cloud: Cloud) -> str:
    return cloud.endpoint(cloud.config([{"ModelName": cloud.model(), "InitialInstanceCount": 2}]))


def invoke(cloud: Cloud, endpoint: str, body: bytes = b"hello") -> Any:
    return json.load(cloud.client("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, Body=body)["Body"])


def virtual_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def own_address() -> str | None:
    """This machine's address in a network, if it has one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])
    return None


def test_one_killed_instance_of_two_costs_the_requests_that_it_had(cloud: Cloud, endpoint: str) -> None:
    first, second = cloud.processes(endpoint)["main"]
    os.kill(first, signal.SIGKILL)
    runtime = cloud.client("sagemaker-runtime")
    seen = set()
    for _ in range(20):
        with contextlib.suppress(runtime.exceptions.ModelError):  # it died under this one
            seen.add(invoke(cloud, endpoint)["pid"])
    assert second in seen
    assert len(eventually(lambda: cloud.processes(endpoint)["main"], lambda pids: len(pids) == 2)) == 2
    assert cloud.settle(endpoint)["EndpointStatus"] == "InService"


@pytest.mark.slow
def test_a_stopped_instance_is_deaf_and_is_replaced(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    (pid,) = cloud.processes(name)["main"]
    os.kill(pid, signal.SIGSTOP)  # it neither ends nor answers
    replaced = eventually(lambda: cloud.processes(name)["main"], lambda pids: pids not in ([pid], []))
    assert invoke(cloud, name)["pid"] == replaced[0]
    assert not alive(pid)


@pytest.mark.parametrize(("body", "status"), [(b"close", 0), (b"garbage", 0), (b"half", 0)])
def test_a_container_that_does_not_speak_http_is_a_model_error(
    cloud: Cloud, endpoint: str, body: bytes, status: int
) -> None:
    with pytest.raises(ClientError) as caught:
        invoke(cloud, endpoint, body)
    assert caught.value.response["Error"]["Code"] == "ModelError"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert caught.value.response["OriginalStatusCode"] == status
    assert invoke(cloud, endpoint)["body"] == "hello"


def test_a_model_that_leaks_memory_is_seen_ended_and_replaced(tmp_path: Path) -> None:
    with running(tmp_path, time_scale=120) as cloud:
        name = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"LEAK_BYTES": "60000000"})}]))
        (pid,) = cloud.processes(name)["main"]
        runtime = cloud.client("sagemaker-runtime")

        def memory() -> float:
            found = cloud.client("cloudwatch").get_metric_statistics(
                Namespace="/aws/sagemaker/Endpoints",
                MetricName="MemoryUtilization",
                Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "main"}],
                StartTime="2020-01-01T00:00:00Z",
                EndTime="2100-01-01T00:00:00Z",
                Period=86_400 * 30_000,
                Statistics=["Maximum"],
            )["Datapoints"]
            return float(found[0]["Maximum"]) if found else 0.0

        before = eventually(memory, lambda percent: percent > 0)
        runtime.invoke_endpoint(EndpointName=name, Body=b"leak")
        eventually(memory, lambda percent: percent > before)
        # A limit that it runs into, as a container runs into its own: MemoryError under the request.
        limit = virtual_bytes(pid) + 100_000_000
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
        runtime.invoke_endpoint(EndpointName=name, Body=b"leak")
        with pytest.raises(ClientError, match="ModelError"):
            runtime.invoke_endpoint(EndpointName=name, Body=b"leak")
        os.kill(pid, signal.SIGKILL)  # what the kernel does when memory is out
        eventually(lambda: cloud.processes(name)["main"], lambda pids: pids not in ([pid], []))
        assert invoke(cloud, name)["body"] == "hello"


def test_a_model_that_never_becomes_healthy_fails_and_can_be_deleted(tmp_path: Path) -> None:
    with running(tmp_path) as cloud:
        client = cloud.client("sagemaker")
        variant = {"ModelName": cloud.model({"NEVER_HEALTHY": "1"})}
        name = cloud.name("endpoint")
        client.create_endpoint(EndpointName=name, EndpointConfigName=cloud.config([variant]))
        with pytest.raises(ClientError, match="not found"):
            invoke(cloud, name)
        # While it is being made it can be neither updated nor deleted; a cloud that is stopped does not wait for it.
        for call in (
            lambda: client.delete_endpoint(EndpointName=name),
            lambda: client.update_endpoint(EndpointName=name, EndpointConfigName=cloud.config([variant])),
        ):
            with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
                call()


def test_of_two_updates_at_once_one_is_refused(cloud: Cloud, endpoint: str) -> None:
    configs = [cloud.config([{"ModelName": cloud.model(), "InitialInstanceCount": 2}]) for _ in range(2)]
    client = cloud.client("sagemaker")  # made before: it takes as long as an update

    def update(config: str) -> str:
        try:
            client.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
        except ClientError as error:
            return str(error)
        return config

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(update, configs))
    done = [outcome for outcome in outcomes if outcome in configs]
    assert len(done) == 1
    assert sum("Cannot update in-progress endpoint" in outcome for outcome in outcomes) == 1
    with pytest.raises(ClientError, match="in-progress"):  # and so is a deletion meanwhile
        client.delete_endpoint(EndpointName=endpoint)
    assert cloud.settle(endpoint)["EndpointConfigName"] == done[0]


def test_a_caller_that_leaves_costs_nothing(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"SLOW_S": "0.5"})}]))
    host, port = cloud.info.host, cloud.info.port
    head = f"POST /endpoints/{name}/invocations HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 5\r\n\r\n"
    for sent in (head.encode() + b"hello", head.encode() + b"he", head.encode()[:20]):
        with socket.create_connection((host, port)) as caller:
            caller.sendall(sent)
    assert invoke(cloud, name)["body"] == "hello"
    # Nothing is counted as open that nobody waits for: the endpoint goes at once.
    cloud.client("sagemaker").delete_endpoint(EndpointName=name)
    eventually(lambda: fetch_status(cloud.info.url)["endpoints"], lambda all_: name not in {e["name"] for e in all_})


@pytest.mark.slow
def test_five_thousand_connections_are_held_and_others_are_answered(cloud: Cloud, endpoint: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < MANY + 200:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 200), hard))
    body = b"hello"
    head = (
        f"POST /endpoints/{endpoint}/invocations HTTP/1.1\r\nHost: {cloud.info.host}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as open_:
        sockets = []
        for _ in range(MANY):
            caller = open_.enter_context(socket.create_connection((cloud.info.host, cloud.info.port), timeout=60))
            caller.sendall(head[:30])  # each has begun a request
            sockets.append(caller)
        assert invoke(cloud, endpoint)["body"] == "hello"
        for caller in sockets:
            caller.sendall(head[30:] + body)
        answers = [caller.recv(15) for caller in sockets]
    assert answers == [b"HTTP/1.1 200 OK"] * MANY
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_another_machine_cannot_reach_it(cloud: Cloud) -> None:
    address = own_address()
    if address is None or address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    # What another machine would call: this machine's address in its network, at the cloud's port.
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection((address, cloud.info.port), timeout=2)
    rows = [line.split() for line in Path(f"/proc/{cloud.info.pid}/net/tcp").read_text().splitlines()[1:]]
    listening = {row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{cloud.info.port:04X}")}
    assert listening == {f"0100007F:{cloud.info.port:04X}"}


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_a_web_page_cannot_invoke(cloud: Cloud, endpoint: str, headers: dict[str, str]) -> None:
    url = f"{cloud.info.url}/endpoints/{endpoint}/invocations"
    assert httpx.post(url, content=b"hello", headers=headers).status_code == 403


@pytest.mark.parametrize("victim", ["front", "thread of moto"])
def test_a_killed_front_takes_everything_with_it_and_the_next_one_brings_it_back(tmp_path: Path, victim: str) -> None:
    with running(tmp_path) as cloud:
        name = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"SLOW_S": "30", "TELLS": "1"})}]))
        pids = cloud.processes(name)["main"]
        failed: list[str] = []

        def call() -> None:
            try:
                httpx.post(f"{cloud.info.url}/endpoints/{name}/invocations", content=b"x", timeout=60)
            except httpx.HTTPError as error:
                failed.append(type(error).__name__)

        waiting = threading.Thread(target=call)
        waiting.start()
        (log,) = (tmp_path / "endpoints" / name / "logs").glob("*.log")
        eventually(log.read_text, lambda text: "asked" in text)
        threads = [int(task.name) for task in Path(f"/proc/{cloud.info.pid}/task").iterdir()]
        # A signal that ends one thread of a process ends the process: that is what moto's threads are part of.
        os.kill(cloud.info.pid if victim == "front" else max(threads), signal.SIGKILL)
        waiting.join(timeout=10)
        assert not waiting.is_alive()
        assert failed
        eventually(lambda: [alive(pid) for pid in pids], lambda states: not any(states))
        eventually(lambda: control.status(tmp_path), lambda found: found is None)
        again = Cloud(control.start(tmp_path, serve_command=CONTAINER))
        assert again.settle(name)["EndpointStatus"] == "InService"
        again.close()


def test_an_error_inside_moto_is_an_internal_failure_and_the_next_call_is_answered(cloud: Cloud) -> None:
    # What moto does not expect of a caller ends its thread's work with an exception, whatever it is.
    scope = "Credential=a/20260101/us-east-1/secretsmanager/aws4_request"
    headers = {
        "X-Amz-Target": "secretsmanager.CreateSecret",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": f"AWS4-HMAC-SHA256 {scope}, Signature=0",
    }
    answer = httpx.post(cloud.info.url, content=b"\xff\xfe not json", headers=headers)
    assert answer.status_code in (400, 500)
    assert cloud.client("sts").get_caller_identity()["Account"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs more rights than these")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_refuses_what_it_cannot_keep_and_answers_the_rest(small_disk: Path) -> None:
    with running(small_disk / "home", port=free_port()) as cloud:
        name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        s3, sagemaker = cloud.client("s3"), cloud.client("sagemaker")
        with pytest.raises(ClientError, match=r"its journal cannot be written \(No space left on device\)"):
            s3.put_object(Bucket=BUCKET, Key="large", Body=b"x" * 100_000)
        assert invoke(cloud, name)["body"] == "hello"
        # An instance has nowhere to write: the endpoint fails and says so; the call, too, could not be kept.
        (config,) = sagemaker.list_endpoint_configs()["EndpointConfigs"]
        other = cloud.name("endpoint")
        with pytest.raises(ClientError, match="InternalFailure"):
            sagemaker.create_endpoint(EndpointName=other, EndpointConfigName=config["EndpointConfigName"])
        assert cloud.settle(other)["EndpointStatus"] == "Failed"
        filler.unlink()
        s3.put_object(Bucket=BUCKET, Key="large", Body=b"x" * 100_000)
        assert invoke(cloud, name)["body"] == "hello"
