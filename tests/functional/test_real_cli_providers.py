"""Explicit providers of AWS (region, default tags, endpoints) by both engines: the same states, the same plans."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.engine import Engine
from infra.provider import AwsProvider
from tests.cloud_support.helpers import Cloud, running
from tests.functional.test_real_cli_demand import known
from tests.provider_support.real_cli import Project, cli_path, resources_of, short

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning"),
]
PROGRAM = """
import pulumi
import pulumi_aws as aws

config = pulumi.Config()
def provider(name, region, **tags):
    return aws.Provider(
        name, region=region, access_key="sagestage", secret_key=config.require_secret("key"), s3_use_path_style=True,
        skip_credentials_validation=True, skip_requesting_account_id=True, skip_metadata_api_check=True,
        endpoints=[dict.fromkeys(["sns", "sqs", "logs", "sts"], "URL")], default_tags={"tags": tags})
eu = provider("eu", config.get("region") or "eu-west-1", team=config.get("team") or "ml", own="0")
plain = aws.sns.Topic("plain", tags={"own": "1"})
there = aws.sns.Topic("there", tags={"own": "1"}, opts=pulumi.ResourceOptions(provider=eu))
class Group(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("lab:index:Group", name, {}, opts)
        self.logs = aws.cloudwatch.LogGroup(name, name=f"{name}-logs", opts=pulumi.ResourceOptions(parent=self))
group = Group("g", pulumi.ResourceOptions(providers=[eu]))
asked = aws.get_region(opts=pulumi.InvokeOptions(provider=eu))
pulumi.export("regions", [aws.get_region().region, asked.region])
pulumi.export("tags", there.tags_all)
"""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with running(tmp_path / ".sagestage" / "cloud", max_instances=1) as cloud:
        yield cloud


def sealed(value: Any) -> Any:
    """The value without its ciphertexts: they never repeat."""
    if isinstance(value, dict):
        return "secret" if "ciphertext" in value else {key: sealed(each) for key, each in value.items()}
    return [sealed(each) for each in value] if isinstance(value, list) else value


def test_both_engines_have_the_same_providers(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith(("AWS_", "PULUMI_"))]:
        monkeypatch.delenv(name)
    root = cloud.info.home.parents[1]
    monkeypatch.chdir(root)
    (root / "stacks").mkdir()
    (root / "Pulumi.yaml").write_text("name: trial\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
    (root / "stacks" / "__main__.py").write_text(PROGRAM.replace("URL", cloud.info.url))
    project = Project(root, cloud.info.url, cli_path())
    project.pulumi("config", "set", "--secret", "key", "hunter2")

    def engine() -> Engine:
        return Engine(root=root, stack="local", providers={"aws": AwsProvider})

    def states(resources: list[dict[str, Any]]) -> dict[str, Any]:
        return {short(each["urn"]): sealed(known(each, project.url)) for each in resources}

    done = engine().up()
    assert done.outputs["regions"] == ["us-east-1", "eu-west-1"]
    assert done.outputs["tags"] == {"team": "ml", "own": "1"}
    assert len(cloud.client("sns", "eu-west-1").list_topics()["Topics"]) == 1
    assert cloud.client("logs", "eu-west-1").describe_log_groups()["logGroups"][0]["logGroupName"] == "g-logs"
    assert not engine().up().changed
    ours = states(resources_of(json.loads(engine().export())))
    assert "hunter2" not in engine().export()
    project.pulumi("config", "set", "team", "ops")
    retagged = {short(s.urn): str(s.op) for s in engine().preview().steps if s.op != "same"}
    project.pulumi("config", "rm", "team")
    engine().destroy()

    project.deploy("up")
    theirs = states(project.exported())
    assert ours.keys() == theirs.keys()
    for name, resource in theirs.items():
        assert ours[name] == resource, name
    project.pulumi("config", "set", "team", "ops")
    planned = {name: step["op"] for name, step in project.planned().items() if step["op"] != "same"}
    assert retagged == planned
    assert set(retagged.values()) == {"update"}
    project.deploy("destroy")
    assert cloud.client("sns", "eu-west-1").list_topics()["Topics"] == []
