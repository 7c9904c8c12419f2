"""Names that several parts must agree on, and what a name says: pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra import limits
from infra.errors import SpecError

PROJECT_TAG = "sagestage:project"
STACK_TAG = "sagestage:stack"
HOSTING_TAG = "sagestage:hosting"
"""How the embedded AWS runs a model's image: process or container. Nothing of AWS reads it."""
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


def physical(project: str, stack: str, name: str) -> str:
    """A physical name that is known before anything exists: of endpoints, so that alarms can name them, and others."""
    return f"{project}-{stack}-{name}"


def physical_name_problems(name: str, pattern: re.Pattern[str], source: str) -> Iterator[str]:
    """What is wrong with a physical name, as text for a SpecError."""
    if not pattern.fullmatch(name):
        yield f"the physical name must match {pattern.pattern}, got {name!r} ({source})"


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


def prefix_problems(uri: str) -> Iterator[str]:
    """What is wrong with the place of many archives, as text for a SpecError."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/") or not uri.endswith("/"):
        yield f"artifact of a multi-model container must be s3://<bucket>/<prefix>/, got {uri!r}"


def tag_problems(tags: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with tags, as text for a SpecError."""
    if (problem := limits.TAGS.problem(len(tags))) is not None:
        yield f"tags: their number {problem}"
    for key, value in tags.items():
        if (problem := limits.TAG_KEY.problem(key)) is not None:
            yield f"tags: a key {problem}"
        elif key.lower().startswith(("aws:", "sagestage:")):
            yield f"tags: a key may not begin with aws: or sagestage:, got {key!r}"
        if isinstance(value, str) and (problem := limits.TAG_VALUE.problem(value)) is not None:
            yield f"tags: {key} {problem}"


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
