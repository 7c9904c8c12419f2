"""Traffic that shifts: the generated demand as callers send it, the truth about it, and the same in a windy season."""

from __future__ import annotations

import csv
import io
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson

from sagestage import background

RATE = 24.0
"""Requests a second."""
THREADS = 3
LABELS_EVERY_S = 2.0
TRAINED = 0.7
"""Rows up to this share of the file are sent: they are all the model's training rows."""
WIND, PEOPLE = 2.0, 0.5
"""The season: wind blows twice as hard, and half as many people ride."""
LATER = timedelta(days=420)
"""Newest data lie so much later: whole weeks, so that hours and weekdays stay what they are."""


class World:
    """The rows of the generated file, as they are, and as they are in the windy season."""

    def __init__(self, path: Path, history: int) -> None:
        with path.open(newline="") as file:
            self.rows = [{name: _value(name, cell) for name, cell in row.items()} for row in csv.DictReader(file)]
        self._history = history
        self._last = int(len(self.rows) * TRAINED)

    def draw(self, random: np.random.Generator, *, windy: bool) -> tuple[dict[str, Any], float]:
        """A request's instance, and the truth about it."""
        at = int(random.integers(self._history, self._last))
        past = [_turned(row) if windy else row for row in self.rows[at - self._history : at]]
        here = _turned(self.rows[at]) if windy else self.rows[at]
        row = {name: value for name, value in here.items() if name != "demand"}
        return ({"row": row, "history": past} if self._history else row), float(here["demand"])

    def newest(self) -> bytes:
        """The newest data: a year of the windy season, as CSV."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            made = _turned(row)
            made["timestamp"] = (datetime.fromisoformat(row["timestamp"]) + LATER).isoformat()
            writer.writerow({name: "" if value is None else value for name, value in made.items()})
        return text.getvalue().encode()


def _value(name: str, cell: str) -> Any:
    if cell == "":
        return None
    if name in ("timestamp", "weather"):
        return cell
    return int(cell) if name in ("promotion", "holiday", "demand") else float(cell)


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "windspeed": round(row["windspeed"] * WIND, 1), "demand": round(row["demand"] * PEOPLE)}


@dataclass(frozen=True)
class Call:
    """One request: seconds since 1970, and the version that answered, or the error."""

    at: float
    version: str = ""
    error: str = ""


@dataclass
class Callers:
    """Sends rows at a steady rate from the background, and writes the truth about them a little later.

    Args:
        runtime: a boto3 `sagemaker-runtime` client.
        s3: a boto3 `s3` client.
        endpoint: the endpoint's name.
        world: where the rows come from.
        labels: bucket and prefix of the labels.
        rate: requests a second.
    """

    runtime: Any
    s3: Any
    endpoint: str
    world: World
    labels: tuple[str, str]
    rate: float = RATE
    windy: bool = False
    calls: list[Call] = field(default_factory=list)
    _known: list[tuple[str, float]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._open = ExitStack()
        self._open.enter_context(
            background.running([*(partial(self._call, n) for n in range(THREADS)), self._label], self._stop)
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()
        self.calls.sort(key=lambda call: call.at)

    def _call(self, number: int) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        random = np.random.Generator(np.random.PCG64(number))
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + THREADS / self.rate, time.monotonic())  # a late answer lowers the rate, it does not pile up
            instance, truth = self.world.draw(random, windy=self.windy)
            identity = str(uuid.uuid4())
            try:
                answer = self.runtime.invoke_endpoint(
                    EndpointName=self.endpoint, ContentType="application/json", InferenceId=identity,
                    Body=orjson.dumps({"instances": [instance]}),
                )  # fmt: skip
                version = str(orjson.loads(answer["Body"].read())["model_version"])
                self.calls.append(Call(time.time(), version))
                self._known.append((identity, truth))
            except (ClientError, BotoCoreError) as failure:
                self.calls.append(Call(time.time(), error=str(failure)))

    def _label(self) -> None:
        while not self._stop.wait(LABELS_EVERY_S):
            self._write()
        self._write()

    def _write(self) -> None:
        known, self._known = self._known, []
        if known:
            bucket, prefix = self.labels
            body = b"\n".join(orjson.dumps({"inferenceId": identity, "label": truth}) for identity, truth in known)
            self.s3.put_object(Bucket=bucket, Key=f"{prefix}/{uuid.uuid4()}.jsonl", Body=body)


def versions(calls: Sequence[Call], since: float) -> Iterator[str]:
    """The versions that answered after a moment."""
    return (call.version for call in calls if call.at >= since and call.version)
