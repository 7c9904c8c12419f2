"""The demand stack through its whole life: the embedded engine, the provider, and the embedded cloud."""

from __future__ import annotations

import hashlib
import json
import shutil
import string
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pytest

from infra.engine import Engine, EngineError, Result
from infra.names import LOCAL
from infra.provider import AwsProvider
from infra.prune import Orphans, prune
from tests.cloud_support.helpers import BUCKET, IMAGE, Cloud, archived, running
from tests.provider_support.real_cli import Project, cli_path, short, told

with warnings.catch_warnings():
    # pulumi-aws warns of its own old S3 names when they are loaded, and warnings are errors here: load them now
    warnings.simplefilter("ignore", DeprecationWarning)
    _ = aws.s3.Bucket

ROOT = Path(__file__).resolve().parents[2]
ENDPOINT = "sagestage-local-demand"


class Stack:
    """A project of its own whose local stack deploys to a cloud of its own."""

    def __init__(self, root: Path, cloud: Cloud) -> None:
        self.root, self.cloud = root, cloud
        shutil.copy(ROOT / "Pulumi.yaml", root)
        shutil.copytree(ROOT / "stacks", root / "stacks", ignore=shutil.ignore_patterns("__pycache__"))
        cloud.client("s3").create_bucket(Bucket=BUCKET)
        self.artifacts = {name: self.upload(name, b"1") for name in ("champion", "challenger")}
        self.configure()

    def upload(self, name: str, content: bytes) -> str:
        archive = archived({"manifest.json": content})
        key = f"models/{name}/{hashlib.sha256(archive).hexdigest()}/model.tar.gz"
        self.cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=archive)
        return f"s3://{BUCKET}/{key}"

    def configure(self) -> None:
        """Fill in the local stack's template, as `sagestage` does."""
        template = string.Template((self.root / "stacks" / "local.template.yaml").read_text())
        values = {"url": self.cloud.info.url, "region": "us-east-1", "image": IMAGE, **self.artifacts}
        (self.root / "stacks" / "Pulumi.local.yaml").write_text(template.substitute(values))

    def engine(self) -> Engine:
        return Engine(root=self.root, stack=LOCAL, providers={"aws": AwsProvider})

    def sagemaker(self) -> Any:
        return self.cloud.client("sagemaker")

    def prune(self) -> Orphans:
        return prune(self.sagemaker(), "sagestage", LOCAL)

    def names(self) -> dict[str, set[str]]:
        """What SageMaker has, by kind."""
        client = self.sagemaker()
        return {
            "endpoints": {one["EndpointName"] for one in client.list_endpoints()["Endpoints"]},
            "configs": {one["EndpointConfigName"] for one in client.list_endpoint_configs()["EndpointConfigs"]},
            "models": {one["ModelName"] for one in client.list_models()["Models"]},
        }


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    root = tmp_path / "project"
    root.mkdir()
    with running(tmp_path / "cloud", time_scale=600) as cloud:  # a bake of ten minutes is one second
        yield Stack(root, cloud)


def changed(result: Result) -> dict[str, list[str]]:
    """Operation to the types of the AWS resources that it was done to."""
    found: dict[str, list[str]] = {}
    for step in result.steps:
        if step.op != "same" and step.type.startswith("aws:"):
            found.setdefault(str(step.op), []).append(step.type.rpartition(":")[2])
    return {op: sorted(types) for op, types in found.items()}


@pytest.mark.slow
def test_the_stack_is_made_left_alone_updated_and_destroyed(stack: Stack) -> None:
    planned = changed(stack.engine().preview())
    assert set(planned) == {"create"}
    made = stack.engine().up()
    assert changed(made) == planned
    assert made.outputs == {"endpoint": ENDPOINT}
    endpoint = stack.sagemaker().describe_endpoint(EndpointName=ENDPOINT)
    assert endpoint["EndpointStatus"] == "InService"
    first = stack.names()
    assert [len(names) for names in first.values()] == [1, 1, 2]
    assert stack.prune() == Orphans((), ())

    assert changed(stack.engine().up()) == {}
    assert changed(stack.engine().refresh()) == {}

    stack.artifacts["challenger"] = stack.upload("challenger", b"2")
    stack.configure()
    again = changed(stack.engine().up())
    assert again["update"] == ["Endpoint", *["MetricAlarm"] * 4]
    assert Counter(again["replace"]) == Counter(["EndpointConfiguration", "Model"])
    running_now = stack.sagemaker().describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
    assert running_now != endpoint["EndpointConfigName"]
    assert first["configs"] < stack.names()["configs"], "a rollback would need the old configuration"
    gone = stack.prune()
    assert gone.configs == (endpoint["EndpointConfigName"],)
    assert len(gone.models) == 1
    assert changed(stack.engine().up()) == {}, "pruning deletes nothing that the state declares"

    stack.engine().destroy()
    assert len(stack.prune().configs) == 1
    assert stack.names() == {"endpoints": set(), "configs": set(), "models": set()}
    assert [bucket["Name"] for bucket in stack.cloud.client("s3").list_buckets()["Buckets"]] == [BUCKET]
    assert stack.cloud.client("iam").list_roles()["Roles"] == []
    assert stack.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert stack.cloud.client("cloudwatch").list_dashboards()["DashboardEntries"] == []
    scaling = stack.cloud.client("application-autoscaling")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_a_refused_declaration_is_one_line_and_makes_nothing(stack: Stack) -> None:
    stack.artifacts["champion"] = f"s3://{BUCKET}/models/champion/latest/model.tar.gz"
    stack.configure()
    with pytest.raises(EngineError) as caught:
        stack.engine().up()
    assert "models/champion/latest/model.tar.gz" in str(caught.value)
    assert "\n" not in str(caught.value).strip()
    assert stack.names() == {"endpoints": set(), "configs": set(), "models": set()}


def test_an_unknown_program_is_refused_with_those_there_are(stack: Stack) -> None:
    file = stack.root / "stacks" / "Pulumi.local.yaml"
    file.write_text(file.read_text().replace("program: demand", "program: supply"))
    with pytest.raises(EngineError, match="must be one of demand, nightly, got 'supply'"):
        stack.engine().preview()


@pytest.mark.slow
def test_the_real_cli_makes_the_same_resources_as_the_embedded_engine(stack: Stack) -> None:
    path = cli_path()
    (stack.root / ".venv").symlink_to(Path(sys.prefix))
    cli = Project(stack.root, stack.cloud.info.url, path)
    stack.configure()
    cli.deploy("up")
    cli.pulumi("preview", "--expect-no-changes", "--non-interactive")
    real = {short(one["urn"]): one for one in cli.exported()}
    cli.deploy("destroy")
    assert len(stack.prune().models) == 2

    stack.engine().up()
    state = json.loads((stack.root / ".sagestage" / "stacks" / "sagestage" / "local.json").read_text())
    embedded = {short(one["urn"]): one for one in state["deployment"]["resources"]}
    assert embedded.keys() == real.keys()
    for name, one in real.items():
        for part in ("urn", "inputs", "parent", "protect", "retainOnDelete"):
            mine, theirs = (told(found.get(part), stack.cloud.info.url) for found in (embedded[name], one))
            assert mine == theirs, f"{name}: {part}"
        assert told(sorted(embedded[name].get("dependencies") or []), "-") == told(
            sorted(one.get("dependencies") or []), "-"
        )
