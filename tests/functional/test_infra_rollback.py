"""After a rollback the endpoint runs the old configuration: it must still be there, and its model with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.engine import Engine, EngineError
from infra.provider import AwsProvider, sagemaker
from infra.provider.waiting import Done, Failed, Wait, endpoint_verdict
from tests.cloud_support.helpers import BUCKET, IMAGE, Cloud, archived, running

PROGRAM = '''
"""One variant; the configuration says whether its container starts, and whether the old resources are kept."""

import pulumi
import pulumi_aws as aws

from infra import Endpoint, Model, Variant

config = pulumi.Config()
environment = {"FAIL_AT_START": "yes"} if config.get_bool("broken") else {}
if config.get_bool("careless"):
    role = aws.iam.Role("role", assume_role_policy="{}")
    container = {
        "image": config.require("image"),
        "model_data_url": config.require("artifact"),
        "environment": environment,
    }
    model = aws.sagemaker.Model("model", execution_role_arn=role.arn, primary_container=container)
    variant = {"variant_name": "main", "model_name": model.name, "initial_instance_count": 1}
    variants = [{**variant, "instance_type": "ml.m5.large"}]
    made = aws.sagemaker.EndpointConfiguration("e", production_variants=variants)
    aws.sagemaker.Endpoint("e", name="e", endpoint_config_name=made.name)
else:
    model = Model("model", image=config.require("image"), artifact=config.require("artifact"), environment=environment)
    Endpoint("e", variants=[Variant("main", model, instance="ml.m5.large")], physical_name="e")
'''
PROJECT = """name: rollback
main: .
stackConfigDir: .
runtime: python
"""


class Stack:
    def __init__(self, root: Path, cloud: Cloud) -> None:
        self.root, self.cloud = root, cloud
        (root / "__main__.py").write_text(PROGRAM)
        (root / "Pulumi.yaml").write_text(PROJECT)
        cloud.client("s3").create_bucket(Bucket=BUCKET)
        key = f"models/m/{'a' * 64}/model.tar.gz"
        cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=archived({"manifest.json": b"{}"}))
        self.artifact = f"s3://{BUCKET}/{key}"

    def engine(self, **config: bool) -> Engine:
        own = {
            "image": IMAGE,
            "artifact": self.artifact,
            **{name: str(value).lower() for name, value in config.items()},
        }
        lines = [f'  rollback:{name}: "{value}"' for name, value in own.items()]
        lines += [
            "  aws:region: us-east-1",
            "  aws:accessKey: sagestage",
            "  aws:secretKey: sagestage",
            "  aws:endpoints:",
        ]
        services = ("appautoscaling", "cloudwatch", "iam", "s3", "sagemaker", "sns", "sts")
        lines += [f'    {"- " if i == 0 else "  "}{name}: "{self.cloud.info.url}"' for i, name in enumerate(services)]
        (self.root / "Pulumi.local.yaml").write_text("config:\n" + "\n".join(lines) + "\n")
        return Engine(root=self.root, stack="local", providers={"aws": AwsProvider})

    def running(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cloud.client("sagemaker").describe_endpoint(EndpointName="e")
        return found

    def stored(self) -> tuple[set[str], set[str]]:
        client = self.cloud.client("sagemaker")
        configs = {one["EndpointConfigName"] for one in client.list_endpoint_configs()["EndpointConfigs"]}
        return configs, {one["ModelName"] for one in client.list_models()["Models"]}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    root = tmp_path / "project"
    root.mkdir()
    with running(tmp_path / "cloud", time_scale=600) as cloud:
        yield Stack(root, cloud)
    shutil.rmtree(root)


def any_service(described: dict[str, Any], configuration: str) -> Wait | Done | Failed:
    """What the real AWS provider makes of an endpoint that is InService: success, whatever it runs."""
    del configuration
    return endpoint_verdict(described, str(described.get("EndpointConfigName")))


@pytest.mark.parametrize("provider", ["ours", "the real one"])
def test_after_a_rollback_the_old_configuration_and_model_are_still_there(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    if provider == "the real one":
        monkeypatch.setattr(sagemaker, "endpoint_verdict", any_service)
    stack.engine().up()
    first, (configs, models) = stack.running(), stack.stored()
    if provider == "ours":
        with pytest.raises(EngineError, match="rolled back"):
            stack.engine(broken=True).up()
    else:
        stack.engine(broken=True).up()
    after = stack.running()
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", first["EndpointConfigName"])
    now_configs, now_models = stack.stored()
    assert configs < now_configs
    assert models < now_models


def test_without_retaining_them_the_configuration_that_production_went_back_to_would_be_gone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sagemaker, "endpoint_verdict", any_service)
    stack.engine(careless=True).up()
    runs = stack.running()["EndpointConfigName"]
    _, models = stack.stored()
    stack.engine(careless=True, broken=True).up()
    assert stack.running()["EndpointConfigName"] == runs
    now_configs, now_models = stack.stored()
    assert runs not in now_configs
    assert not models & now_models
