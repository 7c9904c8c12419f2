"""Plans, policies and dashboards: values in, plain arguments out."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import (
    Alarm,
    AllAtOnce,
    Canary,
    Capture,
    Scaling,
    SpecError,
    Variant,
    alarm_plan,
    bucket_plan,
    names,
    plan,
    policies,
    scaling_plan,
    widgets,
)
from infra.endpoint_spec import EndpointSpec
from infra.names import Artifact
from infra.policies import Contents

HOME = policies.Home("aws", "eu-central-1", "123456789012")
MODEL = SimpleNamespace(model_name="m-1")
SPEC = EndpointSpec(
    "demand",
    "p-s-demand",
    variants=(
        Variant(
            "a", MODEL, weight=3, instance="ml.c6i.2xlarge", instances=2, startup_timeout_s=60, download_timeout_s=90
        ),
        Variant("b", MODEL, weight=0, instance="ml.c6i.large", instances=2),
    ),
    alarms=(Alarm.p95_latency(above_ms=0.1), Alarm.cpu(above_percent=80), Alarm.silence(variant="b")),
)


def watch(name: str) -> dict[str, object]:
    (found,) = [one for one in alarm_plan.watches(SPEC) if one.name == name]
    return alarm_plan.alarm(SPEC, found, config_name="c-1", tags={})


def test_a_weight_of_zero_reaches_the_configuration() -> None:
    variants = plan.endpoint_config(SPEC, capture_uri=None, tags={})["production_variants"]
    assert [one["initial_variant_weight"] for one in variants] == [3, 0]


def test_timeouts_are_rendered_only_where_given() -> None:
    first, second = plan.endpoint_config(SPEC, capture_uri=None, tags={})["production_variants"]
    assert first["container_startup_health_check_timeout_in_seconds"] == 60
    assert first["model_data_download_timeout_in_seconds"] == 90
    assert not [key for key in second if "timeout" in key]


def test_milliseconds_become_microseconds_once() -> None:
    assert watch("a-p95-latency")["threshold"] == 100
    assert watch("a-p95-latency")["extended_statistic"] == "p95"
    assert "statistic" not in watch("a-p95-latency")


def test_processor_percent_adds_up_over_the_cores_of_the_variants_instance() -> None:
    assert [watch(f"{name}-cpu")["threshold"] for name in "ab"] == [640, 160]


def test_an_endpoint_fallen_silent_counts_minutes_without_data() -> None:
    alarm = watch("b-silence")
    assert (alarm["comparison_operator"], alarm["treat_missing_data"]) == ("LessThanThreshold", "breaching")


def test_an_alarm_for_one_variant_watches_that_one() -> None:
    assert sorted(one.name for one in alarm_plan.watches(SPEC)) == [
        "a-cpu",
        "a-p95-latency",
        "a-p95-latency-rollback",
        "b-cpu",
        "b-p95-latency",
        "b-p95-latency-rollback",
        "b-silence",
    ]


@given(st.integers(1, 50), st.integers(0, 40), st.integers(0, 5))
def test_a_canary_is_never_longer_than_its_limit(percent: int, bake: int, keep: int) -> None:
    policy = plan.deployment(Canary(percent, bake, keep_old_minutes=keep), 2)["blue_green_update_policy"]
    waits = policy["traffic_routing_configuration"]["wait_interval_in_seconds"] + policy["termination_wait_in_seconds"]
    assert waits == (bake + keep) * 60
    assert waits < policy["maximum_execution_timeout_in_seconds"] <= 14_400
    assert policy["maximum_execution_timeout_in_seconds"] >= 600


def test_all_at_once_bakes_before_the_old_fleet_goes() -> None:
    policy = plan.deployment(AllAtOnce(20, maximum_minutes=60), 1)["blue_green_update_policy"]
    assert policy == {
        "traffic_routing_configuration": {"type": "ALL_AT_ONCE", "wait_interval_in_seconds": 0},
        "termination_wait_in_seconds": 1200,
        "maximum_execution_timeout_in_seconds": 3600,
    }


def test_capture_keeps_both_directions_with_the_same_content_types() -> None:
    spec = EndpointSpec("e", "p-s-e", variants=SPEC.variants, capture=Capture(0, 3))
    capture = plan.endpoint_config(spec, capture_uri="s3://b/capture", tags={})["data_capture_config"]
    assert [one["capture_mode"] for one in capture["capture_options"]] == ["Input", "Output"]
    assert capture["initial_sampling_percentage"] == 0
    assert bucket_plan.expiry("x", ["capture"], 3)["rules"][0]["expiration"] == {"days": 3}


def test_scaling_counts_what_one_instance_serves_in_a_minute() -> None:
    policy = scaling_plan.policy(Scaling(1, 2, 6_000), "e")["target_tracking_scaling_policy_configuration"]
    assert policy["target_value"] == 6_000
    assert (
        scaling_plan.target("e", "v", Scaling(1, 2, 3), {}, serverless=False)["resource_id"] == "endpoint/e/variant/v"
    )


def statements(text: str) -> dict[str, dict[str, object]]:
    return {one["Sid"]: one for one in json.loads(text)["Statement"]}


def test_a_model_may_read_the_versions_of_its_own_artifact_and_no_more() -> None:
    uri = f"s3://bucket/models/champion/{'a' * 64}/model.tar.gz"
    found = statements(policies.model(HOME, [Contents("sagestage-inference:local", uri)]))
    assert found["ReadArtifact"]["Resource"] == "arn:aws:s3:::bucket/models/champion/*/model.tar.gz"
    assert "PullImage" not in found


def test_a_model_may_pull_its_own_image_wherever_it_lives() -> None:
    image = "111122223333.dkr.ecr.us-east-1.amazonaws.com/team/serving@sha256:abc"
    found = statements(policies.model(HOME, [Contents(image, None)]))
    assert found["PullImage"]["Resource"] == "arn:aws:ecr:us-east-1:111122223333:repository/team/serving"


def test_everything_is_allowed_on_nothing_but_where_aws_knows_no_resources() -> None:
    image = "111122223333.dkr.ecr.us-east-1.amazonaws.com/serving:1"
    found = statements(policies.model(HOME, [Contents(image, None)]))
    assert {sid for sid, one in found.items() if one["Resource"] == "*"} == {"WriteMetrics", "LogInToRegistry"}


def test_an_endpoint_may_see_its_own_alarms_and_write_its_own_records() -> None:
    found = statements(policies.endpoint(HOME, policies.Uses("e", capture="b")))
    assert found["WatchRollbackAlarms"]["Resource"] == "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:e-*"
    assert found["WriteCapturedRecords"]["Resource"] == "arn:aws:s3:::b/capture/e/*"


def test_a_role_is_assumed_by_sagemaker_for_this_account_alone() -> None:
    (statement,) = json.loads(policies.trust(HOME))["Statement"]
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_a_dashboard_shows_every_variant_and_alarm_on_a_grid_of_24() -> None:
    shown = json.loads(widgets.body(SPEC, HOME))["widgets"]
    assert all(one["x"] + one["width"] <= 24 for one in shown)
    assert len({(one["x"], one["y"]) for one in shown}) == len(shown)
    graphs = [one["properties"] for one in shown if one["type"] == "metric"]
    seen = {(line[1], line[5]) for graph in graphs for line in graph["metrics"]}
    assert {variant for _, variant in seen} == {"a", "b"}
    for metric in ("ModelLatency", "OverheadLatency", "Invocations", "Invocation5XXErrors", "CPUUtilization"):
        assert {(metric, "a"), (metric, "b")} <= seen
    (alarms,) = [one["properties"]["alarms"] for one in shown if one["type"] == "alarm"]
    assert f"{HOME.arn('cloudwatch', 'alarm')}:p-s-demand-b-silence" in alarms


def test_every_widget_has_the_form_that_cloudwatch_documents() -> None:
    scaling = Scaling(1, 4, 600)
    variants = (
        Variant("a", MODEL, instance="ml.g5.xlarge", scaling=scaling),
        Variant("b", MODEL, instance="ml.c6i.large"),
    )
    spec = EndpointSpec("e", "p-s-e", variants=variants, capture=Capture(5, 3))
    shown = json.loads(widgets.body(spec, HOME))["widgets"]
    for one in shown:
        assert set(one) == {"type", "x", "y", "width", "height", "properties"}
        assert one["type"] in {"metric", "text", "alarm"}
    graphs = {one["properties"]["title"]: one["properties"] for one in shown if one["type"] == "metric"}
    for graph in graphs.values():
        assert graph["region"] == HOME.region
        for *words, options in graph["metrics"]:
            assert len(words) >= 4
            assert len(words) % 2 == 0, "namespace and metric, then pairs of dimensions"
            assert set(options) <= {"stat", "label", "yAxis"}
    instances = graphs["Instances, and what was declared"]
    bounds = {one["label"]: one["value"] for one in instances["annotations"]["horizontal"]}
    assert bounds == {"a minimum": 1, "a maximum": 4, "b declared": 1, "a target": 600}
    assert {line[5] for line in graphs["GPUs (100 percent each)"]["metrics"]} == {"a"}
    assert graphs["Requests per minute, and how they split"]["stacked"]
    (text,) = [one["properties"]["markdown"] for one in shown if one["type"] == "text"]
    assert "a: 1 to 4 x ml.g5.xlarge, 720 to 2880 instance hours in 30 days" in text


@pytest.mark.parametrize(
    ("image", "mutable"),
    [
        ("a/b", True),
        ("a/b:latest", True),
        ("host:5000/b", True),
        ("a/b:1.2", False),
        ("a/b@sha256:ff", False),
        (object(), False),
    ],
)
def test_a_movable_image_name_is_known(image: object, *, mutable: bool) -> None:
    assert names.is_mutable(image) is mutable


def test_an_artifacts_address_says_bucket_key_and_digest() -> None:
    digest = "0123456789abcdef" * 4
    found = names.artifact(f"s3://bucket/models/m/{digest}/model.tar.gz")
    assert found == Artifact("bucket", f"models/m/{digest}/model.tar.gz", digest)
    with pytest.raises(SpecError):
        names.artifact(f"s3://bucket/models/m/{digest.upper()}/model.tar.gz")
