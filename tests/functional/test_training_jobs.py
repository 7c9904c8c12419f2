"""`sagestage train --on sagemaker`: the request and the job, with a stack's outputs, on the embedded cloud."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infra.engine import Engine
from sagestage import aws, engines
from sagestage.cli import app
from tests.cloud_support.helpers import BUCKET, ROLE, Cloud, eventually, running
from tests.local_mode_support.sdk import Sdk, driver
from training import demo

TRAINER = (sys.executable, str(Path(__file__).parents[1] / "cloud_support/trainer.py"))
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagestage-training:1.0"
PROGRAM = f"""
import pulumi
pulumi.export("training_image", "{IMAGE}")
pulumi.export("training_role", "{ROLE}")
pulumi.export("training_bucket", "{BUCKET}")
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    root = tmp_path_factory.mktemp("jobs")
    with running(root / ".sagestage" / "cloud", train_command=TRAINER, time_scale=60) as one:
        one.client("s3").create_bucket(Bucket=BUCKET)
        (root / "Pulumi.yaml").write_text("name: jobs\nruntime: python\nmain: program\n")
        (root / "program").mkdir()
        (root / "program" / "__main__.py").write_text(PROGRAM)
        config = {"aws:region": "us-east-1", **engines.overrides({}, one.info.url)}
        for stack in ("local", "empty"):
            (root / f"Pulumi.{stack}.yaml").write_text(json.dumps({"config": config}))
        Engine(root=root, stack="local", providers={}, home=root / ".sagestage").up()
        demo.write(root / "demo.csv", rows=60)
        yield one


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    with driver(tmp_path_factory.mktemp("sdk")) as made:
        yield made


@pytest.fixture(autouse=True)
def _at_home(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith(("AWS_", "PULUMI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(cloud.info.home.parents[1])


def train(*words: str) -> Result:
    common = ("--data", "demo.csv", "--target", demo.TARGET, "--order-by", "timestamp", "--group-by", "weather")
    return CliRunner().invoke(app, ["train", *common, "--on", "sagemaker", *words])


def test_image_role_and_bucket_come_from_the_stacks_outputs() -> None:
    done = train("--stack", "local", "--dry-run", "--job", "instance_count=2")
    assert done.exit_code == 0, done.output
    request = json.loads(done.stdout)
    assert request["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    assert request["RoleArn"] == ROLE
    assert request["OutputDataConfig"]["S3OutputPath"] == f"s3://{BUCKET}/training/"
    assert request["ResourceConfig"]["InstanceCount"] == 2
    assert request["HyperParameters"]["group_by"] == "weather"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["spot=true", "max_run_s=600", "max_wait_s=900", "tag:team=ml", "instance_type=ml.g5.xlarge"],
        ["keep_alive_s=600", "instance_count=2", "volume_gb=50", "subnets=subnet-1,subnet-2", "security_groups=sg-1"],
        ["isolated=true", "volume_key=alias/volumes", "output_key=alias/models"],
    ],
)
def test_the_request_is_the_one_that_the_sdks_trainer_sends(cloud: Cloud, sdk: Sdk, options: list[str]) -> None:
    """ModelTrainer, told the same, asks the embedded cloud for the same job, which runs."""
    cloud.client("s3").put_object(Bucket=BUCKET, Key="rows/a.csv", Body=b"a,y\n1,2\n")
    words = [word for option in options for word in ("--job", option)]
    request = json.loads(train("--stack", "local", "--dry-run", "--data", f"s3://{BUCKET}/rows", *words).stdout)
    name = cloud.name("trainer")
    sent = sdk.do("submit", environment=aws.environment(cloud.info), name=name, request=request)
    its_name = sent.pop("TrainingJobName")
    assert its_name.startswith(name)
    assert request.pop("TrainingJobName").startswith("model-")
    assert sent == request
    client = cloud.client("sagemaker")
    several = sent["ResourceConfig"]["InstanceCount"] > 1  # hosts in containers: what they do is tested with those
    wanted = ("InProgress", "Failed") if several else ("Completed",)
    job = eventually(
        lambda: client.describe_training_job(TrainingJobName=its_name), lambda one: one["TrainingJobStatus"] in wanted
    )
    assert {key: job[key] for key in sent if key != "Tags"} == {key: sent[key] for key in sent if key != "Tags"}
    assert client.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == sent["Tags"]


def test_an_option_overrides_an_output() -> None:
    request = json.loads(train("--stack", "local", "--dry-run", "--job", "bucket=other-bucket").stdout)
    assert request["OutputDataConfig"]["S3OutputPath"] == "s3://other-bucket/training/"
    assert request["RoleArn"] == ROLE


def test_the_job_runs_where_the_stack_is(cloud: Cloud) -> None:
    done = train("--stack", "local")
    assert done.exit_code == 0, done.output
    name = json.loads(done.stdout)["name"]
    described = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert described["HyperParameters"]["target"] == demo.TARGET
    assert described["RoleArn"] == ROLE
    found = cloud.client("s3").get_object(Bucket=BUCKET, Key="training-data/model/demo.csv")
    assert found["Body"].read() == Path("demo.csv").read_bytes()


def test_a_stack_without_outputs_is_told_apart() -> None:
    done = train("--stack", "empty", "--dry-run")
    assert done.exit_code != 0
    assert "stack empty has no output named training_image, training_role, training_bucket" in str(done.exception)
