"""Other kinds of calls: streamed answers, asynchronous inference, shadow variants."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud_support.helpers import BUCKET, Cloud, eventually, running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud")) as made:
        yield made


def test_an_answer_is_streamed_in_parts(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    runtime = cloud.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName=name, Body=b"hello", ContentType="text/plain", Accept="application/json"
    )
    assert answer["InvokedProductionVariant"] == "main"
    assert answer["ContentType"] == "application/json"
    parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
    shown = json.loads(b"".join(parts))
    assert shown["body"] == "hello"
    assert shown["headers"]["accept"] == "application/json"
    with pytest.raises(ClientError, match="no"):
        runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=b"fail")


@pytest.fixture(scope="module")
def later(cloud: Cloud) -> tuple[str, Any, str]:
    """An asynchronous endpoint, a reader of the messages of its topics, and where its answers go."""
    sns, sqs = cloud.client("sns"), cloud.client("sqs")
    topic = sns.create_topic(Name="results")["TopicArn"]
    queue = sqs.create_queue(QueueName="results")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])
    place = f"s3://{BUCKET}/answers"
    output = {"S3OutputPath": place, "NotificationConfig": {"SuccessTopic": topic, "ErrorTopic": topic}}
    config = cloud.config([{"ModelName": cloud.model()}], AsyncInferenceConfig={"OutputConfig": output})

    def messages() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(json.loads(message["Body"])["Message"]) for message in found]

    return cloud.endpoint(config), messages, place


@pytest.mark.parametrize(("body", "status"), [(b"hello", "Completed"), (b"refuse", "Failed")])
def test_asynchronous_answers_are_in_s3_and_told_by_sns(
    cloud: Cloud, later: tuple[str, Any, str], body: bytes, status: str
) -> None:
    name, messages, place = later
    s3 = cloud.client("s3")
    s3.put_object(Bucket=BUCKET, Key="asked", Body=body)
    answer = cloud.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=name, InputLocation=f"s3://{BUCKET}/asked", InferenceId=f"id-{status}"
    )
    assert answer["InferenceId"] == f"id-{status}"
    assert answer["OutputLocation"] == f"{place}/id-{status}.out"
    (told,) = eventually(lambda: [m for m in messages() if m["inferenceId"] == f"id-{status}"], bool)
    assert told["invocationStatus"] == status
    failed = status == "Failed"
    where = told["failureLocation"] if failed else told["responseParameters"]["outputLocation"]
    assert where == (answer["FailureLocation"] if failed else answer["OutputLocation"])
    stored = s3.get_object(Bucket=BUCKET, Key=where.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    assert (b"column 'hour' is missing" in stored) if failed else (json.loads(stored)["body"] == "hello")


def test_an_endpoint_is_called_in_its_own_way(cloud: Cloud, later: tuple[str, Any, str]) -> None:
    runtime = cloud.client("sagemaker-runtime")
    with pytest.raises(ClientError, match="is asynchronous"):
        runtime.invoke_endpoint(EndpointName=later[0], Body=b"x")
    plain = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    with pytest.raises(ClientError, match="is not asynchronous"):
        runtime.invoke_endpoint_async(EndpointName=plain, InputLocation=f"s3://{BUCKET}/asked")
    with pytest.raises(ClientError, match="must be an S3 URI"):
        runtime.invoke_endpoint_async(EndpointName=later[0], InputLocation="https://example.com/asked")


def test_a_shadow_gets_copies_and_its_answers_are_discarded(cloud: Cloud) -> None:
    shadow = {
        "VariantName": "shadow",
        "ModelName": cloud.model({"ERRORS": "1"}),
        "InstanceType": "ml.c6i.xlarge",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}], ShadowProductionVariants=[shadow]))
    described = cloud.client("sagemaker").describe_endpoint(EndpointName=name)
    assert [variant["VariantName"] for variant in described["ShadowProductionVariants"]] == ["shadow"]
    runtime = cloud.client("sagemaker-runtime")
    for _ in range(5):
        answer = runtime.invoke_endpoint(EndpointName=name, Body=b"hello")
        assert answer["InvokedProductionVariant"] == "main"
    cloudwatch = cloud.client("cloudwatch")

    def counted() -> set[str]:
        found = cloudwatch.list_metrics(
            MetricName="InvocationModelErrors", Dimensions=[{"Name": "EndpointName", "Value": name}]
        )["Metrics"]
        return {d["Value"] for metric in found for d in metric["Dimensions"] if d["Name"] == "VariantName"}

    eventually(counted, lambda names: names == {"main", "shadow"})
    with pytest.raises(ClientError, match="exactly one production variant"):
        cloud.config([{"ModelName": cloud.model()}, {"VariantName": "b", "ModelName": cloud.model()}],
                     ShadowProductionVariants=[shadow])  # fmt: skip


def test_a_serverless_variant_throttles_what_is_more_than_its_concurrency(cloud: Cloud) -> None:
    serverless = {
        "VariantName": "main",
        "ModelName": cloud.model({"SLOW_S": "1"}),
        "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 2},
    }
    config = cloud.name("config")
    cloud.client("sagemaker").create_endpoint_config(EndpointConfigName=config, ProductionVariants=[serverless])
    name = cloud.endpoint(config)
    runtime = cloud.client("sagemaker-runtime")

    def call(_: int) -> str:
        try:
            runtime.invoke_endpoint(EndpointName=name, Body=b"hello")
        except ClientError as error:
            return f"{error.response['Error']['Code']} {error.response['ResponseMetadata']['HTTPStatusCode']}"
        return "answered"

    with ThreadPoolExecutor(4) as pool:
        outcomes = Counter(pool.map(call, range(4)))
    assert outcomes == {"answered": 2, "ThrottlingException 429": 2}
