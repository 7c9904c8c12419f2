"""The demand stack is deployed and destroyed by processes that are killed, one at each type's creation and deletion.

Every step of a program is killed at in test_engine_crash.py, where a step costs milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi.provider.experimental import provider as p

from infra.engine import Engine
from infra.engine.urns import is_provider, type_of
from infra.provider import AwsProvider
from infra.prune import prune
from tests.cloud_support.helpers import BUCKET, Cloud, running
from tests.provider_support.demand import demand_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning"),
]


class Mortal(AwsProvider):
    """Kills its process at the first kind of change that no process before it died at."""

    def __init__(self, died: Path) -> None:
        super().__init__()
        self._died = died

    def _pass(self, moment: str, urn: str) -> None:
        known = self._died.read_text().splitlines() if self._died.exists() else []
        if f"{moment} {type_of(urn)}" not in known:
            with self._died.open("a") as out:
                out.write(f"{moment} {type_of(urn)}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    async def create(self, request: p.CreateRequest) -> p.CreateResponse:
        if not request.preview:
            self._pass("before creating", request.urn)
        answer = await super().create(request)
        if not request.preview:
            self._pass("after creating", request.urn)
        return answer

    async def delete(self, request: p.DeleteRequest) -> None:
        self._pass("before deleting", request.urn)
        await super().delete(request)
        self._pass("after deleting", request.urn)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with running(tmp_path / ".sagestage" / "cloud", max_instances=1) as cloud:
        yield cloud


@pytest.fixture
def root(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = demand_project(cloud)
    for name in [each for each in os.environ if each.startswith(("AWS_", "PULUMI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(root)
    return root


def until_it_lives(root: Path, operation: Callable[[Engine], Any]) -> list[str]:
    """Runs an operation in one process after the other until one survives; where the others died."""
    died = root / "died"
    died.unlink(missing_ok=True)
    while True:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                operation(engine(root, lambda: Mortal(died)))
                code = 0
            except Exception:  # noqa: BLE001 - a child has no other way to tell
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert status == 0, "the operation failed: its words are above"
            return died.read_text().splitlines() if died.exists() else []


def engine(root: Path, provider: Callable[[], AwsProvider] = AwsProvider) -> Engine:
    return Engine(root=root, stack="local", providers={"aws": provider})


def there(cloud: Cloud) -> dict[str, list[str]]:
    """What exists, by the types that the stack makes with names of their own."""
    sagemaker = cloud.client("sagemaker")
    alarms = cloud.client("cloudwatch").describe_alarms()
    scaling = cloud.client("application-autoscaling")
    return {
        "aws:sagemaker/model:Model": [m["ModelName"] for m in sagemaker.list_models()["Models"]],
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration": [
            c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]
        ],
        "aws:sagemaker/endpoint:Endpoint": [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]],
        "aws:iam/role:Role": [r["RoleName"] for r in cloud.client("iam").list_roles()["Roles"]],
        "aws:s3/bucket:Bucket": [
            b["Name"] for b in cloud.client("s3").list_buckets()["Buckets"] if b["Name"] != BUCKET
        ],
        "aws:cloudwatch/metricAlarm:MetricAlarm": [a["AlarmName"] for a in alarms["MetricAlarms"]],
        "aws:appautoscaling/target:Target": [
            t["ResourceId"] for t in scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
        ],
        "aws:appautoscaling/policy:Policy": [
            s["PolicyName"] for s in scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
        ],
    }


def recorded(root: Path, types: dict[str, list[str]]) -> dict[str, list[str]]:
    """What the state has, in the same form."""
    found: dict[str, list[str]] = {name: [] for name in types}
    exported = json.loads(engine(root).state_file.read_text())["deployment"].get("resources", [])
    for resource in exported:
        if resource["type"] in found:
            found[resource["type"]].append(resource["id"])
    return {name: sorted(ids) for name, ids in found.items()}


def test_killed_at_every_change_the_stack_is_whole_at_the_end(root: Path, cloud: Cloud) -> None:
    died = until_it_lives(root, lambda e: e.up())
    custom = [
        r for r in json.loads(engine(root).state_file.read_text())["deployment"]["resources"]
        if r["custom"] and not is_provider(r["type"])
    ]  # fmt: skip
    assert {line.split(" ", 2)[2] for line in died if line.startswith("before")} == {r["type"] for r in custom}
    assert [line for line in died if line.startswith("after")]  # not all: what another thread's death cut off was found
    assert not engine(root).up().changed
    exists = there(cloud)
    assert recorded(root, exists) == {name: sorted(ids) for name, ids in exists.items()}

    until_it_lives(root, lambda e: e.destroy())
    prune(cloud.client("sagemaker"), "sagestage", "local")
    assert there(cloud) == {name: [] for name in exists}
