"""What a monitor refuses, and what it is rendered as."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from inference.contract import metrics as published
from infra import Alarm, Capture, Endpoint, Model, Monitor, Quality, Retraining, SpecError, Variant, monitor_plan
from infra.monitor_spec import EVERY_HOURS, MonitorSpec, evaluations, fit_problem

ARTIFACT = f"s3://artifacts/models/champion/{'c' * 64}/model.tar.gz"
Deploy = Callable[..., Any]


def spec(**more: Any) -> MonitorSpec:
    given = {"image": "sagestage-training:1", "artifacts": {"champion": ARTIFACT}, "capture_percent": 20}
    return MonitorSpec("watch", "sagestage-local-watch", "sagestage-local-demand", **{**given, "keep_days": 30, **more})


REGRESSION = Quality("s3://labels/demand", r2_below=0.7)
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"capture_percent": None}, "captures nothing: give the endpoint capture=Capture"),
    ({"capture_percent": 0}, "captures 0 % of its traffic"),
    ({"artifacts": {}}, "there is no baseline to compare with"),
    ({"artifacts": {"a": "s3://b/latest/model.tar.gz"}}, "must have the sha256"),
    ({"every_hours": 5}, "every_hours must be one of 1, 2, 3, 4, 6, 8, 12, 24, got 5"),
    ({"drift_minutes": 90}, "drift_minutes must be at most the schedule's period of 60 minutes or a multiple of it"),
    ({"silent_minutes": 60}, "silent_minutes must be at least two periods of the schedule, 120, got 60"),
    ({"silent_minutes": 150}, "silent_minutes must be at most the schedule's period of 60 minutes or a multiple"),
    ({"max_minutes": 61}, "max_minutes must be at most the schedule's period, 60, got 61"),
    ({"instance": "ml.huge"}, "instance"),
    ({"drift_above": -1}, "an index is never negative"),
    ({"every_hours": 12, "quality": Quality("s3://l/x", r2_below=0.7, minutes=1000), "silent_minutes": None},
     "quality: minutes must be at most the schedule's period of 720 minutes"),
    ({"quality": Quality("s3://l/x", r2_below=0.7, labels_after_hours=24 * 30)}, "they would be gone"),
    ({"retraining": Retraining("s3://new/rows", "group", hyperparameters={"target": "y"}, variant="other")},
     "there is no variant 'other', only champion"),
    ({"retraining": Retraining("s3://new/rows", "group", hyperparameters={"target": "y"}, on=["quality"])},
     "on quality could never start it"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "reason"), REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_what_cannot_be_is_refused_with_its_reason(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(**more)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Quality("s3://l/x"), "it needs either accuracy_below"),
        (lambda: Quality("s3://l/x", accuracy_below=1.5), "accuracy_below must be above 0 and at most 1"),
        (lambda: Quality("labels/demand", r2_below=0.5), "ground_truth must be s3://"),
        (lambda: Retraining("rows.csv", "g", hyperparameters={"target": "y"}), "data must be s3://"),
        (lambda: Retraining("s3://new/rows", "g", hyperparameters={}), "hyperparameters must have a target"),
        (
            lambda: Retraining("s3://new/rows", "g", hyperparameters={"target": "y", "champion": "s3://x"}),
            "champion is given by the retraining itself",
        ),
    ],
)
def test_parts_of_a_monitor_refuse_what_cannot_be(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert reason in str(caught.value)


def test_alarms_and_schedule_fit_each_other_for_every_period() -> None:
    for hours in EVERY_HOURS:
        made = spec(every_hours=hours, silent_minutes=hours * 120, quality=REGRESSION)
        for rule in monitor_plan.rules(made):
            if rule.kind == monitor_plan.DISK:
                continue
            assert rule.period_s == hours * 3600, "a value comes once a period"
            assert rule.period_s * rule.evaluations <= 7 * 86_400
    assert fit_problem("minutes", 10, 1) is None
    assert evaluations(10, 1) == 1
    assert evaluations(180, 1) == 3


def test_the_drift_alarm_counts_the_index_only_where_it_is_more_than_chance() -> None:
    made = spec(quality=Quality("s3://labels/demand", accuracy_below=0.85))
    by_kind = {rule.kind: rule for rule in monitor_plan.rules(made)}
    drift = monitor_plan.alarm(made, by_kind["drift"], notify=["arn:topic"], tags={})
    assert drift["threshold"] == 0.3
    assert [query.get("expression") for query in drift["metric_queries"]] == [None, None, "IF(columns > 0, drift, 0)"]
    assert drift["tags"]["sagestage:severity"] == "critical"
    assert "DriftedColumns above 0" in drift["alarm_description"]
    accuracy = monitor_plan.alarm(made, by_kind["quality"], notify=[], tags={})
    assert (accuracy["metric_name"], accuracy["threshold"]) == ("Accuracy", 0.85)
    assert (accuracy["comparison_operator"], accuracy["treat_missing_data"]) == ("LessThanThreshold", "ignore")
    assert accuracy["tags"]["sagestage:severity"] == "critical"
    silent = monitor_plan.alarm(made, by_kind["records-silent"], notify=[], tags={})
    assert (silent["treat_missing_data"], silent["evaluation_periods"], silent["period"]) == ("breaching", 2, 3600)


def test_the_names_of_the_metrics_are_those_that_the_job_publishes() -> None:
    names = {monitor_plan.FEATURE_DRIFT, monitor_plan.DRIFTED_COLUMNS, monitor_plan.ACCURACY, monitor_plan.R2}
    assert names | {monitor_plan.RECORDS_READ} <= {str(name) for name in published.Monitored}
    assert monitor_plan.NAMESPACE == published.NAMESPACE


def program(**more: Any) -> Callable[[], object]:
    def declare() -> object:
        config = pulumi.Config()
        model = Model("champion", image=config.require("image"), artifact=config.require("champion"))
        demand = Endpoint(
            "demand",
            variants=[Variant("champion", model, instances=2, instance="ml.c6i.xlarge")],
            capture=Capture(percent=20, keep_days=30),
            alarms=[Alarm.server_errors(above_percent=1)],
        )
        return Monitor("watch", demand, image="sagestage-training:1", **more)

    return declare


def test_a_monitor_is_a_schedule_a_definition_a_role_and_alarms(deploy: Deploy) -> None:
    made = deploy(program(quality=REGRESSION, kms_key=f"arn:aws:kms:us-east-1:123456789012:key/{'a' * 8}"))
    by_type: dict[str, list[dict[str, Any]]] = {}
    for one in made.registered.values():
        if "Monitor$" in one["parent"] or one["parent"].endswith("Monitor::watch"):
            by_type.setdefault(one["type"].rpartition(":")[2], []).append(one["inputs"])
    (definition,) = by_type["DataQualityJobDefinition"]
    environment = definition["dataQualityAppSpecification"]["environment"]
    assert json.loads(environment["SAGESTAGE_BASELINES"]) == {"champion": ARTIFACT}
    assert environment["SAGESTAGE_GROUND_TRUTH"] == "s3://labels/demand"
    assert definition["dataQualityJobOutputConfig"]["kmsKeyId"].startswith("arn:aws:kms")
    assert definition["jobResources"]["clusterConfig"]["volumeKmsKeyId"].startswith("arn:aws:kms")
    (schedule,) = by_type["MonitoringSchedule"]
    assert schedule["monitoringScheduleConfig"]["scheduleConfig"] == {"scheduleExpression": "cron(0 * ? * * *)"}
    assert len(by_type["MetricAlarm"]) == 4
    (policy,) = by_type["RolePolicy"]
    statements = {one["Sid"]: one for one in json.loads(policy["policy"])["Statement"]}
    assert statements["WriteMetrics"]["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": ["Sagestage/Model", "/aws/sagemaker/ProcessingJobs"]}
    }
    assert all(one["Resource"] != "*" for sid, one in statements.items() if sid != "WriteMetrics")
    assert any("labels/demand*" in resource for resource in statements["ReadRecords"]["Resource"])


def test_a_retraining_trains_on_the_newest_data_against_the_champion_and_releases(deploy: Deploy) -> None:
    wish = Retraining(
        "s3://newest/rows", "forecasts", hyperparameters={"target": "demand", "order": ["when"]}, rollout="canary"
    )
    made = deploy(program(retraining=wish))
    inputs = {one["type"].rpartition(":")[2]: one["inputs"] for one in made.registered.values()}
    definition = json.loads(inputs["Pipeline"]["pipelineDefinition"])
    train, release = (step["Arguments"] for step in definition["Steps"])
    assert train["HyperParameters"] == {"target": "demand", "order": "when", "champion": ARTIFACT}
    assert train["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://newest/rows"
    assert release["AppSpecification"]["ContainerArguments"] == ["release"]
    assert release["Environment"]["SAGESTAGE_MODEL"] == {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}
    assert release["Environment"]["SAGESTAGE_ENDPOINT"] == "sagestage-local-demand"
    pattern = json.loads(inputs["EventRule"]["eventPattern"])
    assert pattern["detail"] == {
        "alarmName": ["sagestage-local-watch-champion-drift"], "state": {"value": ["ALARM"]}
    }  # fmt: skip
    assert inputs["EventTarget"]["arn"].startswith("arn:")
