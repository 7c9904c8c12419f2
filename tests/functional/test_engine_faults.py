"""AWS that throttles, refuses, answers too late or is gone in the middle of an `up`: what is told, what is saved."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from infra.cloud import control
from infra.engine import Engine, EngineError, Event, StepDone
from infra.provider import AwsProvider
from sagestage import engines
from tests.cloud_support.helpers import CONTAINER, Cloud, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning"),
]
PROGRAM = """
import json
import pulumi
import pulumi_aws as aws

topic = aws.sns.Topic("topic")
trust = json.dumps({"Version": "2012-10-17", "Statement": []})
role = aws.iam.Role("role", assume_role_policy=trust, description=topic.arn)
group = aws.cloudwatch.LogGroup("logs", tags={"role": role.name})
pulumi.export("group", group.name)
"""
Fault = Callable[[str, Callable[[], Any]], Any]
"""What to do instead of an API call: (operation, the call itself) -> its answer."""


class Faulty:
    """A boto3 client whose calls go through a fault."""

    def __init__(self, client: Any, fault: Fault) -> None:
        self._client, self._fault = client, fault

    def _make_api_call(self, operation: str, params: dict[str, Any]) -> Any:
        return self._fault(operation, lambda: self._client._make_api_call(operation, params))  # noqa: SLF001


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with running(tmp_path / "cloud", max_instances=1) as cloud:
        yield cloud


class Lab:
    def __init__(self, folder: Path, cloud: Cloud) -> None:
        self.root, self.cloud = folder / "project", cloud
        self.root.mkdir()
        (self.root / "Pulumi.yaml").write_text("name: lab\nruntime: python\n")
        (self.root / "__main__.py").write_text(PROGRAM)
        config = {"aws:region": "us-east-1", **engines.overrides({}, cloud.info.url)}
        (self.root / "Pulumi.dev.yaml").write_text(json.dumps({"config": config}))

    def engine(self, fault: Fault | None = None, on_event: Callable[[Event], None] = lambda _: None) -> Engine:
        def client(service: str, region: str) -> Any:
            made = boto3.client(
                service,  # type: ignore[call-overload]
                endpoint_url=self.cloud.info.url,
                region_name=region,
                aws_access_key_id="sagestage",
                aws_secret_access_key="sagestage",
                config=botocore.config.Config(retries={"total_max_attempts": 1}),
            )
            return Faulty(made, fault) if fault else made

        provider = (lambda: AwsProvider(client=client)) if fault else AwsProvider
        return Engine(root=self.root, stack="dev", providers={"aws": provider}, on_event=on_event)

    def types(self) -> list[str]:
        """What the state has, without the stack and providers."""
        resources = json.loads(self.engine().export())["deployment"].get("resources", [])
        return sorted(r["type"].rpartition(":")[2] for r in resources if not r["type"].startswith("pulumi:"))

    def made(self) -> tuple[int, int, int]:
        """How many topics, roles and log groups the cloud has."""
        return (
            len(self.cloud.client("sns").list_topics()["Topics"]),
            len(self.cloud.client("iam").list_roles()["Roles"]),
            len(self.cloud.client("logs").describe_log_groups()["logGroups"]),
        )


@pytest.fixture
def lab(tmp_path: Path, cloud: Cloud) -> Lab:
    return Lab(tmp_path, cloud)


def refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


def test_a_call_that_is_throttled_is_repeated(lab: Lab) -> None:
    times: list[str] = []

    def throttled(operation: str, call: Callable[[], Any]) -> Any:
        times.append(operation)
        if operation == "CreateRole" and times.count(operation) < 3:
            raise refusal("ThrottlingException", operation)
        return call()

    lab.engine(throttled).up()
    assert times.count("CreateRole") == 3
    assert lab.made() == (1, 1, 1)


def test_a_call_that_is_refused_is_told_with_its_resource_and_what_was_saved(lab: Lab) -> None:
    def refused(operation: str, call: Callable[[], Any]) -> Any:
        if operation == "CreateRole":
            raise refusal("AccessDenied", operation)
        return call()

    with pytest.raises(
        EngineError,
        match="up failed: create of aws:iam/role:Role 'role': iam CreateRole: AccessDenied: no; 2 resources before it "
        "are done and saved; correct it and run up again",
    ):
        lab.engine(refused).up()
    assert lab.types() == ["Topic"]
    assert lab.made() == (1, 0, 0)
    assert lab.engine().up().summary == {"create": 2, "same": 2}


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_creation_that_is_not_answered_is_looked_for_by_the_next_run(lab: Lab, *, carried_out: bool) -> None:
    def late(operation: str, call: Callable[[], Any]) -> Any:
        if operation != "CreateRole":
            return call()
        if carried_out:
            call()
        raise ReadTimeoutError(endpoint_url="http://there")

    with pytest.raises(
        EngineError, match=r"no answer from iam at .* to CreateRole within 120 s: .* the next run looks"
    ):
        lab.engine(late).up()
    pending = json.loads(lab.engine().export())["deployment"]["pending_operations"]
    assert [(each["type"], each["resource"]["type"]) for each in pending] == [("creating", "aws:iam/role:Role")]
    assert lab.made() == (1, int(carried_out), 0)

    # While it cannot be asked, nothing is made that may be there already.
    def gone(operation: str, _: Callable[[], Any]) -> Any:
        raise ReadTimeoutError(endpoint_url=f"http://there/{operation}")

    with pytest.raises(EngineError, match="'role' was interrupted while creating, and what became of it cannot be"):
        lab.engine(gone).up()
    assert json.loads(lab.engine().export())["deployment"]["pending_operations"] == pending

    lab.engine().up()
    assert lab.made() == (1, 1, 1)
    assert lab.types() == ["LogGroup", "Role", "Topic"]
    assert "pending_operations" not in json.loads(lab.engine().export())["deployment"]
    lab.engine().destroy()
    assert lab.made() == (0, 0, 0)


def test_a_cloud_that_is_gone_in_the_middle_is_told_and_the_next_run_goes_on(lab: Lab, cloud: Cloud) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step.name == "topic":
            os.kill(cloud.info.pid, signal.SIGKILL)

    with pytest.raises(
        EngineError, match=r"create of aws:iam/role:Role 'role': no answer from .* `sagestage cloud start`"
    ):
        lab.engine(on_event=stop).up()
    assert lab.types() == ["Topic"]
    control.start(cloud.info.home, port=cloud.info.port, serve_command=CONTAINER)
    lab.engine().up()
    assert lab.made() == (1, 1, 1)
    assert not lab.engine().up().changed
