"""What the components register, on Pulumi's own mocks."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from infra import Alarm, AllAtOnce, Canary, Capture, Endpoint, Model, Scaling, SpecError, Variant

Program = Callable[[], object]
Deploy = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[3]
SNAPSHOTS = ROOT / "tests" / "snapshots"
ARTIFACT = f"s3://artifacts/models/m/{'e' * 64}/model.tar.gz"
IMAGE = "sagestage-inference:local"


def of_type(monitor: Any, kind: str) -> list[dict[str, Any]]:
    return [one for one in monitor.registered.values() if one["type"].endswith(f":{kind}")]


def one(monitor: Any, kind: str) -> dict[str, Any]:
    (found,) = of_type(monitor, kind)
    return found


def simple(**options: Any) -> Endpoint:
    model = Model("m", image=IMAGE, artifact=ARTIFACT)
    return Endpoint("e", variants=[Variant("main", model, instance="ml.m5.large", instances=2)], **options)


def stack_file(stack: str) -> dict[str, Any]:
    """What a stack's file configures, the AWS provider's part as well."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"]
    return content


def own_config(stack: str) -> dict[str, str]:
    return {key.partition(":")[2]: value for key, value in stack_file(stack).items() if key.startswith("sagestage:")}


@pytest.mark.parametrize(
    ("stack", "name"),
    [("local", "demand_stack"), ("staging", "staging_stack"), ("prod", "prod_stack"), ("nightly", "nightly_stack")],
)
def test_a_stack_is_as_reviewed(deploy: Deploy, demand: Program, stack: str, name: str) -> None:
    found = deploy(demand, stack, **({} if stack == "local" else own_config(stack))).registered
    text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    path = SNAPSHOTS / f"infra_{name}.json"
    if os.environ.get("SAGESTAGE_UPDATE_SNAPSHOTS"):
        path.write_text(text)
    assert json.loads(text) == json.loads(path.read_text()), (
        "the stack changed: review it with SAGESTAGE_UPDATE_SNAPSHOTS=1 and git diff"
    )


def test_every_component_registers_its_outputs_once(deploy: Deploy, demand: Program) -> None:
    monitor = deploy(demand)
    components = {urn for urn, one in monitor.registered.items() if one["type"].startswith("sagestage:")}
    assert {urn for urn in monitor.outputs if "Stack::" not in urn} == components


def test_every_resource_has_a_component_as_its_parent(deploy: Deploy, demand: Program) -> None:
    for urn, found in deploy(demand).registered.items():
        if not found["type"].startswith("sagestage:"):
            assert "::sagestage:index:" in found["parent"], urn


def test_a_second_run_in_the_same_process_registers_the_same(deploy: Deploy, demand: Program) -> None:
    assert deploy(demand).registered == deploy(demand).registered


def test_configurations_and_models_outlive_their_declaration_and_have_no_fixed_name(
    deploy: Deploy, demand: Program
) -> None:
    monitor = deploy(demand)
    immutable = [*of_type(monitor, "Model"), *of_type(monitor, "EndpointConfiguration")]
    resources = [found for found in immutable if found["type"].startswith("aws:")]
    assert len(resources) == 3
    assert all(found["retainOnDelete"] and "name" not in found["inputs"] for found in resources)


@pytest.mark.parametrize(("stack", "protected"), [("local", False), ("staging", True), ("prod", True)])
def test_the_endpoint_is_protected_wherever_it_is_not_a_rehearsal(
    deploy: Deploy, demand: Program, stack: str, *, protected: bool
) -> None:
    endpoint = one_of(deploy(demand, stack), "aws:sagemaker/endpoint:Endpoint")
    assert endpoint["protect"] is protected
    assert endpoint["inputs"]["name"] == f"sagestage-{stack}-demand"


def one_of(monitor: Any, kind: str) -> dict[str, Any]:
    (found,) = [one for one in monitor.registered.values() if one["type"] == kind]
    return found


def test_only_a_rehearsal_throws_captured_records_away(deploy: Deploy, demand: Program) -> None:
    assert one(deploy(demand, "local"), "Bucket")["inputs"]["forceDestroy"] is True
    assert one(deploy(demand, "prod"), "Bucket")["inputs"]["forceDestroy"] is False


def test_the_endpoint_waits_for_what_it_needs(deploy: Deploy, demand: Program) -> None:
    waits = " ".join(one_of(deploy(demand), "aws:sagemaker/endpoint:Endpoint")["dependencies"])
    for needed in (
        "RolePolicy::demand-champion",
        "BucketPolicy",
        "BucketServerSideEncryption",
        "MetricAlarm",
        "Configuration::demand",
    ):
        assert needed in waits


def test_scaling_waits_for_the_endpoint(deploy: Deploy, demand: Program) -> None:
    target = one(deploy(demand), "Target")
    assert target["inputs"]["resourceId"] == "endpoint/sagestage-local-demand/variant/champion"
    monitor = deploy(demand)
    component = next(found for found in monitor.registered.values() if found["type"].endswith("VariantScaling"))
    assert any("sagemaker/endpoint:Endpoint" in urn for urn in component["dependencies"])


def test_rollback_alarms_watch_the_configuration_being_deployed_alone(deploy: Deploy) -> None:
    monitor = deploy(lambda: simple(alarms=[Alarm.p95_latency(), Alarm.disk()]))
    watched = {found["inputs"]["name"]: found["inputs"]["dimensions"] for found in of_type(monitor, "MetricAlarm")}
    standing = {"EndpointName": "sagestage-local-e", "VariantName": "main"}
    assert watched == {
        "sagestage-local-e-main-disk": standing,
        "sagestage-local-e-main-p95-latency": standing,
        "sagestage-local-e-main-p95-latency-rollback": {**standing, "EndpointConfigName": "e-0a1b2c3"},
    }
    rollback = one_of(monitor, "aws:sagemaker/endpoint:Endpoint")["inputs"]["deploymentConfig"]
    assert rollback["autoRollbackConfiguration"] == {
        "alarms": [{"alarmName": "sagestage-local-e-main-p95-latency-rollback"}]
    }


def test_without_alarms_one_error_alarm_per_variant_guards_the_endpoint(deploy: Deploy) -> None:
    monitor = deploy(simple)
    assert [found["inputs"]["metricName"] for found in of_type(monitor, "MetricAlarm")] == ["Invocation5XXErrors"] * 2
    config = one_of(monitor, "aws:sagemaker/endpoint:Endpoint")["inputs"]["deploymentConfig"]
    assert config["autoRollbackConfiguration"]["alarms"] == [{"alarmName": "sagestage-local-e-main-5xx-rate-rollback"}]
    policy = config["blueGreenUpdatePolicy"]
    assert policy["trafficRoutingConfiguration"]["type"] == "ALL_AT_ONCE"
    assert policy["terminationWaitInSeconds"] == 600


def test_features_that_are_left_out_are_absent(deploy: Deploy) -> None:
    monitor = deploy(simple)
    kinds = {found["type"] for found in monitor.registered.values()}
    assert not any("s3/" in kind or "appautoscaling" in kind for kind in kinds)
    assert "dataCaptureConfig" not in one(monitor, "EndpointConfiguration")["inputs"]


def test_a_given_role_is_used_and_none_is_made(deploy: Deploy) -> None:
    role = "arn:aws:iam::123456789012:role/mine"

    def program() -> None:
        model = Model("m", image=IMAGE, artifact=ARTIFACT, role=role)
        Endpoint("e", variants=[Variant("main", model, instance="ml.m5.large")])

    monitor = deploy(program)
    assert not of_type(monitor, "Role")
    assert not of_type(monitor, "RolePolicy")
    assert one_of(monitor, "aws:sagemaker/model:Model")["inputs"]["executionRoleArn"] == role


def test_two_variants_of_one_model_give_its_role_one_policy(deploy: Deploy) -> None:
    def program() -> None:
        model = Model("m", image=IMAGE, artifact=ARTIFACT)
        Endpoint("e", variants=[Variant(name, model, instance="ml.m5.large") for name in ("a", "b")])

    names = [
        urn.rpartition("::")[2] for urn, found in deploy(program).registered.items() if "RolePolicy" in found["type"]
    ]
    assert sorted(names) == ["e-m", "m-run"]


def test_new_content_is_a_new_model(deploy: Deploy) -> None:
    model = one_of(deploy(lambda: Model("m", image=IMAGE, artifact=ARTIFACT)), "aws:sagemaker/model:Model")["inputs"]
    assert model["primaryContainer"]["environment"] == {"SAGESTAGE_MODEL_SHA256": "e" * 64}
    assert model["tags"]["sagestage:model-sha256"] == "e" * 64


def test_an_artifact_may_come_from_another_resource(deploy: Deploy) -> None:
    model = one_of(
        deploy(lambda: Model("m", image=pulumi.Output.from_input(IMAGE), artifact=pulumi.Output.from_input(ARTIFACT))),
        "aws:sagemaker/model:Model",
    )["inputs"]
    assert model["primaryContainer"]["modelDataUrl"] == ARTIFACT
    assert model["tags"]["sagestage:model-sha256"] == "e" * 64


@pytest.mark.parametrize(
    "key", ["models/m/model.tar.gz", f"models/{'e' * 63}/model.tar.gz", f"{'e' * 64}/{'f' * 64}/m"]
)
def test_a_key_without_one_digest_is_refused(deploy: Deploy, key: str) -> None:
    with pytest.raises(SpecError, match="must have the sha256"):
        deploy(lambda: Model("m", image=IMAGE, artifact=f"s3://bucket/{key}"))


def test_a_refused_endpoint_registers_nothing(deploy: Deploy) -> None:
    heard = {}

    def program() -> None:
        with pytest.raises(SpecError) as caught:
            Endpoint(
                "E" * 60,
                variants=[],
                capture=Capture(percent=1, keep_days=1),
                alarms=[Alarm.p95_latency(minutes=9, variant="nobody")],
                deploy=Canary(percent=10, bake_minutes=10),
            )
        heard["problems"] = caught.value.problems

    assert deploy(program).registered == {}
    text = "\n".join(heard["problems"])
    for part in (
        "name must have at most 55",
        "physical_name must have at most 63",
        "number of variants",
        "nobody",
        "9",
    ):
        assert part in text


def test_the_physical_name_can_be_given(deploy: Deploy) -> None:
    monitor = deploy(lambda: simple(physical_name="forecast", deploy=AllAtOnce(bake_minutes=20)))
    assert one_of(monitor, "aws:sagemaker/endpoint:Endpoint")["inputs"]["name"] == "forecast"


def test_capture_with_a_key_encrypts_bucket_and_records_and_lets_the_role_use_it(deploy: Deploy) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    monitor = deploy(lambda: simple(capture=Capture(percent=5, keep_days=7, kms_key=key)))
    rule = one(monitor, "BucketServerSideEncryptionConfiguration")["inputs"]["rules"][0]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key}
    assert one(monitor, "EndpointConfiguration")["inputs"]["dataCaptureConfig"]["kmsKeyId"] == key
    policies = [found["inputs"]["policy"] for found in of_type(monitor, "RolePolicy")]
    assert any(key in policy for policy in policies)


def test_an_unknown_program_names_those_there_are(deploy: Deploy, demand: Program) -> None:
    with pytest.raises(pulumi.RunError, match="must be one of demand, nightly, watched, got 'nothing'"):
        deploy(demand, program="nothing")


def test_a_refused_declaration_ends_the_program_with_one_line(deploy: Deploy, demand: Program) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        deploy(demand, champion="s3://bucket/latest/model.tar.gz")
    assert "\n" not in str(caught.value)
    assert "s3://bucket/latest/model.tar.gz" in str(caught.value)


def test_scaled_variants_start_at_their_minimum(deploy: Deploy) -> None:
    def program() -> None:
        model = Model("m", image=IMAGE, artifact=ARTIFACT)
        scaling = Scaling(minimum=3, maximum=4, invocations_per_minute=100)
        Endpoint("e", variants=[Variant("main", model, instance="ml.m5.large", scaling=scaling, weight=0.5)])

    variant = one(deploy(program), "EndpointConfiguration")["inputs"]["productionVariants"][0]
    assert (variant["initialInstanceCount"], variant["initialVariantWeight"]) == (3, 0.5)


@pytest.mark.parametrize("stack", ["staging", "prod"])
def test_every_stack_file_is_accepted_by_its_program(deploy: Deploy, demand: Program, stack: str) -> None:
    content, own = stack_file(stack), own_config(stack)
    assert content["aws:allowedAccountIds"] == [own["image"].partition(".")[0]], "never deployed into another account"
    monitor = deploy(demand, stack, **own)
    assert one_of(monitor, "aws:sagemaker/endpoint:Endpoint")["inputs"]["name"] == f"sagestage-{stack}-demand"
    policies = [found["inputs"]["policy"] for found in of_type(monitor, "RolePolicy")]
    assert sum("ecr:BatchGetImage" in policy for policy in policies) == 2
