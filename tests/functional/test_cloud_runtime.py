"""InvokeEndpoint over real HTTP, with boto3's own runtime client: variants, headers, errors, capture."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.cloud_support.helpers import BUCKET, Cloud, eventually, running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture(scope="module")
def endpoint(cloud: Cloud) -> str:
    """Two variants, 90 to 10."""
    variants = [
        {
            "VariantName": "champion",
            "ModelName": cloud.model({"COLOUR": "red"}),
            "InitialVariantWeight": 90,
            "InitialInstanceCount": 2,
        },
        {"VariantName": "challenger", "ModelName": cloud.model({"COLOUR": "blue"}), "InitialVariantWeight": 10},
    ]
    return cloud.endpoint(cloud.config(variants))


def invoke(cloud: Cloud, endpoint: str, body: bytes = b"{}", **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=body, **{"ContentType": "application/json", **more}
    )
    return answer


def test_the_container_gets_the_contract_the_model_and_what_the_caller_sent(cloud: Cloud, endpoint: str) -> None:
    answer = invoke(
        cloud,
        endpoint,
        b'{"row": 1}',
        TargetVariant="challenger",
        InferenceId="request-1",
        CustomAttributes="trace=42",
        Accept="application/json",
    )
    assert answer["InvokedProductionVariant"] == "challenger"
    assert answer["CustomAttributes"] == "answered=1"
    assert answer["ContentType"] == "application/json"
    assert "x-private" not in answer["ResponseMetadata"]["HTTPHeaders"]
    seen = json.loads(answer["Body"].read())
    assert seen["body"] == '{"row": 1}'
    assert seen["files"] == ["manifest.json"]
    assert seen["environment"]["COLOUR"] == "blue"
    assert seen["environment"]["SAGESTAGE_HOST"] == "127.0.0.1"
    sent = seen["headers"]
    assert sent["x-amzn-sagemaker-inference-id"] == "request-1"
    assert sent["x-amzn-sagemaker-custom-attributes"] == "trace=42"
    assert sent["accept"] == sent["content-type"] == "application/json"
    assert "authorization" not in sent


def test_variants_answer_in_the_declared_proportion(cloud: Cloud, endpoint: str) -> None:
    client = cloud.client("sagemaker-runtime")
    draws = 400
    counts = Counter(
        client.invoke_endpoint(EndpointName=endpoint, Body=b"{}")["InvokedProductionVariant"] for _ in range(draws)
    )
    # The 99.9 % binomial interval of 400 draws at 0.1 is 21 to 61.
    assert 21 <= counts["challenger"] <= 61, counts
    assert sum(counts.values()) == draws


def test_both_instances_of_a_variant_answer(cloud: Cloud, endpoint: str) -> None:
    pids = {json.loads(invoke(cloud, endpoint, TargetVariant="champion")["Body"].read())["pid"] for _ in range(6)}
    assert pids == set(cloud.processes(endpoint)["champion"])


@pytest.mark.parametrize(
    ("body", "status", "said", "kind"),
    [(b"refuse", 400, "column 'hour' is missing", "client"), (b"fail", 500, "Traceback: no", "server")],
)
def test_an_error_of_the_container_is_a_model_error(
    cloud: Cloud, endpoint: str, body: bytes, status: int, said: str, kind: str
) -> None:
    client = cloud.client("sagemaker-runtime")
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName=endpoint, Body=body)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == status
    assert response["OriginalMessage"] == said
    assert response["LogStreamArn"].endswith(f"log-group:/aws/sagemaker/Endpoints/{endpoint}")
    assert f'Received {kind} error ({status}) from primary with message "{said}"' in str(caught.value)


def test_a_container_that_dies_under_a_request_is_a_model_error(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    client = cloud.client("sagemaker-runtime")
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName=name, Body=b"crash")
    assert caught.value.response["OriginalStatusCode"] == 0
    # Until it is replaced there is no instance; then there is one again.
    status = eventually(lambda: httpx.post(f"{cloud.info.url}/endpoints/{name}/invocations").status_code, bool)
    assert status in (200, 503)
    eventually(
        lambda: httpx.post(f"{cloud.info.url}/endpoints/{name}/invocations").status_code, lambda status: status == 200
    )


def test_an_unknown_endpoint_or_variant_is_a_validation_error(cloud: Cloud, endpoint: str) -> None:
    client = cloud.client("sagemaker-runtime")
    with pytest.raises(client.exceptions.ValidationError, match="Endpoint nowhere of account 123456789012 not found"):
        client.invoke_endpoint(EndpointName="nowhere", Body=b"{}")
    with pytest.raises(client.exceptions.ValidationError, match="Variant nobody"):
        client.invoke_endpoint(EndpointName=endpoint, Body=b"{}", TargetVariant="nobody")


def test_a_body_over_six_mebibytes_is_refused(cloud: Cloud, endpoint: str) -> None:
    limit = 6_291_456
    url = f"{cloud.info.url}/endpoints/{endpoint}/invocations"
    assert httpx.post(url, content=b"x" * limit, headers={"Accept": "text/csv"}).status_code == 200
    refused = httpx.post(url, content=b"x" * (limit + 1))
    assert refused.status_code == 413
    assert refused.json()["message"] == f"HTTP content length exceeded {limit} bytes."
    streamed = httpx.post(url, content=iter([b"x" * limit, b"x"]))
    assert streamed.status_code == 413


def test_long_custom_attributes_are_refused(cloud: Cloud, endpoint: str) -> None:
    url = f"{cloud.info.url}/endpoints/{endpoint}/invocations"
    refused = httpx.post(url, content=b"{}", headers={"X-Amzn-SageMaker-Custom-Attributes": "x" * 1025})
    assert refused.status_code == 400
    assert refused.headers["x-amzn-errortype"] == "ValidationError"


def test_a_variant_without_weight_answers_only_when_it_is_named(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model(), "InitialVariantWeight": 0}]))
    client = cloud.client("sagemaker-runtime")
    assert invoke(cloud, name, TargetVariant="main")["InvokedProductionVariant"] == "main"
    with pytest.raises(client.exceptions.ValidationError, match="weight above 0"):
        client.invoke_endpoint(EndpointName=name, Body=b"{}")


CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": f"s3://{BUCKET}/captured/here",
    "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"], "CsvContentTypes": ["text/csv"]},
}


def captured(cloud: Cloud, endpoint: str, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Every captured record with its key, once there are `count` of them."""
    s3 = cloud.client("s3")

    def read() -> list[tuple[str, dict[str, Any]]]:
        listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"captured/here/{endpoint}/").get("Contents", [])
        return [
            (item["Key"], json.loads(line))
            for item in listed
            for line in s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read().splitlines()
        ]

    found: list[tuple[str, dict[str, Any]]] = eventually(read, lambda records: len(records) >= count)
    return found


def test_captured_records_have_the_documented_form(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}], DataCaptureConfig=CAPTURE))
    invoke(cloud, name, b'{"row": "\xc3\xa4"}', InferenceId="i-1")
    invoke(cloud, name, b"1,2\n", ContentType="text/csv; charset=utf-8", Accept="text/csv")
    invoke(cloud, name, b"\x00\xff", ContentType="application/x-npy", Accept="text/csv")
    records = captured(cloud, name, 3)
    assert len(records) == 3
    key, first = records[0]
    assert first["captureData"]["endpointInput"] == {
        "observedContentType": "application/json",
        "mode": "INPUT",
        "data": '{"row": "ä"}',
        "encoding": "JSON",
    }
    assert first["captureData"]["endpointOutput"]["mode"] == "OUTPUT"
    assert set(first["eventMetadata"]) == {"eventId", "inferenceTime", "inferenceId"}
    assert first["eventVersion"] == "0"
    year, month, day, hour = key.removeprefix(f"captured/here/{name}/main/").split("/")[:4]
    assert first["eventMetadata"]["inferenceTime"].startswith(f"{year}-{month}-{day}T{hour}:")
    csv, binary = records[1][1]["captureData"], records[2][1]["captureData"]
    assert (csv["endpointInput"]["data"], csv["endpointInput"]["encoding"]) == ("1,2\n", "CSV")
    assert (csv["endpointOutput"]["data"], csv["endpointOutput"]["encoding"]) == ("1.5\n", "CSV")
    assert binary["endpointInput"]["encoding"] == "BASE64"
    assert base64.b64decode(binary["endpointInput"]["data"]) == b"\x00\xff"
    assert cloud.client("sagemaker").describe_endpoint(EndpointName=name)["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/captured/here",
        "KmsKeyId": "",
    }


def test_deletion_writes_what_was_captured(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}], DataCaptureConfig=CAPTURE))
    invoke(cloud, name)
    cloud.client("sagemaker").delete_endpoint(EndpointName=name)
    assert len(captured(cloud, name, 1)) == 1


@pytest.mark.slow
def test_invocations_are_counted_in_cloudwatch(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
    for _ in range(3):
        invoke(cloud, name)
    client = cloud.client("sagemaker-runtime")
    with pytest.raises(client.exceptions.ModelError):
        client.invoke_endpoint(EndpointName=name, Body=b"fail")
    watch = cloud.client("cloudwatch")
    now = datetime.now(UTC)

    def total(metric: str) -> float:
        points = watch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "main"}],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=5),
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    eventually(lambda: total("Invocations"), lambda count: count == 4)
    assert total("Invocation5XXErrors") == 1
    assert total("Invocation4XXErrors") == 0
    assert total("ModelLatency") > 0


def test_an_update_loses_no_request(cloud: Cloud) -> None:
    name = cloud.endpoint(cloud.config([{"ModelName": cloud.model({"COLOUR": "old"}), "InitialInstanceCount": 2}]))
    fresh = cloud.config([{"ModelName": cloud.model({"COLOUR": "new"}), "InitialInstanceCount": 2}])
    url = f"{cloud.info.url}/endpoints/{name}/invocations"
    stop = threading.Event()
    statuses: list[int] = []
    colours: list[str] = []

    def call() -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                answer = client.post(url, content=b"{}")
                statuses.append(answer.status_code)
                colours.append(answer.json()["environment"]["COLOUR"])

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    eventually(lambda: len(colours), lambda answered: answered > 0)
    cloud.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=fresh)
    cloud.settle(name)
    eventually(lambda: colours[-1], lambda colour: colour == "new")
    stop.set()
    for caller in callers:
        caller.join()
    assert set(statuses) == {200}
    assert set(colours) == {"old", "new"}
