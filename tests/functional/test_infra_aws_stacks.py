"""The stacks for AWS through their whole lives on the embedded cloud: `--on embedded`, with their own configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infra.engine import Engine, EngineError
from sagestage import operations
from sagestage.deploy import Deployment
from sagestage.project import Project
from sagestage.replacement import ReplacementError
from tests.cloud_support.helpers import archived, running
from tests.functional_support.stacks import ROOT, Stack, changed

FILES = sorted(path.name.split(".")[1] for path in (ROOT / "stacks").glob("Pulumi.*.yaml") if "local" not in path.name)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    root = tmp_path / "project"
    (root / ".sagestage").mkdir(parents=True)
    with running(root / ".sagestage" / "cloud", time_scale=600) as cloud:
        yield Stack(root, cloud, region="eu-central-1")


def artifacts(stack: Stack, name: str) -> dict[str, str]:
    """The archives that a stack's file names, laid where they are looked for; key of the file to address."""
    config = yaml.safe_load((stack.root / "stacks" / f"Pulumi.{name}.yaml").read_text())["config"]
    found = {key: value for key, value in config.items() if str(value).startswith("s3://")}
    for address in found.values():
        lay(stack, address)
    return found


def lay(stack: Stack, address: str) -> None:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    client = stack.client("s3")
    if bucket not in {one["Name"] for one in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": stack.region})
    client.put_object(Bucket=bucket, Key=key, Body=archived({"manifest.json": address.encode()}))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_stack_for_aws_lives_its_whole_life_on_the_embedded_cloud(stack: Stack, name: str) -> None:
    project = Project(stack.root)
    before = artifacts(stack, name)
    buckets = {one["Name"] for one in stack.client("s3").list_buckets()["Buckets"]}
    file = stack.root / "stacks" / f"Pulumi.{name}.yaml"

    def deployment(**options: bool) -> Deployment:
        return Deployment(project, name, on="embedded", **options)

    # create, and nothing more to do
    planned = changed(deployment().preview())
    assert set(planned) == {"create"}
    assert changed(deployment().up()) == planned
    endpoints = stack.names()["endpoints"]
    assert endpoints
    assert all(one.startswith(f"sagestage-{name}-") for one in endpoints)
    assert changed(deployment().preview()) == {}

    # update: another archive is another model and configuration, and the endpoint is rolled over
    old = before["sagestage:champion"]
    new = old.replace(old.split("/")[-2], "f" * 64)
    lay(stack, new)
    file.write_text(file.read_text().replace(old, new))
    again = changed(deployment().up())
    assert set(again["replace"]) == {"EndpointConfiguration", "Model"}
    assert again["update"].count("Endpoint") == len(endpoints)

    # refresh: what was changed behind Pulumi's back is found, and put right by the next up
    alarms = stack.client("cloudwatch")
    gone = alarms.describe_alarms(AlarmNamePrefix=f"sagestage-{name}")["MetricAlarms"][0]["AlarmName"]
    alarms.delete_alarms(AlarmNames=[gone])
    assert changed(deployment().refresh()) == {"delete": ["MetricAlarm"]}
    assert changed(deployment().up())["create"] == ["MetricAlarm"]
    assert changed(deployment().refresh()) == {}

    # replace: refused by the protection, then by the plan, then done when both are lifted
    program = stack.root / "stacks" / f"{yaml.safe_load(file.read_text())['config']['sagestage:program']}.py"
    declared = program.read_text()
    program.write_text(declared.replace("    notify=[", '    physical_name="another",\n    notify=[', 1))
    with pytest.raises(EngineError, match=r"protected and would be replaced \(because of: name\)"):
        deployment(replace_endpoints=True).up()
    unprotect(project, name)
    with pytest.raises(ReplacementError, match="name"):
        deployment().up()
    assert stack.names()["endpoints"] == endpoints
    deployment(replace_endpoints=True).up()
    assert "another" in stack.names()["endpoints"]

    # destroy: protected, too
    with pytest.raises(EngineError, match="protect"):
        deployment().destroy()
    unprotect(project, name)
    deployment().destroy()
    assert stack.names() == {"endpoints": set(), "configs": set(), "models": set()}
    assert {one["Name"] for one in stack.client("s3").list_buckets()["Buckets"]} == buckets
    assert alarms.describe_alarms()["MetricAlarms"] == []
    assert stack.client("iam").list_roles()["Roles"] == []
    assert stack.client("sns").list_topics()["Topics"] == []


def unprotect(project: Project, name: str) -> None:
    engine = Engine(root=project.root, stack=name, providers={}, home=project.home)
    for one in yaml.safe_load(engine.export())["deployment"]["resources"]:
        if one.get("protect"):
            operations.unprotect(project, name, one["urn"])
