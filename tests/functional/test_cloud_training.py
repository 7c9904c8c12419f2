"""Training jobs of the embedded cloud: they run, through real AWS clients and processes."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from infra.cloud import docker
from tests.cloud_support.containers import stub_image
from tests.cloud_support.helpers import BUCKET, ROLE, Cloud, eventually, killed_and_started, running
from tests.sagestage_support.user import processes_of

TRAINER = (sys.executable, str(Path(__file__).parents[1] / "cloud_support/trainer.py"))
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagestage-training:1.0"
LOSS = [{"Name": "train:loss", "Regex": r"train_loss=([0-9.]+)"}]
ENDED = ("Completed", "Failed", "Stopped")


@pytest.fixture(scope="module", params=["process", "container"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if request.param == "container":
        stub_image("trainer.py", IMAGE)
    home = tmp_path_factory.mktemp("cloud")
    with running(home, train_command=TRAINER, time_scale=60, hosting=request.param) as one:
        one.client("s3").create_bucket(Bucket=BUCKET)
        for name in ("a.csv", "deeper/b.csv"):
            one.client("s3").put_object(Bucket=BUCKET, Key=f"rows/{name}", Body=b"a,y\n1,2\n")
        yield one


def create(cloud: Cloud, parameters: dict[str, str] | None = None, **more: Any) -> str:
    name = cloud.name("job")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/rows/", "S3DataDistributionType": "FullyReplicated"}
    request = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File", "MetricDefinitions": LOSS},
        "RoleArn": ROLE,
        "HyperParameters": parameters or {},
        "InputDataConfig": [{"ChannelName": "training", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/training/"},
        "ResourceConfig": {"InstanceType": "ml.m6i.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3_600},
        "Tags": [{"Key": "team", "Value": "ml"}],
        **more,
    }
    cloud.client("sagemaker").create_training_job(**request)
    return name


def described(cloud: Cloud, name: str, *, until: tuple[str, ...] = ENDED, member: str = "TrainingJobStatus") -> Any:
    client = cloud.client("sagemaker")
    return eventually(lambda: client.describe_training_job(TrainingJobName=name), lambda a: a[member] in until)


def archive(cloud: Cloud, uri: str) -> dict[str, bytes]:
    key = uri.removeprefix(f"s3://{BUCKET}/")
    body = cloud.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def spot(**more: Any) -> dict[str, Any]:
    return {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3_600, "MaxWaitTimeInSeconds": 7_200},
        **more,
    }


def checkpoints(cloud: Cloud) -> dict[str, Any]:
    return {
        "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/{cloud.name('checkpoints')}", "LocalPath": "/opt/ml/checkpoints"}
    }


def lines(cloud: Cloud, name: str) -> list[str]:
    logs = cloud.client("logs")
    (stream,) = logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/algo-1-"
    )["logStreams"]
    events = logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream["logStreamName"])
    return [event["message"] for event in events["events"]]


def test_a_job_runs_and_leaves_what_a_job_leaves(cloud: Cloud) -> None:
    name = create(cloud, {"epochs": "3"})
    job = described(cloud, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    passed = [one["Status"] for one in job["SecondaryStatusTransitions"]]
    assert passed == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all("EndTime" in one for one in job["SecondaryStatusTransitions"])
    assert job["TrainingEndTime"] >= job["TrainingStartTime"] >= job["CreationTime"]
    seen = json.loads(archive(cloud, job["ModelArtifacts"]["S3ModelArtifacts"])["seen.json"])
    assert seen == {
        "settings": {"epochs": "3"},
        "files": ["input/data/training/a.csv", "input/data/training/deeper/b.csv"],
        "name": name,
    }
    assert archive(cloud, f"s3://{BUCKET}/training/{name}/output/output.tar.gz") == {"note.txt": b"beside the model"}
    (final,) = job["FinalMetricDataList"]
    assert (final["MetricName"], final["Value"]) == ("train:loss", pytest.approx(0.3333))
    assert "epoch=2 train_loss=0.5000" in lines(cloud, name)
    found = cloud.client("cloudwatch").list_metrics(Namespace="/aws/sagemaker/TrainingJobs", MetricName="train:loss")
    assert {"Name": "TrainingJobName", "Value": name} in [m["Dimensions"][0] for m in found["Metrics"]]
    client = cloud.client("sagemaker")
    assert client.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == [{"Key": "team", "Value": "ml"}]
    listed = client.list_training_jobs(NameContains=name, StatusEquals="Completed")["TrainingJobSummaries"]
    assert [one["TrainingJobName"] for one in listed] == [name]


def test_several_hosts_run_in_containers_and_find_each_other(cloud: Cloud) -> None:
    stub_image("trainer.py", IMAGE)
    several = {"InstanceType": "ml.m6i.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 10}
    name = create(cloud, ResourceConfig=several)
    job = described(cloud, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert "algo-1 met algo-2" in lines(cloud, name)
    streams = cloud.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    assert [one["logStreamName"].split("/")[1].rpartition("-")[0] for one in streams] == ["algo-1", "algo-2"]
    label = f"label={docker.LABEL}={cloud.info.home}"
    assert docker.call("ps", "--all", "--quiet", "--filter", label) == ""
    assert docker.call("network", "ls", "--quiet", "--filter", label) == ""


def test_a_job_that_fails_says_what_its_container_said(cloud: Cloud) -> None:
    job = described(cloud, create(cloud, {"fail": "column 'hour' is missing"}))
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: column 'hour' is missing, exit code: 1"
    assert "ModelArtifacts" not in job


def test_a_job_can_be_stopped_while_it_trains(cloud: Cloud) -> None:
    name = create(cloud, {"wait": "true"}, **checkpoints(cloud))
    described(cloud, name, until=("Training",), member="SecondaryStatus")
    eventually(lambda: lines_or_none(cloud, name), bool)
    cloud.client("sagemaker").stop_training_job(TrainingJobName=name)
    job = described(cloud, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert [one["Status"] for one in job["SecondaryStatusTransitions"]][-2:] == ["Stopping", "Stopped"]
    with pytest.raises(ClientError, match="in status Stopped"):
        cloud.client("sagemaker").stop_training_job(TrainingJobName=name)


def lines_or_none(cloud: Cloud, name: str) -> list[str]:
    try:
        return lines(cloud, name)
    except (ClientError, ValueError):
        return []


def test_a_spot_job_goes_on_from_its_checkpoint_when_its_capacity_was_taken_back(cloud: Cloud) -> None:
    name = create(cloud, {"wait": "true", "epochs": "2"}, **spot(**checkpoints(cloud)))
    address = f"{cloud.info.url}/_sagestage/training-jobs/{name}/interrupt"
    eventually(lambda: lines_or_none(cloud, name), lambda found: any("epoch=2" in line for line in found))
    assert httpx.post(address).status_code == httpx.codes.OK
    job = described(cloud, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    passed = [one["Status"] for one in job["SecondaryStatusTransitions"]]
    assert passed.count("Training") == 2
    assert passed[passed.index("Training") + 1 :][:2] == ["Interrupted", "Starting"]
    assert [line for line in lines(cloud, name) if "began" in line] == ["began after epoch 0", "began after epoch 2"]
    assert job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]


def test_jobs_of_a_cloud_that_is_killed_are_known_to_the_next_and_have_an_end(tmp_path: Path) -> None:
    with running(tmp_path, train_command=TRAINER) as cloud:
        cloud.client("s3").create_bucket(Bucket=BUCKET)
        cloud.client("s3").put_object(Bucket=BUCKET, Key="rows/a.csv", Body=b"a,y\n1,2\n")
        done = described(cloud, create(cloud, {"epochs": "2"}))
        at_work = create(cloud, {"wait": "true"}, **checkpoints(cloud))
        eventually(lambda: lines_or_none(cloud, at_work), bool)
        assert processes_of(tmp_path / "training")
        again = killed_and_started(cloud, train_command=TRAINER)
        try:
            assert processes_of(tmp_path / "training") == []
            job = described(again, at_work, until=("Failed",))
            assert "the embedded cloud ended during the job: create another" in job["FailureReason"]
            assert f"the checkpoints at s3://{BUCKET}/" in job["FailureReason"]
            assert [one["Status"] for one in job["SecondaryStatusTransitions"]][-2:] == ["Training", "Failed"]
            assert all("EndTime" in one for one in job["SecondaryStatusTransitions"])
            with pytest.raises(ClientError, match="in status Failed"):
                again.client("sagemaker").stop_training_job(TrainingJobName=at_work)
            known = described(again, done["TrainingJobName"])
            assert {k: v for k, v in known.items() if k != "ResponseMetadata"} == {
                k: v for k, v in done.items() if k != "ResponseMetadata"
            }
            assert "seen.json" in archive(again, known["ModelArtifacts"]["S3ModelArtifacts"])
            with pytest.raises(ClientError, match="ResourceInUse"):
                create(again, TrainingJobName=at_work)
        finally:
            again.close()


def test_only_a_spot_job_can_lose_its_capacity(cloud: Cloud) -> None:
    name = create(cloud)
    described(cloud, name)
    answer = httpx.post(f"{cloud.info.url}/_sagestage/training-jobs/{name}/interrupt")
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert "is no spot job" in answer.json()["message"]


def test_a_job_that_takes_too_long_is_stopped(cloud: Cloud) -> None:
    job = described(cloud, create(cloud, {"wait": "true"}, StoppingCondition={"MaxRuntimeInSeconds": 60}))  # a second
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds is required"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 9, "MaxWaitTimeInSeconds": 10}}, "can only be given when"),
        ({"ResourceConfig": {"InstanceType": "ml.tiny", "VolumeSizeInGB": 1}}, "must satisfy enum value set"),
    ],
)
def test_a_request_that_sagemaker_refuses_is_refused(cloud: Cloud, more: dict[str, Any], expected: str) -> None:
    with pytest.raises(ClientError, match=expected):
        create(cloud, **more)


def test_names_are_unique_and_missing_jobs_are_told(cloud: Cloud) -> None:
    name = create(cloud)
    with pytest.raises(ClientError, match="ResourceInUse"):
        create(cloud, TrainingJobName=name)
    with pytest.raises(ClientError, match="Requested resource not found"):
        cloud.client("sagemaker").describe_training_job(TrainingJobName="none")


def test_data_that_are_not_there_and_images_that_are_not_ours_end_a_job_with_the_reason(cloud: Cloud) -> None:
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/nothing/"}
    channel = {"ChannelName": "training", "DataSource": {"S3DataSource": source}}
    job = described(cloud, create(cloud, InputDataConfig=[channel]))
    assert "no S3 objects found under S3 URL" in job["FailureReason"]
    algorithm = {"TrainingImage": "nowhere.invalid/other:1", "TrainingInputMode": "File"}
    job = described(cloud, create(cloud, AlgorithmSpecification=algorithm))
    assert job["TrainingJobStatus"] == "Failed"
    assert "nowhere.invalid/other:1" in job["FailureReason"]
