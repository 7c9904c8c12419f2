"""Rollouts with real processes, real traffic and real alarms; a declared minute is half a second here."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud_support.caller import calling
from tests.cloud_support.helpers import Cloud, eventually, running

SCALE = 120
ROUNDS = 10


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud"), time_scale=SCALE) as made:
        yield made


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def canary(*alarms: str, share: int = 30, bake_s: int = 600, stay_s: int = 0) -> dict[str, Any]:
    routing = {"Type": "CANARY", "CanarySize": percent(share), "WaitIntervalInSeconds": bake_s}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": stay_s}
    return {"BlueGreenUpdatePolicy": policy, **guarded(*alarms)}


def guarded(*alarms: str) -> dict[str, Any]:
    return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm} for alarm in alarms]}} if alarms else {}


def alarm_on(cloud: Cloud, endpoint: str, config: str, metric: str, threshold: float, **statistic: str) -> str:
    name = cloud.name("alarm")
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=[
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": "main"},
            {"Name": "EndpointConfigName", "Value": config},
        ],
        ComparisonOperator="GreaterThanThreshold",
        Threshold=threshold,
        Period=60,
        EvaluationPeriods=2,
        TreatMissingData="notBreaching",
        **statistic,
    )
    return name


def late(cloud: Cloud, endpoint: str, config: str) -> str:
    return alarm_on(cloud, endpoint, config, "ModelLatency", 100_000, ExtendedStatistic="p95")


def errors(cloud: Cloud, endpoint: str, config: str) -> str:
    return alarm_on(cloud, endpoint, config, "Invocation5XXErrors", 0.01, Statistic="Average")


def serving(cloud: Cloud, instances: int = 2) -> tuple[str, str]:
    """An endpoint that answers, and its configuration."""
    config = cloud.config([{"ModelName": cloud.model(), "InitialInstanceCount": instances}])
    return cloud.endpoint(config), config


def update(cloud: Cloud, name: str, config: str, deployment: dict[str, Any]) -> dict[str, Any]:
    cloud.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=config, DeploymentConfig=deployment)
    return cloud.settle(name)


def test_a_healthy_canary_is_promoted_and_no_request_is_lost(cloud: Cloud) -> None:
    name, first = serving(cloud)
    second = cloud.config([{"ModelName": cloud.model(), "InitialInstanceCount": 2}])
    client = cloud.client("sagemaker")
    with calling(cloud.client("sagemaker-runtime"), name) as caller:
        guards = (late(cloud, name, second), errors(cloud, name, second))
        client.update_endpoint(
            EndpointName=name, EndpointConfigName=second, DeploymentConfig=canary(*guards, bake_s=240, stay_s=120)
        )
        baking = eventually(
            lambda: client.describe_endpoint(EndpointName=name).get("PendingDeploymentSummary"), lambda found: found
        )
        assert baking["EndpointConfigName"] == second
        assert client.describe_endpoint(EndpointName=name)["EndpointConfigName"] == first
        described = cloud.settle(name)
    assert described["EndpointConfigName"] == second
    assert "FailureReason" not in described
    assert "PendingDeploymentSummary" not in described
    assert caller.errors == {}
    # While there were two fleets, each had figures of its own.
    found = cloud.client("cloudwatch").list_metrics(
        MetricName="Invocations", Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "EndpointConfigName"}]
    )
    configs = {d["Value"] for m in found["Metrics"] for d in m["Dimensions"] if d["Name"] == "EndpointConfigName"}
    assert configs == {first, second}


@pytest.mark.parametrize(("broken", "guard"), [({"SLOW_S": "0.15"}, late), ({"ERRORS": "1"}, errors)])
def test_a_broken_canary_is_rolled_back_by_its_alarm(cloud: Cloud, broken: dict[str, str], guard: Any) -> None:
    name, first = serving(cloud)
    before = cloud.processes(name)
    second = cloud.config([{"ModelName": cloud.model(broken), "InitialInstanceCount": 2}])
    alarm = guard(cloud, name, second)
    with calling(cloud.client("sagemaker-runtime"), name) as caller:
        described = update(cloud, name, second, canary(alarm))
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == first
    assert f"Alarm {alarm} went into ALARM with 30% of the traffic" in described["FailureReason"]
    assert cloud.processes(name) == before
    assert set(caller.errors) <= {"ModelError"}  # what the model itself did, and nothing else
    history = cloud.client("cloudwatch").describe_alarm_history(AlarmName=alarm, HistoryItemType="StateUpdate")
    assert any("to ALARM" in item["HistorySummary"] for item in history["AlarmHistoryItems"])


def test_linear_traffic_moves_in_steps(cloud: Cloud) -> None:
    name, _ = serving(cloud)
    second = cloud.config([{"ModelName": cloud.model(), "InitialInstanceCount": 2}])
    routing = {"Type": "LINEAR", "LinearStepSize": percent(50), "WaitIntervalInSeconds": 120}
    described = update(cloud, name, second, {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}})
    assert described["EndpointConfigName"] == second


@pytest.mark.parametrize("broken", [{}, {"ERRORS": "1"}], ids=["healthy", "broken"])
def test_a_rolling_update_goes_batch_by_batch_and_back(cloud: Cloud, broken: dict[str, str]) -> None:
    name, first = serving(cloud)
    second = cloud.config([{"ModelName": cloud.model(broken), "InitialInstanceCount": 2}])
    policy = {"MaximumBatchSize": percent(50), "WaitIntervalInSeconds": 240}
    with calling(cloud.client("sagemaker-runtime"), name) as caller:
        guard = guarded(errors(cloud, name, second))
        described = update(cloud, name, second, {"RollingUpdatePolicy": policy, **guard})
    assert described["EndpointConfigName"] == (first if broken else second)
    assert len(cloud.processes(name)["main"]) == 2
    assert set(caller.errors) <= ({"ModelError"} if broken else set())


def test_a_deployment_that_takes_too_long_is_rolled_back(cloud: Cloud) -> None:
    name, first = serving(cloud, instances=1)
    second = cloud.config([{"ModelName": cloud.model({"NEVER_HEALTHY": "1"})}])
    deployment = canary()
    deployment["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 600
    described = update(cloud, name, second, deployment)
    assert described["EndpointConfigName"] == first
    assert "maximum execution time of 600 s" in described["FailureReason"]


def test_an_update_during_a_rollout_and_its_deletion_are_refused(cloud: Cloud) -> None:
    name, _ = serving(cloud, instances=1)
    second = cloud.config([{"ModelName": cloud.model()}])
    client = cloud.client("sagemaker")
    client.update_endpoint(EndpointName=name, EndpointConfigName=second, DeploymentConfig=canary(bake_s=240))
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        client.update_endpoint(EndpointName=name, EndpointConfigName=second)
    with pytest.raises(ClientError, match="in-progress endpoint"):
        client.delete_endpoint(EndpointName=name)
    assert cloud.settle(name)["EndpointConfigName"] == second


ROLLING = {"RollingUpdatePolicy": {"MaximumBatchSize": percent(50), "WaitIntervalInSeconds": 0}}


@pytest.mark.parametrize(
    ("variants", "deployment", "words"),
    [
        (["other"], canary(), "must keep the variants: main, got other"),
        (
            ["main", "other"],
            {"RollingUpdatePolicy": {"MaximumBatchSize": percent(50), "WaitIntervalInSeconds": 0}},
            "several",
        ),
        (
            ["main"],
            {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "CANARY", "WaitIntervalInSeconds": 0}}},
            "needs CanarySize",
        ),
    ],
)
def test_what_the_guardrails_refuse_is_refused(
    cloud: Cloud, variants: list[str], deployment: dict[str, Any], words: str
) -> None:
    name, _ = serving(cloud, instances=1)
    config = cloud.config([{"VariantName": variant, "ModelName": cloud.model()} for variant in variants])
    with pytest.raises(ClientError, match=words):
        cloud.client("sagemaker").update_endpoint(
            EndpointName=name, EndpointConfigName=config, DeploymentConfig=deployment
        )


@pytest.mark.slow
def test_no_request_is_lost_in_ten_updates_and_rollbacks(cloud: Cloud) -> None:
    name, config = serving(cloud)
    with calling(cloud.client("sagemaker-runtime"), name) as caller:
        for number in range(ROUNDS):
            late_one = {"SLOW_S": "0.12"} if number % 2 else {}
            following = cloud.config([{"ModelName": cloud.model(late_one), "InitialInstanceCount": 2}])
            guard = late(cloud, name, following)
            described = update(cloud, name, following, canary(guard, bake_s=300))
            config = config if late_one else following
            assert described["EndpointConfigName"] == config, described
    assert caller.answered > 100
    assert caller.errors == {}
