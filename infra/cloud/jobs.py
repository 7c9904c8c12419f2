"""Asynchronous invocations as values: what was asked, where the answer goes, and what is told of it."""

import json
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.cloud import calls
from infra.cloud.capture import now
from infra.cloud.errors import AwsError

INPUT = "X-Amzn-SageMaker-InputLocation"
EXTENSION, FILENAME = "X-Amzn-SageMaker-S3OutputPathExtension", "X-Amzn-SageMaker-Filename"
TTL, TIMEOUT = "X-Amzn-SageMaker-RequestTTLSeconds", "X-Amzn-SageMaker-InvocationTimeoutSeconds"
DEFAULT_CONCURRENT = 4  # where none is given, SageMaker chooses; a process on this machine is kept from being flooded
DEFAULT_TIMEOUT_S = 900.0  # SageMaker developer guide, asynchronous inference: 15 minutes unless it is given
DEFAULT_TTL_S = 21_600  # likewise: six hours
INLINE_LIMIT = 128_000  # bytes; botocore: InvokeEndpointAsyncInput.Body max
_RANGES = {TTL: (60, 21_600), TIMEOUT: (1, 3_600)}  # botocore: minima and maxima


@dataclass(frozen=True)
class Outcome:
    """What an instance answered."""

    ok: bool
    body: bytes
    content_type: str


@dataclass(frozen=True, eq=False)
class Job:
    """One asynchronous invocation.

    Attributes:
        body: of the request, where it came with it; otherwise it lies at `source`.
        received: seconds since 1970.
        until: when it is given up in the queue, likewise.
        timeout_s: what the container has for an answer.
        ask: sends a body to an instance, which has so many seconds.
    """

    region: str
    endpoint: str
    inference_id: str
    source: str
    body: bytes | None
    config: Mapping[str, Any]
    extension: str
    filename: str
    received: float
    until: float
    timeout_s: float
    ask: Callable[[bytes, float], Awaitable[Outcome]]

    @property
    def concurrent(self) -> int:
        """How many an instance works on at once."""
        client = self.config.get("ClientConfig", {})
        return int(client.get("MaxConcurrentInvocationsPerInstance", DEFAULT_CONCURRENT))

    @property
    def place(self) -> tuple[str, str]:
        """Bucket and key of the input."""
        address = urlsplit(self.source)
        return address.netloc, address.path.lstrip("/")

    @property
    def output(self) -> str:
        """Where the answer goes."""
        return self._below(self.config["OutputConfig"]["S3OutputPath"], self.filename or f"{self.inference_id}.out")

    @property
    def failure(self) -> str:
        """Where an error goes; next to the answers unless a path is given."""
        output = self.config["OutputConfig"]
        place = output.get("S3FailurePath") or output["S3OutputPath"]
        return self._below(place, f"{self.inference_id}-error.out")

    def topic(self, *, ok: bool) -> str:
        """The topic that is told, or none."""
        topics = self.config["OutputConfig"].get("NotificationConfig", {})
        return str(topics.get("SuccessTopic" if ok else "ErrorTopic") or "")

    def _below(self, path: str, name: str) -> str:
        return "/".join([path.rstrip("/"), *filter(None, [self.extension.strip("/")]), name])


def job_of(
    region: str,
    endpoint: str,
    headers: calls.Headers,
    body: bytes,
    config: Mapping[str, Any],
    scale: float,
    ask: Callable[[bytes, float], Awaitable[Outcome]],
) -> Job:
    """The job that a call asks for. `scale`: how much faster than declared its time to live passes.

    Raises:
        AwsError: ValidationError.
    """
    source = headers.get(INPUT, "")
    if bool(source) == bool(body):
        raise AwsError("ValidationError", "Exactly one of InputLocation and Body must be given.")
    if source and not source.startswith("s3://"):
        raise AwsError("ValidationError", f"InputLocation must be an S3 URI, got {source!r}.")
    if len(body) > INLINE_LIMIT:
        raise calls.too_large(INLINE_LIMIT)
    if "S3OutputPath" not in config["OutputConfig"]:
        raise AwsError("ValidationError", f"Endpoint {endpoint} has no S3OutputPath for its answers.")
    received = time.time()
    return Job(
        region=region,
        endpoint=endpoint,
        inference_id=headers.get(calls.INFERENCE_ID) or str(uuid.uuid4()),
        source=source,
        body=body or None,
        config=config,
        extension=headers.get(EXTENSION, ""),
        filename=headers.get(FILENAME, ""),
        received=received,
        until=received + _number(headers, TTL, DEFAULT_TTL_S) / scale,
        timeout_s=_number(headers, TIMEOUT, DEFAULT_TIMEOUT_S),
        ask=ask,
    )


def _number(headers: calls.Headers, name: str, default: float) -> float:
    low, high = _RANGES[name]
    text = headers.get(name)
    if text is None:
        return default
    value = float(text) if text.isdecimal() else math.nan
    if not low <= value <= high:
        raise AwsError("ValidationError", f"{name.rpartition('-')[2]} must be between {low} and {high}, got {text}.")
    return value


def message(job: Job, outcome: Outcome, place: str) -> str:
    """What a topic is told."""
    said: dict[str, Any] = {
        "awsRegion": job.region,
        "eventTime": f"{now():%Y-%m-%dT%H:%M:%S.000Z}",
        "receivedTime": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(job.received))}.000Z",
        "invocationStatus": "Completed" if outcome.ok else "Failed",
        "requestParameters": {"endpointName": job.endpoint, "inputLocation": job.source},
        "inferenceId": job.inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    if outcome.ok:
        said["responseParameters"] = {"contentType": outcome.content_type, "outputLocation": place}
    else:
        said["failureLocation"] = place
        said["failureReason"] = outcome.body.decode(errors="replace")[:1024]
    return json.dumps(said)
