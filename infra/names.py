"""Names that several parts must agree on, and what a name says: pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.errors import SpecError

PROJECT_TAG = "sagestage:project"
STACK_TAG = "sagestage:stack"
ENDPOINT_TAG = "sagestage:endpoint"
DIGEST_TAG = "sagestage:model-sha256"
DIGEST_VARIABLE = "SAGESTAGE_MODEL_SHA256"
# The stack of a rehearsal: what it makes may be thrown away.
LOCAL = "local"

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Artifact:
    """What an artifact's address says: where it lies, and the sha256 of its content."""

    bucket: str
    key: str
    sha256: str


def physical_endpoint(project: str, stack: str, name: str) -> str:
    """The endpoint's name in SageMaker: known before it exists, so that alarms can name it."""
    return f"{project}-{stack}-{name}"


def tags(project: str, stack: str, endpoint: str | None = None) -> dict[str, str]:
    """The tags of everything that a stack makes; `sagestage prune` finds it by them."""
    own = {PROJECT_TAG: project, STACK_TAG: stack}
    return own if endpoint is None else {**own, ENDPOINT_TAG: endpoint}


def artifact_problems(uri: str) -> Iterator[str]:
    """What is wrong with an artifact's address, as text for a SpecError."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        yield f"artifact must be s3://<bucket>/<key>, got {uri!r}"
    digests = [part for part in parts.path.split("/") if _DIGEST.fullmatch(part)]
    if len(digests) != 1:
        yield (
            "artifact must have the sha256 of the archive as one part of its key,"
            f" s3://<bucket>/models/<name>/<64 hex digits>/model.tar.gz, got {uri!r}:"
            " a key that may change its content would deploy nothing when it does"
        )


def artifact(uri: str) -> Artifact:
    """Read an artifact's address.

    Raises:
        SpecError: it is no S3 address, or its key does not carry exactly one sha256.
    """
    if problems := list(artifact_problems(uri)):
        raise SpecError(problems)
    parts = urlsplit(uri)
    key = parts.path.lstrip("/")
    return Artifact(parts.netloc, key, next(part for part in key.split("/") if _DIGEST.fullmatch(part)))


def is_mutable(image: object) -> bool:
    """Whether an image's name is known to be movable: `latest`, or no tag and no digest at all."""
    if not isinstance(image, str) or "@" in image:
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in {"", "latest"}
