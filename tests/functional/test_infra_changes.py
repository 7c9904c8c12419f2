"""A linear update, a composite alarm and another network, through both the engine and the embedded cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cloud_support.helpers import running
from tests.functional_support.stacks import Stack, changed

PROGRAM = '''
"""One variant in a network of its own, updated step by step."""

import pulumi

from infra import Alarm, Composite, Endpoint, Linear, Model, Network, Variant

config = pulumi.Config()
network = Network([f"subnet-{config.require('network')}"], ["sg-1"])
model = Model("model", image=config.require("image"), artifact=config.require("champion"), network=network)
Endpoint(
    "steps",
    variants=[Variant("main", model, instance="ml.m5.large", instances=2)],
    alarms=[
        Alarm.p95_latency(),
        Alarm.server_errors(above_percent=1),
        Composite("sick", all_of=["p95-latency", "5xx-rate"]),
    ],
    deploy=Linear(percent=50, bake_minutes=10),
)
'''
DECLARED = """
  sagestage:network:
    type: string
    default: one
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    root = tmp_path / "project"
    root.mkdir()
    with running(tmp_path / "cloud", time_scale=600) as cloud:
        yield Stack(root, cloud)


def configure(stack: Stack, network: str) -> None:
    file = stack.root / "stacks" / "Pulumi.local.yaml"
    content = yaml.safe_load(file.read_text())
    content["config"] |= {"sagestage:program": "steps", "sagestage:network": network}
    file.write_text(yaml.safe_dump(content))


@pytest.mark.slow
def test_another_network_is_another_model_rolled_out_step_by_step(stack: Stack) -> None:
    (stack.root / "stacks" / "steps.py").write_text(PROGRAM)
    (stack.root / "Pulumi.yaml").write_text((stack.root / "Pulumi.yaml").read_text() + DECLARED)
    configure(stack, "one")
    stack.engine().up()
    described = stack.cloud.client("cloudwatch").describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert [alarm["AlarmName"] for alarm in described] == ["sagestage-local-steps-sick"]
    assert changed(stack.engine().up()) == {}
    assert changed(stack.engine().refresh()) == {}
    before = stack.sagemaker().describe_endpoint(EndpointName="sagestage-local-steps")

    configure(stack, "two")
    again = changed(stack.engine().up())
    assert again["replace"] == ["EndpointConfiguration", "Model"]
    assert again["update"] == ["Endpoint", "MetricAlarm", "MetricAlarm"], "the two alarms that roll back, and no other"
    after = stack.sagemaker().describe_endpoint(EndpointName="sagestage-local-steps")
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    policy = after["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"]["Type"] == "LINEAR"
    stack.engine().destroy()
    stack.prune()
    assert stack.names() == {"endpoints": set(), "configs": set(), "models": set()}
    assert stack.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


ISOLATED = '''
"""A pipeline that is called container by container, and reaches nothing."""

import pulumi

from infra import Container, Endpoint, Model, Network, Variant

config = pulumi.Config()
parts = [Container(name, image=config.require("image"), artifact=config.require("champion")) for name in ("a", "b")]
Model("parts", containers=parts, execution="Direct", network=Network(isolated=True))
'''


def test_what_a_model_is_told_is_what_it_is_described_with(stack: Stack) -> None:
    (stack.root / "stacks" / "steps.py").write_text(ISOLATED)
    (stack.root / "Pulumi.yaml").write_text((stack.root / "Pulumi.yaml").read_text() + DECLARED)
    configure(stack, "one")
    stack.engine().up()
    (name,) = stack.names()["models"]
    described = stack.sagemaker().describe_model(ModelName=name)
    assert described["EnableNetworkIsolation"]
    assert described["InferenceExecutionConfig"] == {"Mode": "Direct"}
    assert "VpcConfig" not in described
    assert changed(stack.engine().refresh()) == {}, "and so a refresh finds no drift"
