"""What the models of a plan need and AWS would miss only after an hour of Creating: looked for before anything is made.

An image that is not there, an archive that is not there and a role that SageMaker may not assume leave an endpoint in
`Creating` until it gives up. What may not be looked at is told, and refuses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sagestage.errors import SagestageError
from sagestage.scaling_in import Step

UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What Pulumi's plans have in place of a text that is not known yet (the SDK's constant for unknown values)."""
MODEL = "aws:sagemaker/model:Model"
SERVICE = "sagemaker.amazonaws.com"
Clients = Callable[[str, str | None], Any]
"""(service, region or None for the stack's own) -> a boto3 client."""

_ECR = re.compile(
    r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^@:]+)(?::([^@]+))?(?:@(sha256:[0-9a-f]+))?"
)
_ABSENT = {"404", "NoSuchKey", "NoSuchBucket", "RepositoryNotFoundException", "ImageNotFoundException", "NoSuchEntity"}


class PreflightError(SagestageError):
    """A model names something that is not there."""

    exit_code = 7


@dataclass(frozen=True, order=True)
class Need:
    """What a model names: an `image`, an `archive` or a `role`, by its address or ARN."""

    kind: str
    value: str


@dataclass(frozen=True)
class Found:
    """What a look at the needs gave: what is missing, and what could not be looked at; one sentence each."""

    missing: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


def needs(steps: Iterable[Step]) -> list[Need]:
    """What the models that a plan makes name outright; what other resources give is made by the same plan."""
    found: set[Need] = set()
    for step in steps:
        if step.type != MODEL or step.op not in ("create", "create-replacement"):
            continue
        containers = [step.inputs.get("primaryContainer"), *(step.inputs.get("containers") or [])]
        for one in containers:
            if isinstance(one, Mapping):
                found |= set(_named("image", one.get("image"))) | set(_named("archive", one.get("modelDataUrl")))
        found |= set(_named("role", step.inputs.get("executionRoleArn")))
    return sorted(found)


def _named(kind: str, value: Any) -> Iterator[Need]:
    starts = {"archive": "s3://", "role": "arn:"}.get(kind, "")
    if isinstance(value, str) and value != UNKNOWN_TEXT and value.startswith(starts):
        yield Need(kind, value)


def look(wanted: Iterable[Need], client: Clients) -> Found:
    """Look for each need with AWS's own calls, which change nothing."""
    from botocore.exceptions import BotoCoreError, ClientError

    looks = {"image": _image, "archive": _archive, "role": _role}
    missing, unseen = [], []
    for need in wanted:
        try:
            problem = looks[need.kind](need.value, client)
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            if code in _ABSENT:
                missing.append(f"{need.kind} {need.value} is not there ({code})")
            else:
                unseen.append(f"{need.kind} {need.value} could not be looked at: {code}")
        except BotoCoreError as error:
            unseen.append(f"{need.kind} {need.value} could not be looked at: {error}")
        else:
            missing += [] if problem is None else [problem]
    return Found(tuple(missing), tuple(unseen))


def refuse(found: Found) -> None:
    """Refuse to deploy what cannot start.

    Raises:
        PreflightError: with everything that is missing.
    """
    if found.missing:
        told = "; ".join(found.missing)
        raise PreflightError(f"nothing was done, as endpoints would be stuck in Creating: {told}; put it there first")


def _image(value: str, client: Clients) -> str | None:
    parts = _ECR.fullmatch(value)
    if parts is None:
        return f"image {value} is in no repository of ECR, and SageMaker pulls from no other"
    account, region, repository, tag, digest = parts.groups()
    wanted = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    client("ecr", region).describe_images(registryId=account, repositoryName=repository, imageIds=[wanted])
    return None


def _archive(value: str, client: Clients) -> str | None:
    bucket, _, key = value.removeprefix("s3://").partition("/")
    s3 = client("s3", None)
    if key.endswith("/"):
        found = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("KeyCount", 0)
        return None if found else f"archive {value} is an empty prefix"
    s3.head_object(Bucket=bucket, Key=key)
    return None


def _role(value: str, client: Clients) -> str | None:
    role = client("iam", None).get_role(RoleName=value.rpartition("/")[2])["Role"]
    given = role["AssumeRolePolicyDocument"].get("Statement", [])
    statements = given if isinstance(given, list) else [given]
    allowed = [one.get("Principal") for one in statements if one.get("Effect") == "Allow"]
    told = [one.get("Service", []) for one in allowed if isinstance(one, Mapping)]
    services = {name for one in told for name in ([one] if isinstance(one, str) else one)}
    return None if SERVICE in services else f"role {value} does not let {SERVICE} assume it"
