"""Held-out rows sent to a live endpoint by boto3's own client, and what must be true of the answers."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from inference.contract.artifact import Tolerance
from sagestage.errors import SagestageError
from sagestage.statistics import binomial_interval, percentile

THREADS = 4
TARGETED = 25
"""Requests sent to each variant by name."""


@dataclass(frozen=True)
class Expected:
    """What a variant's model must answer for the rows that are sent."""

    version: str
    predictions: NDArray[np.float64] | NDArray[np.int64]
    tolerance: Tolerance


@dataclass(frozen=True)
class Answer:
    """One answer: which row was asked, who answered, and how fast (milliseconds, seen by the client)."""

    row: int
    variant: str
    version: str
    prediction: float
    milliseconds: float
    inference_id: str


@dataclass
class VariantTraffic:
    """What one variant did with its share of the requests."""

    weight: float
    share: float
    requests: int = 0
    interval: tuple[int, int] = (0, 0)
    milliseconds: list[float] = field(default_factory=list)

    def latency(self, percent: float) -> float:
        """A percentile of the client's latency, in milliseconds."""
        return percentile(self.milliseconds, percent)


@dataclass(frozen=True)
class Traffic:
    """The whole of it; `problems` are the claims that did not hold, each with its figures."""

    requests: int
    seconds: float
    variants: dict[str, VariantTraffic]
    answers: Sequence[Answer]
    problems: tuple[str, ...]


def send(
    runtime: Any,
    endpoint: str,
    instances: Sequence[Any],
    expected: Mapping[str, Expected],
    weights: Mapping[str, float],
    *,
    requests: int,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> Traffic:
    """Send `requests` rows by weight, then some to each variant by name, and check every answer.

    Args:
        runtime: a boto3 `sagemaker-runtime` client.
        endpoint: the endpoint's name.
        instances: raw rows; they are sent in turn.
        expected: the offline answers of each variant.
        weights: the declared weights.
        requests: how many are sent by weight.
        on_progress: told how many were answered.

    Raises:
        SagestageError: a request failed.
    """
    done = 0
    run = uuid.uuid4().hex[:8]  # capture may hold records of earlier runs

    def one(number: int, target: str | None) -> Answer:
        nonlocal done
        row = number % len(instances)
        answer = _invoke(runtime, endpoint, instances[row], row, target, f"rehearsal-{run}-{number}")
        done += 1
        on_progress(done)
        return answer

    begin = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda number: one(number, None), range(requests)))
        seconds = time.perf_counter() - begin
        targets = [variant for variant in expected for _ in range(TARGETED)]
        targeted = list(pool.map(lambda item: one(*item), enumerate(targets, start=requests)))
    variants = _by_variant(answers, weights)
    problems = [
        *_split_problems(variants, requests),
        *(
            f"TargetVariant={target} was answered by {answer.variant}"
            for target, answer in zip(targets, targeted, strict=True)
            if answer.variant != target
        ),
        *_answer_problems([*answers, *targeted], expected),
    ]
    return Traffic(requests, seconds, variants, [*answers, *targeted], tuple(problems))


def _invoke(runtime: Any, endpoint: str, instance: Any, row: int, target: str | None, inference_id: str) -> Answer:
    from botocore.exceptions import BotoCoreError, ClientError

    begin = time.perf_counter()
    try:
        response = runtime.invoke_endpoint(
            EndpointName=endpoint,
            ContentType="application/json",
            Accept="application/json",
            Body=orjson.dumps({"instances": [instance]}),
            InferenceId=inference_id,
            **({} if target is None else {"TargetVariant": target}),
        )
        body = orjson.loads(response["Body"].read())
    except (BotoCoreError, ClientError) as error:
        raise SagestageError(f"endpoint {endpoint} did not answer row {row}: {error}") from error
    milliseconds = (time.perf_counter() - begin) * 1e3
    return Answer(
        row=row,
        variant=response["InvokedProductionVariant"],
        version=body["model_version"],
        prediction=body["predictions"][0],
        milliseconds=milliseconds,
        inference_id=inference_id,
    )


def _by_variant(answers: Sequence[Answer], weights: Mapping[str, float]) -> dict[str, VariantTraffic]:
    total = sum(weights.values())
    variants = {
        name: VariantTraffic(weight, weight / total, interval=binomial_interval(len(answers), weight / total))
        for name, weight in weights.items()
    }
    for answer in answers:
        if answer.variant in variants:
            variants[answer.variant].requests += 1
            variants[answer.variant].milliseconds.append(answer.milliseconds)
    return variants


def _split_problems(variants: Mapping[str, VariantTraffic], requests: int) -> list[str]:
    return [
        f"{name} answered {one.requests} of {requests}; its weight allows {low} to {high} (99.9 %)"
        for name, one in variants.items()
        for low, high in [one.interval]
        if not low <= one.requests <= high
    ]


def _answer_problems(answers: Sequence[Answer], expected: Mapping[str, Expected]) -> list[str]:
    """At most one problem a variant and kind, with the first case."""
    grouped: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        grouped[answer.variant].append(answer)
    problems = [f"a variant {name!r} answered, which is not declared" for name in grouped.keys() - expected.keys()]
    for name, known in expected.items():
        mine = grouped[name]
        if odd := [answer for answer in mine if answer.version != known.version]:
            problems.append(f"{name} answered with model {odd[0].version}, deployed is {known.version}")
        off = [answer for answer in mine if not known.tolerance.equal(answer.prediction, known.predictions[answer.row])]
        if off:
            first = off[0]
            problems.append(
                f"{name}: {len(off)} of {len(mine)} predictions differ from the offline ones; held-out row {first.row}:"
                f" {first.prediction} instead of {known.predictions[first.row]}"
            )
    return problems
