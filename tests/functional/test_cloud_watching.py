"""CloudWatch over boto3: metrics, percentiles, metric math, alarms, composite alarms, history, SNS actions."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sagestage.errors import SagestageError
from sagestage.prove import problems, prove
from tests.cloud_support.helpers import Cloud, eventually, running

NAMESPACE = "Shop"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud"), time_scale=120) as made:
        yield made


@pytest.fixture
def cloudwatch(cloud: Cloud) -> Any:
    return cloud.client("cloudwatch")


def minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)


def put(cloudwatch: Any, name: str, values: list[float], moment: datetime | None = None) -> None:
    datum: dict[str, Any] = {"MetricName": name, "Values": values, "Unit": "Milliseconds"}
    cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=[datum | ({"Timestamp": moment} if moment else {})])


def alarm(cloudwatch: Any, name: str, metric: str, **more: Any) -> None:
    cloudwatch.put_metric_alarm(
        **{
            "AlarmName": name,
            "Namespace": NAMESPACE,
            "MetricName": metric,
            "Statistic": "Maximum",
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 10,
            "Period": 60,
            "EvaluationPeriods": 1,
            "TreatMissingData": "notBreaching",
            **more,
        }
    )


def state(cloudwatch: Any, name: str) -> str:
    found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    return str((found["MetricAlarms"] + found["CompositeAlarms"])[0]["StateValue"])


def test_statistics_and_percentiles(cloudwatch: Any) -> None:
    at = minute()
    put(cloudwatch, "Waits", [float(value) for value in range(1, 101)], at)
    put(cloudwatch, "Waits", [1000.0], at + timedelta(minutes=1))
    asked = {"Namespace": NAMESPACE, "MetricName": "Waits", "StartTime": at, "EndTime": at + timedelta(minutes=2)}
    found = cloudwatch.get_metric_statistics(Period=60, Statistics=["Sum", "SampleCount"], **asked)["Datapoints"]
    assert [(point["Sum"], point["SampleCount"], point["Unit"]) for point in found] == [
        (5050, 100, "Milliseconds"),
        (1000, 1, "Milliseconds"),
    ]
    (point,) = cloudwatch.get_metric_statistics(
        Period=60, ExtendedStatistics=["p50", "p99"], **asked | {"EndTime": at + timedelta(minutes=1)}
    )["Datapoints"]
    assert point["ExtendedStatistics"] == {"p50": pytest.approx(50.5), "p99": pytest.approx(99.01)}
    assert cloudwatch.get_metric_statistics(Period=60, Statistics=["Sum"], Unit="Count", **asked)["Datapoints"] == []
    assert {"Namespace": NAMESPACE, "MetricName": "Waits", "Dimensions": []} in cloudwatch.list_metrics()["Metrics"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Period": 61}, "Period must be"),
        ({"ExtendedStatistics": ["tm99"]}, "not supported by the embedded cloud"),
        ({"EndTime": minute() - timedelta(days=1)}, "StartTime must be less"),
        ({"StartTime": minute() - timedelta(days=3)}, "exceeds the limit of 1,440"),
    ],
)
def test_impossible_queries_are_refused(cloudwatch: Any, change: dict[str, Any], words: str) -> None:
    asked = {"Namespace": NAMESPACE, "MetricName": "X", "StartTime": minute(), "EndTime": datetime.now(UTC)}
    with pytest.raises(ClientError, match=words):
        cloudwatch.get_metric_statistics(**{"Period": 60, "ExtendedStatistics": ["p95"], **asked, **change})


def test_metric_data_with_simple_math(cloudwatch: Any) -> None:
    at = minute()
    for metric, value in (("Errors", 5.0), ("Calls", 50.0)):
        put(cloudwatch, metric, [value], at)
    queries = [
        {
            "Id": metric.lower(),
            "ReturnData": False,
            "MetricStat": {"Metric": {"Namespace": NAMESPACE, "MetricName": metric}, "Period": 60, "Stat": "Sum"},
        }
        for metric in ("Errors", "Calls")
    ]
    rate = {"Id": "rate", "Expression": "100 * errors / calls", "Label": "percent"}
    window = {"StartTime": at, "EndTime": at + timedelta(minutes=1)}
    (result,) = cloudwatch.get_metric_data(MetricDataQueries=[*queries, rate], **window)["MetricDataResults"]
    assert (result["Label"], result["Values"], result["StatusCode"]) == ("percent", [10.0], "Complete")
    assert result["Timestamps"] == [at]
    with pytest.raises(ClientError, match="Error in expression"):
        cloudwatch.get_metric_data(MetricDataQueries=[{"Id": "e", "Expression": "nothing + 1"}], **window)


def test_an_alarm_fires_tells_its_topic_and_recovers(cloud: Cloud, cloudwatch: Any) -> None:
    topic = cloud.client("sns").create_topic(Name="alarms")["TopicArn"]
    queue = cloud.client("sqs").create_queue(QueueName="alarms")["QueueUrl"]
    arn = cloud.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    cloud.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    alarm(cloudwatch, "waiting", "Seconds", AlarmActions=[topic], OKActions=[topic])
    assert state(cloudwatch, "waiting") in ("INSUFFICIENT_DATA", "OK")
    eventually(lambda: state(cloudwatch, "waiting"), lambda found: found == "OK")
    put(cloudwatch, "Seconds", [30.0])
    eventually(lambda: state(cloudwatch, "waiting"), lambda found: found == "ALARM")
    eventually(lambda: state(cloudwatch, "waiting"), lambda found: found == "OK")
    sqs, said = cloud.client("sqs"), []
    for _ in range(3):
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            said.append(json.loads(json.loads(message["Body"])["Message"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    changes = {(one["OldStateValue"], one["NewStateValue"]) for one in said}
    assert ("OK", "ALARM") in changes
    assert ("ALARM", "OK") in changes
    items = cloudwatch.describe_alarm_history(AlarmName="waiting", ScanBy="TimestampAscending")["AlarmHistoryItems"]
    kinds = [item["HistoryItemType"] for item in items]
    assert kinds[0] == "ConfigurationUpdate"
    assert {"StateUpdate", "Action"} <= set(kinds)
    assert any(f"Successfully executed action {topic}" in item["HistorySummary"] for item in items)


def test_a_composite_alarm_follows_the_alarms_that_it_names(cloudwatch: Any) -> None:
    alarm(cloudwatch, "first", "One")
    alarm(cloudwatch, "second", "Two")
    cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule="ALARM(first) AND ALARM(second)")
    for name in ("first", "second"):
        eventually(lambda name=name: state(cloudwatch, name), lambda found: found == "OK")  # type: ignore[misc]
    eventually(lambda: state(cloudwatch, "both"), lambda found: found == "OK")
    for metric in ("One", "Two"):
        put(cloudwatch, metric, [99.0])
    eventually(lambda: state(cloudwatch, "both"), lambda found: found == "ALARM")
    assert [a["AlarmName"] for a in cloudwatch.describe_alarms(AlarmNames=["both"])["MetricAlarms"]] == []
    with pytest.raises(ClientError, match="rule"):
        cloudwatch.put_composite_alarm(AlarmName="bad", AlarmRule="ALARM(")


def test_alarms_on_metric_math(cloudwatch: Any) -> None:
    stat = {"Metric": {"Namespace": NAMESPACE, "MetricName": "Halves"}, "Period": 60, "Stat": "Sum"}
    cloudwatch.put_metric_alarm(
        AlarmName="math",
        ComparisonOperator="GreaterThanThreshold",
        Threshold=10,
        EvaluationPeriods=1,
        Metrics=[
            {"Id": "m", "MetricStat": stat, "ReturnData": False},
            {"Id": "double", "Expression": "2 * m"},
        ],
    )
    eventually(lambda: state(cloudwatch, "math"), lambda found: found == "INSUFFICIENT_DATA")
    put(cloudwatch, "Halves", [6.0])
    eventually(lambda: state(cloudwatch, "math"), lambda found: found == "ALARM")


def test_states_can_be_set_and_actions_switched_off(cloudwatch: Any) -> None:
    alarm(cloudwatch, "set", "Nothing", TreatMissingData="ignore", Tags=[{"Key": "team", "Value": "forecast"}])
    cloudwatch.set_alarm_state(AlarmName="set", StateValue="ALARM", StateReason="a drill")
    cloudwatch.disable_alarm_actions(AlarmNames=["set"])
    (found,) = cloudwatch.describe_alarms(AlarmNames=["set"])["MetricAlarms"]
    assert (found["StateValue"], found["StateReason"], found["ActionsEnabled"]) == ("ALARM", "a drill", False)
    tags = cloudwatch.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "forecast"}]
    (one,) = cloudwatch.describe_alarms_for_metric(Namespace=NAMESPACE, MetricName="Nothing")["MetricAlarms"]
    assert one["AlarmName"] == "set"
    cloudwatch.delete_alarms(AlarmNames=["set"])
    assert cloudwatch.describe_alarms(AlarmNames=["set"])["MetricAlarms"] == []
    with pytest.raises(ClientError, match="Unknown alarm"):
        cloudwatch.set_alarm_state(AlarmName="set", StateValue="OK", StateReason="gone")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Period": 61}, "multiple of 60"),
        ({"EvaluationPeriods": 1, "DatapointsToAlarm": 2}, "less than or equal to EvaluationPeriods"),
        ({"ExtendedStatistic": "p95"}, "Exactly one of Statistic and ExtendedStatistic"),
        ({"EvaluationPeriods": 2000}, "one day"),
    ],
)
def test_impossible_alarms_are_refused(cloudwatch: Any, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words):
        alarm(cloudwatch, "never", "Nothing", **change)


def test_the_liveness_proof_tells_an_alarm_that_can_fire_from_one_that_cannot(cloudwatch: Any) -> None:
    dimensions = [{"Name": "EndpointName", "Value": "demand"}, {"Name": "VariantName", "Value": "main"}]
    rate = {"Namespace": "AWS/SageMaker", "Statistic": "Average", "Dimensions": dimensions}
    alarm(cloudwatch, "proof-alive", "Invocation5XXErrors", Threshold=0.01, **rate)
    alarm(cloudwatch, "proof-dead", "Invocation4XXErrors", Threshold=1.5, **rate)  # an average of zeros and ones
    rules = {"proof-one": 'ALARM("proof-alive") OR ALARM("proof-dead")', "proof-sick": 'ALARM("proof-dead")'}
    for name, rule in rules.items():
        cloudwatch.put_composite_alarm(AlarmName=name, AlarmRule=rule)
    found = {proof.name: proof for proof in prove(cloudwatch, "proof-", scale=120)}
    assert found["proof-alive"].reached == found["proof-one"].reached == ["OK", "ALARM", "OK"]
    assert not found["proof-dead"].alive
    told = problems(list(found.values()))
    assert len(told) == 2
    assert "proof-dead" in told[0]
    assert "proof-sick" in told[1]
    with pytest.raises(SagestageError, match="no alarm's name begins with nothing-"):
        prove(cloudwatch, "nothing-", scale=120)


def test_what_instances_use_is_measured(cloud: Cloud, cloudwatch: Any) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    wanted = {"CPUUtilization", "MemoryUtilization", "DiskUtilization"}

    def metrics() -> set[str]:
        dimensions = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "main"}]
        found = cloudwatch.list_metrics(Namespace="/aws/sagemaker/Endpoints", Dimensions=dimensions)["Metrics"]
        return {metric["MetricName"] for metric in found}

    eventually(metrics, lambda found: found == wanted)
    now = datetime.now(UTC)
    stat = {"Metric": {"Namespace": "/aws/sagemaker/Endpoints", "MetricName": "MemoryUtilization"}, "Period": 60}
    stat["Metric"]["Dimensions"] = [  # type: ignore[index]
        {"Name": "EndpointName", "Value": name},
        {"Name": "VariantName", "Value": "main"},
    ]
    (result,) = cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "memory", "MetricStat": {**stat, "Stat": "Maximum"}}],
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=1),
    )["MetricDataResults"]
    assert 0 < result["Values"][0] < 100
