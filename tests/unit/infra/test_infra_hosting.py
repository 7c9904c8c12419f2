"""Serverless, asynchronous and shadow hosting, deployments, scaling, networks: what is refused, and why."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from infra import (
    Alarm,
    AllAtOnce,
    Async,
    Canary,
    Capture,
    Composite,
    Container,
    Linear,
    Network,
    Rolling,
    Scaling,
    Schedule,
    Serverless,
    SpecError,
    Variant,
    alarm_plan,
    plan,
    scaling_plan,
)
from infra.endpoint_spec import EndpointSpec
from infra.model_spec import ModelSpec

MODEL = SimpleNamespace(model_name="m")
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
URI = f"s3://bucket/models/m/{'a' * 64}/model.tar.gz"


def variant(name: str = "main", **changes: Any) -> Variant:
    return Variant(name, MODEL, **{"instance": "ml.c6i.xlarge", "instances": 2, **changes})


def serverless(**changes: Any) -> Variant:
    return Variant("main", MODEL, **{"serverless": Serverless(2048, 10), **changes})


def endpoint(*variants: Variant, **changes: Any) -> EndpointSpec:
    return EndpointSpec("e", **{"physical_name": "p-s-e", "variants": variants or (variant(),), **changes})


def model(**changes: Any) -> ModelSpec:
    whole = {"name": "m", "image": "image:1", "artifact": URI, "environment": {}}
    return ModelSpec(**{**whole, **changes})


def of(**changes: Any) -> Any:
    """What a variant knows of a model that is made so."""
    return SimpleNamespace(model_name="m", spec=model(**changes))


PIPELINE = {
    "image": None,
    "artifact": None,
    "containers": (Container("a", image="image:1", artifact=URI), Container("b", image="image:1", artifact=URI)),
}


def said_by(make: Callable[[], object]) -> str:
    with pytest.raises(SpecError) as caught:
        make()
    return str(caught.value)


def queue_variant(scaling: Scaling | None = None) -> Variant:
    return variant(instances=None, scaling=scaling)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Variant("a", MODEL), "either an instance type or serverless, got neither"),
        (lambda: variant(serverless=Serverless(1024, 1)), "got both instance='ml.c6i.xlarge' and serverless"),
        (lambda: Serverless(1500, 1), "memory_mb must be a multiple of 1024, got 1500"),
        (lambda: Serverless(7168, 1), "memory_mb must be at most 6144, got 7168"),
        (lambda: Serverless(1024, 201), "concurrency must be at most 200, got 201"),
        (lambda: Serverless(1024, 5, provisioned=6), "provisioned must be at most concurrency, got 6 > 5"),
        (lambda: serverless(instances=2), "instances is of no use to a serverless variant, got 2"),
        (lambda: serverless(scaling=Scaling(1, 2, 10)), "scales its provisioned concurrency, and has none"),
        (
            lambda: serverless(serverless=Serverless(1024, 9, provisioned=2), scaling=Scaling(1, 2, 10)),
            "scales on provisioned_utilisation, got invocations_per_minute",
        ),
        (lambda: variant(scaling=Scaling(2, 3, provisioned_utilisation=0.5)), "is for serverless variants"),
        (lambda: endpoint(serverless(), capture=Capture(1, 1)), "a serverless endpoint takes no capture"),
        (lambda: endpoint(serverless(), kms_key=KEY), "a serverless endpoint takes no kms_key"),
        (lambda: endpoint(serverless(), asynchronous=Async()), "a serverless endpoint takes no asynchronous"),
        (lambda: endpoint(serverless(), shadow=variant("s")), "a serverless endpoint takes no shadow"),
        (lambda: endpoint(serverless(), variant("b")), "a serverless endpoint has one variant, got 2"),
        (lambda: endpoint(serverless(), deploy=Canary(10, 10)), "deploy=Canary has no effect"),
        (
            lambda: endpoint(serverless(), alarms=(Alarm.cpu(above_percent=80),)),
            "serverless endpoints publish no CPUUtilization",
        ),
        (
            lambda: endpoint(Variant("main", of(network=Network(isolated=True)), serverless=Serverless(1024, 1))),
            "its model has network isolation: serverless takes none",
        ),
        (
            lambda: endpoint(Variant("main", of(**PIPELINE), serverless=Serverless(1024, 1))),
            "its model has several containers: serverless takes none",
        ),
    ],
)
def test_serverless_hosting_refuses_what_sagemaker_refuses_or_ignores(make: Callable[[], object], said: str) -> None:
    assert said in said_by(make)


def test_a_serverless_endpoint_has_no_deployment_block_and_no_rollback_alarm() -> None:
    spec = endpoint(serverless())
    assert "deployment_config" not in plan.endpoint(spec, config_name="c", alarm_names=[], tags={})
    assert [watch.name for watch in alarm_plan.watches(spec)] == ["main-5xx-rate"]
    (made,) = plan.endpoint_config(spec, tags={})["production_variants"]
    assert made["serverless_config"] == {"memory_size_in_mb": 2048, "max_concurrency": 10}
    assert "instance_type" not in made


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Async(concurrency=1001), "concurrency must be at most 1000, got 1001"),
        (lambda: Async(keep_days=0), "keep_days must be at least 1, got 0"),
        (lambda: Async(success_topic="topic"), "success_topic must match"),
        (lambda: Async(include_response=["error"]), "there is no error_topic that would carry it"),
        (lambda: Async(include_response=["both"]), "must name success or error, got 'both'"),
        (lambda: Async(kms_key="mine"), "kms_key must be the ARN of a KMS key"),
        (
            lambda: endpoint(asynchronous=Async(), alarms=(Alarm.silence(),)),
            "'silence' could not fire: asynchronous endpoints publish no Invocations",
        ),
        (
            lambda: endpoint(asynchronous=Async(), alarms=(Alarm.overhead_latency(above_ms=10),)),
            "publish no OverheadLatency",
        ),
        (lambda: endpoint(alarms=(Alarm.backlog(above=5),)), "endpoints publish no ApproximateBacklogSizePerInstance"),
        (
            lambda: endpoint(asynchronous=Async(), alarms=(Alarm.backlog(above=5, variant="main"),)),
            "has no VariantName, got variant='main'",
        ),
        (lambda: Alarm.backlog(above=5, rolls_back=True), "it cannot roll back"),
        (
            lambda: endpoint(queue_variant(Scaling(1, 2, 60)), asynchronous=Async()),
            "scales on invocations_per_minute, which asynchronous endpoints do not publish",
        ),
        (lambda: endpoint(queue_variant(Scaling(1, 2, backlog_per_instance=5))), "which only asynchronous endpoints"),
    ],
)
def test_asynchronous_hosting_refuses_what_could_not_work(make: Callable[[], object], said: str) -> None:
    assert said in said_by(make)


def test_an_asynchronous_endpoint_may_sleep_at_zero_and_is_woken_by_an_alarm() -> None:
    scaling = Scaling(0, 4, backlog_per_instance=5)
    spec = endpoint(queue_variant(scaling), asynchronous=Async(success_topic=TOPIC, include_response=["success"]))
    assert scaling_plan.wakes(scaling)
    assert not scaling_plan.wakes(Scaling(1, 4, backlog_per_instance=5))
    assert scaling_plan.target("e", "main", scaling, {}, serverless=False)["min_capacity"] == 0
    assert plan.endpoint_config(spec, async_uri=str, tags={})["production_variants"][0]["initial_instance_count"] == 1
    output = plan.endpoint_config(spec, async_uri=str, tags={})["async_inference_config"]["output_config"]
    assert output["notification_config"] == {
        "success_topic": TOPIC,
        "include_inference_response_ins": ["SUCCESS_NOTIFICATION_TOPIC"],
    }
    alarm = scaling_plan.wake_alarm("e", "main", "arn", {})
    assert (alarm["metric_name"], alarm["alarm_actions"]) == ("HasBacklogWithoutCapacity", ["arn"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shadow": variant("main")}, "variant names must be unique, got 'main' 2 times"),
        ({"shadow": variant("s", weight=2)}, "weight must be at most its variant's, 1, got 2"),
        ({"shadow": Variant("s", MODEL, serverless=Serverless(1024, 1))}, "a shadow runs on instances"),
        ({"shadow": variant("s", scaling=Scaling(2, 3, 10))}, "a shadow keeps its number of instances"),
        ({"shadow": variant("s"), "variants": (variant("a"), variant("b"))}, "exactly one production variant, got 2"),
        ({"shadow": variant("s"), "asynchronous": Async()}, "shadow and asynchronous exclude each other"),
        (
            {"shadow": Variant("s", of(artifact="s3://b/many/", multi_model=True), instance="ml.m5.large")},
            "exclude variant 's': its model is a multi-model one",
        ),
        (
            {"shadow": variant("s"), "variants": (Variant("a", of(**PIPELINE), instance="ml.m5.large", instances=2),)},
            "exclude variant 'a': its model has several containers",
        ),
        ({"shadow": variant("s", instance="ml.inf1.xlarge")}, "exclude variant 's': it runs on ml.inf1.xlarge"),
    ],
)
def test_a_shadow_stands_beside_exactly_one_variant(changes: dict[str, Any], said: str) -> None:
    assert said in said_by(lambda: endpoint(**changes))


def test_a_shadow_is_rendered_beside_the_variant_and_can_be_watched() -> None:
    spec = endpoint(
        shadow=variant("next"), alarms=(Alarm.p95_latency(variant="next"), Alarm.server_errors(above_percent=1))
    )
    config = plan.endpoint_config(spec, tags={})
    assert [one["variant_name"] for one in config["shadow_production_variants"]] == ["next"]
    assert "next-p95-latency" in [watch.name for watch in alarm_plan.watches(spec)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Canary, "either percent or instances, got percent=None and instances=None"),
        (lambda: Canary(10, 10, instances=1), "got percent=10 and instances=1"),
        (lambda: Linear(9, 5), "percent must be at least 10, got 9"),
        (lambda: Linear(51, 5), "percent must be at most 50, got 51"),
        (
            lambda: Linear(10, 5),
            "9 waits of bake_minutes, between 10 steps, + keep_old_minutes must be at most 45, got 50",
        ),
        (lambda: Linear(25, 10, maximum_minutes=35), "maximum_minutes must be above the sum of the waits, 35, got 35"),
        (lambda: Rolling(4, 2), "percent must be at least 5, got 4"),
        (lambda: Rolling(10, 5), "10 batches of bake_minutes must be at most 45, got 50"),
        (lambda: Rolling(50, 5, rollback_percent=0), "rollback_percent must lie between 1 and 100, got 0"),
        (lambda: endpoint(variant(instances=3), deploy=Canary(instances=2)), "has 3 instances, of which a step"),
        (
            lambda: endpoint(variant(instances=1), deploy=Linear(50, 10)),
            "at least 2 instances for a linear update, got 1",
        ),
        (
            lambda: endpoint(variant(instances=4, scaling=Scaling(1, 9, 10)), deploy=Canary(10, 10)),
            "at least 2 instances for a canary update, got 1",
        ),
        (
            lambda: endpoint(variant("a"), variant("b"), deploy=Rolling(50, 10)),
            "a rolling update takes one variant, got 2",
        ),
        (
            lambda: endpoint(deploy=Linear(50, 6), alarms=(Alarm.p95_latency(minutes=4),)),
            "its minutes must be fewer than bake_minutes - 2 = 4, got 4",
        ),
        (
            lambda: endpoint(variant(instances=6), deploy=Linear(instances=1, bake_minutes=10)),
            "the waits of 6 steps of 1, for 6 instances, must be at most 45, got 55",
        ),
        (
            lambda: endpoint(variant(scaling=Scaling(2, 20, 10)), deploy=Rolling(instances=1, bake_minutes=8)),
            "the waits of 20 steps of 1, for 20 instances, must be at most 45, got 160",
        ),
        (
            lambda: endpoint(variant(instances=4), deploy=Rolling(instances=2, bake_minutes=8, maximum_minutes=16)),
            "maximum_minutes must be above the sum of the waits, 16, got 16",
        ),
        (lambda: endpoint(variant(instance="ml.inf1.xlarge"), deploy=AllAtOnce()), "whatever deploy= says"),
    ],
)
def test_a_deployment_that_could_not_be_carried_out_is_refused(make: Callable[[], object], said: str) -> None:
    assert said in said_by(make)


def test_each_kind_of_deployment_is_rendered_in_the_words_of_the_api() -> None:
    linear = plan.deployment(Linear(25, 10), 4)["blue_green_update_policy"]
    assert linear["traffic_routing_configuration"] == {
        "type": "LINEAR",
        "linear_step_size": {"type": "CAPACITY_PERCENT", "value": 25},
        "wait_interval_in_seconds": 600,
    }
    assert linear["maximum_execution_timeout_in_seconds"] == (3 * 10 + 5 + 30) * 60
    assert plan.deployment(Rolling(instances=1, bake_minutes=2, rollback_percent=50), 4) == {
        "rolling_update_policy": {
            "maximum_batch_size": {"type": "INSTANCE_COUNT", "value": 1},
            "rollback_maximum_batch_size": {"type": "CAPACITY_PERCENT", "value": 50},
            "wait_interval_in_seconds": 120,
            "maximum_execution_timeout_in_seconds": (4 * 2 + 30) * 60,
        }
    }
    canary = plan.deployment(Canary(instances=1), 2)["blue_green_update_policy"]["traffic_routing_configuration"]
    assert canary["canary_size"] == {"type": "INSTANCE_COUNT", "value": 1}


@pytest.mark.parametrize("deploy", [None, AllAtOnce(), Canary(10, 10), Linear(50, 10), Rolling(50, 10)])
def test_the_rollback_block_is_always_there(deploy: Any) -> None:
    args = plan.endpoint(endpoint(deploy=deploy), config_name="c", alarm_names=["a"], tags={})
    assert args["deployment_config"]["auto_rollback_configuration"] == {"alarms": [{"alarm_name": "a"}]}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Scaling(1, 2), "got none: nothing would scale"),
        (lambda: Scaling(1, 2, 10, concurrent_requests=3), "got invocations_per_minute=10 and concurrent_requests=3"),
        (lambda: Scaling(0, 0, backlog_per_instance=1), "maximum must be at least 1, got 0"),
        (lambda: Scaling(1, 2, provisioned_utilisation=70), "provisioned_utilisation must be at most 1, got 70"),
        (lambda: Scaling(1, 2, schedule=[Schedule("a", "rate(1 day)", minimum=0)]), "schedule 'a': minimum must be at"),
        (lambda: Schedule("a/b", "rate(1 day)", minimum=1), "name must match"),
        (lambda: Schedule("a", "cron(0 7 * * * *)", minimum=1), "? for either the day or the weekday"),
        (lambda: Schedule("a", "every day", minimum=1), "when must be cron("),
        (lambda: Schedule("a", "rate(1 days)", minimum=1), "when must be"),
        (lambda: Schedule("a", "rate(1 day)", minimum=1, timezone="Bonn"), "timezone must be one of the IANA's"),
        (lambda: Schedule("a", "cron(60 7 ? * MON *)", minimum=1), "minutes must lie within 0 to 59, got '60'"),
        (lambda: Schedule("a", "cron(0 7 ? * MON-XXX *)", minimum=1), "weekday must lie within 1 to 7, got 'MON-XXX'"),
        (lambda: Schedule("a", "cron(0/0 7 ? * 2 *)", minimum=1), "minutes must lie within 0 to 59, got '0/0'"),
        (lambda: Schedule("a", "cron(0 7 32 * ? *)", minimum=1), "day must lie within 1 to 31, got '32'"),
        (lambda: Schedule("a", "cron(0 7 1 JAN ? 1800)", minimum=1), "year must lie within 1970 to 2199, got '1800'"),
        (lambda: Schedule("a", "at(2026-02-30T06:00:00)", minimum=1), "when must be a date that there is"),
        (
            lambda: endpoint(variant(instance="ml.t2.large", scaling=Scaling(2, 3, 10))),
            "ml.t2.large is burstable: it cannot",
        ),
        (lambda: Schedule("a", "rate(1 day)"), "it needs minimum, maximum or both"),
        (lambda: Schedule("a", "rate(1 day)", minimum=3, maximum=2), "minimum must be at most maximum, got 3 > 2"),
        (lambda: Scaling.from_capacity(1, 2, requests_per_second=0), "requests_per_second must be above 0, got 0"),
        (lambda: Scaling.from_capacity(1, 2, requests_per_second=9, safety=2), "safety must be at most 1, got 2"),
    ],
)
def test_scaling_that_could_not_work_is_refused(make: Callable[[], object], said: str) -> None:
    assert said in said_by(make)


@pytest.mark.parametrize(
    "when",
    [
        "cron(0/15 7-19 ? * MON-FRI *)",
        "cron(0,30 */2 L * ? 2026-2030)",
        "cron(0 6 15W JAN,JUL ? *)",
        "cron(0 6 ? * 6L *)",
        "cron(0 6 ? 1-6/2 2#1 *)",
        "at(2028-02-29T06:00:00)",
        "rate(12 hours)",
    ],
)
def test_every_documented_form_of_a_time_is_taken(when: str) -> None:
    assert Schedule("a", when, minimum=1).when == when


def test_capacity_becomes_a_target_by_awss_own_arithmetic() -> None:
    assert Scaling.from_capacity(2, 10, requests_per_second=40).invocations_per_minute == 40 * 0.5 * 60
    assert Scaling.from_capacity(2, 10, requests_per_second=40, safety=0.8).invocations_per_minute == 1920


def test_a_schedule_is_enough_to_scale_by() -> None:
    scaling = Scaling(1, 9, schedule=[Schedule("day", "cron(0 7 ? * MON-FRI *)", minimum=4, timezone="Europe/Berlin")])
    assert scaling_plan.policy(scaling, "e") is None
    (one,) = scaling.schedule
    assert scaling_plan.scheduled("e", "v", one)["scalable_target_action"] == {"min_capacity": 4}


def test_concurrency_is_followed_by_the_high_resolution_metric() -> None:
    policy = scaling_plan.policy(Scaling(1, 9, concurrent_requests=4), "e")
    assert policy is not None
    tracking = policy["target_tracking_scaling_policy_configuration"]
    name = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    assert tracking["predefined_metric_specification"] == {"predefined_metric_type": name}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: endpoint(variant(instance="ml.g5.xlarge"), kms_key=KEY), "ml.g5.xlarge of variant 'main' has disks"),
        (lambda: endpoint(kms_key="key"), "kms_key must be the ARN of a KMS key"),
        (lambda: endpoint(kms_key=KEY.replace("key/", "alias/")), "IAM takes no alias there"),
        (lambda: endpoint(notify=(TOPIC,) * 6), "notify: their number must be at most 5, got 6"),
        (lambda: endpoint(notify=("alerts",)), "notify must match"),
        (lambda: endpoint(tags={"aws:x": "y"}), "a key may not begin with aws:"),
        (lambda: endpoint(tags={"a*": "y"}), "tags: a key must match"),
        (lambda: endpoint(tags={str(i): "" for i in range(41)}), "tags: their number must be at most 40, got 41"),
        (lambda: endpoint(alarms=(Alarm.gpu(above_percent=90),)), "ml.c6i.xlarge of variant 'main' has no GPU"),
        (lambda: endpoint(alarms=(Composite("c", any_of=["p95-latency"]),)), "there is no alarm 'p95-latency'"),
        (lambda: Composite("c"), "either any_of or all_of"),
        (
            lambda: endpoint(
                *(variant(f"{i}-{'v' * 50}") for i in range(9)),
                physical_name="p" * 63,
                alarms=(
                    *(Alarm.latency(f"p{i}", above_ms=9, rolls_back=False) for i in range(80, 88)),
                    Composite("c", any_of=[f"p{i}-latency" for i in range(80, 88)]),
                ),
            ),
            "composite 'c': its rule must be at most 10240",
        ),
        (
            lambda: Alarm.custom("a", metric="Own", namespace="N", published_by="a job", above=1, rolls_back=True),
            "it cannot roll back: a job publishes Own without EndpointConfigName",
        ),
        (lambda: Alarm.custom("a", metric="Own", namespace="N", published_by="", above=1), "published_by= must name"),
        (
            lambda: Alarm.custom("a", metric="", namespace=":n", published_by="a job", above=1),
            "metric must have 1 to 255 characters, got 0",
        ),
        (
            lambda: Alarm.custom("a", metric="Own", namespace=":n", published_by="a job", above=1),
            "namespace must not begin with a colon, got ':n'",
        ),
        (
            lambda: Alarm.custom(
                "a", metric="Own", namespace="N", published_by="a job", above=1, dimensions={"Endpoint": ""}
            ),
            "dimensions: Endpoint must have 1 to 1024 characters, got 0",
        ),
        (
            lambda: Alarm.custom(
                "a",
                metric="Own",
                namespace="N",
                published_by="a job",
                above=1,
                dimensions={str(number): "x" for number in range(31)},
            ),
            "dimensions: their number must be at most 30, got 31",
        ),
        (lambda: Alarm.p95_latency(colour="red"), "unknown argument 'colour'"),
    ],
)
def test_an_endpoint_names_what_it_cannot_take(make: Callable[[], object], said: str) -> None:
    assert said in said_by(make)


def test_gpu_bounds_add_up_over_the_gpus_of_the_instance() -> None:
    spec = endpoint(
        variant(instance="ml.g5.12xlarge"), alarms=(Alarm.gpu(above_percent=90), Alarm.gpu_memory(above_percent=80))
    )
    bounds = {
        watch.alarm.metric: alarm_plan.alarm(spec, watch, config_name="c", tags={})["threshold"]
        for watch in alarm_plan.watches(spec)
    }
    assert (bounds["GPUUtilization"], bounds["GPUMemoryUtilization"]) == (360, 320)


def test_an_alarm_that_rolls_back_has_a_standing_twin_and_both_tell_the_topic() -> None:
    spec = endpoint(alarms=(Alarm.p95_latency(),), notify=(TOPIC,))
    made = {
        watch.name: alarm_plan.alarm(spec, watch, config_name="c", notify=[TOPIC], tags={})
        for watch in alarm_plan.watches(spec)
    }
    assert made["main-p95-latency"]["dimensions"] == {"EndpointName": "p-s-e", "VariantName": "main"}
    assert made["main-p95-latency-rollback"]["dimensions"]["EndpointConfigName"] == "c"
    assert all(one["alarm_actions"] == one["ok_actions"] == [TOPIC] for one in made.values())
    assert "no request, nothing slow" in made["main-p95-latency"]["alarm_description"]


def test_who_rolls_back_can_be_said_otherwise() -> None:
    assert not Alarm.p95_latency(rolls_back=False).rolls_back
    assert Alarm.cpu(above_percent=90, rolls_back=True).rolls_back


def test_a_composite_joins_the_standing_alarms_of_every_variant() -> None:
    spec = endpoint(
        variant("a"),
        variant("b"),
        alarms=(
            Alarm.p95_latency(),
            Alarm.disk(variant="a"),
            Composite("sick", all_of=["p95-latency", "disk"], severity="critical"),
        ),
    )
    args = alarm_plan.composite(spec, spec.composites[0], tags={})
    assert (
        args["alarm_rule"] == '(ALARM("p-s-e-a-p95-latency") OR ALARM("p-s-e-b-p95-latency")) AND ALARM("p-s-e-a-disk")'
    )
    assert args["tags"]["sagestage:severity"] == "critical"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Network(["subnet-1"]), "security_groups: their number must be at least 1, got 0"),
        (
            lambda: Network([f"subnet-{i}" for i in range(17)], ["sg-1"]),
            "subnets: their number must be at most 16, got 17",
        ),
        (lambda: Network(["subnet 1"], ["sg-1"]), "subnets must match"),
        (Network, "it says nothing"),
        (lambda: model(artifact="s3://b/models/", multi_model=False), "artifact must have the sha256"),
        (lambda: model(multi_model=True), "must be s3://<bucket>/<prefix>/"),
        (lambda: model(image=None), "image is missing"),
        (lambda: model(artifact=None), "artifact is missing"),
        (lambda: model(package="my-model"), "package must be the ARN of a version"),
        (
            lambda: model(image=None, package="arn:aws:sagemaker:us-east-1:123456789012:model-package/g/3"),
            "package needs role=, or the image and artifact",
        ),
        (lambda: model(execution="Serial"), "execution is for several containers"),
        (lambda: model(permissions_boundary="x"), "must be the ARN of a policy, got 'x'"),
        (
            lambda: model(role="arn:aws:iam::123456789012:role/r", permissions_boundary="arn:aws:iam::aws:policy/p"),
            "role= was given: leave one out",
        ),
        (lambda: model(environment={f"A{i}": "x" * 1024 for i in range(33)}), "must have at most 32768 bytes"),
        (
            lambda: model(
                image=None, artifact=None, containers=(Container("a", image="i:1", artifact=URI, environment={}),)
            ),
            "containers: their number must be at least 2, got 1",
        ),
    ],
)
def test_a_model_names_what_it_cannot_take(make: Callable[[], object], said: str) -> None:
    assert said in said_by(make)


def test_a_pipeline_of_containers_is_rendered_with_its_mode_and_every_digest() -> None:
    parts = tuple(Container(name, image="i:1", artifact=URI, environment={"A": "b"}) for name in ("pre", "main"))
    spec = model(image=None, artifact=None, containers=parts, execution="Direct")
    args = plan.model(spec, digests={"pre": "1", "main": "2"}, role_arn="r", tags={})
    assert [one["container_hostname"] for one in args["containers"]] == ["pre", "main"]
    assert args["inference_execution_config"] == {"mode": "Direct"}
    assert args["tags"] == {"sagestage:model-sha256-pre": "1", "sagestage:model-sha256-main": "2"}


def test_many_models_share_one_container_without_a_digest() -> None:
    spec = model(artifact="s3://bucket/models/", multi_model=True)
    args = plan.model(spec, digests={}, role_arn="r", tags={})
    assert args["primary_container"] == {
        "image": "image:1",
        "model_data_url": "s3://bucket/models/",
        "mode": "MultiModel",
    }
