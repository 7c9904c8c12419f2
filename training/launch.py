"""The same run as a SageMaker training job: the request is a pure value, sent by whoever holds a client.

Limits: SageMaker API Reference, CreateTrainingJob; managed spot training; managed warm pools.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, Field, ValidationError

from inference.contract.metrics import Metric
from inference.contract.schema import Frozen
from training import storage
from training.config import TrainConfig
from training.errors import ConfigError

NUMBER = r"([-+0-9.eEinfa]+)"
CHECKPOINTS = "/opt/ml/checkpoints"
_HERE = frozenset({"data", "output", "checkpoint", "chunk_rows"})
"""Settings that are this machine's affair."""


def _names(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names), Field(max_length=16)]


class Place(Frozen):
    """Where and how a job runs.

    Attributes:
        image: the training image's address in ECR.
        role: ARN of the role that the job assumes.
        bucket: takes the data that lie here, the checkpoints and the models.
        spot: interruptible and cheaper; goes on from its checkpoints.
        max_run_s, max_wait_s: the longest run, and the longest wait for spot capacity and the run together.
        subnets, security_groups: of the VPC that the job runs in; texts with commas, or sequences.
        isolated: the containers reach nothing at all; SageMaker itself brings and takes what lies in S3.
        volume_key, output_key: KMS keys of the machines' volumes and of what the job writes to S3; id, alias or ARN.
        keep_alive_s: how long the machines wait for the next job (warm pool); the default quota of an account is 0.
    """

    image: Annotated[str, Field(min_length=1, max_length=255)]
    role: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] = "ml.m6i.xlarge"
    instance_count: Annotated[int, Field(ge=1, le=100)] = 1
    volume_gb: Annotated[int, Field(ge=1, le=16_384)] = 30
    max_run_s: Annotated[int, Field(ge=1, le=28 * 86_400)] = 4 * 3_600
    max_wait_s: Annotated[int, Field(ge=1, le=28 * 86_400)] | None = None
    spot: bool = False
    keep_alive_s: Annotated[int, Field(ge=0, le=21_600)] = 0
    experiment: Annotated[str, Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,119}$")] | None = None
    subnets: Names = ()
    security_groups: Names = ()
    isolated: bool = False
    volume_key: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    output_key: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    tags: Mapping[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, **values: Any) -> Place:
        """Check the values together.

        Raises:
            ConfigError: lists every problem with its value.
        """
        try:
            place = cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError([_problem(detail) for detail in error.errors()]) from None
        problems = []
        if place.spot and place.keep_alive_s:
            problems.append(f"keep_alive_s {place.keep_alive_s}: a warm pool does not go with spot: leave out one")
        if place.max_wait_s is not None and not place.spot:
            problems.append(f"max_wait_s {place.max_wait_s} is for spot: add spot, or leave it out")
        if place.max_wait_s is not None and place.max_wait_s < place.max_run_s:
            problems.append(f"max_wait_s {place.max_wait_s} must be at least max_run_s, {place.max_run_s}")
        if bool(place.subnets) != bool(place.security_groups):
            given = "subnets" if place.subnets else "security_groups"
            problems.append(f"{given} alone make no network: give subnets and security_groups, or neither")
        if problems:
            raise ConfigError(problems)
        return place


def _problem(detail: Any) -> str:
    name = detail["loc"][0]
    if detail["type"] == "missing":
        return f"{name} of the job is missing: give {name}=…"
    if detail["type"] == "extra_forbidden":
        return f"a job has no {name!r}; it has {', '.join(Place.model_fields)}"
    return f"{name}: {detail['msg'].removeprefix('Input ')}, got {detail['input']!r}"


def job_name(config: TrainConfig, now: datetime) -> str:
    """A name that no earlier job has, at most 63 characters."""
    return f"{config.name[:43]}-{now.strftime('%Y-%m-%d-%H-%M-%S')}"


def hyperparameters(config: TrainConfig) -> dict[str, str]:
    """The settings that are not the defaults, all of them texts."""
    found = {}
    for name, field in TrainConfig.model_fields.items():
        value = getattr(config, name)
        if name not in _HERE and (field.is_required() or value != field.default):
            found[name] = _text(value)
    if config.history == ():
        found["history"] = "none"
    if config.products == ():
        found["products"] = "none"
    return found


def _text(value: Any) -> str:
    """As TrainConfig reads it again."""
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return "none" if value is None else str(value)


def data_uri(config: TrainConfig, place: Place) -> str:
    """Where the job finds the data: their own address in S3, or the place that local ones are uploaded to."""
    if storage.is_s3(config.data):
        return storage.name(config.data)
    return f"s3://{place.bucket}/training-data/{config.name}/{config.data.name}"


def request(config: TrainConfig, place: Place, now: datetime) -> dict[str, Any]:
    """The arguments of CreateTrainingJob."""
    name = job_name(config, now)
    resources: dict[str, Any] = {
        "InstanceType": place.instance_type,
        "InstanceCount": place.instance_count,
        "VolumeSizeInGB": place.volume_gb,
    }
    if place.volume_key is not None:
        resources["VolumeKmsKeyId"] = place.volume_key
    if place.keep_alive_s:
        resources["KeepAlivePeriodInSeconds"] = place.keep_alive_s
    stopping = {"MaxRuntimeInSeconds": place.max_run_s}
    if place.spot:
        stopping["MaxWaitTimeInSeconds"] = place.max_run_s if place.max_wait_s is None else place.max_wait_s
    tags = {"sagestage:model": config.name, **place.tags}
    made: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": place.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": metric_definitions(),
        },
        "RoleArn": place.role,
        "HyperParameters": hyperparameters(config),
        "InputDataConfig": [
            {
                "ChannelName": "training",
                "InputMode": "File",  # the SDK's ModelTrainer says it for each channel
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": data_uri(config, place),
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
        ],
        "OutputDataConfig": {
            "S3OutputPath": f"s3://{place.bucket}/training/",
            **({"KmsKeyId": place.output_key} if place.output_key is not None else {}),
        },
        "ResourceConfig": resources,
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": place.spot,
        "EnableInterContainerTrafficEncryption": place.instance_count > 1,
        "CheckpointConfig": {"S3Uri": f"s3://{place.bucket}/checkpoints/{config.name}/", "LocalPath": CHECKPOINTS},
        "Tags": [{"Key": key, "Value": value} for key, value in sorted(tags.items())],
    }
    if place.subnets:
        made["VpcConfig"] = {"Subnets": list(place.subnets), "SecurityGroupIds": list(place.security_groups)}
    if place.isolated:
        made["EnableNetworkIsolation"] = True
    if place.experiment is not None:
        made["ExperimentConfig"] = {"ExperimentName": place.experiment, "TrialComponentDisplayName": name}
    return made


def metric_definitions() -> list[dict[str, str]]:
    """How SageMaker reads the lines that a run prints."""
    losses = [{"Name": f"{part}:loss", "Regex": rf"\b{part}_loss={NUMBER}"} for part in ("train", "validation")]
    return losses + [{"Name": f"test:{metric}", "Regex": rf"\btest_{metric}={NUMBER}"} for metric in Metric]


class SageMaker(Protocol):
    """What is used of boto3's client."""

    def create_training_job(self, **arguments: Any) -> Mapping[str, Any]:
        """Create the job."""


class Uploads(Protocol):
    """What is used of boto3's S3 client."""

    def upload_file(self, name: str, bucket: str, key: str) -> None:
        """Put a file."""


def submit(config: TrainConfig, place: Place, now: datetime, sagemaker: SageMaker, s3: Uploads) -> str:
    """Upload data that lie here, create the job, and return its ARN.

    Raises:
        ConfigError: there are no data here.
    """
    wanted = request(config, place, now)
    if not storage.is_s3(config.data):
        if not config.data.exists():
            raise ConfigError([f"{config.data}: no such file"])
        key = data_uri(config, place).removeprefix(f"s3://{place.bucket}/")
        files = [config.data] if config.data.is_file() else sorted(p for p in config.data.rglob("*") if p.is_file())
        for path in files:
            below = "" if path == config.data else f"/{path.relative_to(config.data).as_posix()}"
            s3.upload_file(str(path), place.bucket, key + below)
    return str(sagemaker.create_training_job(**wanted)["TrainingJobArn"])
