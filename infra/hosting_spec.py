"""The kinds of hosting beside instances that wait for requests: serverless, and a queue in S3."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Any

from infra import limits
from infra.values import FROZEN, spec, within


def key_problems(field: str, key: Any) -> Iterator[str]:
    """What is wrong with the ARN of a KMS key, where it is known."""
    if isinstance(key, str) and not limits.KMS_KEY.fullmatch(key):
        form = "arn:aws:kms:<region>:<account>:key/<id>"
        yield (
            f"{field} must be the ARN of a KMS key, {form}, got {key!r}: roles are allowed to use it by its ARN,"
            " and IAM takes no alias there (KMS, resources in policy statements)"
        )


def topic_problems(field: str, topic: Any) -> Iterator[str]:
    """What is wrong with the ARN of an SNS topic, where it is known."""
    if isinstance(topic, str) and (problem := limits.TOPIC_ARN.problem(topic)) is not None:
        yield f"{field} {problem}"


def _memory(memory_mb: int) -> Iterator[str]:
    step = limits.SERVERLESS_STEP_MB
    if memory_mb % step.value:
        yield f"memory_mb must be a multiple of {step.value:g}, got {memory_mb} ({step.source})"


def _provisioned(concurrency: int, provisioned: int | None) -> Iterator[str]:
    if provisioned is not None and provisioned > concurrency:
        source = "SageMaker API, ProductionVariantServerlessConfig"
        yield f"provisioned must be at most concurrency, got {provisioned} > {concurrency} ({source})"


@spec(_memory, _provisioned)
class Serverless:
    """A variant without instances of one's own: it starts when a request comes, and costs nothing in between.

    Attributes:
        memory_mb: 1024 to 6144 in steps of 1024; processors come in proportion.
        concurrency: the most requests at once, 1 to 200.
        provisioned: how many of these are kept warm; None: none.
    """

    memory_mb: Annotated[int, within(limits.SERVERLESS_MB)]
    concurrency: Annotated[int, within(limits.SERVERLESS_CONCURRENCY)]
    _: KW_ONLY
    provisioned: Annotated[int, within(limits.PROVISIONED_CONCURRENCY)] | None = None


def _topics(success_topic: Any, error_topic: Any, include_response: Sequence[str]) -> Iterator[str]:
    for field, topic in (("success_topic", success_topic), ("error_topic", error_topic)):
        yield from topic_problems(field, topic)
    given = {"success": success_topic, "error": error_topic}
    for one in include_response:
        if one not in given:
            yield f"include_response must name success or error, got {one!r} (SageMaker, AsyncNotificationTopicTypes)"
        elif given[one] is None:
            yield f"include_response names {one!r}, and there is no {one}_topic that would carry it"


def _key(kms_key: Any) -> Iterator[str]:
    yield from key_problems("kms_key", kms_key)


@spec(_topics, _key)
class Async:
    """Requests wait in a queue; bodies and answers, up to 1 GB, lie in a bucket of the endpoint's own.

    Attributes:
        keep_days: days after which requests, answers and failures are deleted.
        concurrency: how many requests one instance works on at once, 1 to 1000; None: SageMaker chooses.
        success_topic: a Topic or its ARN that hears of each answer.
        error_topic: a Topic or its ARN that hears of each failure.
        include_response: of "success" and "error": which messages carry the answer (up to 128 KB).
        kms_key: ARN of a KMS key for the bucket and the answers; None: S3's own keys (SSE-S3).
    """

    keep_days: Annotated[int, within(limits.KEEP_DAYS)] = 30
    _: KW_ONLY
    concurrency: Annotated[int, within(limits.ASYNC_CONCURRENCY)] | None = None
    success_topic: Any = None
    error_topic: Any = None
    include_response: Annotated[Sequence[str], FROZEN] = ()
    kms_key: Any = None
