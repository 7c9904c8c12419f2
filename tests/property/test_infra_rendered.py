"""Whatever a spec accepts, AWS's own service model accepts too: rendered inputs against botocore, value by value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from infra import (
    Alarm,
    AllAtOnce,
    Async,
    Canary,
    Capture,
    Composite,
    Linear,
    Network,
    Rolling,
    Scaling,
    Schedule,
    Serverless,
    SpecError,
    Variant,
    alarm_plan,
    limits,
    plan,
    scaling_plan,
)
from infra.cloud.validation import _problems
from infra.endpoint_spec import EndpointSpec
from infra.model_spec import ModelSpec
from infra.provider.catalogue import TYPES
from infra.provider.shapes import Issue, input_shape

MODEL = SimpleNamespace(model_name="model-0a1b2c3")
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
INSTANCES = limits.shape("ProductionVariantInstanceType")["enum"]

words = st.from_regex(r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,5})?", fullmatch=True)
wild = st.integers(-2, 5000)


def attempt(make: Any, *args: Any, **kwargs: Any) -> Any:
    """A spec, or a refusal that says something."""
    try:
        return make(*args, **kwargs)
    except SpecError as error:
        refused = error
    assert refused.problems
    assert all(problem and "\n" not in problem for problem in refused.problems)
    assume(False)  # noqa: FBT003 - hypothesis's own signature
    raise refused


@st.composite
def scalings(draw: st.DrawFn) -> Scaling:
    field = draw(st.sampled_from(["invocations_per_minute", "concurrent_requests"]))
    schedule = draw(
        st.lists(
            st.builds(lambda name, minimum: SimpleNamespace(name=name, minimum=minimum), words, st.integers(0, 9)),
            max_size=2,
        )
    )
    low = draw(st.integers(0, 6))
    return attempt(  # type: ignore[no-any-return]
        Scaling,
        low,
        draw(st.integers(0, 12)),
        **{field: draw(st.floats(0.5, 10_000))},
        schedule=[attempt(Schedule, one.name, "cron(0 7 ? * MON-FRI *)", minimum=one.minimum) for one in schedule],
        scale_in_cooldown_s=draw(st.integers(-1, 900)),
    )


@st.composite
def variants(draw: st.DrawFn) -> Variant:
    return attempt(  # type: ignore[no-any-return]
        Variant,
        draw(words),
        MODEL,
        instance=draw(st.sampled_from(INSTANCES)),
        weight=draw(st.sampled_from([0, 0.5, 1, 90, 2**20])),
        instances=draw(st.none() | st.integers(0, 8)),
        scaling=draw(st.none() | scalings()),
        startup_timeout_s=draw(st.none() | st.integers(59, 3601)),
        download_timeout_s=draw(st.none() | st.integers(59, 3601)),
    )


@st.composite
def deployments(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from([AllAtOnce, Canary, Linear, Rolling]))
    bake, longest = draw(st.integers(0, 61)), draw(st.none() | st.integers(5, 250))
    if kind is AllAtOnce:
        return attempt(AllAtOnce, bake, maximum_minutes=longest)
    size = draw(st.sampled_from(["percent", "instances"]))
    return attempt(kind, bake_minutes=bake, maximum_minutes=longest, **{size: draw(st.integers(0, 60))})


alarms = st.one_of(
    st.builds(lambda ms, minutes: attempt(Alarm.p95_latency, above_ms=ms, minutes=minutes), wild, st.integers(1, 20)),
    st.builds(lambda share: attempt(Alarm.server_errors, above_percent=share, minutes=2), st.floats(0.1, 120)),
    st.builds(lambda share: attempt(Alarm.gpu, above_percent=share), st.integers(1, 110)),
    st.builds(lambda share: attempt(Alarm.cpu, above_percent=share), st.integers(1, 110)),
    st.builds(Alarm.silence),
    st.builds(lambda: Composite("both", all_of=["5xx-rate", "silence"])),
)


@st.composite
def endpoints(draw: st.DrawFn) -> EndpointSpec:
    return attempt(  # type: ignore[no-any-return]
        EndpointSpec,
        draw(words),
        f"p-s-{draw(words)}",
        variants=tuple(draw(st.lists(variants(), min_size=1, max_size=3))),
        shadow=draw(st.none() | variants()),
        capture=draw(st.none() | st.builds(Capture, st.integers(0, 100), st.integers(1, 400))),
        alarms=tuple(draw(st.lists(alarms, max_size=3))),
        deploy=draw(st.none() | deployments()),
        kms_key=draw(st.none() | st.just(KEY)),
        notify=(TOPIC,),
        tags=draw(st.none() | st.dictionaries(words, words, max_size=3)),
    )


def camel(args: Any) -> Any:
    """Arguments in pulumi_aws's Python spelling, as they travel to the provider."""
    if isinstance(args, Mapping):
        return {
            _camel(key): value if key in {"tags", "environment", "dimensions"} else camel(value)
            for key, value in args.items()
        }
    return [camel(one) for one in args] if isinstance(args, list) else args


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def accepted(kind: str, args: Mapping[str, Any], **identity: str) -> None:
    """Neither the provider nor the service model of AWS has anything against the inputs."""
    declared = TYPES[kind]
    inputs = {**camel(args), **identity}
    unknown = inputs.keys() - declared.inputs.keys()
    assert not unknown
    issues: list[Issue] = []
    request = declared.encoded(declared.create, inputs, issues)
    assert not issues
    shape = input_shape(declared.service, declared.create)
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    if declared.service == "sagemaker":  # patterns of other services are written for Java's surrogate pairs
        assert list(_problems(request, shape, "")) == []


def everything(spec: EndpointSpec) -> None:
    config = plan.endpoint_config(
        spec, capture_uri="s3://bucket/capture", async_uri=lambda prefix: f"s3://bucket/{prefix}", tags={"a": "b"}
    )
    accepted("aws:sagemaker/endpointConfiguration:EndpointConfiguration", config, name="config-0a1b2c3")
    watches = list(alarm_plan.watches(spec))
    names = [alarm_plan.alarm_name(spec, watch) for watch in watches]
    assert len(set(names)) == len(names)
    rollback = [name for name, watch in zip(names, watches, strict=True) if watch.new_fleet]
    whole = plan.endpoint(spec, config_name="config-0a1b2c3", alarm_names=rollback, tags={})
    accepted("aws:sagemaker/endpoint:Endpoint", whole)
    for watch in watches:
        args = alarm_plan.alarm(spec, watch, config_name="config-0a1b2c3", notify=[TOPIC], tags={})
        accepted("aws:cloudwatch/metricAlarm:MetricAlarm", args)
        assert len(args["alarm_description"]) <= 1024
    for rule in spec.composites:
        args = alarm_plan.composite(spec, rule, notify=[TOPIC], tags={})
        accepted("aws:cloudwatch/compositeAlarm:CompositeAlarm", args)
        assert all(
            f'"{name}"' not in args["alarm_rule"] or name in names for name in args["alarm_rule"].split('"')[1::2]
        )
    for variant in spec.variants:
        if variant.scaling is not None:
            scaled(spec, variant, variant.scaling)


def scaled(spec: EndpointSpec, variant: Variant, scaling: Scaling) -> None:
    target = scaling_plan.target(
        spec.physical_name, variant.name, scaling, {}, serverless=variant.serverless is not None
    )
    accepted("aws:appautoscaling/target:Target", target)
    key = {
        "serviceNamespace": target["service_namespace"],
        "resourceId": target["resource_id"],
        "scalableDimension": target["scalable_dimension"],
    }
    policy = scaling_plan.policy(scaling, spec.physical_name)
    if policy is not None:
        accepted("aws:appautoscaling/policy:Policy", policy, **key, name="policy")
    if scaling_plan.wakes(scaling):
        accepted("aws:appautoscaling/policy:Policy", scaling_plan.wake_policy(), **key, name="wake")
        alarm = scaling_plan.wake_alarm(spec.physical_name, variant.name, "arn:aws:autoscaling:x", {})
        accepted("aws:cloudwatch/metricAlarm:MetricAlarm", alarm)
    for one in scaling.schedule:
        args = scaling_plan.scheduled(spec.physical_name, variant.name, one)
        accepted("aws:appautoscaling/scheduledAction:ScheduledAction", args, **key)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(endpoints())
def test_what_an_endpoint_on_instances_accepts_aws_accepts(spec: EndpointSpec) -> None:
    everything(spec)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.integers(512, 7000),
    st.integers(0, 210),
    st.none() | st.integers(0, 210),
    st.none() | st.floats(0.01, 1.2),
)
def test_what_a_serverless_endpoint_accepts_aws_accepts(
    memory: int, concurrency: int, provisioned: int | None, share: float | None
) -> None:
    memory = memory // 1024 * 1024
    serverless = attempt(Serverless, memory, concurrency, provisioned=provisioned)
    scaling = None if share is None else attempt(Scaling, 1, 20, provisioned_utilisation=share)
    variant = attempt(Variant, "main", MODEL, serverless=serverless, scaling=scaling)
    everything(attempt(EndpointSpec, "e", "p-s-e", variants=(variant,), alarms=(Alarm.silence(),)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.integers(0, 3),
    st.integers(0, 1200),
    st.sampled_from([(), ("success",), ("error",), ("success", "error")]),
    st.floats(0.5, 100),
)
def test_what_an_asynchronous_endpoint_accepts_aws_accepts(
    minimum: int, concurrency: int, include: tuple[str, ...], backlog: float
) -> None:
    queue = attempt(
        Async,
        keep_days=3,
        concurrency=concurrency,
        success_topic=TOPIC,
        error_topic=TOPIC,
        include_response=include,
        kms_key=KEY,
    )
    scaling = attempt(Scaling, minimum, 4, backlog_per_instance=backlog)
    variant = attempt(Variant, "main", MODEL, instance="ml.g5.12xlarge", scaling=scaling)
    alarms = (Alarm.backlog(above=3), Alarm.expired(), Alarm.gpu(above_percent=90))
    everything(attempt(EndpointSpec, "e", "p-s-e", variants=(variant,), asynchronous=queue, alarms=alarms))


@pytest.mark.parametrize("network", [None, Network(["subnet-1"], ["sg-1"]), Network(isolated=True)])
def test_what_a_model_accepts_aws_accepts(network: Network | None) -> None:
    digest = "a" * 64
    spec = ModelSpec("m", "image:1", f"s3://b/{digest}/model.tar.gz", environment={"A": "b"}, network=network)
    args = plan.model(spec, digests={"": digest}, role_arn="arn:aws:iam::123456789012:role/r", tags={"t": "v"})
    accepted("aws:sagemaker/model:Model", args, name="m-0a1b2c3")
    assert json.dumps(args)
