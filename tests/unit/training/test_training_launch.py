from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from training import launch
from training.__main__ import _measured
from training.config import TrainConfig
from training.errors import ConfigError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLACE = {"image": "a/b:1", "role": "arn:aws:iam::123456789012:role/train", "bucket": "models-of-mine"}


def config(**settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"data": "s3://rows/part/", "target": "y", **settings})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"spot": "true", "max_wait_s": 20_000, "experiment": "demand"},
        {"keep_alive_s": 600, "instance_count": 2, "tags": {"team": "ml"}},
        {"subnets": "subnet-1,subnet-2", "security_groups": "sg-1", "isolated": "true", "volume_key": "alias/a"},
        {"output_key": "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"},
    ],
)
def test_the_request_is_one_that_botocore_accepts(options: dict[str, Any]) -> None:
    request = launch.request(config(gates="r2>=0.8"), launch.Place.of(**PLACE, **options), NOW)
    shape = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob")
    report = ParamValidator().validate(request, shape.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert request["TrainingJobName"] == "model-2026-01-02-03-04-05"
    assert request["CheckpointConfig"]["S3Uri"] == "s3://models-of-mine/checkpoints/model/"


def test_hyperparameters_are_texts_that_give_the_same_settings() -> None:
    original = config(
        order="a,b",
        lags="",
        window="0",
        history="x",
        products="none",
        hidden="8,4",
        gates="r2>=0.8,mae<=3",
        dropout=0.25,
    )
    texts = launch.hyperparameters(original)
    assert all(isinstance(value, str) for value in texts.values())
    again = TrainConfig.model_validate({**texts, "data": original.data})
    assert again == original


def test_local_data_are_uploaded_and_the_job_created(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/a.csv").write_text("a\n")
    sent: list[tuple[str, str]] = []

    class Client:
        def upload_file(self, name: str, bucket: str, key: str) -> None:
            assert Path(name).is_file()
            sent.append((bucket, key))

        def create_training_job(self, **arguments: Any) -> dict[str, str]:
            uri = arguments["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]
            assert uri == "s3://models-of-mine/training-data/model/rows"
            return {"TrainingJobArn": "arn:job"}

    local = config(data=tmp_path / "rows")
    assert launch.submit(local, launch.Place.of(**PLACE), NOW, Client(), Client()) == "arn:job"
    assert sent == [("models-of-mine", "training-data/model/rows/a.csv")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"spot": True, "keep_alive_s": 60}, "warm pool does not go with spot"),
        ({"max_wait_s": 60}, "max_wait_s 60 is for spot.*must be at least max_run_s, 14400"),
        ({"instance_type": "m5.large"}, "instance_type: .*'m5.large'"),
        ({"colour": "red"}, "a job has no 'colour'"),
        ({"role": "me"}, "role: .*'me'"),
        ({"subnets": "subnet-1"}, "subnets alone make no network"),
    ],
)
def test_what_sagemaker_would_refuse_is_told_at_once(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        launch.Place.of(**{**PLACE, **options})
    with pytest.raises(ConfigError, match="role of the job is missing"):
        launch.Place.of(image="a", bucket="bbb")


def test_metric_definitions_read_the_lines_of_a_run() -> None:
    found = {one["Name"]: one["Regex"] for one in launch.metric_definitions()}
    line = "epoch=3 train_loss=0.125000 validation_loss=nan model=m"
    assert re.search(found["train:loss"], line)[1] == "0.125000"  # type: ignore[index]
    assert re.search(found["validation:loss"], line)[1] == "nan"  # type: ignore[index]
    assert re.search(found["test:r2"], _measured({"r2": -0.5, "mae": 2.0}))[1] == "-0.500000"  # type: ignore[index]
