"""The second program, and what stands around endpoints, through their whole lives on the embedded cloud."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.engine import Result
from infra.prune import Orphans
from tests.cloud_support.helpers import BUCKET, running
from tests.functional_support.stacks import ROOT, Stack, changed

AROUND = '''
"""Everything that stands around endpoints."""

import pulumi

from infra import Artifacts, Budget, Registry, Repository, Topic

config = pulumi.Config()
Artifacts("artifacts", keep_old_days=config.get_int("days") or 30)
Registry("demand", description="hourly demand")
Repository("serving", keep_images=config.get_int("images") or 10)
topic = Topic("alerts", subscriptions=[("https", "https://example.com/hook")])
Budget("sagemaker", monthly_usd=250, emails=["team@example.com"], topic=topic)
pulumi.export("topic", topic.topic_arn)
'''


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    root = tmp_path / "project"
    root.mkdir()
    with running(tmp_path / "cloud", time_scale=600) as cloud:
        yield Stack(root, cloud)


def program(stack: Stack, name: str, **config: Any) -> None:
    """Let the stack run another program."""
    file = stack.root / "stacks" / "Pulumi.local.yaml"
    content = yaml.safe_load(file.read_text())
    content["config"] |= {"sagestage:program": name, **{f"sagestage:{key}": value for key, value in config.items()}}
    file.write_text(yaml.safe_dump(content))


def replaced(result: Result) -> list[str]:
    return sorted(step.type.rpartition(":")[2] for step in result.steps if str(step.op) == "replace")


@pytest.mark.slow
def test_the_second_program_is_made_left_alone_updated_and_destroyed(stack: Stack) -> None:
    program(stack, "nightly")
    planned = changed(stack.engine().preview())
    assert set(planned) == {"create"}
    made = stack.engine().up()
    assert changed(made) == planned
    client = stack.sagemaker()
    assert made.outputs["lookup"] == "sagestage-local-lookup"
    found = {name: client.describe_endpoint(EndpointName=f"sagestage-local-{name}") for name in ("batches", "lookup")}
    assert {name: one["EndpointStatus"] for name, one in found.items()} == {
        "batches": "InService",
        "lookup": "InService",
    }
    assert found["lookup"]["ProductionVariants"][0]["CurrentServerlessConfig"]["MaxConcurrency"] == 20
    config = client.describe_endpoint_config(EndpointConfigName=found["batches"]["EndpointConfigName"])
    assert config["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"].endswith("/output")
    runtime = stack.cloud.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(EndpointName="sagestage-local-lookup", Body=b"hello", ContentType="text/plain")
    assert json.loads(answer["Body"].read())["body"] == "hello"
    scaling = stack.cloud.client("application-autoscaling")
    actions = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]
    assert sorted(one["ScalableTargetAction"]["MinCapacity"] for one in actions) == [0, 1]

    assert changed(stack.engine().up()) == {}
    assert changed(stack.engine().refresh()) == {}

    stack.artifacts["champion"] = stack.upload("champion", b"2")
    stack.configure()
    program(stack, "nightly")
    again = stack.engine().up()
    assert replaced(again) == ["EndpointConfiguration", "EndpointConfiguration", "Model"]
    assert [len(names) for names in stack.prune().__dict__.values()] == [2, 1]

    stack.engine().destroy()
    stack.prune()
    assert stack.names() == {"endpoints": set(), "configs": set(), "models": set()}
    assert stack.cloud.client("sns").list_topics()["Topics"] == []
    assert [bucket["Name"] for bucket in stack.cloud.client("s3").list_buckets()["Buckets"]] == [BUCKET]
    assert scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"] == []


def test_what_stands_around_endpoints_is_made_updated_and_destroyed(stack: Stack) -> None:
    (stack.root / "stacks" / "around.py").write_text(AROUND)
    (stack.root / "Pulumi.yaml").write_text((stack.root / "Pulumi.yaml").read_text() + DECLARED)
    program(stack, "around")
    stack.engine().up()
    assert changed(stack.engine().up()) == {}
    assert changed(stack.engine().refresh()) == {}
    budget = stack.cloud.client("budgets").describe_budget(
        AccountId="123456789012", BudgetName="sagestage-local-sagemaker"
    )
    assert float(budget["Budget"]["BudgetLimit"]["Amount"]) == 250

    program(stack, "around", days=60, images=20)
    again = changed(stack.engine().up())
    assert again["update"] == ["BucketLifecycleConfiguration"]
    assert again["replace"] == ["LifecyclePolicy"]

    stack.engine().destroy()
    assert stack.cloud.client("ecr").describe_repositories()["repositories"] == []
    assert stack.sagemaker().list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    assert stack.cloud.client("sns").list_topics()["Topics"] == []
    assert stack.prune() == Orphans((), ())


@pytest.mark.slow
def test_the_readmes_program_of_ones_own_is_deployed_and_destroyed(stack: Stack) -> None:
    readme = (ROOT / "README.md").read_text()
    (text,) = [one for one in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "quickstart" in one]
    (stack.root / "stacks" / "quickstart.py").write_text(text)
    program(stack, "quickstart")
    assert stack.engine().up().outputs == {"endpoint": "sagestage-local-quickstart"}
    described = stack.sagemaker().describe_endpoint(EndpointName="sagestage-local-quickstart")
    assert described["EndpointStatus"] == "InService"
    assert changed(stack.engine().up()) == {}
    stack.engine().destroy()
    stack.prune()
    assert stack.names() == {"endpoints": set(), "configs": set(), "models": set()}


DECLARED = """
  sagestage:days:
    type: integer
    default: 30
  sagestage:images:
    type: integer
    default: 10
"""
