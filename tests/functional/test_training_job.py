"""`sagestage train --on sagemaker` against the embedded cloud: the job runs, and what it made serves there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cloud_support.helpers import ROLE, environment, eventually, running
from training import demo

ROOT = Path(__file__).resolve().parents[2]
SERVING = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagestage-inference:1.0"
TRAINING = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagestage-training:1.0"


@pytest.mark.slow
def test_a_job_that_is_launched_runs_and_its_model_answers(tmp_path: Path) -> None:
    demo.write(tmp_path / "demand.csv", rows=1_500)
    words = ["train", "--on", "sagemaker", "--data", str(tmp_path / "demand.csv"), "--target", "demand"]
    words += ["--order-by", "timestamp", "--epochs", "3", "--hidden", "16,8", "--name", "demand"]
    for option in (f"image={TRAINING}", f"role={ROLE}", "bucket=models-of-mine", "spot=true", "tag:team=ml"):
        words += ["--job", option]
    with running(tmp_path / "cloud", serve_command=None) as cloud:
        cloud.client("s3").create_bucket(Bucket="models-of-mine")
        done = subprocess.run(
            [Path(sys.executable).with_name("sagestage"), *words],
            cwd=ROOT, env={**os.environ, **environment(cloud)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        name = json.loads(done.stdout)["name"]
        client = cloud.client("sagemaker")
        job = eventually(
            lambda: client.describe_training_job(TrainingJobName=name),
            lambda answer: answer["TrainingJobStatus"] in ("Completed", "Failed"),
            deadline_s=200,
        )
        assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
        told = {one["MetricName"] for one in job["FinalMetricDataList"]}
        assert {"train:loss", "validation:loss", "test:r2"} <= told
        kept = cloud.client("s3").list_objects_v2(Bucket="models-of-mine", Prefix="checkpoints/demand/")
        assert kept["KeyCount"] == 1
        container = {"Image": SERVING, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
        client.create_model(ModelName="made", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        endpoint = cloud.endpoint(cloud.config([{"ModelName": "made"}]))
        assert cloud.settle(endpoint)["EndpointStatus"] == "InService"
        key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://models-of-mine/")
        body = cloud.client("s3").get_object(Bucket="models-of-mine", Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            golden = json.load(archive.extractfile("golden.json"))  # type: ignore[arg-type]
        answer = cloud.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"instances": golden["instances"]})
        )
        assert json.loads(answer["Body"].read())["predictions"] == pytest.approx(golden["predictions"], rel=1e-5)
