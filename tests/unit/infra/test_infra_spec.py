"""Declarations: what is accepted, and that all that is wrong with one is said at once."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import Alarm, AllAtOnce, Canary, Capture, Scaling, SpecError, Variant
from infra.endpoint_spec import EndpointSpec
from infra.spec import ModelSpec

MODEL = SimpleNamespace(model_name="m")
DIGEST = "a" * 64


def variant(name: str = "main", **changes: Any) -> Variant:
    return Variant(name, MODEL, **{"instance": "ml.c6i.xlarge", "instances": 2, **changes})


def endpoint(**changes: Any) -> EndpointSpec:
    return EndpointSpec("e", **{"physical_name": "p-s-e", "variants": (variant(),), **changes})


def problems(make: Any) -> str:
    with pytest.raises(SpecError) as caught:
        make()
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return str(caught.value)


def test_a_variant_is_written_with_its_name_and_model_first() -> None:
    made = Variant("champion", MODEL, weight=90, instance="ml.c6i.xlarge", scaling=Scaling(2, 10, 6_000))
    assert (made.name, made.weight, made.count) == ("champion", 90, 2)


def test_zero_is_a_weight() -> None:
    assert variant(weight=0).weight == 0


def test_a_variant_without_a_number_has_one_instance() -> None:
    assert Variant("a", MODEL, instance="ml.m5.large").count == 1


def test_values_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        variant().weight = 5


def test_a_changed_copy_is_checked_as_well() -> None:
    text = problems(lambda: dataclasses.replace(Scaling(1, 2, 3), minimum=3))
    assert text.startswith("Scaling: minimum must be at most maximum, got 3 > 2")


def test_every_problem_of_a_variant_is_reported_with_its_value() -> None:
    text = problems(
        lambda: Variant(
            "a_b", "m", weight=-0.9, instance="ml.c6i.huge", instances=0, startup_timeout_s=59, download_timeout_s=3601
        )
    )
    for part in (
        "'a_b'",
        "got 'm'",
        "at least 0, got -0.9",
        "reads back as -0.8999",
        "'ml.c6i.huge'",
        "got 0",
        "got 59",
        "got 3601",
    ):
        assert part in text


def test_a_limit_names_value_limit_and_source() -> None:
    text = problems(lambda: Scaling(minimum=0, maximum=1, invocations_per_minute=1))
    assert text == "Scaling: minimum must be at least 1, got 0 (SageMaker: a real-time variant cannot scale to zero)"


def test_several_problems_stand_on_a_line_each() -> None:
    assert problems(lambda: Canary(60, 90)).splitlines()[:2] == [
        "2 problems:",
        "  - Canary: percent must be at most 50, got 60 (SageMaker, deployment guardrails)",
    ]


def test_a_percentile_with_a_fraction_names_an_alarm() -> None:
    assert Alarm.latency("p99.9", above_ms=200).name == "p99.9-latency"


def test_rules_over_several_fields_are_reported_together_with_those_over_one() -> None:
    text = problems(lambda: Scaling(5, 2, 0))
    assert "invocations_per_minute must be at least 1, got 0" in text
    assert "minimum must be at most maximum, got 5 > 2" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"minimum": "1"}, "minimum should be a valid integer, got '1'"),
        ({"minimum": True}, "minimum should be a valid integer, got True"),
        ({"minimun": 1}, "unknown argument 'minimun'; it takes minimum, maximum"),
        ({}, "minimum is missing"),
        (
            {"minimum": 1, "invocations_per_minute": float("nan")},
            "invocations_per_minute should be a finite number, got nan",
        ),
        ({"minimum": 1, "scale_in_cooldown_s": -1}, "scale_in_cooldown_s must be at least 0, got -1"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], said: str) -> None:
    assert f"Scaling: {said}" in problems(lambda: Scaling(**{"maximum": 2, "invocations_per_minute": 3, **arguments}))


def test_too_many_positional_arguments_are_refused() -> None:
    assert "positional argument too many, got 4" in problems(lambda: Scaling(1, 2, 3, 4))


@given(st.integers(-5, 300), st.integers(-5, 300), st.integers(-5, 300))
def test_scaling_is_made_exactly_when_one_to_minimum_to_maximum_are_in_order(
    minimum: int, maximum: int, instances: int
) -> None:
    fine = 1 <= minimum <= maximum
    try:
        scaling = Scaling(minimum, maximum, 1)
    except SpecError:
        assert not fine
        return
    assert fine
    try:
        variant(scaling=scaling, instances=instances)
    except SpecError:
        assert not minimum <= instances <= maximum
    else:
        assert minimum <= instances <= maximum


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Canary(percent=51, bake_minutes=10), "percent must be at most 50, got 51"),
        (lambda: Canary(percent=0, bake_minutes=10), "percent must be at least 1, got 0"),
        (lambda: Canary(percent=10, bake_minutes=-1), "bake_minutes must be at least 0, got -1"),
        (lambda: Canary(10, 41), "bake_minutes + keep_old_minutes must be at most 45, got 46 (pulumi-aws 7 gives up"),
        (lambda: AllAtOnce(46), "must be at most 45, got 46"),
        (lambda: Canary(10, 20, maximum_minutes=25), "maximum_minutes must be above the sum of the waits, 25, got 25"),
        (lambda: AllAtOnce(20, maximum_minutes=20), "maximum_minutes must be above the sum of the waits, 20, got 20"),
        (lambda: Canary(10, 20, maximum_minutes=241), "maximum_minutes must be at most 240, got 241 (pulumi-aws 7)"),
        (lambda: Capture(101, 1), "percent must be at most 100, got 101"),
        (lambda: Capture(1, 0), "keep_days must be at least 1, got 0"),
        (lambda: Capture(1, 1, csv_types=()), "csv_types: their number must be at least 1, got 0"),
        (lambda: Capture(1, 1, json_types=("a/b",) * 11), "json_types: their number must be at most 10, got 11"),
        (lambda: Capture(1, 1, json_types=("json",)), "json_types must match"),
    ],
)
def test_a_documented_limit_refuses_what_breaks_it(make: Callable[[], object], said: str) -> None:
    assert said in problems(make)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Alarm.server_errors(above_percent=100),
            "could not fire: Invocation5XXErrors is at most 1 per request, got above_percent=100",
        ),
        (lambda: Alarm.client_errors(above_percent=101), "could not fire"),
        (
            lambda: endpoint(alarms=(Alarm.p95_latency(above_ms=60_000),)),
            "could not fire: ModelLatency is at most 60000000 microseconds, got above_ms=60000",
        ),
        (lambda: Alarm.p99_latency(above_ms=-1), "would always fire"),
        (lambda: Alarm.cpu(above_percent=100), "could not fire"),
        (lambda: Alarm.memory(above_percent=100), "could not fire"),
        (lambda: Alarm.disk(above_percent=120), "could not fire"),
        (lambda: Alarm.silence(minutes=0), "minutes must be at least 1, got 0"),
        (lambda: Alarm.p50_latency(above_ms="fast"), "above should be a valid number, got 'fast'"),
        (
            lambda: Alarm("x", metric="Invocations", statistic="Average", below=1),
            "statistic of Invocations must be Sum, got 'Average'",
        ),
        (lambda: Alarm("x", metric="ModelLatency", statistic="P95", above=1), "statistic must be Average"),
        (lambda: Alarm("x", metric="Latency", statistic="p95", above=1), "published_by= must name what does"),
        (
            lambda: Alarm("x", metric="DiskUtilization", statistic="Average", above=1),
            "is published in '/aws/sagemaker/Endpoints'",
        ),
        (lambda: Alarm("x", metric="Invocations", statistic="Sum"), "either above or below"),
        (lambda: Alarm("x", metric="Invocations", statistic="Sum", below=0), "could not fire"),
    ],
)
def test_an_alarm_that_cannot_fire_is_refused(make: Callable[[], object], said: str) -> None:
    assert said in problems(make)


def test_a_metric_of_ones_own_may_be_negative_and_names_its_publisher() -> None:
    made = Alarm("r2", metric="R2", namespace="Own", statistic="Average", below=-0.5, published_by="the nightly job")
    assert made.below == -0.5


def test_latency_and_errors_roll_back_and_the_rest_does_not() -> None:
    assert Alarm.p95_latency().rolls_back
    assert Alarm.server_errors(above_percent=1).rolls_back
    assert not any(alarm.rolls_back for alarm in (Alarm.silence(), Alarm.cpu(above_percent=80), Alarm.disk()))


def test_every_problem_of_an_endpoint_is_reported_at_once() -> None:
    text = problems(
        lambda: EndpointSpec(
            "Demand",
            "p_s",
            variants=(variant("a", instances=1, weight=0), variant("a", weight=0, instance="ml.inf1.xlarge")),
            capture=Capture(1, 1),
            alarms=(Alarm.p95_latency(minutes=8), Alarm.p95_latency(), Alarm.silence(variant="nobody")),
            deploy=Canary(10, 10),
        )
    )
    for part in (
        "physical_name must match",
        "got 'Demand' (S3",
        "variant names must be unique, got 'a' 2 times",
        "one weight must be above 0",
        "there is no variant 'nobody'",
        "alarm names must be unique",
        "its minutes must be fewer than bake_minutes - 2 = 8, got 8",
        "variant 'a' needs at least 2 instances for a canary update, got 1",
        "ml.inf1.xlarge has no guardrails",
    ):
        assert part in text, part


@pytest.mark.parametrize("number", [0, 11])
def test_an_endpoint_has_one_to_ten_variants(number: int) -> None:
    variants = tuple(variant(f"v{i}") for i in range(number))
    assert f"the number of variants must be at {'least 1' if number == 0 else 'most 10'}, got {number}" in problems(
        lambda: endpoint(variants=variants)
    )


def test_more_than_ten_rollback_alarms_are_refused() -> None:
    variants = tuple(variant(f"v{i}") for i in range(4))
    alarms = (Alarm.p50_latency(above_ms=9), Alarm.p90_latency(above_ms=9), Alarm.p99_latency(above_ms=9))
    assert "rollback alarms, one per variant each, must be at most 10, got 12" in problems(
        lambda: endpoint(variants=variants, alarms=alarms)
    )


def test_alarms_of_which_none_rolls_back_are_joined_by_the_default_one() -> None:
    assert [alarm.name for alarm in endpoint(alarms=(Alarm.silence(),)).watched] == ["silence", "5xx-rate"]
    assert "could not fire while the new fleet bakes" in problems(lambda: endpoint(deploy=AllAtOnce(bake_minutes=7)))


def test_the_same_alarm_may_watch_two_variants_with_other_bounds() -> None:
    variants = (variant("a"), variant("b"))
    alarms = (Alarm.p95_latency(above_ms=20, variant="a"), Alarm.p95_latency(above_ms=80, variant="b"))
    assert len(endpoint(variants=variants, alarms=alarms).watched) == 2


def test_a_canary_is_no_matter_of_one_instance() -> None:
    assert endpoint(variants=(variant(instances=1),)).policy == AllAtOnce()
    assert "at least 2 instances" in problems(lambda: endpoint(variants=(variant(instances=1),), deploy=Canary(10, 10)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": "two words"}, "image must match"),
        ({"image": "i" * 256}, "image must have at most 255"),
        ({"artifact": f"https://host/{DIGEST}/model.tar.gz"}, "artifact must be s3://"),
        ({"artifact": "s3://bucket/model.tar.gz"}, "artifact must have the sha256"),
        ({"role": "my-role"}, "role must"),
        ({"environment": {"1A": "x"}}, "environment: a name must match"),
        ({"environment": {"A": "x" * 1025}}, "environment: A must have at most 1024"),
        ({"environment": {"SAGESTAGE_MODEL_SHA256": "x"}}, "is taken from the artifact's key"),
        ({"name": "n" * 56}, "name must have at most 55"),
    ],
)
def test_a_model_that_sagemaker_would_refuse_is_refused_here(changes: dict[str, Any], said: str) -> None:
    whole = {"name": "m", "image": "image:1", "artifact": f"s3://bucket/models/m/{DIGEST}/model.tar.gz"}
    assert said in problems(lambda: ModelSpec(**{**whole, "environment": {}, **changes}))
