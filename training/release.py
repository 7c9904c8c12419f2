"""`python -m training release`: what becomes of a model that a retraining made and its gate let through.

It is kept under a key that carries its digest, with the baseline that goes with it; registered in its group; and,
where that is wished, put in the place of a variant's model, in the way that the endpoint was last deployed (a canary
under its rollback alarms). Settings are variables, as the step of the pipeline gives them:

SAGESTAGE_MODEL       s3://…/output/model.tar.gz that the training job wrote; output.tar.gz lies beside it
SAGESTAGE_HOME        s3://bucket/models/name/ for the archive
SAGESTAGE_GROUP       the model package group
SAGESTAGE_IMAGE       the serving image
SAGESTAGE_APPROVED    true: approved at once; false: waits for approval
SAGESTAGE_ENDPOINT    endpoint to put it on; empty: none
SAGESTAGE_VARIANT     whose model it replaces
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from training import storage
from training.errors import ConfigError, DataError, TrainingError
from training.monitor.baseline import FILE, Baseline

BESIDE = (FILE, "statistics.json", "constraints.json", "report.html", "metrics.json")
MAX_MEMBER_BYTES = 256 * 2**20
CONTENT_TYPES = ["application/json", "application/jsonlines", "text/csv"]
DIGEST_VARIABLE, DIGEST_TAG = "SAGESTAGE_MODEL_SHA256", "sagestage:model-sha256"
_COPIED = ("ProductionVariants", "ShadowProductionVariants", "DataCaptureConfig", "KmsKeyId", "ExecutionRoleArn",
           "VpcConfig", "EnableNetworkIsolation")  # fmt: skip
Say = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """What is asked for."""

    model: str
    home: str
    group: str
    image: str
    approved: bool
    endpoint: str
    variant: str

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Release:
        """From the step's variables.

        Raises:
            ConfigError: some are missing; names them all.
        """
        needed = ("MODEL", "HOME", "GROUP", "IMAGE", "VARIANT")
        if missing := [name for name in needed if not variables.get(f"SAGESTAGE_{name}")]:
            raise ConfigError([f"the release lacks the variable SAGESTAGE_{name}" for name in missing])
        found = {name.lower(): variables[f"SAGESTAGE_{name}"] for name in needed}
        approved = variables.get("SAGESTAGE_APPROVED", "false").lower() == "true"
        return cls(**found, approved=approved, endpoint=variables.get("SAGESTAGE_ENDPOINT", ""))


def run(say: Say) -> int:
    """Release the model that the variables name.

    Raises:
        TrainingError: it is not there, or SageMaker refuses.
    """
    import boto3  # noqa: PLC0415  # only where something is released
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # likewise

    wish = Release.of(os.environ)
    try:
        return release(wish, boto3.client("sagemaker"), say)
    except (BotoCoreError, ClientError) as error:
        raise TrainingError(f"the model could not be released: {error}") from None


def release(wish: Release, sagemaker: Any, say: Say) -> int:
    """Keep, register, and roll out.

    Raises:
        TrainingError: the archive is not there; the endpoint has no such variant.
    """
    artifact, digest = keep(wish)
    say(f"artifact {artifact}")
    package = sagemaker.create_model_package(
        ModelPackageGroupName=wish.group,
        ModelPackageDescription=f"trained again for {wish.variant}; sha256 {digest}",
        ModelApprovalStatus="Approved" if wish.approved else "PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": wish.image, "ModelDataUrl": artifact}],
            "SupportedContentTypes": CONTENT_TYPES,
            "SupportedResponseMIMETypes": CONTENT_TYPES,
        },
    )["ModelPackageArn"]
    say(f"package {package} {'approved' if wish.approved else 'waits for approval'}")
    if wish.endpoint:
        say(f"rollout {roll_out(wish, sagemaker, artifact, digest)}")
    return 0


def keep(wish: Release) -> tuple[str, str]:
    """Put the archive under its digest, and its baseline beside it; the address and the digest.

    Raises:
        DataError: there is no archive.
    """
    content = storage.read_bytes(wish.model)
    if content is None:
        raise DataError(f"{wish.model}: no such model: did the training step succeed?")
    digest = hashlib.sha256(content).hexdigest()
    place = f"{wish.home.rstrip('/')}/{digest}"
    outputs = storage.read_bytes(f"{wish.model.rpartition('/')[0]}/output.tar.gz")
    for name, member in ({} if outputs is None else _members(outputs)).items():
        beside = _of_archive(member, digest) if name == FILE else member
        storage.write_bytes(f"{place}/{name}", beside)
    storage.write_bytes(f"{place}/model.tar.gz", content)
    return f"{place}/model.tar.gz", digest


def _of_archive(baseline: bytes, digest: str) -> bytes:
    """The baseline with the digest of the archive that is served: SageMaker packs a model anew."""
    return Baseline.model_validate_json(baseline).model_copy(update={"sha256": digest}).dump()


def _members(packed: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() and member.size <= MAX_MEMBER_BYTES else None
            if file is not None and member.name in BESIDE:
                found[member.name] = file.read()
    return found


def roll_out(wish: Release, sagemaker: Any, artifact: str, digest: str) -> str:
    """Give a variant the new model, in the way that the endpoint was last deployed; the new configuration's name.

    Raises:
        ConfigError: the endpoint has no such variant.
    """
    endpoint = sagemaker.describe_endpoint(EndpointName=wish.endpoint)
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    variants = config["ProductionVariants"]
    here = next((one for one in variants if one["VariantName"] == wish.variant), None)
    if here is None:
        names = ", ".join(one["VariantName"] for one in variants)
        raise ConfigError([f"endpoint {wish.endpoint} has no variant {wish.variant!r}, only {names}"])
    model = sagemaker.describe_model(ModelName=here["ModelName"])
    container = dict(model["PrimaryContainer"])
    container.pop("ModelDataSource", None)
    container |= {"ModelDataUrl": artifact, "Image": wish.image}
    container["Environment"] = {**container.get("Environment", {}), DIGEST_VARIABLE: digest}
    name = f"{wish.endpoint[:40]}-retrained-{digest[:12]}"
    optional = {key: model[key] for key in ("VpcConfig", "EnableNetworkIsolation") if model.get(key)}
    kept = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=config["EndpointConfigArn"])["Tags"]}
    kept = {key: value for key, value in kept.items() if not key.startswith("aws:")} | {DIGEST_TAG: digest}
    tags = [{"Key": key, "Value": value} for key, value in kept.items()]  # so that `sagestage prune` finds them
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=model["ExecutionRoleArn"], PrimaryContainer=container, Tags=tags, **optional
    )
    copied = {key: config[key] for key in _COPIED if config.get(key)}
    copied["ProductionVariants"] = [{**one, "ModelName": name} if one is here else one for one in variants]
    sagemaker.create_endpoint_config(EndpointConfigName=name, Tags=tags, **copied)
    last = endpoint.get("LastDeploymentConfig")
    sagemaker.update_endpoint(
        EndpointName=wish.endpoint, EndpointConfigName=name, **({"DeploymentConfig": last} if last else {})
    )
    return name
