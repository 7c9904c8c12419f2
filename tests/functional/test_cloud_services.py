"""The other AWS services, by moto, and who may call: real clients, the AWS CLI among them."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.cloud_support.helpers import BUCKET, Cloud, environment, running

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud")) as made:
        yield made


def aws(cloud: Cloud, *words: str) -> str:
    command = [str(Path(sys.executable).with_name("aws")), *words]
    done = subprocess.run(command, env=environment(cloud), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_aws_cli_lists_describes_and_invokes_an_endpoint(cloud: Cloud, tmp_path: Path) -> None:
    config = cloud.config([{"ModelName": cloud.model()}])
    name = cloud.name("endpoint")
    aws(cloud, "sagemaker", "create-endpoint", "--endpoint-name", name, "--endpoint-config-name", config)
    aws(cloud, "sagemaker", "wait", "endpoint-in-service", "--endpoint-name", name)
    assert name in aws(cloud, "sagemaker", "list-endpoints", "--output", "text")
    described = json.loads(aws(cloud, "sagemaker", "describe-endpoint", "--endpoint-name", name))
    assert described["EndpointStatus"] == "InService"
    answer = tmp_path / "answer.json"
    payload = tmp_path / "payload.json"
    payload.write_text('{"row": 1}')
    words = ["--endpoint-name", name, "--body", f"fileb://{payload}", "--content-type", "application/json"]
    aws(cloud, "sagemaker-runtime", "invoke-endpoint", *words, str(answer))
    assert json.loads(answer.read_text())["body"] == '{"row": 1}'


def test_who_am_i(cloud: Cloud) -> None:
    assert cloud.client("sts").get_caller_identity()["Account"] == cloud.info.account == "123456789012"


def test_objects_come_back_as_they_were_put(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    body = b"\x1f\x8b not really gzip"
    s3.put_object(
        Bucket=BUCKET, Key="deep/ä key+1.bin", Body=body, ContentEncoding="gzip", Metadata={"under_score": "1"}
    )
    found = s3.get_object(Bucket=BUCKET, Key="deep/ä key+1.bin")
    assert found["Body"].read() == body
    assert found["ContentEncoding"] == "gzip"
    assert found["Metadata"] == {"under_score": "1"}
    assert s3.head_object(Bucket=BUCKET, Key="deep/ä key+1.bin")["ContentLength"] == len(body)
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=BUCKET, Key="nothing")


def test_large_objects_go_in_parts(cloud: Cloud, tmp_path: Path) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * (20 * MEBIBYTE // 256))
    s3.upload_file(str(source), BUCKET, "large")
    s3.download_file(BUCKET, "large", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_a_variant_can_be_a_scalable_target(cloud: Cloud) -> None:
    scaling = cloud.client("application-autoscaling")
    resource = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/demand/variant/champion",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**resource, MinCapacity=1, MaxCapacity=4)
    scaling.put_scaling_policy(
        **resource,
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 6000.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        },
    )
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert policy["PolicyName"] == "requests"
    scaling.delete_scaling_policy(**resource, PolicyName="requests")
    scaling.deregister_scalable_target(**resource)
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_alarms_topics_and_roles_are_kept(cloud: Cloud) -> None:
    topic = cloud.client("sns").create_topic(Name="alerts")["TopicArn"]
    watch = cloud.client("cloudwatch")
    watch.put_metric_alarm(
        AlarmName="late",
        Namespace="AWS/SageMaker",
        MetricName="ModelLatency",
        Dimensions=[{"Name": "EndpointName", "Value": "demand"}, {"Name": "VariantName", "Value": "champion"}],
        ExtendedStatistic="p95",
        Period=60,
        EvaluationPeriods=1,
        Threshold=50_000,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[topic],
    )
    assert watch.describe_alarms(AlarmNames=["late"])["MetricAlarms"][0]["Threshold"] == 50_000
    iam = cloud.client("iam")
    iam.create_role(RoleName="execution", AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":[]}')
    assert iam.get_role(RoleName="execution")["Role"]["RoleName"] == "execution"


def test_an_operation_that_nobody_has_answers_501_with_its_name(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as caught:
        cloud.client("sagemaker").list_inference_experiments()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "SageMaker.ListInferenceExperiments" in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:4577"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_web_pages_are_refused(cloud: Cloud, headers: dict[str, str]) -> None:
    for path in ("/", "/_sagestage/status", "/endpoints/x/invocations"):
        refused = httpx.post(f"{cloud.info.url}{path}", headers=headers)
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


def test_moto_delivers_to_this_machine_and_to_no_other(cloud: Cloud) -> None:
    received: list[bytes] = []
    arrived = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            arrived.set()

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is pytest's."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        sns = cloud.client("sns")
        near = sns.create_topic(Name="near")["TopicArn"]
        sns.subscribe(TopicArn=near, Protocol="http", Endpoint=f"http://127.0.0.1:{server.server_port}/")
        sns.publish(TopicArn=near, Message="hello")
        assert arrived.wait(30)
        server.shutdown()
    assert json.loads(received[0])["Message"] == "hello"
    far = sns.create_topic(Name="far")["TopicArn"]
    sns.subscribe(TopicArn=far, Protocol="http", Endpoint="http://192.0.2.1/")
    with pytest.raises(ClientError, match=r"reaches only this machine, not 192\.0\.2\.1"):
        sns.publish(TopicArn=far, Message="hello")
