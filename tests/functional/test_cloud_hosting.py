"""The control plane over real HTTP: statuses, processes, updates, deletions."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.cloud_support.containers import stub_image
from tests.cloud_support.helpers import BUCKET, ROLE, Cloud, alive, archived, eventually, running


@pytest.fixture(scope="module", params=["process", "container"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if request.param == "container":
        stub_image()
    with running(tmp_path_factory.mktemp("cloud"), time_scale=600, hosting=request.param) as made:
        yield made


def test_an_endpoint_is_in_service_when_its_processes_answer(cloud: Cloud) -> None:
    variants = [
        {"VariantName": "champion", "ModelName": cloud.model(), "InitialInstanceCount": 3, "InitialVariantWeight": 90},
        {"VariantName": "challenger", "ModelName": cloud.model(), "InitialVariantWeight": 0},
    ]
    config = cloud.config(variants)
    name = cloud.endpoint(config)
    client = cloud.client("sagemaker")
    client.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    described = client.describe_endpoint(EndpointName=name)
    assert described["EndpointConfigName"] == config
    shown = {v["VariantName"]: (v["CurrentWeight"], v["CurrentInstanceCount"]) for v in described["ProductionVariants"]}
    assert shown == {"champion": (90.0, 3), "challenger": (0.0, 1)}
    # Three are declared; one machine gives two.
    assert {variant: len(pids) for variant, pids in cloud.processes(name).items()} == {"champion": 2, "challenger": 1}


def test_a_weight_of_zero_is_kept_and_other_weights_read_back_as_float32(cloud: Cloud) -> None:
    model = cloud.model()
    config = cloud.config(
        [
            {"VariantName": "zero", "ModelName": model, "InitialVariantWeight": 0},
            {"VariantName": "most", "ModelName": model, "InitialVariantWeight": 0.9},
        ]
    )
    described = cloud.client("sagemaker").describe_endpoint_config(EndpointConfigName=config)
    weights = [variant["InitialVariantWeight"] for variant in described["ProductionVariants"]]
    assert weights == [0.0, 0.8999999761581421]


def test_a_process_that_ends_fails_the_endpoint_with_its_last_lines(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"FAIL_AT_START": "bad digest"})}]))
    described = cloud.settle(name)
    assert described["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in described["FailureReason"]
    assert "model.json is unreadable: bad digest" in described["FailureReason"]
    cloud.client("sagemaker").delete_endpoint(EndpointName=name)


def test_one_failing_variant_leaves_no_process_of_the_others(cloud: Cloud) -> None:
    marker = cloud.name("marker")
    variants = [
        {"VariantName": "good", "ModelName": cloud.model({"MARKER": marker})},
        {"VariantName": "bad", "ModelName": cloud.model({"FAIL_AT_START": "x", "MARKER": marker})},
    ]
    name = cloud.endpoint(cloud.config(variants))
    assert cloud.settle(name)["EndpointStatus"] == "Failed"
    assert processes_with(f"MARKER={marker}") == []


def test_an_image_that_is_not_ours_fails_the_endpoint(cloud: Cloud) -> None:
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/xgboost:1"
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model(image=image)}]))
    reason = cloud.settle(name)["FailureReason"]
    assert image in reason
    assert "is not sagestage's: needs Docker" in reason or "cannot be pulled" in reason  # by whether an engine runs


@pytest.mark.parametrize("archive", [b"no archive", archived({"../outside": b"x"})], ids=["unreadable", "escaping"])
def test_an_archive_that_is_unreadable_or_leaves_its_folder_fails_the_endpoint(cloud: Cloud, archive: bytes) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model(archive=archive)}]))
    assert "is not a model.tar.gz that can be unpacked" in cloud.settle(name)["FailureReason"]


def test_a_missing_artifact_fails_the_endpoint(cloud: Cloud) -> None:
    model = cloud.model()
    cloud.client("s3").delete_object(Bucket=BUCKET, Key=f"models/{model}/model.tar.gz")
    name = cloud.endpoint(cloud.config([{"ModelName": model}]))
    assert "does not exist: upload the artifact" in cloud.settle(name)["FailureReason"]


def test_an_update_replaces_the_processes_and_deletes_the_old_ones(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    before = cloud.processes(name)["main"]
    second = cloud.config([{"ModelName": cloud.model()}])
    client = cloud.client("sagemaker")
    client.update_endpoint(EndpointName=name, EndpointConfigName=second)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        client.update_endpoint(EndpointName=name, EndpointConfigName=second)
    described = cloud.settle(name)
    assert described["EndpointConfigName"] == second
    assert set(before).isdisjoint(cloud.processes(name)["main"])
    eventually(lambda: [alive(pid) for pid in before], lambda states: not any(states))


def test_an_unhealthy_update_leaves_the_old_configuration_in_service(cloud: Cloud) -> None:
    first = cloud.config([{"ModelName": cloud.model()}])
    name = cloud.endpoint(first)
    before = cloud.processes(name)
    bad = cloud.config([{"ModelName": cloud.model({"FAIL_AT_START": "no weights"})}])
    cloud.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=bad)
    described = cloud.settle(name)
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == first
    assert "no weights" in described["FailureReason"]
    assert cloud.processes(name) == before


def test_deployment_configuration_is_kept_and_described(cloud: Cloud) -> None:
    config = cloud.config([{"ModelName": cloud.model()}])
    name = cloud.endpoint(config)
    policy = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "WaitIntervalInSeconds": 60,
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
            }
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
    }
    second = cloud.config([{"ModelName": cloud.model()}])
    client = cloud.client("sagemaker")
    client.update_endpoint(EndpointName=name, EndpointConfigName=second, DeploymentConfig=policy)
    assert cloud.settle(name)["LastDeploymentConfig"] == policy
    client.update_endpoint(EndpointName=name, EndpointConfigName=config, RetainDeploymentConfig=True)
    assert cloud.settle(name)["LastDeploymentConfig"] == policy


def test_weights_and_counts_change_without_a_new_configuration(cloud: Cloud) -> None:
    model = cloud.model()
    variants = [{"VariantName": "a", "ModelName": model}, {"VariantName": "b", "ModelName": model}]
    config = cloud.config(variants)
    name = cloud.endpoint(config)
    client = cloud.client("sagemaker")
    changes = [{"VariantName": "a", "DesiredWeight": 0.0}, {"VariantName": "b", "DesiredInstanceCount": 2}]
    client.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=changes)
    described = cloud.settle(name)
    shown = {v["VariantName"]: (v["CurrentWeight"], v["DesiredInstanceCount"]) for v in described["ProductionVariants"]}
    assert shown == {"a": (0.0, 1), "b": (1.0, 2)}
    assert {variant: len(pids) for variant, pids in cloud.processes(name).items()} == {"a": 1, "b": 2}
    # A new configuration resets both, unless they are retained.
    client.update_endpoint(
        EndpointName=name,
        EndpointConfigName=config,
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredInstanceCount"}],
    )
    described = cloud.settle(name)
    shown = {v["VariantName"]: (v["CurrentWeight"], v["DesiredInstanceCount"]) for v in described["ProductionVariants"]}
    assert shown == {"a": (0.0, 1), "b": (1.0, 1)}


def test_a_killed_instance_is_replaced(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    (victim,) = cloud.processes(name)["main"]
    os.kill(victim, signal.SIGKILL)
    (fresh,) = eventually(lambda: cloud.processes(name)["main"], lambda pids: pids not in ([], [victim]))
    assert alive(fresh)
    assert cloud.settle(name)["EndpointStatus"] == "InService"


def test_deletion_ends_the_processes_and_forgets_the_endpoint(cloud: Cloud) -> None:
    config = cloud.config([{"ModelName": cloud.model(), "InitialInstanceCount": 2}])
    name = cloud.endpoint(config)
    pids = cloud.processes(name)["main"]
    client = cloud.client("sagemaker")
    # A configuration in use can be deleted, as on AWS.
    client.delete_endpoint_config(EndpointConfigName=config)
    client.delete_endpoint(EndpointName=name)

    def gone() -> bool:
        try:
            return bool(client.describe_endpoint(EndpointName=name)["EndpointStatus"] != "Deleting")
        except ClientError as error:
            assert "Could not find endpoint" in str(error)  # noqa: PT017 - the poll's end
            return True

    eventually(gone, bool)
    assert not any(alive(pid) for pid in pids)
    assert not (Path(cloud.info.home) / "endpoints" / name).exists()


def test_what_does_not_exist_and_what_exists_already_is_refused_in_the_words_of_the_service(cloud: Cloud) -> None:
    client = cloud.client("sagemaker")
    arn = "arn:aws:sagemaker:us-east-1:123456789012"
    with pytest.raises(ClientError) as caught:
        client.describe_endpoint(EndpointName="Nowhere")
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert caught.value.response["Error"]["Message"] == f'Could not find endpoint "{arn}:endpoint/nowhere".'
    with pytest.raises(ClientError, match=f'Could not find endpoint configuration "{arn}:endpoint-config/nowhere"'):
        client.create_endpoint(EndpointName="x", EndpointConfigName="nowhere")
    with pytest.raises(ClientError, match="Could not find model"):
        cloud.config([{"ModelName": "nowhere"}])
    config = cloud.config([{"ModelName": cloud.model()}])
    name = cloud.endpoint(config)
    with pytest.raises(ClientError, match="Cannot create already existing endpoint "):
        client.create_endpoint(EndpointName=name, EndpointConfigName=config)


def test_input_is_validated_against_the_service_model(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as caught:
        cloud.config([{"ModelName": cloud.model(), "InstanceType": "ml.huge", "VariantName": "v" * 64}])
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert error["Message"].startswith("3 validation errors detected: ")
    assert (
        "at 'productionVariants.1.member.instanceType' failed to satisfy constraint: Member must satisfy enum"
        in (error["Message"])
    )


def test_tags_of_endpoints_are_ours_and_those_of_models_are_motos(cloud: Cloud) -> None:
    client = cloud.client("sagemaker")
    config = cloud.config([{"ModelName": cloud.model()}], Tags=[{"Key": "stage", "Value": "test"}])
    name = cloud.endpoint(config, Tags=[{"Key": "team", "Value": "ml"}])
    arn = client.describe_endpoint(EndpointName=name)["EndpointArn"]
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "cost", "Value": "0"}])
    client.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "cost", "Value": "0"}]
    arn = client.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"]
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "stage", "Value": "test"}]
    model = client.create_model(
        ModelName=cloud.name("model"),
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "x"},
        Tags=[{"Key": "k", "Value": "v"}],
    )
    assert client.list_tags(ResourceArn=model["ModelArn"])["Tags"] == [{"Key": "k", "Value": "v"}]


def test_lists_are_filtered_ordered_and_paged(cloud: Cloud) -> None:
    client = cloud.client("sagemaker")
    model = cloud.model()
    for number in range(12):
        client.create_endpoint_config(
            EndpointConfigName=f"paged-{number:02d}",
            ProductionVariants=[{"VariantName": "v", "ModelName": model, "InstanceType": "ml.m5.large"}],
        )
    pages = [
        *client.get_paginator("list_endpoint_configs").paginate(
            NameContains="paged", SortBy="Name", SortOrder="Ascending"
        )
    ]
    sizes = [len(page["EndpointConfigs"]) for page in pages]
    names = [config["EndpointConfigName"] for page in pages for config in page["EndpointConfigs"]]
    assert sizes == [10, 2]
    assert names == [f"paged-{number:02d}" for number in range(12)]
    name = cloud.endpoint(cloud.config([{"ModelName": model}]))
    in_service = client.list_endpoints(StatusEquals="InService", NameContains=name)["Endpoints"]
    assert [endpoint["EndpointName"] for endpoint in in_service] == [name]


def test_regions_do_not_see_each_other(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    with pytest.raises(ClientError, match="Could not find endpoint"):
        cloud.client("sagemaker", region="eu-west-1").describe_endpoint(EndpointName=name)


def processes_with(variable: str) -> list[int]:
    """The processes that have an environment variable."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found
