"""`sagestage preview|up|refresh|verify|destroy` on the demand stack: what a person sees, and the exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from infra.cloud import control
from infra.engine import PLACEHOLDER
from sagestage import engines
from sagestage.cli import app
from sagestage.project import Project
from sagestage.scaling_in import ScaleInError
from sagestage.verification import VerificationError
from tests.cloud_support.helpers import IMAGE, Cloud, running
from tests.provider_support.demand import demand_project, write_stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("commands") / ".sagestage" / "cloud", max_instances=1) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def root(cloud: Cloud) -> Path:
    return demand_project(cloud)


@pytest.fixture(autouse=True)
def _at_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith(("AWS_", "PULUMI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(root)


def sagestage(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, words)
    got = getattr(done.exception, "exit_code", 1) if isinstance(done.exception, Exception) else done.exit_code
    assert got == code, (done.output, done.exception)
    return done


def edit(root: Path, stack: str, **values: object) -> None:
    file = root / "stacks" / f"Pulumi.{stack}.yaml"
    content = yaml.safe_load(file.read_text())
    content["config"] |= {f"sagestage:{name}": value for name, value in values.items()}
    file.write_text(json.dumps(content))


def test_a_stack_is_previewed_deployed_drifted_verified_and_destroyed(root: Path, cloud: Cloud) -> None:
    told = sagestage("preview", "--stack", "dev", "--expect-no-changes", code=2)
    assert "to create, and no changes were expected" in str(told.exception)
    sagestage("up", "--stack", "dev")
    sagestage("preview", "--stack", "dev", "--expect-no-changes")
    sagestage("verify", "--stack", "dev")

    # A plan shows each property with both values, and what makes a resource replaced.
    edit(root, "dev", image="registry/sagestage-inference:2")
    shown = sagestage("preview", "--stack", "dev").output
    assert "replace sagemaker Model champion because of primaryContainer" in shown
    assert f'~ primaryContainer.image: "{IMAGE}" → "registry/sagestage-inference:2" (replaces)' in shown
    edit(root, "dev", image=IMAGE)

    # More instances than the new configuration begins with are not taken away unasked.
    sagemaker = cloud.client("sagemaker")
    live = sagemaker.describe_endpoint(EndpointName="sagestage-dev-demand")
    assert live["EndpointStatus"] == "InService"

    # Drift is told property by property.
    alarms = cloud.client("cloudwatch")
    alarm = alarms.describe_alarms(AlarmNamePrefix="sagestage-dev")["MetricAlarms"][0]
    kept = ("AlarmName", "ComparisonOperator", "EvaluationPeriods", "Metrics", "MetricName", "Namespace", "Period",
            "Statistic", "ExtendedStatistic", "Dimensions", "TreatMissingData", "DatapointsToAlarm")  # fmt: skip
    alarms.put_metric_alarm(**{k: alarm[k] for k in kept if alarm.get(k)}, Threshold=alarm["Threshold"] + 1)
    shown = sagestage("refresh", "--stack", "dev").output
    assert f"~ threshold: {json.dumps(int(alarm['Threshold']))}" in shown.replace(".0", "")

    exported = json.loads(sagestage("state", "export", "--stack", "dev").stdout)
    resources = exported["deployment"]["resources"]
    assert exported["version"] == 3
    assert any(each["type"].startswith("pulumi:providers:aws") for each in resources)
    assert all(each.get("created") and each.get("modified") for each in resources if each["custom"])

    # An endpoint that was moved behind Pulumi's back is found.
    endpoint = next(each for each in resources if each["type"] == "aws:sagemaker/endpoint:Endpoint")
    assert endpoint["outputs"]["endpointConfigName"] == live["EndpointConfigName"]
    sagemaker.delete_endpoint(EndpointName="sagestage-dev-demand")
    told = sagestage("verify", "--stack", "dev", code=VerificationError.exit_code)
    assert "sagestage-dev-demand: it" in str(told.exception)

    told = sagestage("destroy", "--stack", "dev", code=1)
    assert f"sagestage state unprotect '{endpoint['urn']}'" in str(told.exception)
    sagestage("state", "unprotect", endpoint["urn"], "--stack", "dev")
    told = sagestage("destroy", "--stack", "dev")
    assert told.output
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


def test_a_stack_for_aws_is_rehearsed_here_with_nothing_of_its_accounts(root: Path) -> None:
    edit(root, "prod", secret={"secure": "v1:AAAAAAAAAAAAAAAA:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"})
    pulumi = yaml.safe_load((root / "Pulumi.yaml").read_text())
    pulumi["config"]["sagestage:secret"] = {"type": "string", "default": ""}
    (root / "Pulumi.yaml").write_text(json.dumps(pulumi))
    before = (root / "stacks" / "Pulumi.prod.yaml").read_bytes()
    told = sagestage("preview", "--stack", "prod", "--on", "embedded", "--json")
    plan = json.loads(told.stdout)
    assert plan["summary"].keys() == {"create"}
    assert "production" not in told.output
    assert not (root / ".sagestage" / "stacks" / "sagestage" / "prod.json").exists()
    assert (root / "stacks" / "Pulumi.prod.yaml").read_bytes() == before
    assert "placeholder" in PLACEHOLDER


def test_a_preview_of_a_stack_for_aws_needs_no_cloud(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "status", lambda _home: None)
    assert Project.find().root == root
    plan = json.loads(sagestage("preview", "--stack", "prod", "--on", "embedded", "--json").stdout)
    roles = [step for step in plan["steps"] if step["type"] == "aws:iam/role:Role"]
    assert roles
    told = sagestage("up", "--stack", "prod", "--on", "embedded", code=1)
    assert "the embedded cloud does not run" in str(told.exception)


def test_a_stack_for_this_machine_never_goes_to_aws(root: Path) -> None:
    assert root
    told = sagestage("up", "--stack", "dev", "--on", "aws", code=1)
    assert "has its aws:endpoints on this machine" in str(told.exception)
    told = sagestage("up", "--stack", "dev", "--on", "moon", code=1)
    assert "--on moon: choose embedded or aws" in str(told.exception)
    assert ScaleInError.exit_code == 5


def test_resources_that_exist_are_imported_with_the_lines_that_declare_them(root: Path, cloud: Cloud) -> None:
    write_stack(root, cloud, "found", engines.overrides({}, cloud.info.url))
    s3, sns = cloud.client("s3"), cloud.client("sns")
    s3.create_bucket(Bucket="found-data")
    s3.put_bucket_tagging(Bucket="found-data", Tagging={"TagSet": [{"Key": "CostCentre", "Value": "7"}]})
    topic = sns.create_topic(Name="found-topic")["TopicArn"]
    told = sagestage("import", "aws:s3/bucket:Bucket", "data", "found-data", "--stack", "found", "--preview-only")
    assert not (root / ".sagestage" / "stacks" / "sagestage" / "found.json").exists()
    told = sagestage("import", "aws:s3/bucket:Bucket", "data", "found-data", "--stack", "found", "--no-protect")
    declared = told.stdout.partition("these inputs:")[2].partition("Next:")[0].strip()
    assert declared.startswith('aws.s3.Bucket(\n    "data",\n    bucket="found-data",')
    assert '    tags={"CostCentre": "7"},' in declared
    assert "protect" not in declared
    edit(root, "found", program="found")
    (root / "stacks" / "found.py").write_text(f"import pulumi\nimport pulumi_aws as aws\n\n{declared}\n")
    told = sagestage("preview", "--stack", "found", "--json")
    assert json.loads(told.stdout)["summary"] == {"same": 2}
    stack = next(
        each["urn"]
        for each in json.loads(sagestage("state", "export", "--stack", "found").stdout)["deployment"]["resources"]
        if each["type"] == "pulumi:pulumi:Stack"
    )
    file = root / "imports.json"
    file.write_text(
        json.dumps(
            {
                "nameTable": {"root": stack},
                "resources": [{"type": "aws:sns/topic:Topic", "name": "topic", "id": topic, "parent": "root"}],
            }
        )
    )
    done = json.loads(sagestage("import", "--file", str(file), "--stack", "found", "--json").stdout)
    assert done["summary"] == {"import": 1, "same": 2}
    assert "protect=True" in done["program"][0]
    told = sagestage("import", "aws:sns/topic:Topic", "none", f"{topic}-none", "--stack", "found", code=1)
    assert "does not exist" in str(told.exception)
    told = sagestage("destroy", "--stack", "found", code=1)
    assert "sagestage state unprotect" in str(told.exception)
    assert s3.list_buckets()["Buckets"][0]["Name"] != "found-data"


@pytest.mark.parametrize(
    ("words", "content", "told"),
    [
        (["aws:s3/bucket:Bucket", "data"], "", "say TYPE, NAME and ID"),
        (["a", "b", "c", "--file", "imports.json"], "{}", "and not both"),
        (["--file", "imports.json"], "{", "write a file as `pulumi import --file` takes it"),
        (["--file", "imports.json"], "[]", '"resources" must be a list'),
        (["--file", "imports.json"], '{"resources": [{"type": "t", "id": ""}]}', "resource 0 lacks name, id"),
        (
            ["--file", "imports.json"],
            '{"resources": [{"type": "t", "id": "1", "name": "n", "size": 1}]}',
            "resource 0 has size, which is not known here",
        ),
        (["bucket", "data", "id"], "", "type 'bucket': write it as package:module:Type"),
        (["aws:s3/bucket:Bucket", "d", "id", "--parent", "urn:none"], "", "parent urn:none: the state has no such"),
        (["gcp:storage/bucket:Bucket", "d", "id"], "", "package 'gcp': the embedded engine has no provider for it"),
    ],
)
def test_what_cannot_be_imported_is_said(root: Path, words: list[str], content: str, told: str) -> None:
    (root / "imports.json").write_text(content)
    answer = sagestage("import", *words, "--stack", "local", code=1)
    assert told in str(answer.exception)
