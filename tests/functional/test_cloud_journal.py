"""A cloud that was killed comes back with what it had."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.cloud import control
from infra.names import HOSTING_TAG
from tests.cloud_support.containers import stub_image
from tests.cloud_support.helpers import (
    BUCKET,
    ROLE,
    Cloud,
    fetch_status,
    free_port,
    killed_and_started,
    running,
)

ALARM = {
    "AlarmName": "late",
    "Namespace": "AWS/SageMaker",
    "MetricName": "ModelLatency",
    "Statistic": "Average",
    "ComparisonOperator": "GreaterThanThreshold",
    "Threshold": 1.0,
    "Period": 60,
    "EvaluationPeriods": 1,
    "TreatMissingData": "ignore",  # without data it stays in the state that it was set to
}


def resources(cloud: Cloud) -> dict[str, Any]:
    """What other services hold, in words that must not change."""
    s3, sns, iam = cloud.client("s3"), cloud.client("sns"), cloud.client("iam")
    return {
        "objects": sorted((o["Key"], o["ETag"]) for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]),
        "topics": [topic["TopicArn"] for topic in sns.list_topics()["Topics"]],
        "subscriptions": [one["SubscriptionArn"] for one in sns.list_subscriptions()["Subscriptions"]],
        "roles": [(role["RoleName"], role["RoleId"]) for role in iam.list_roles()["Roles"]],
        "models": [model["ModelName"] for model in cloud.client("sagemaker").list_models()["Models"]],
        "keys": [key["KeyId"] for key in cloud.client("kms").list_keys()["Keys"]],
    }


def test_a_killed_cloud_comes_back_with_what_it_had(tmp_path: Path) -> None:
    with running(tmp_path) as cloud:
        model = cloud.model({"COLOUR": "green"})
        capture = {
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{BUCKET}/captured",
            "CaptureOptions": [{"CaptureMode": "Output"}],
        }
        config = cloud.config([{"ModelName": model, "InitialInstanceCount": 2}], DataCaptureConfig=capture)
        name = cloud.endpoint(config, Tags=[{"Key": "team", "Value": "forecast"}])
        failed = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"FAIL_AT_START": "no"})}]))
        sagemaker = cloud.client("sagemaker")
        changes = [{"VariantName": "main", "DesiredInstanceCount": 1, "DesiredWeight": 3.0}]
        sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=changes)
        before = cloud.settle(name)
        # What runs goes on without its configuration and its model, also in a life to come.
        sagemaker.delete_endpoint_config(EndpointConfigName=config)
        sagemaker.delete_model(ModelName=model)
        topic = cloud.client("sns").create_topic(Name="alerts")["TopicArn"]
        cloud.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:1:q")
        cloud.client("kms").create_key()
        cloud.client("iam").create_role(RoleName="execution", AssumeRolePolicyDocument="{}")
        cloud.client("s3").put_object(Bucket=BUCKET, Key="large", Body=b"x" * 100_000)
        cloudwatch = cloud.client("cloudwatch")
        cloudwatch.put_metric_alarm(**ALARM)
        cloudwatch.set_alarm_state(AlarmName="late", StateValue="ALARM", StateReason="a drill")
        history = len(cloudwatch.describe_alarm_history(AlarmName="late")["AlarmHistoryItems"])
        held = resources(cloud)
        again = killed_and_started(cloud)
        try:
            assert (again.info.id, again.info.port) == (cloud.info.id, cloud.info.port)
            after = again.settle(name)
            kept = ("EndpointArn", "EndpointConfigName", "EndpointStatus", "CreationTime", "DataCaptureConfig")
            assert {k: after[k] for k in kept} == {k: before[k] for k in kept}
            (variant,) = after["ProductionVariants"]
            assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (1, 3.0)
            tags = again.client("sagemaker").list_tags(ResourceArn=after["EndpointArn"])["Tags"]
            assert tags == [{"Key": "team", "Value": "forecast"}]
            answer = again.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"{}")
            assert json.load(answer["Body"])["environment"]["COLOUR"] == "green"
            described = again.client("sagemaker").describe_endpoint(EndpointName=failed)
            assert (described["EndpointStatus"], "ping" in described["FailureReason"]) == ("Failed", True)
            assert resources(again) == held
            (alarm,) = again.client("cloudwatch").describe_alarms()["MetricAlarms"]
            assert (alarm["StateValue"], alarm["StateReason"]) == ("ALARM", "a drill")
            items = again.client("cloudwatch").describe_alarm_history(AlarmName="late")["AlarmHistoryItems"]
            assert len(items) == history
            # And a second death is no other than the first.
            third = killed_and_started(again)
            third.settle(name)
            assert resources(third) == held
            third.close()
        finally:
            again.close()


def test_a_variant_that_ran_in_a_container_does_so_again(tmp_path: Path) -> None:
    stub_image()
    with running(tmp_path) as cloud:
        model, tags = cloud.model(), [{"Key": HOSTING_TAG, "Value": "container"}]
        client = cloud.client("sagemaker")
        client.add_tags(ResourceArn=client.describe_model(ModelName=model)["ModelArn"], Tags=tags)
        name = cloud.endpoint(cloud.config([{"ModelName": model}]))
        again = killed_and_started(cloud)
        try:
            assert again.settle(name)["EndpointStatus"] == "InService"
            answer = again.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"{}")
            assert json.load(answer["Body"])["pid"] == 1
        finally:
            again.close()


def test_an_update_that_a_kill_cut_short_is_told(tmp_path: Path) -> None:
    with running(tmp_path) as cloud:
        old = cloud.config([{"ModelName": cloud.model()}])
        name = cloud.endpoint(old)
        making = cloud.name("endpoint")
        slow = cloud.config([{"ModelName": cloud.model({"NEVER_HEALTHY": "1"})}])
        client = cloud.client("sagemaker")
        client.update_endpoint(EndpointName=name, EndpointConfigName=slow)
        client.create_endpoint(EndpointName=making, EndpointConfigName=cloud.config([{"ModelName": cloud.model()}]))
        doomed = cloud.endpoint(old)
        client.delete_endpoint(EndpointName=doomed)
        again = killed_and_started(cloud)
        try:
            described = again.settle(name)
            assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", old)
            assert "ended while the endpoint was updated" in described["FailureReason"]
            assert again.settle(making)["EndpointStatus"] == "InService"
            assert {e["name"] for e in fetch_status(again.info.url)["endpoints"]} == {name, making}
        finally:
            again.close()


def test_an_orderly_stop_forgets_unless_it_is_told_to_keep(tmp_path: Path) -> None:
    with running(tmp_path) as cloud:
        cloud.model()
        control.stop(tmp_path, keep=True)
        again = Cloud(control.start(tmp_path))
        models = [model["ModelName"] for model in again.client("sagemaker").list_models()["Models"]]
        again.close()
        control.stop(tmp_path)
        empty = Cloud(control.start(tmp_path, port=free_port()))
        left = empty.client("sagemaker").list_models()["Models"]
        empty.close()
    assert (len(models), left) == (1, [])


@pytest.mark.parametrize("damage", ["torn", "garbage", "blob"])
def test_a_damaged_journal_costs_what_is_damaged_and_no_more(tmp_path: Path, damage: str) -> None:
    with running(tmp_path) as cloud:
        name = cloud.model()
        cloud.client("s3").put_object(Bucket=BUCKET, Key="large", Body=b"x" * 100_000)
        control.stop(tmp_path, keep=True)
        calls = tmp_path / "journal" / "calls.jsonl"
        match damage:
            case "torn":
                calls.write_bytes(calls.read_bytes() + b'{"environ":{"REQU')
            case "garbage":
                calls.write_bytes(b"\x00not json\n" + calls.read_bytes())
                (tmp_path / "journal" / "alarms.json").write_bytes(b"{")
            case "blob":
                for blob in (tmp_path / "journal" / "blobs").iterdir():
                    blob.unlink()
        again = Cloud(control.start(tmp_path))
        assert again.client("sagemaker").describe_model(ModelName=name)["ModelName"] == name
        # What comes now is kept behind what was damaged.
        again.client("sagemaker").create_model(
            ModelName="later", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "i"}
        )
        third = killed_and_started(again)
        assert third.client("sagemaker").describe_model(ModelName="later")["ModelName"] == "later"
        third.close()
        again.close()


def test_the_journal_is_its_owners_and_has_no_signature(tmp_path: Path) -> None:
    with running(tmp_path) as cloud:
        cloud.model()
        folder = tmp_path / "journal"
        assert folder.stat().st_mode & 0o077 == 0
        kept = (folder / "calls.jsonl").read_text()
        assert "CreateModel" in kept
        assert "Signature=0" in kept
        assert not any(len(part.split('"')[0].split(",")[0]) > 5 for part in kept.split("Signature=")[1:])
