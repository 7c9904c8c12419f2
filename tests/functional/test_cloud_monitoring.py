"""Monitoring schedules and retraining pipelines of the embedded cloud, over HTTP with real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError

from sagestage.monitoring import Request, look
from sagestage.project import Project
from tests.cloud_support.helpers import BUCKET, ROLE, Cloud, eventually, running
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
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("monitoring"), time_scale=600) as made:
        yield made


def endpoint(cloud: Cloud) -> tuple[str, str]:
    """An endpoint that captures, and the prefix of its model's archive."""
    model = cloud.model()
    return cloud.endpoint(cloud.config([{"ModelName": model}], DataCaptureConfig=CAPTURE)), f"models/{model}"


def define(cloud: Cloud, name: str, prefix: str, image: str = "sagestage-training:1") -> str:
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
            "MonitoringOutputs": [{"S3Output": {"S3Uri": f"s3://{BUCKET}/reports", "LocalPath": "/opt/ml/out"}}]
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
    made = schedule(cloud, define(cloud, name, prefix))
    capture(cloud, name, traffic.rows(600, shift=1.5))
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
    cloud.client("sagemaker").delete_monitoring_schedule(MonitoringScheduleName=made)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.client("sagemaker").describe_monitoring_schedule(MonitoringScheduleName=made)


@pytest.mark.slow
def test_a_job_that_cannot_run_fails_with_its_reason_and_the_schedule_goes_on(cloud: Cloud) -> None:
    name, prefix = endpoint(cloud)
    foreign = schedule(cloud, define(cloud, name, prefix, image="somebody/else:1"))
    bare = schedule(cloud, define(cloud, name, prefix))
    for made, reason in ((foreign, "needs Docker"), (bare, "no such baseline: train the model again")):
        found = eventually(
            lambda made=made: executions(cloud, made),
            lambda ran: sum(one["MonitoringExecutionStatus"] == "Failed" for one in ran) > 1,
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


def test_sagestage_monitor_looks_at_a_window_by_itself(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, prefix = endpoint(cloud)
    cloud.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}/drift.json", Body=traffic.baseline().dump())
    capture(cloud, name, traffic.rows(400))
    for variable, value in (
        ("AWS_ENDPOINT_URL", cloud.info.url), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_REGION", "us-east-1"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, value)
    outcome = look(Project(tmp_path), Request(name, "10m"), cloud.client)
    assert outcome.metrics["main"]["RecordsRead"] == 400
    assert outcome.metrics["main"]["DriftedColumns"] == 0
    assert Path(f"{outcome.settings.output}/report.html").is_file()
