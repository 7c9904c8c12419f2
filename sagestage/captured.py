"""Reads the capture bucket back: are the records there, as documented, and of the traffic that was sent?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from sagestage.statistics import binomial_interval
from sagestage.traffic import Answer

PATIENCE_S = 20.0
"""Capture is written behind the traffic's back, within seconds; this is when one stops waiting for it."""


@dataclass(frozen=True)
class Capture:
    """What was captured: `records` of the traffic, out of the `interval` (99.9 %) that sampling allows."""

    uri: str
    percent: int
    records: int
    interval: tuple[int, int]
    problems: tuple[str, ...]


def check(
    sagemaker: Any,
    s3: Any,
    endpoint: str,
    answers: Sequence[Answer],
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Capture | None:
    """Read the records of these answers; None when the endpoint captures nothing.

    The bucket is read again until a whole second brings no further record and enough are there, or patience ends.
    """
    config = sagemaker.describe_endpoint_config(
        EndpointConfigName=sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    ).get("DataCaptureConfig")
    if not config or not config.get("EnableCapture"):
        return None
    percent, uri = config["InitialSamplingPercentage"], config["DestinationS3Uri"]
    interval = binomial_interval(len(answers), percent / 100)
    sent = {answer.inference_id: answer for answer in answers}
    deadline = clock() + PATIENCE_S
    found = _of(sent, _records(s3, uri, endpoint))
    while clock() < deadline:
        pause(1.0)
        again = _of(sent, _records(s3, uri, endpoint))
        if len(again) == len(found) >= interval[0]:
            break
        found = again
    problems = [problem for record in found for problem in _record_problems(record, sent)][:3]
    if not interval[0] <= len(found) <= interval[1]:
        allowed = f"{percent} % allow {interval[0]} to {interval[1]} (99.9 %)"
        problems.append(f"{len(found)} of {len(answers)} requests were captured; {allowed}")
    return Capture(uri, percent, len(found), interval, tuple(problems))


def _records(s3: Any, uri: str, endpoint: str) -> Iterator[dict[str, Any]]:
    parts = urlsplit(uri)
    prefix = f"{parts.path.strip('/')}/{endpoint}/".lstrip("/")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=parts.netloc, Prefix=prefix):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=parts.netloc, Key=item["Key"])["Body"].read()
            yield from (orjson.loads(line) for line in body.splitlines())


def _of(sent: dict[str, Answer], records: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if record["eventMetadata"].get("inferenceId") in sent]


def _record_problems(record: dict[str, Any], sent: dict[str, Answer]) -> Iterator[str]:
    answer = sent[record["eventMetadata"]["inferenceId"]]
    output = record["captureData"]["endpointOutput"]
    if output["encoding"] != "JSON":
        yield f"record {answer.inference_id} is encoded as {output['encoding']}, JSON is declared"
    elif orjson.loads(output["data"])["predictions"][0] != answer.prediction:
        yield f"record {answer.inference_id} holds another prediction than the caller got"
