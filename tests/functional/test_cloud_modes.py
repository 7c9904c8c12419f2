"""Ways of hosting beside plain instances: several models on demand, stateful sessions, serverless, sleeping at zero."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from tests.cloud_support.helpers import BUCKET, IMAGE, ROLE, Cloud, archived, eventually, running
from tests.inference_support import artifacts

SCALE = 300
OF = artifacts.plain_transform(4)
ROWS = artifacts.instances(OF, 3)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud"), time_scale=SCALE) as made:
        yield made


def metric(cloud: Cloud, name: str, endpoint: str, statistic: str = "Sum", variant: str = "main") -> float:
    """The statistic of all values so far; 0 when there are none."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}]
    dimensions += [{"Name": "VariantName", "Value": variant}] if variant else []
    points = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=name,
        Dimensions=dimensions,
        StartTime="2020-01-01T00:00:00Z",
        EndTime="2100-01-01T00:00:00Z",
        Period=86_400 * 30_000,
        Statistics=[statistic],
    )["Datapoints"]
    return float(points[0][statistic]) if points else 0.0


def test_a_request_names_the_model_that_it_is_for(tmp_path: Path) -> None:
    models = {name: artifacts.make(OF, seed=seed, name=name) for seed, name in enumerate(("ant", "bee", "cat"))}
    with running(tmp_path / "cloud", serve_command=None) as cloud:
        s3, sagemaker, runtime = cloud.client("s3"), cloud.client("sagemaker"), cloud.client("sagemaker-runtime")
        s3.create_bucket(Bucket=BUCKET)
        for name, model in models.items():
            artifacts.pack(model, tmp_path / f"{name}.tar.gz")
            s3.upload_file(str(tmp_path / f"{name}.tar.gz"), BUCKET, f"zoo/{name}.tar.gz")
        s3.put_object(Bucket=BUCKET, Key="zoo/broken.tar.gz", Body=b"no archive")
        s3.put_object(Bucket=BUCKET, Key="zoo/empty.tar.gz", Body=archived({}))
        container = {
            "Image": IMAGE,
            "Mode": "MultiModel",
            "ModelDataUrl": f"s3://{BUCKET}/zoo/",
            "Environment": {"SAGESTAGE_MAX_MODELS": "2"},  # the third one takes another's place
        }
        sagemaker.create_model(ModelName="zoo", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        endpoint = cloud.endpoint(cloud.config([{"ModelName": "zoo"}]))
        body = json.dumps({"instances": ROWS})

        def ask(target: str) -> Any:
            answer = runtime.invoke_endpoint(
                EndpointName=endpoint, TargetModel=target, Body=body, ContentType="application/json"
            )
            return json.load(answer["Body"])["predictions"]

        for name in ("ant", "bee", "ant", "cat", "ant", "bee"):
            expected = artifacts.answer(models[name], ROWS).values
            np.testing.assert_allclose(ask(f"{name}.tar.gz"), expected, rtol=1e-5, atol=1e-6)
        with ThreadPoolExecutor(6) as pool:  # of many that ask for one at once, one loads it
            assert len(list(pool.map(ask, ["cat.tar.gz"] * 6))) == 6
        for missing in ("dog.tar.gz", "broken.tar.gz"):
            with pytest.raises(
                ClientError, match=rf"Failed to download model data\(bucket: artifacts, key: zoo/{missing}"
            ):
                ask(missing)
        with pytest.raises(ClientError, match="ModelError"):
            ask("empty.tar.gz")
        with pytest.raises(ClientError, match="needs a TargetModel"):
            runtime.invoke_endpoint(EndpointName=endpoint, Body=body)
        hits, asked = (metric(cloud, "ModelCacheHit", endpoint, kind) for kind in ("Sum", "SampleCount"))
        loaded = metric(cloud, "ModelLoadingTime", endpoint, "SampleCount")
        assert 3 <= loaded < asked
        assert 0 < hits < asked


def test_a_target_model_is_refused_where_there_is_one_model(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    with pytest.raises(ClientError, match=r"ValidationError.*is not a multi-model endpoint"):
        cloud.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, TargetModel="a", Body=b"x")


def test_a_session_stays_with_its_instance(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"SESSION_S": "60"}), "InitialInstanceCount": 2}]))
    runtime = cloud.client("sagemaker-runtime")

    def call(body: bytes, session: str) -> dict[str, Any]:
        answer: dict[str, Any] = runtime.invoke_endpoint(EndpointName=name, SessionId=session, Body=body)
        return answer

    for _ in range(3):
        begun = call(b"begin", "NEW_SESSION")
        session = begun["NewSessionId"].partition(";")[0]
        pid = json.load(begun["Body"])["pid"]
        shown = [json.load(call(b"go on", session)["Body"]) for _ in range(6)]
        assert {one["pid"] for one in shown} == {pid}
        assert shown[0]["headers"]["x-amzn-sagemaker-session-id"] == session
        streamed = runtime.invoke_endpoint_with_response_stream(EndpointName=name, SessionId=session, Body=b"go on")
        assert json.loads(b"".join(e["PayloadPart"]["Bytes"] for e in streamed["Body"]))["pid"] == pid
        assert call(b"end", session)["ClosedSessionId"] == session
        with pytest.raises(ClientError, match=f"ValidationError.*Session {session} .* does not exist, or is over"):
            call(b"go on", session)


def test_a_session_ends_with_its_time(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"SESSION_S": "0"})}]))
    runtime = cloud.client("sagemaker-runtime")
    begun = runtime.invoke_endpoint(EndpointName=name, SessionId="NEW_SESSION", Body=b"begin")
    with pytest.raises(ClientError, match="is over"):
        runtime.invoke_endpoint(EndpointName=name, SessionId=begun["NewSessionId"].partition(";")[0], Body=b"x")


def serverless(cloud: Cloud, **config: int) -> str:
    variant = {
        "VariantName": "main",
        "ModelName": cloud.model(),
        "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 2, **config},
    }
    name = cloud.name("config")
    cloud.client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return cloud.endpoint(name)


def test_a_serverless_variant_goes_cold_and_the_next_request_starts_it(cloud: Cloud) -> None:
    name = serverless(cloud)
    provisioned = serverless(cloud, ProvisionedConcurrency=1)
    eventually(lambda: cloud.processes(name)["main"], lambda pids: pids == [])
    with ThreadPoolExecutor(2) as pool:  # both wait for the one process
        runtime = cloud.client("sagemaker-runtime")
        answers = list(pool.map(lambda _: runtime.invoke_endpoint(EndpointName=name, Body=b"x"), range(2)))
    assert len({json.load(answer["Body"])["pid"] for answer in answers}) == 1
    eventually(lambda: metric(cloud, "ModelSetupTime", name, "Minimum"), lambda micros: micros > 10_000)
    assert len(cloud.processes(provisioned)["main"]) == 1


def test_a_serverless_variant_takes_four_megabytes(cloud: Cloud) -> None:
    name = serverless(cloud)
    runtime = cloud.client("sagemaker-runtime")
    runtime.invoke_endpoint(EndpointName=name, Body=b"x" * 4_194_304)
    with pytest.raises(ClientError, match=r"413.*4194304 bytes"):
        runtime.invoke_endpoint(EndpointName=name, Body=b"x" * 4_194_305)


@pytest.fixture
def asynchronous(cloud: Cloud) -> tuple[str, Any]:
    """An asynchronous endpoint that answers slowly, and a way to ask it."""
    config = {
        "OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/answers"},
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
    }
    name = cloud.endpoint(
        cloud.config([{"ModelName": cloud.model({"SLOW_S": "0.5"})}], AsyncInferenceConfig=config),
    )
    runtime = cloud.client("sagemaker-runtime")

    def ask(body: bytes = b"hello", **more: Any) -> Any:
        return runtime.invoke_endpoint_async(EndpointName=name, Body=body, ContentType="text/plain", **more)

    return name, ask


def stored(cloud: Cloud, place: str) -> bytes | None:
    """An object once it is there."""
    s3 = cloud.client("s3")
    bucket, _, key = place.removeprefix("s3://").partition("/")
    found = {one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])}
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read() if key in found else None


def test_an_asynchronous_request_may_bring_its_body_and_name_its_answer(
    cloud: Cloud, asynchronous: tuple[str, Any]
) -> None:
    _, ask = asynchronous
    answer = ask(S3OutputPathExtension="today/", Filename="answer.json")
    assert answer["OutputLocation"] == f"s3://{BUCKET}/answers/today/answer.json"
    shown = json.loads(eventually(lambda: stored(cloud, answer["OutputLocation"]), bool))
    assert (shown["body"], shown["headers"]["content-type"]) == ("hello", "text/plain")


def test_a_container_that_needs_longer_than_the_invocation_may_fails_it(
    cloud: Cloud, asynchronous: tuple[str, Any]
) -> None:
    name, ask = asynchronous
    slow = cloud.config(
        [{"ModelName": cloud.model({"SLOW_S": "30"})}],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/answers"}},
    )
    cloud.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=slow)
    cloud.settle(name)
    answer = ask(InvocationTimeoutSeconds=1)
    assert b"timed out" in eventually(lambda: stored(cloud, answer["FailureLocation"]), bool)


def test_a_sleeping_endpoint_is_woken_by_its_backlog_and_sleeps_again(
    cloud: Cloud, asynchronous: tuple[str, Any]
) -> None:
    name, ask = asynchronous
    scaling, sagemaker = cloud.client("application-autoscaling"), cloud.client("sagemaker")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=2)
    backlog = {
        "MetricName": "ApproximateBacklogSizePerInstance",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": name}],
        "Statistic": "Average",
    }
    scaling.put_scaling_policy(
        **target,
        PolicyName="follow",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 5, "CustomizedMetricSpecification": backlog, "ScaleInCooldown": 60, "ScaleOutCooldown": 60,
        },
    )  # fmt: skip
    wake = scaling.put_scaling_policy(
        **target,
        PolicyName="wake",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity", "Cooldown": 60,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )["PolicyARN"]  # fmt: skip
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-wake",
        Namespace="AWS/SageMaker",
        MetricName="HasBacklogWithoutCapacity",
        Dimensions=backlog["Dimensions"],
        Statistic="Average",
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        Threshold=1,
        Period=60,
        EvaluationPeriods=2,
        AlarmActions=[wake],
    )

    def instances() -> int:
        (variant,) = sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"]
        return int(variant["CurrentInstanceCount"])

    # Fifteen quiet minutes: it sleeps.
    eventually(instances, lambda count: count == 0)
    eventually(lambda: cloud.processes(name)["main"], lambda pids: pids == [])
    expiring = ask(RequestTTLSeconds=60)
    answers = [ask(RequestTTLSeconds=21_600) for _ in range(3)]
    for answer in answers:
        assert eventually(lambda place=answer["OutputLocation"]: stored(cloud, place), bool)
    assert b"time to live" in eventually(lambda: stored(cloud, expiring["FailureLocation"]), bool)
    assert metric(cloud, "ExpiredRequests", name) == 1
    assert metric(cloud, "InvocationsProcessed", name) == 4
    assert metric(cloud, "ApproximateBacklogSize", name, "Maximum", variant="") >= 3
    names = {found["MetricName"] for found in cloud.client("cloudwatch").list_metrics(
        Dimensions=[{"Name": "EndpointName", "Value": name}])["Metrics"]}  # fmt: skip
    assert not names & {"Invocations", "InvocationsPerInstance", "OverheadLatency"}
    eventually(instances, lambda count: count == 0)


def test_what_an_asynchronous_request_must_not_ask(cloud: Cloud, asynchronous: tuple[str, Any]) -> None:
    name, _ = asynchronous
    runtime = cloud.client("sagemaker-runtime")
    with pytest.raises(ClientError, match="Exactly one of InputLocation and Body"):
        runtime.invoke_endpoint_async(EndpointName=name, InputLocation=f"s3://{BUCKET}/asked", Body=b"x")
    with pytest.raises(ClientError, match="RequestTTLSeconds must be between 60 and 21600, got 30000"):
        runtime.invoke_endpoint_async(EndpointName=name, Body=b"x", RequestTTLSeconds=30_000)
