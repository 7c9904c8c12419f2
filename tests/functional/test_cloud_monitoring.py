"""Monitoring schedules and retraining pipelines of the embedded cloud, over HTTP with real processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError

from sagestage import cli
from tests.cloud_support.helpers import BUCKET, ROLE, Cloud, environment, eventually, free_port, running
from tests.sagestage_support.user import User, make_project
from tests.training_support import traffic

CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": f"s3://{BUCKET}/capture",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
}
NOTHING_TO_DO = {"ScheduleExpression": "cron(0 * ? * * *)"}


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    return make_project(tmp_path_factory.mktemp("monitoring"))


@pytest.fixture(scope="module")
def cloud(user: User) -> Iterator[Cloud]:
    with running(user.folder / ".sagestage/cloud", time_scale=600) as made:
        yield made


def endpoint(cloud: Cloud) -> tuple[str, str]:
    """An endpoint that captures, and the prefix of its model's archive."""
    model = cloud.model()
    return cloud.endpoint(cloud.config([{"ModelName": model}], DataCaptureConfig=CAPTURE)), f"models/{model}"


REPORTS = f"s3://{BUCKET}/reports"


def define(cloud: Cloud, name: str, prefix: str, image: str = "sagestage-training:1", reports: str = REPORTS) -> str:
    made = cloud.name("definition")
    cloud.client("sagemaker").create_data_quality_job_definition(
        JobDefinitionName=made,
        DataQualityAppSpecification={
            "ImageUri": image,
            "Environment": {
                "SAGESTAGE_JOB": "monitor",
                "SAGESTAGE_BASELINES": json.dumps({"main": f"s3://{BUCKET}/{prefix}/drift.json"}),
            },
        },
        DataQualityJobInput={"EndpointInput": {"EndpointName": name, "LocalPath": "/opt/ml/processing/input"}},
        DataQualityJobOutputConfig={
            "MonitoringOutputs": [{"S3Output": {"S3Uri": reports, "LocalPath": "/opt/ml/out"}}]
        },
        JobResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        RoleArn=ROLE,
        StoppingCondition={"MaxRuntimeInSeconds": 3000},
    )
    return made


def schedule(cloud: Cloud, definition: str, expression: str = "cron(0 * ? * * *)") -> str:
    name = cloud.name("schedule")
    cloud.client("sagemaker").create_monitoring_schedule(
        MonitoringScheduleName=name,
        MonitoringScheduleConfig={
            "ScheduleConfig": {"ScheduleExpression": expression},
            "MonitoringJobDefinitionName": definition,
            "MonitoringType": "DataQuality",
        },
    )
    return name


def executions(cloud: Cloud, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.client("sagemaker").list_monitoring_executions(MonitoringScheduleName=name)[
        "MonitoringExecutionSummaries"
    ]
    return found


def capture(cloud: Cloud, name: str, rows: list[dict[str, Any]]) -> None:
    """Records of just now, as capture would have written them."""
    now = datetime.now(UTC)
    lines = [orjson.dumps(traffic.record([row], number=n, at=now)) for n, row in enumerate(rows)]
    key = f"capture/{name}/main/{now:%Y/%m/%d/%H}/{cloud.name('file')}.jsonl"
    cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"\n".join(lines) + b"\n")


@pytest.mark.slow
def test_a_schedule_finds_shifted_traffic_and_publishes_it(cloud: Cloud) -> None:
    name, prefix = endpoint(cloud)
    s3 = cloud.client("s3")
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/drift.json", Body=traffic.baseline().dump())
    capture(cloud, name, traffic.rows(600, shift=1.5))
    time.sleep(1.0 - time.time() % 1.0)  # capture tells whole seconds: the window ends after the one under way
    made = schedule(cloud, define(cloud, name, prefix), "NOW")
    found = eventually(
        lambda: executions(cloud, made),
        lambda ran: any(one["MonitoringExecutionStatus"] == "CompletedWithViolations" for one in ran),
    )
    assert any(one.get("FailureReason") == "columns drifted" for one in found)
    cloudwatch = cloud.client("cloudwatch")
    dimensions = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "main"}]
    metrics = cloudwatch.list_metrics(Namespace="Sagestage/Model", Dimensions=dimensions)["Metrics"]
    assert {"FeatureDrift", "DriftedColumns", "PredictionDrift", "RecordsRead"} <= {
        one["MetricName"] for one in metrics
    }
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"reports/{name}/{made}/")["Contents"]]
    assert {key.rpartition("/")[2] for key in keys} == {
        "report.html", "statistics.json", "constraint_violations.json"
    }  # fmt: skip
    logs = cloud.client("logs").describe_log_streams(logGroupName="/aws/sagemaker/ProcessingJobs")["logStreams"]
    assert any(one["logStreamName"].startswith(made) for one in logs)
    described = cloud.client("sagemaker").describe_monitoring_schedule(MonitoringScheduleName=made)
    assert described["MonitoringScheduleStatus"] == "Stopped", "NOW is once"
    cloud.client("sagemaker").delete_monitoring_schedule(MonitoringScheduleName=made)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.client("sagemaker").describe_monitoring_schedule(MonitoringScheduleName=made)


@pytest.mark.slow
def test_a_job_that_cannot_run_fails_with_its_reason_and_the_schedule_goes_on(cloud: Cloud) -> None:
    name, prefix = endpoint(cloud)
    foreign = schedule(cloud, define(cloud, name, prefix, image="somebody/else:1"))
    bare = schedule(cloud, define(cloud, name, prefix), "NOW")
    cloud.client("s3").put_object(Bucket=BUCKET, Key="elsewhere/drift.json", Body=traffic.baseline().dump())
    homeless = schedule(cloud, define(cloud, name, "elsewhere", reports="s3://nobody-has-this/reports"), "NOW")
    for made, reason, times in (
        (bare, "no such baseline: train the model again", 1),
        (homeless, "there is no bucket nobody-has-this", 1),
        (foreign, "needs Docker", 2),
    ):
        found = eventually(
            lambda made=made: executions(cloud, made),
            lambda ran, times=times: sum(one["MonitoringExecutionStatus"] == "Failed" for one in ran) >= times,
        )
        assert all(reason in one["FailureReason"] for one in found if one["MonitoringExecutionStatus"] == "Failed")
        cloud.client("sagemaker").delete_monitoring_schedule(MonitoringScheduleName=made)


def test_calls_refuse_what_sagemaker_refuses(cloud: Cloud) -> None:
    sagemaker = cloud.client("sagemaker")
    name, prefix = endpoint(cloud)
    definition = define(cloud, name, prefix)
    made = schedule(cloud, definition)
    with pytest.raises(ClientError, match="ResourceInUse"):
        sagemaker.create_monitoring_schedule(
            MonitoringScheduleName=made,
            MonitoringScheduleConfig={"MonitoringJobDefinitionName": definition, "ScheduleConfig": NOTHING_TO_DO},
        )
    for expression in ("rate(1 hour)", "cron(5 * ? * * *)", "cron(0 0/6 * * ? *)"):
        with pytest.raises(ClientError, match="is none of"):
            schedule(cloud, definition, expression)
    with pytest.raises(ClientError, match="job definition nothing does not exist"):
        schedule(cloud, "nothing")
    sagemaker.stop_monitoring_schedule(MonitoringScheduleName=made)
    described = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=made)
    assert (described["MonitoringScheduleStatus"], described["EndpointName"]) == ("Stopped", name)
    listed = sagemaker.list_monitoring_schedules(EndpointName=name, NameContains=made, StatusEquals="Stopped")
    assert [one["MonitoringScheduleName"] for one in listed["MonitoringScheduleSummaries"]] == [made]
    for nobody in ({"EndpointName": "another"}, {"StatusEquals": "Scheduled"}, {"NameContains": "nothing"}):
        listed = sagemaker.list_monitoring_schedules(**{"EndpointName": name, **nobody})
        assert listed["MonitoringScheduleSummaries"] == []
    with pytest.raises(ClientError, match="job definition nothing does not exist"):
        sagemaker.update_monitoring_schedule(
            MonitoringScheduleName=made,
            MonitoringScheduleConfig={"MonitoringJobDefinitionName": "nothing", "ScheduleConfig": NOTHING_TO_DO},
        )
    again = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=made)
    assert again["MonitoringScheduleConfig"] == described["MonitoringScheduleConfig"], "what is refused changes nothing"
    arn = described["MonitoringScheduleArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    sagemaker.delete_monitoring_schedule(MonitoringScheduleName=made)


@pytest.mark.slow
def test_an_alarm_starts_a_pipeline_whose_failed_step_says_why(cloud: Cloud) -> None:
    sagemaker, events, cloudwatch = (cloud.client(service) for service in ("sagemaker", "events", "cloudwatch"))
    steps = [
        {"Name": "Release", "Type": "Processing",
         "Arguments": {"AppSpecification": {"ImageUri": "sagestage-training:1", "ContainerArguments": ["release"]}}},
        {"Name": "Never", "Type": "Condition", "Arguments": {}},
    ]  # fmt: skip
    arn = sagemaker.create_pipeline(
        PipelineName="again",
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": steps}),
        ClientRequestToken="t" * 32,
        RoleArn=ROLE,
    )["PipelineArn"]
    pattern = {"source": ["aws.cloudwatch"], "detail": {"alarmName": ["drifting"], "state": {"value": ["ALARM"]}}}
    events.put_rule(Name="again", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="again", Targets=[{"Id": "1", "Arn": arn, "RoleArn": ROLE}])
    cloudwatch.put_metric_alarm(
        AlarmName="drifting", Namespace="n", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName="drifting", StateValue="OK", StateReason="test")
    assert sagemaker.list_pipeline_executions(PipelineName="again")["PipelineExecutionSummaries"] == []
    cloudwatch.set_alarm_state(AlarmName="drifting", StateValue="ALARM", StateReason="test")
    found = eventually(
        lambda: sagemaker.list_pipeline_executions(PipelineName="again")["PipelineExecutionSummaries"],
        lambda ran: bool(ran) and ran[0]["PipelineExecutionStatus"] == "Failed",
    )
    described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=found[0]["PipelineExecutionArn"])
    assert "lacks the variable SAGESTAGE_MODEL" in described["FailureReason"]
    listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=found[0]["PipelineExecutionArn"])
    statuses = {one["StepName"]: one["StepStatus"] for one in listed["PipelineExecutionSteps"]}
    assert statuses == {"Release": "Failed", "Never": "Starting"}


@pytest.fixture(scope="module")
def watched(cloud: Cloud) -> str:
    """An endpoint whose captured records of this hour are like the training rows."""
    name, prefix = endpoint(cloud)
    cloud.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}/drift.json", Body=traffic.baseline().dump())
    capture(cloud, name, traffic.rows(400))
    return name


def test_sagestage_monitor_looks_at_a_window_by_itself(cloud: Cloud, user: User, watched: str) -> None:
    labels = [{"inferenceId": f"id-{n}", "label": row["temp"] + 1.0} for n, row in enumerate(traffic.rows(400))]
    cloud.client("s3").put_object(Bucket=BUCKET, Key="truth/a.jsonl", Body=b"\n".join(map(orjson.dumps, labels)))
    truth = ("--ground-truth", f"s3://{BUCKET}/truth", "--segment", "sky")
    here = user.json("monitor", watched, "--window", "10m", *truth, "--publish")
    assert here["metrics"]["main"]["RecordsRead"] == 400
    assert here["metrics"]["main"]["DriftedColumns"] == 0
    assert here["metrics"]["main"]["MAE"] == pytest.approx(1.0)
    assert set(here["models"][0]["segments"]) == set(traffic.SKIES)
    assert Path(here["report"]).is_file()
    dimensions = [{"Name": "EndpointName", "Value": watched}, {"Name": "VariantName", "Value": "main"}]
    published = cloud.client("cloudwatch").list_metrics(Namespace="Sagestage/Model", Dimensions=dimensions)["Metrics"]
    assert {one["MetricName"] for one in published} == set(here["metrics"]["main"])

    # by the credentials of the environment, as on AWS
    answer = user.run("sagestage", "monitor", watched, "--on", "aws", *truth, "--json", **environment(cloud))
    there = json.loads(answer.stdout)
    assert (there["metrics"], there["problems"]) == (here["metrics"], here["problems"])
    assert there["models"][0]["columns"] == here["models"][0]["columns"]


def test_sagestage_monitor_says_what_drifted_and_ends_with_2_where_none_may(cloud: Cloud, user: User) -> None:
    name, prefix = endpoint(cloud)
    cloud.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}/drift.json", Body=traffic.baseline().dump())
    capture(cloud, name, traffic.rows(400, shift=1.5))
    answer = user.sagestage("monitor", name, "--expect-no-drift")
    assert answer.returncode == 2, answer.stderr
    (line,) = [line for line in answer.stdout.splitlines() if " temp " in line]
    assert "drifted" in line
    assert "FeatureDrift=" in answer.stdout
    assert f"report {user.folder / '.sagestage/monitor' / name}" in answer.stdout


def mistaken(user: User, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that the command ends with."""
    patch.chdir(user.folder)
    patch.setattr("sys.argv", ["sagestage", "monitor", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1, said
    assert len([line for line in said.splitlines() if line.startswith("error ")]) == 1, said
    assert "Traceback" not in said
    assert "unexpected" not in said
    return said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), ("there is no endpoint 'nobody': there are ",)),
        ((), ("say which endpoint: there are ",)),
        (("{watched}", "--window", "soon"), ("1h, 90m, 30s or 1d, at most 3660d, got 'soon'",)),
        (("{watched}", "--window", "0h"), ("got '0h'",)),
        (("{watched}", "--window", "99999999d"), ("got '99999999d'",)),
        (("{watched}", "--on", "mars"), ("--on mars: choose embedded or aws",)),
        (("{watched}", "--segment", "colour"), ("'colour' is no input column: there are when, temp",)),
        (("{watched}", "--ground-truth", "s3://artifacts/gone"), ("s3://artifacts/gone", "no labels are there")),
        (("{watched}", "--ground-truth", "s3://no-such-bucket/x"), ("s3://no-such-bucket/x", "no labels are there")),
        (("{watched}", "--ground-truth", "s3://"), ("s3://: names no bucket",)),
        (("{watched}", "--ground-truth", "nowhere"), ("nowhere: no labels are there",)),
    ],
    ids=lambda value: " ".join(value)[:40] or "none",
)  # fmt: skip
def test_a_mistaken_look_is_one_line(
    user: User, watched: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], words: tuple[str, ...],
) -> None:  # fmt: skip
    said = mistaken(user, monkeypatch, capsys, *(one.format(watched=watched) for one in arguments))
    for word in words:
        assert word in said


def test_what_an_endpoint_lacks_for_a_look_is_one_line(
    cloud: Cloud, user: User, watched: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(name: str, *arguments: str) -> str:
        return mistaken(user, monkeypatch, capsys, name, *arguments)

    bare, prefix = endpoint(cloud)
    assert "drift.json: no such baseline: train the model again" in say(bare)
    cloud.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}/drift.json", Body=traffic.baseline().dump())
    assert f"s3://{BUCKET}/capture/{bare}: there is nothing there: is capture on" in say(bare)
    silent = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    assert f"endpoint {silent} captures nothing: give it capture=Capture(" in say(silent)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "there are no AWS credentials: set AWS_PROFILE" in say(watched, "--on", "aws")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    assert "there is no region: set AWS_REGION" in say(watched, "--on", "aws")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    said = say(watched, "--on", "aws")
    assert "AWS cannot be asked: Could not connect" in said
    assert "a-secret" not in said
