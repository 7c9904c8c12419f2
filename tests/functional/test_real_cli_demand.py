"""The demand stack through both engines against the embedded AWS: the same resources, the same inputs."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from infra.engine import Engine
from infra.provider import AwsProvider
from tests.cloud_support.helpers import BUCKET, IMAGE, Cloud, archived, running
from tests.provider_support.real_cli import ROOT, Project, cli_path, resources_of, short, told

# The SDK's s3 module warns, when it is loaded, of deprecated types that nobody asked for.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning"),
]
RANDOM = ("createDate", "uniqueId", "arn")  # AWS makes them up anew for every resource


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    home = tmp_path_factory.mktemp("demand") / ".sagestage" / "cloud"
    with running(home, max_instances=1, time_scale=600) as cloud:  # a bake of ten minutes is one second
        yield cloud


@pytest.fixture(scope="module")
def project(cloud: Cloud) -> Project:
    """The project's own program in a copy of its folder."""
    path = cli_path()
    root = cloud.info.home.parents[1]
    shutil.copy(ROOT / "Pulumi.yaml", root)
    shutil.copytree(ROOT / "stacks", root / "stacks", ignore=shutil.ignore_patterns("Pulumi.local.yaml", "__pycache__"))
    (root / "infra").symlink_to(ROOT / "infra")
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    config = {"sagestage:program": "demand", "sagestage:image": IMAGE}
    for name in ("champion", "challenger"):
        archive = archived({"manifest.json": name.encode()})
        key = f"models/{name}/{hashlib.sha256(archive).hexdigest()}/model.tar.gz"
        s3.put_object(Bucket=BUCKET, Key=key, Body=archive)
        config[f"sagestage:{name}"] = f"s3://{BUCKET}/{key}"
    return Project(root, cloud.info.url, path, config)


def known(resource: dict[str, Any], url: str) -> dict[str, Any]:
    """What must be equal in both engines' states."""
    outputs = {name: value for name, value in resource.get("outputs", {}).items() if name not in RANDOM}
    parts = {"custom": resource.get("custom"), "inputs": resource.get("inputs"), "outputs": outputs}
    parts["dependencies"] = sorted(resource.get("dependencies") or [])
    parts |= {name: resource.get(name) for name in ("parent", "protect", "retainOnDelete")}
    by_property = resource.get("propertyDependencies") or {}
    parts["propertyDependencies"] = {name: sorted(urns or []) for name, urns in by_property.items()}
    found: dict[str, Any] = told(parts, url)
    return found


def test_both_engines_make_the_same_resources(project: Project, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    for name in [each for each in os.environ if each.startswith(("AWS_", "PULUMI_"))]:
        monkeypatch.delenv(name)
    engine = Engine(root=project.root, stack="local", providers={"aws": AwsProvider})
    engine.up()
    assert not engine.up().changed
    exported = json.loads((project.root / ".sagestage" / "stacks" / "sagestage" / "local.json").read_text())
    ours = {short(each["urn"]): known(each, project.url) for each in resources_of(exported)}
    engine.destroy()

    project.deploy("up")
    project.pulumi("preview", "--expect-no-changes", "--non-interactive")
    theirs = {short(each["urn"]): known(each, project.url) for each in project.exported()}
    assert ours.keys() == theirs.keys()
    for name, resource in theirs.items():
        assert ours[name] == resource, name
    described = cloud.client("sagemaker").describe_endpoint(EndpointName="sagestage-local-demand")
    assert described["EndpointStatus"] == "InService"

    # A new model: the endpoint is updated in place, to a configuration that is made before the old one goes.
    project.pulumi("config", "set", "sagestage:image", "registry/sagestage-inference:2")
    planned = project.planned()
    assert planned["aws:sagemaker/endpoint:Endpoint demand"]["op"] == "update"
    assert planned["aws:sagemaker/model:Model champion"]["op"] == "replace"
    project.deploy("up")
    after = cloud.client("sagemaker").describe_endpoint(EndpointName="sagestage-local-demand")
    assert after["EndpointStatus"] == "InService"
    assert after["EndpointConfigName"] != described["EndpointConfigName"]

    project.deploy("refresh", "--expect-no-changes")
    project.deploy("destroy")
    assert cloud.client("sagemaker").list_endpoints()["Endpoints"] == []
    assert cloud.client("iam").list_roles()["Roles"] == []
