"""What DeploymentConfig means, by example."""

import pytest

from infra.cloud.clock import Clock
from infra.cloud.rollout import Plan, plan

ALARMS = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "late"}, {"AlarmName": "errors"}]}}


def blue_green(kind: str, **routing: object) -> dict[str, object]:
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": 600, **routing},
            "TerminationWaitInSeconds": 120,
            "MaximumExecutionTimeoutInSeconds": 3600,
        },
        **ALARMS,
    }


def percent(value: int) -> dict[str, object]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def count(value: int) -> dict[str, object]:
    return {"Type": "INSTANCE_COUNT", "Value": value}


def test_without_a_configuration_all_traffic_moves_at_once() -> None:
    assert plan(None, 2) == Plan(shares=(1.0,), wait_s=0, stay_s=0, maximum_s=None, alarms=())


@pytest.mark.parametrize(
    ("config", "instances", "shares"),
    [
        (blue_green("ALL_AT_ONCE"), 2, (1.0,)),
        (blue_green("CANARY", CanarySize=percent(10)), 2, (0.1, 1.0)),
        (blue_green("CANARY", CanarySize=count(1)), 4, (0.25, 1.0)),
        (blue_green("LINEAR", LinearStepSize=percent(30)), 2, (0.3, 0.6, 0.9, 1.0)),
        (blue_green("LINEAR", LinearStepSize=count(1)), 3, pytest.approx((1 / 3, 2 / 3, 1.0))),
        (blue_green("LINEAR", LinearStepSize=percent(50)), 2, (0.5, 1.0)),
    ],
)
def test_shares_of_blue_green_deployments(config: dict[str, object], instances: int, shares: object) -> None:
    made = plan(config, instances)
    assert made.shares == shares
    assert (made.wait_s, made.stay_s, made.maximum_s, made.alarms) == (600, 120, 3600, ("late", "errors"))


def test_a_rolling_deployment_goes_back_in_batches_of_its_own() -> None:
    policy = {
        "MaximumBatchSize": percent(25),
        "RollbackMaximumBatchSize": percent(50),
        "WaitIntervalInSeconds": 300,
        "MaximumExecutionTimeoutInSeconds": 1800,
    }
    made = plan({"RollingUpdatePolicy": policy}, 4)
    assert made.rolling
    assert made.shares == (0.25, 0.5, 0.75, 1.0)
    assert made.rollback_shares == (0.5, 0.0)
    assert plan({"RollingUpdatePolicy": policy | {"RollbackMaximumBatchSize": percent(100)}}, 4).rollback_shares == (
        0.0,
    )


def test_ten_declared_minutes_are_ten_seconds_at_a_scale_of_sixty() -> None:
    assert Clock(60).real(600) == 10
