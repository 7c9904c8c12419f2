"""A scaled variant gets another instance type: `up` takes its scaling away first, on either engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner, Result

from infra.provider import install_plugin
from sagestage import engines, stackfile
from sagestage.cli import app
from tests.cloud_support.helpers import Cloud, running
from tests.provider_support.demand import demand_project, write_stack
from tests.provider_support.real_cli import cli_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning"),
]
PROGRAM = """
import pulumi
from infra import AllAtOnce, Endpoint, Model, Scaling, Variant

config = pulumi.Config()
model = Model("only", image=config.require("image"), artifact=config.require("champion"))
scaling = Scaling(minimum=1, maximum=2, invocations_per_minute=600)
Endpoint("scaled", variants=[Variant("only", model, instance="INSTANCE", scaling=scaling)], deploy=AllAtOnce())
"""
SMALL, LARGE = "ml.c6i.xlarge", "ml.c6i.2xlarge"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(
        tmp_path_factory.mktemp("rescaling") / ".sagestage" / "cloud", max_instances=1, time_scale=600
    ) as cloud:
        yield cloud


@pytest.fixture
def root(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [each for each in os.environ if each.startswith(("AWS_", "PULUMI_"))]:
        monkeypatch.delenv(name)
    root = cloud.info.home.parents[1]
    if not (root / "Pulumi.yaml").exists():
        demand_project(cloud)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(root)
    return root


def program(root: Path, instance: str) -> None:
    (root / "stacks" / "scaled.py").write_text(PROGRAM.replace("INSTANCE", instance))


def sagestage(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, words)
    got = getattr(done.exception, "exit_code", 1) if isinstance(done.exception, Exception) else done.exit_code
    assert got == code, (done.output, done.exception)
    return done


def deployed(cloud: Cloud, endpoint: str) -> tuple[str, list[str], list[str]]:
    """The instance type that an endpoint runs, its scalable targets and their policies."""
    sagemaker, scaling = cloud.client("sagemaker"), cloud.client("application-autoscaling")
    config: Any = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    own = f"endpoint/{endpoint}/"
    return (
        variant["InstanceType"],
        [each["ResourceId"] for each in targets if each["ResourceId"].startswith(own)],
        [each["ResourceId"] for each in policies if each["ResourceId"].startswith(own)],
    )


def in_a_registry(cloud: Cloud) -> str:
    """An image that `up` finds in ECR, as SageMaker would."""
    ecr = cloud.client("ecr")
    repository = ecr.create_repository(repositoryName="sagestage-inference")["repository"]["repositoryUri"]
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
    ecr.put_image(repositoryName="sagestage-inference", imageManifest=json.dumps(manifest), imageTag="1")
    return f"{repository}:1"


def change_the_type(root: Path, cloud: Cloud, stack: str) -> None:
    endpoint = f"sagestage-{stack}-scaled"
    held = [f"endpoint/{endpoint}/variant/only"]
    program(root, SMALL)
    sagestage("up", "--stack", stack)
    assert deployed(cloud, endpoint) == (SMALL, held, held)
    program(root, LARGE)
    told = sagestage("up", "--stack", stack).output
    remark = f"{endpoint} only goes from {SMALL} to {LARGE}: its scaling is deleted before the update, and made again"
    assert remark in told
    assert deployed(cloud, endpoint) == (LARGE, held, held)


def test_the_embedded_engine_deregisters_the_target_first(root: Path, cloud: Cloud) -> None:
    write_stack(root, cloud, "here", engines.overrides({}, cloud.info.url) | {"sagestage:program": "scaled"})
    change_the_type(root, cloud, "here")
    sagestage("preview", "--stack", "here", "--expect-no-changes")

    # SageMaker refuses to do it otherwise, and one cannot do it by half.
    client = cloud.client("sagemaker")
    now = client.describe_endpoint(EndpointName="sagestage-here-scaled")["EndpointConfigName"]
    variants = client.describe_endpoint_config(EndpointConfigName=now)["ProductionVariants"]
    small = cloud.config([variants[0] | {"InstanceType": SMALL}])
    with pytest.raises(ClientError, match="must be deregistered from AWS Autoscaling before they can be removed or"):
        client.update_endpoint(EndpointName="sagestage-here-scaled", EndpointConfigName=small)
    program(root, SMALL)
    assert "goes from" in sagestage("preview", "--stack", "here").output
    told = sagestage("up", "--stack", "here", "--target", "**", code=1)
    assert "--target cannot do that, run `up` without it" in str(told.exception)


def test_the_real_cli_deregisters_the_target_first(root: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    # The embedded cloud stands for AWS: the stack counts as one for AWS, and our provider is the CLI's plugin.
    monkeypatch.setattr(stackfile, "is_embedded", lambda _: False)
    home = root / ".sagestage" / "pulumi"  # the backend that the provider insists on
    home.mkdir(parents=True)
    for name, value in {
        "PATH": f"{install_plugin(home / 'plugin').parent}:{cli_path()}",
        "VIRTUAL_ENV": sys.prefix,
        "PULUMI_HOME": str(home / "home"),
        "PULUMI_BACKEND_URL": home.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "AWS_ACCESS_KEY_ID": "sagestage",
        "AWS_SECRET_ACCESS_KEY": "sagestage",
        "AWS_ENDPOINT_URL": cloud.info.url,
    }.items():
        monkeypatch.setenv(name, value)
    image = {"sagestage:program": "scaled", "sagestage:image": in_a_registry(cloud)}
    write_stack(root, cloud, "there", engines.overrides({}, cloud.info.url) | image)
    subprocess.run(["pulumi", "stack", "init", "there"], cwd=root, check=True, capture_output=True)
    change_the_type(root, cloud, "there")
    assert not (root / ".sagestage" / "stacks" / "sagestage" / "there.json").exists()
