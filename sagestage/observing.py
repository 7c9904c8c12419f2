"""What happens to an endpoint while something is done to it: a client at a steady rate, and a watch on its alarms."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self

import orjson

from sagestage import background

THREADS = 6
RATE = 120.0
"""Requests a second: some for every alarm period of a canary, and little for two processors."""
LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Call:
    """One request: when it was answered (seconds after the beginning), how fast, by which model, or the error."""

    at: float
    milliseconds: float
    version: str = ""
    error: str = ""


@dataclass(frozen=True)
class Look:
    """One look at the endpoint: its status, and the alarms that are in ALARM."""

    at: float
    status: str
    in_alarm: tuple[str, ...]


@dataclass
class Observer:
    """Calls an endpoint and looks at it from the background, as long as the context lasts.

    Args:
        runtime: a boto3 `sagemaker-runtime` client.
        sagemaker: a boto3 `sagemaker` client.
        cloudwatch: a boto3 `cloudwatch` client.
        endpoint: the endpoint's name, which is also the prefix of its alarms.
        instances: raw rows, sent in turn.
    """

    runtime: Any
    sagemaker: Any
    cloudwatch: Any
    endpoint: str
    instances: Sequence[Any]
    calls: list[Call] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    seconds: float = 0.0

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._begin = time.perf_counter()
        self._open = ExitStack()
        self._open.enter_context(
            background.running([*(partial(self._call, n) for n in range(THREADS)), self._look], self._stop)
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()
        self.seconds = time.perf_counter() - self._begin
        self.calls.sort(key=lambda call: call.at)

    def _now(self) -> float:
        return time.perf_counter() - self._begin

    def _call(self, number: int) -> None:
        due = number / RATE
        row = number
        while not self._stop.wait(max(0.0, due - self._now())):
            due = max(due + THREADS / RATE, self._now())  # a late answer lowers the rate, it does not pile up
            body = orjson.dumps({"instances": [self.instances[row % len(self.instances)]]})
            row += THREADS
            self.calls.append(self._ask(body))  # one append is atomic

    def _ask(self, body: bytes) -> Call:
        from botocore.exceptions import BotoCoreError, ClientError

        begin = time.perf_counter()
        version = error = ""
        try:
            answer = self.runtime.invoke_endpoint(
                EndpointName=self.endpoint, ContentType="application/json", Accept="application/json", Body=body
            )
            version = str(orjson.loads(answer["Body"].read())["model_version"])
        except ClientError as failure:
            error = str(failure.response["Error"]["Code"])
        except BotoCoreError as failure:
            error = type(failure).__name__
        return Call(self._now(), (time.perf_counter() - begin) * 1e3, version, error)

    def _look(self) -> None:
        pages = self.cloudwatch.get_paginator("describe_alarms")
        while not self._stop.wait(LOOK_EVERY_S):
            found = pages.paginate(AlarmNamePrefix=f"{self.endpoint}-", StateValue="ALARM")
            names = tuple(alarm["AlarmName"] for page in found for alarm in page["MetricAlarms"])
            status = self.sagemaker.describe_endpoint(EndpointName=self.endpoint)["EndpointStatus"]
            self.looks.append(Look(self._now(), str(status), names))
