"""A stack with a Monitor through its whole life, on both engines; its schedule runs, its alarms fire and recover."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import Quality, monitor_plan
from infra.monitor_spec import MonitorSpec
from sagestage import prove
from tests.cloud_support.helpers import BUCKET, eventually, running
from tests.functional_support.stacks import Stack, changed
from tests.provider_support.real_cli import Project, cli_path, short, told
from tests.training_support import traffic

ENDPOINT, SCHEDULE = "sagestage-local-demand", "sagestage-local-watch"
SCALE = 600  # an hour of the schedule is six seconds
KINDS = Counter(
    ["DataQualityJobDefinition", "MonitoringSchedule", "Pipeline", "EventRule", "EventTarget", "ModelPackageGroup"]
)


class Watched(Stack):
    """The stack with the program `watched`."""

    train_image = "sagestage-training:1"

    def configure(self) -> None:
        super().configure()
        file = self.root / "stacks" / "Pulumi.local.yaml"
        content = yaml.safe_load(file.read_text())
        content["config"] |= {
            "sagestage:program": "watched",
            "sagestage:trainImage": self.train_image,
            "sagestage:labels": f"s3://{BUCKET}/labels",
            "sagestage:newest": f"s3://{BUCKET}/newest",
            "sagestage:target": "demand",
            "sagestage:order": "when",
        }
        file.write_text(yaml.safe_dump(content))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Watched]:
    root = tmp_path / "project"
    root.mkdir()
    with running(tmp_path / "cloud", time_scale=SCALE) as cloud:
        yield Watched(root, cloud)


def left(stack: Stack) -> dict[str, Any]:
    """What there is of the monitor."""
    sagemaker = stack.sagemaker()
    return {
        "schedules": sagemaker.list_monitoring_schedules()["MonitoringScheduleSummaries"],
        "definitions": sagemaker.list_data_quality_job_definitions()["JobDefinitionSummaries"],
        "pipelines": sagemaker.list_pipelines()["PipelineSummaries"],
        "rules": stack.client("events").list_rules()["Rules"],
        "alarms": stack.client("cloudwatch").describe_alarms()["MetricAlarms"],
    }


@pytest.mark.slow
def test_a_monitor_is_made_changed_runs_and_is_destroyed(stack: Watched) -> None:
    planned = changed(stack.engine().preview())
    assert set(planned) == {"create"}
    assert Counter(planned["create"]) >= KINDS
    made = stack.engine().up()
    assert changed(made) == planned
    assert made.outputs["schedule"] == SCHEDULE
    assert changed(stack.engine().up()) == {}
    assert changed(stack.engine().refresh()) == {}

    sagemaker = stack.sagemaker()
    described = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=SCHEDULE)
    assert described["EndpointName"] == ENDPOINT
    assert described["MonitoringScheduleStatus"] == "Scheduled"

    # another image: a new job definition, and the schedule goes on with it
    before = described["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"]
    stack.train_image = "sagestage-training:2"
    stack.configure()
    again = changed(stack.engine().up())
    assert again["replace"] == ["DataQualityJobDefinition"]
    assert {"MonitoringSchedule", "Pipeline"} <= set(again["update"])
    after = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=SCHEDULE)
    assert after["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"] != before

    # the schedule runs: without a baseline the job says so, with one it publishes
    ran = eventually(
        lambda: sagemaker.list_monitoring_executions(MonitoringScheduleName=SCHEDULE)["MonitoringExecutionSummaries"],
        lambda found: any(one["MonitoringExecutionStatus"] == "Failed" for one in found),
    )
    reasons = " ".join(one.get("FailureReason", "") for one in ran)
    assert "drift.json: no such baseline: train the model again" in reasons or "no labels are there" in reasons
    base, (bucket, key) = stack.artifacts["champion"], stack.artifacts["champion"].removeprefix("s3://").split("/", 1)
    assert base.endswith("model.tar.gz")
    s3 = stack.client("s3")
    s3.put_object(Bucket=bucket, Key=f"{key.rpartition('/')[0]}/drift.json", Body=traffic.baseline().dump())
    s3.put_object(Bucket=bucket, Key="labels/none.jsonl", Body=b"")
    eventually(
        lambda: sagemaker.list_monitoring_executions(MonitoringScheduleName=SCHEDULE)["MonitoringExecutionSummaries"],
        lambda found: any(one["MonitoringExecutionStatus"] == "Completed" for one in found),
    )
    metrics = stack.client("cloudwatch").list_metrics(Namespace="Sagestage/Model")["Metrics"]
    assert {one["MetricName"] for one in metrics} == {"RecordsRead"}, "an empty window says how many records it had"
    reports = made.outputs["reports"].removeprefix("s3://").split("/", 1)
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=reports[0], Prefix=reports[1])["Contents"]]
    assert any(one.endswith("report.html") for one in keys)

    stack.engine().destroy()
    assert left(stack) == {"schedules": [], "definitions": [], "pipelines": [], "rules": [], "alarms": []}
    assert stack.client("iam").list_roles()["Roles"] == []


def accuracy() -> dict[str, Any]:
    """The alarm on a classification's accuracy, as CloudWatch takes it."""
    spec = MonitorSpec(
        "watch", SCHEDULE, ENDPOINT, image="sagestage-training:1", capture_percent=100, keep_days=30,
        artifacts={"champion": f"s3://{BUCKET}/models/champion/{'c' * 64}/model.tar.gz"},
        quality=Quality(f"s3://{BUCKET}/labels", accuracy_below=0.85),
    )  # fmt: skip
    (rule,) = (one for one in monitor_plan.rules(spec) if one.kind == monitor_plan.QUALITY)
    args = monitor_plan.alarm(spec, rule, notify=[], tags={})
    dimensions = [{"Name": name, "Value": value} for name, value in args.pop("dimensions").items()]
    args |= {"alarm_name": args.pop("name"), "tags": [{"Key": k, "Value": v} for k, v in args["tags"].items()]}
    named = {"".join(word.capitalize() for word in name.split("_")): value for name, value in args.items()}
    return {**named, "Dimensions": dimensions}


@pytest.mark.slow
def test_every_alarm_of_a_monitor_fires_and_recovers(stack: Watched) -> None:
    stack.engine().up()
    stack.sagemaker().stop_monitoring_schedule(MonitoringScheduleName=SCHEDULE)  # its own values must not disturb
    cloudwatch = stack.client("cloudwatch")
    cloudwatch.put_metric_alarm(**accuracy())  # of a classification, in the place of r2
    proofs = prove.prove(cloudwatch, f"{SCHEDULE}-", SCALE)
    assert sorted(proof.name.removeprefix(f"{SCHEDULE}-champion-") for proof in proofs) == [
        "accuracy", "capture-disk", "drift", "r2", "records-silent"
    ]  # fmt: skip
    assert prove.problems(proofs) == []


@pytest.mark.slow
def test_the_real_cli_makes_changes_and_destroys_the_same_monitor(stack: Watched) -> None:
    (stack.root / ".venv").symlink_to(Path(sys.prefix))
    cli = Project(stack.root, stack.cloud.info.url, cli_path())
    stack.configure()
    cli.deploy("up")
    cli.pulumi("preview", "--expect-no-changes", "--non-interactive")
    stack.train_image = "sagestage-training:2"
    stack.configure()
    cli.deploy("up")
    real = {short(one["urn"]): one for one in cli.exported()}
    cli.deploy("destroy")
    assert left(stack) == {"schedules": [], "definitions": [], "pipelines": [], "rules": [], "alarms": []}
    stack.prune()

    stack.engine().up()
    state = json.loads((stack.root / ".sagestage" / "stacks" / "sagestage" / "local.json").read_text())
    embedded = {short(one["urn"]): one for one in state["deployment"]["resources"]}
    assert embedded.keys() == real.keys()
    for name, one in real.items():
        for part in ("urn", "inputs", "parent"):
            mine, theirs = (told(found.get(part), stack.cloud.info.url) for found in (embedded[name], one))
            assert mine == theirs, f"{name}: {part}"
