"""Documented limits: read from AWS's own model, and the narrower one where pulumi-aws has another."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import limits, metrics


@pytest.mark.parametrize(
    ("limit", "low", "high"),
    [
        (limits.VARIANTS, 1, 10),
        (limits.ROLLBACK_ALARMS, 1, 10),
        (limits.CANARY_PERCENT, 1, 50),
        (limits.STARTUP_S, 60, 3600),
        (limits.DOWNLOAD_S, 60, 3600),
        (limits.CAPTURE_PERCENT, 0, 100),
        (limits.CONTENT_TYPES, 1, 10),
        (limits.MAXIMUM_MINUTES, 10, 240),
        (limits.WAIT_MINUTES, 0, 60),
        (limits.ALARM_MINUTES, 1, 1440),
    ],
)
def test_both_ends_of_a_range_belong_to_it_and_what_lies_beyond_is_refused(
    limit: limits.Number, low: int, high: int
) -> None:
    assert limit.problem(low) is None
    assert limit.problem(high) is None
    assert f"must be at least {low}, got {low - 1} (" in limit.problem(low - 1)
    assert f"must be at most {high}, got {high + 1} (" in limit.problem(high + 1)


def test_the_narrower_of_two_limits_counts_and_its_source_is_named() -> None:
    limit = limits.Number("MaximumExecutionTimeoutInSeconds", at_most=limits.Bound(14400, limits.PULUMI))
    assert limit.problem(20_000) == "must be at most 14400, got 20000 (pulumi-aws 7)"
    assert limit.problem(599) == "must be at least 600, got 599 (SageMaker API, MaximumExecutionTimeoutInSeconds)"


def test_minutes_agree_with_the_seconds_of_the_api() -> None:
    for minutes, api in (
        (limits.WAIT_MINUTES, "WaitIntervalInSeconds"),
        (limits.WAIT_MINUTES, "TerminationWaitInSeconds"),
    ):
        known = limits.shape(api)
        assert [end.value * 60 for end in minutes.ends()] == [known["min"], known["max"]]
    assert limits.MAXIMUM_MINUTES.ends()[0].value * 60 == limits.shape("MaximumExecutionTimeoutInSeconds")["min"]


@pytest.mark.parametrize("name", ["", "-a", "a_b", "a-", "a b", "é"])
def test_a_name_that_breaks_the_pattern_of_the_api_is_refused(name: str) -> None:
    assert "must match" in limits.ENDPOINT_NAME.problem(name)


def test_a_name_leaves_room_for_the_suffix_of_automatic_naming() -> None:
    assert limits.ENDPOINT_NAME.problem("a" * 63) is None
    assert "at most 63 characters, got 64" in limits.ENDPOINT_NAME.problem("a" * 64)
    assert limits.MODEL_PREFIX.problem("a" * 55) is None
    assert "at most 55 characters, got 56" in limits.MODEL_PREFIX.problem("a" * 56)


def test_an_unknown_instance_type_is_refused_with_those_of_its_family() -> None:
    assert limits.INSTANCE_TYPE.problem("ml.c6i.xlarge") is None
    assert "ml.c6i.2xlarge" in limits.INSTANCE_TYPE.problem("ml.c6i.huge")
    assert "such as" in limits.INSTANCE_TYPE.problem("c6i.xlarge")


@given(st.integers(min_value=0, max_value=2**24))
def test_every_ordinary_integer_weight_is_exact_in_float32(weight: float) -> None:
    assert limits.WEIGHT_EXACT.problem(weight) is None


@pytest.mark.parametrize("weight", [0.9, 0.1, 2**24 + 1, 1e300])
def test_a_weight_that_would_read_back_differently_is_refused(weight: float) -> None:
    assert f"got {weight!r}" in limits.WEIGHT_EXACT.problem(weight)


TYPES = limits.shape("ProductionVariantInstanceType")["enum"]


def test_every_instance_type_of_sagemaker_has_its_cores() -> None:
    assert all(1 <= metrics.cores(name) <= 192 for name in TYPES)
    sizes = {"c6i.large": 2, "c6i.xlarge": 4, "m5.24xlarge": 96, "c4.8xlarge": 36, "t2.medium": 2, "r8g.medium": 1}
    assert {name: metrics.cores(f"ml.{name}") for name in sizes} == sizes


def test_the_number_of_gpus_of_an_instance_type_is_known_or_said_to_be_unknown() -> None:
    sizes = {"g5.xlarge": 1, "g5.12xlarge": 4, "g4dn.16xlarge": 1, "p4d.24xlarge": 8, "c6i.large": 0, "inf2.xlarge": 0}
    assert {name: metrics.gpus(f"ml.{name}") for name in sizes} == sizes
    families = {name.split(".")[1] for name in TYPES if metrics.gpus(name) is None}
    assert families == {"g7"}
    assert all(metrics.gpus(name) for name in TYPES if name.startswith(("ml.p", "ml.g")) and ".g7." not in name)


def test_instances_with_disks_of_their_own_are_known() -> None:
    assert all(metrics.has_local_storage(f"ml.{name}.xlarge") for name in ("m5d", "g5", "g4dn", "c6gd", "r7gd"))
    assert not any(metrics.has_local_storage(f"ml.{name}.xlarge") for name in ("m5", "c6i", "p3", "c6gn", "inf2"))


def test_specs_and_plans_load_without_pulumi_boto3_or_torch() -> None:
    script = (
        "import sys; import infra.spec, infra.endpoint_spec, infra.limits, infra.plan, infra.policies, infra.prune;"
        "import infra.alarm_plan, infra.scaling_plan, infra.platform_spec, infra.widgets;"
        "print([name for name in ('pulumi', 'pulumi_aws', 'boto3', 'torch', 'moto') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
