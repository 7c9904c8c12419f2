"""Batch transform jobs over real S3 prefixes and real instances."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud_support.helpers import BUCKET, Cloud, eventually, running

ENDED = ("Completed", "Failed", "Stopped")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud")) as made:
        made.client("s3").create_bucket(Bucket=BUCKET)
        yield made


def started(cloud: Cloud, model: str, prefix: str, *, kind: str = "S3Prefix", **more: Any) -> str:
    name = cloud.name("job")
    come = {"DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": f"s3://{BUCKET}/{prefix}"}}}
    request = {
        "TransformJobName": name,
        "ModelName": model,
        "TransformInput": {**come, **more.pop("TransformInput", {})},
        "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/out/{name}", **more.pop("TransformOutput", {})},
        "TransformResources": {"InstanceType": "ml.c5.xlarge", "InstanceCount": 2},
        **more,
    }
    cloud.client("sagemaker").create_transform_job(**request)
    return name


def ended(cloud: Cloud, name: str) -> dict[str, Any]:
    described: dict[str, Any] = eventually(
        lambda: cloud.client("sagemaker").describe_transform_job(TransformJobName=name),
        lambda job: job["TransformJobStatus"] in ENDED,
    )
    return described


def put(cloud: Cloud, files: dict[str, bytes]) -> None:
    for key, body in files.items():
        cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)


def out(cloud: Cloud, name: str) -> dict[str, bytes]:
    s3 = cloud.client("s3")
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"out/{name}/").get("Contents", [])
    return {
        one["Key"].removeprefix(f"out/{name}/"): s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
        for one in found
    }


def test_each_file_below_a_prefix_has_an_answer_and_a_bad_record_costs_its_file(cloud: Cloud) -> None:
    put(cloud, {"in/a.csv": b"1\n22\n333\n", "in/deep/b.csv": b"4444\n", "in/c.csv": b"1\nbad\n", "other.csv": b"1\n"})
    job = started(
        cloud,
        cloud.model({"LINES": "1"}),
        "in/",
        TransformInput={"ContentType": "text/csv", "SplitType": "Line"},
        TransformOutput={"Accept": "text/csv", "AssembleWith": "Line"},
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=4,
        Tags=[{"Key": "team", "Value": "forecast"}],
    )
    described = ended(cloud, job)
    assert described["TransformJobStatus"] == "Failed"
    assert f"s3://{BUCKET}/in/c.csv: the container answered 400: a bad line" in described["FailureReason"]
    assert out(cloud, job) == {"a.csv.out": b"1\n2\n3\n", "deep/b.csv.out": b"4\n"}
    assert described["TransformStartTime"] <= described["TransformEndTime"]
    tags = cloud.client("sagemaker").list_tags(ResourceArn=described["TransformJobArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "forecast"}]


def test_ids_are_joined_and_the_files_of_a_manifest_may_be_compressed(cloud: Cloud) -> None:
    manifest = json.dumps([{"prefix": f"s3://{BUCKET}/packed/"}, "a.csv.gz"]).encode()
    put(cloud, {"packed/a.csv.gz": gzip.compress(b"7,abc\n8,de\n"), "packed/b.csv.gz": b"", "manifest": manifest})
    job = started(
        cloud,
        cloud.model({"LINES": "1"}),
        "manifest",
        kind="ManifestFile",
        TransformInput={"ContentType": "text/csv", "SplitType": "Line", "CompressionType": "Gzip"},
        TransformOutput={"Accept": "text/csv", "AssembleWith": "Line"},
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    )
    assert ended(cloud, job)["TransformJobStatus"] == "Completed"
    assert out(cloud, job) == {"a.csv.gz.out": b"7,3\n8,2\n"}


def test_a_whole_file_is_one_request_and_the_container_knows_that_it_is_a_batch(cloud: Cloud) -> None:
    put(cloud, {"whole/x": b"hello"})
    job = started(cloud, cloud.model({"COLOUR": "green"}), "whole/x", Environment={"COLOUR": "red"})
    assert ended(cloud, job)["TransformJobStatus"] == "Completed"
    shown = json.loads(out(cloud, job)["x.out"])
    assert (shown["body"], shown["environment"]["COLOUR"]) == ("hello", "red")


def test_a_job_is_stopped_and_its_instances_are_gone(cloud: Cloud) -> None:
    put(cloud, {"slow/x": b"hello"})
    client = cloud.client("sagemaker")
    job = started(cloud, cloud.model({"SLOW_S": "60"}), "slow/")
    client.stop_transform_job(TransformJobName=job)
    assert ended(cloud, job)["TransformJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="in status Stopped"):
        client.stop_transform_job(TransformJobName=job)
    assert out(cloud, job) == {}
    listed = client.list_transform_jobs(StatusEquals="Stopped", SortBy="Name")["TransformJobSummaries"]
    assert [one["TransformJobName"] for one in listed] == [job]


def test_a_model_that_does_not_start_and_a_prefix_without_objects_fail_the_job(cloud: Cloud) -> None:
    put(cloud, {"some/x": b"hello"})
    broken = ended(cloud, started(cloud, cloud.model({"FAIL_AT_START": "no"}), "some/"))
    assert "model.json is unreadable" in broken["FailureReason"]
    empty = ended(cloud, started(cloud, cloud.model(), "nothing/"))
    assert f"there is no object at s3://{BUCKET}/nothing/" in empty["FailureReason"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"MaxPayloadInMB": 101}, "MaxPayloadInMB must be at most 100, got 101"),
        ({"MaxPayloadInMB": 50, "MaxConcurrentTransforms": 3}, r"must be at most 100 MB, got 3 \* 50"),
        ({"BatchStrategy": "MultiRecord"}, "MultiRecord needs a SplitType"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "DataProcessing needs ContentType and Accept"),
        ({"ModelName": "nobody"}, "Could not find model"),
    ],
)
def test_what_cannot_be_is_refused(cloud: Cloud, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words):
        started(cloud, cloud.model(), "in/", **more)
    with pytest.raises(ClientError, match="Could not find transform job"):
        cloud.client("sagemaker").describe_transform_job(TransformJobName="nobody")
