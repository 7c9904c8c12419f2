"""The real Pulumi CLI drives the provider as its plugin, through `sagestage pulumi`, against a plain moto server."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from tests.provider_support.real_cli import Project, cli_path, short

pytestmark = pytest.mark.slow

PROGRAM = """
import json
import pulumi
import pulumi_aws as aws

config = pulumi.Config()
trust = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
role = aws.iam.Role("role", assume_role_policy=trust, tags={"env": "dev"})
bucket = aws.s3.Bucket("capture", force_destroy=True)
aws.s3.BucketPublicAccessBlock("capture", bucket=bucket.id, block_public_acls=True)
model = aws.sagemaker.Model("champion", execution_role_arn=role.arn, primary_container={
    "image": config.get("image") or "a:1",
    "environment": {"TOKEN": config.require_secret("token"), "camelCase": "kept"},
})
variants = [{"variant_name": "champion", "model_name": model.name, "initial_instance_count": 1,
             "instance_type": "ml.m5.large", "initial_variant_weight": 90}]
endpoint_config = aws.sagemaker.EndpointConfiguration("demand", production_variants=variants)
endpoint = aws.sagemaker.Endpoint("demand", name="trial", endpoint_config_name=endpoint_config.name)
aws.appautoscaling.Target("demand", min_capacity=1, max_capacity=int(config.get("most") or 4),
                          resource_id=endpoint.name.apply(lambda name: f"endpoint/{name}/variant/champion"),
                          scalable_dimension="sagemaker:variant:DesiredInstanceCount",
                          service_namespace="sagemaker")
pulumi.export("endpoint", endpoint.arn)
pulumi.export("account", aws.get_caller_identity().account_id)
pulumi.export("token", config.require_secret("token"))
"""
MODEL = "aws:sagemaker/model:Model champion"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration demand"
TARGET = "aws:appautoscaling/target:Target demand"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    path = cli_path()
    root = tmp_path_factory.mktemp("trial")
    (root / "stacks").mkdir()
    (root / "Pulumi.yaml").write_text("name: trial\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
    (root / "stacks" / "__main__.py").write_text(PROGRAM)
    (root / ".gitignore").write_text(".sagestage/\nstacks/Pulumi.local.yaml\n__pycache__/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    project = Project(root, f"http://127.0.0.1:{port}", path)
    project.pulumi("config", "set", "--secret", "token", "hunter2")
    yield project
    server.stop()


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def test_a_stack_lives_from_its_first_preview_to_its_end(project: Project) -> None:
    planned = project.planned()
    assert {step["op"] for step in planned.values()} == {"create"}
    assert len(planned) == 8  # the stack and seven resources; the CLI does not tell of the provider
    project.deploy("up")
    project.pulumi("preview", "--expect-no-changes", "--non-interactive")
    resources = {short(each["urn"]): each for each in project.exported()}
    assert resources.keys() - planned.keys() == {name for name in resources if name.startswith("pulumi:providers:aws")}
    model = resources[MODEL]
    assert model["inputs"]["__defaults"] == ["name"]
    assert model["id"] == model["outputs"]["name"] == model["inputs"]["name"]
    assert model["outputs"]["arn"].endswith(model["id"])
    assert model["outputs"]["primaryContainer"]["environment"]["camelCase"] == "kept"

    # Secrets come back from the provider as such, and are in no file.
    for part in ("inputs", "outputs"):
        assert "ciphertext" in model[part]["primaryContainer"]["environment"]["TOKEN"]
    written = [file for file in project.root.rglob("*") if file.is_file() and ".git" not in file.parts]
    assert [file for file in written if b"hunter2" in file.read_bytes()] == []

    # Another image replaces model and configuration before the old ones go; a count changes in place.
    project.write({"trial:image": "a:2", "trial:most": "6"})
    planned = project.planned()
    assert (planned[MODEL]["op"], planned[CONFIGURATION]["op"]) == ("replace", "replace")
    assert planned[TARGET]["op"] == "update"
    assert planned[MODEL]["detailedDiff"]["primaryContainer.image"]["kind"] == "update-replace"
    assert planned[TARGET]["diffReasons"] == ["maxCapacity"]
    assert planned[CONFIGURATION]["replaceReasons"] == ["productionVariants"]

    # moto cannot update endpoints: the error is one line and names the call, and nothing is lost.
    output = project.deploy("up", code=1)
    assert "sagemaker UpdateEndpoint: 500: this cloud cannot do it" in output
    assert "Traceback" not in output
    assert "a:2" in json.dumps(project.exported())

    project.deploy("refresh")
    project.deploy("destroy")
    assert project.exported() == []


def test_the_user_has_nothing_to_clean_up(project: Project) -> None:
    assert git(project.root, "status", "--short", "--untracked-files").splitlines() == [
        "A  .gitignore",
        "A  Pulumi.yaml",
        "A  stacks/__main__.py",
    ]
    assert stat.S_IMODE((project.root / ".sagestage" / "passphrase").stat().st_mode) == 0o600


def test_a_mistake_in_the_program_is_told_by_property(project: Project) -> None:
    program = project.root / "stacks" / "__main__.py"
    program.write_text(
        'import pulumi_aws as aws\naws.sagemaker.Model("bad", execution_role_arn="r", vpc_config={"subnet": 1})\n'
    )
    try:
        output = project.pulumi("preview", "--non-interactive", code=1)
    finally:
        program.write_text(PROGRAM)
    assert "vpcConfig.subnet value" in output
    assert "is not a property of vpcConfig: it takes securityGroupIds, subnets" in output
    assert "Traceback" not in output


def test_the_plugin_refuses_to_touch_a_state_of_the_users_own(project: Project, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(project.root / ".sagestage" / "plugin"), project.path]),
        "PULUMI_BACKEND_URL": tmp_path.as_uri(),
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(project.root / ".sagestage" / "passphrase"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "VIRTUAL_ENV": sys.prefix,
    }
    for command in (["stack", "init", "local"], ["preview", "--stack", "local", "--non-interactive"]):
        done = subprocess.run(
            ["pulumi", *command], cwd=project.root, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode != 0
    assert "never works on a state of real resources" in done.stdout + done.stderr
