"""What stands around endpoints, as values: topics, budgets, image repositories, registries, the artifacts' bucket."""

import re
from collections.abc import Iterator
from dataclasses import KW_ONLY
from typing import Annotated, Any

from infra import limits
from infra.hosting_spec import key_problems
from infra.names import physical_name_problems
from infra.values import spec, within

_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_PROTOCOLS = ("email", "email-json", "sms", "https", "sqs", "lambda", "application")
_SNS = "SNS, Subscribe"
_BUDGETS = "AWS Budgets, CreateBudget"


def _key(kms_key: Any) -> Iterator[str]:
    yield from key_problems("kms_key", kms_key)


def mail_problems(field: str, mails: tuple[Any, ...]) -> Iterator[str]:
    """What is wrong with mail addresses."""
    for one in mails:
        if isinstance(one, str) and not _MAIL.fullmatch(one):
            yield f"{field} must hold mail addresses, got {one!r}"
    for one in sorted({str(one) for one in mails if mails.count(one) > 1}):
        yield f"{field} must differ from one another, got {one!r} {mails.count(one)} times"


def _subscribers(emails: tuple[Any, ...], subscriptions: tuple[tuple[str, Any], ...]) -> Iterator[str]:
    yield from mail_problems("emails", emails)
    for protocol, endpoint in subscriptions:
        if protocol not in _PROTOCOLS:
            yield f"subscriptions: the protocol must be one of {', '.join(_PROTOCOLS)}, got {protocol!r} ({_SNS})"
        if protocol == "https" and isinstance(endpoint, str) and not endpoint.startswith("https://"):
            yield f"subscriptions: https goes to an address that begins with https://, got {endpoint!r} ({_SNS})"
        arn = protocol in {"sqs", "lambda", "application"}
        if arn and isinstance(endpoint, str) and not endpoint.startswith("arn:"):
            yield f"subscriptions: {protocol} goes to an ARN, got {endpoint!r} ({_SNS})"


def _topic_name(physical_name: str) -> Iterator[str]:
    yield from physical_name_problems(physical_name, re.compile(r"[A-Za-z0-9_-]{1,256}"), "SNS, CreateTopic")


@spec(_topic_name, _subscribers, _key)
class TopicSpec:
    """A topic that alarms and asynchronous endpoints publish to."""

    name: str
    physical_name: str
    emails: tuple[Any, ...] = ()
    subscriptions: tuple[tuple[str, Any], ...] = ()
    kms_key: Any = None


def _budget(monthly_usd: float, at_percent: tuple[float, ...], forecast_percent: tuple[float, ...]) -> Iterator[str]:
    if monthly_usd <= 0:
        yield f"monthly_usd must be above 0, got {monthly_usd:g} ({_BUDGETS})"
    for field, shares in (("at_percent", at_percent), ("forecast_percent", forecast_percent)):
        for share in shares:
            if not 0 < share <= 1_000_000:
                yield f"{field} must lie above 0, got {share:g} ({_BUDGETS})"
    number = len(at_percent) + len(forecast_percent)
    if not 1 <= number <= 5:
        yield f"at_percent and forecast_percent: a budget tells at 1 to 5 points, got {number} ({_BUDGETS})"


def _told(emails: tuple[Any, ...], topics: tuple[Any, ...]) -> Iterator[str]:
    yield from mail_problems("emails", emails)
    if not emails and not topics:
        yield "it needs emails or a topic: a budget that tells nobody is none"
    if len(emails) > 10:
        yield f"emails: at most 10 hear of one point, got {len(emails)} ({_BUDGETS})"
    if len(topics) > 1:
        yield f"topics: at most 1 hears of one point, got {len(topics)} ({_BUDGETS})"


def _budget_name(physical_name: str) -> Iterator[str]:
    yield from physical_name_problems(physical_name, re.compile(r"[^:\\]{1,100}"), _BUDGETS)


@spec(_budget_name, _budget, _told)
class BudgetSpec:
    """What a stack may cost in a month, and who hears when it does."""

    name: str
    physical_name: str
    monthly_usd: float
    emails: tuple[Any, ...] = ()
    topics: tuple[Any, ...] = ()
    at_percent: tuple[float, ...] = (80, 100)
    forecast_percent: tuple[float, ...] = (100,)


def _repository_name(physical_name: str) -> Iterator[str]:
    pattern = re.compile(r"(?=.{2,256}$)(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")
    yield from physical_name_problems(physical_name, pattern, "ECR, CreateRepository")


def _kept(keep_images: int, keep_untagged_days: int) -> Iterator[str]:
    for field, value in (("keep_images", keep_images), ("keep_untagged_days", keep_untagged_days)):
        if value < 1:
            yield f"{field} must be at least 1, got {value} (ECR, lifecycle policies)"


@spec(_repository_name, _kept, _key)
class RepositorySpec:
    """A repository of images."""

    name: str
    physical_name: str
    keep_images: int = 30
    keep_untagged_days: int = 7
    kms_key: Any = None


@spec()
class RegistrySpec:
    """A group of versions of one model."""

    name: str
    physical_name: Annotated[str, within(limits.GROUP_NAME)]
    description: Annotated[str, within(limits.DESCRIPTION)] = ""


def _bucket(name: str) -> Iterator[str]:
    if not limits.BUCKET_PREFIX.fullmatch(name):
        yield f"name must match {limits.BUCKET_PREFIX.pattern}, got {name!r} ({limits.BUCKET_SOURCE})"


@spec(_bucket, _key)
class ArtifactsSpec:
    """The bucket that models' archives are kept in."""

    name: str
    _: KW_ONLY
    keep_old_days: Annotated[int, within(limits.KEEP_DAYS)] = 90
    kms_key: Any = None
