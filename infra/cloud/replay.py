"""Which calls to moto change something, and how they are made again: pure, but for the source of moto's identifiers."""

import random
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from moto.moto_api._internal import mock_random

_SECRET = re.compile(r"(Signature|Security-Token)=[^&,\s]+")
_READS = (
    "Get", "List", "Describe", "Head", "BatchGet", "Lookup", "Search", "Query", "Scan", "Filter", "Simulate", "Select",
    "Preview", "Validate", "Verify",
)  # fmt: skip
# These change something that is not kept: metrics, events and messages are of their moment; keys only compute.
_OF_THE_MOMENT = frozenset(
    {
        "PutMetricData", "PutLogEvents", "Publish", "PublishBatch", "SendMessage", "SendMessageBatch", "ReceiveMessage",
        "DeleteMessage", "DeleteMessageBatch", "AssumeRole", "AssumeRoleWithWebIdentity", "Encrypt", "Decrypt",
        "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateRandom", "Sign", "SetAlarmState",
    }
)  # fmt: skip


def action_of(environ: Mapping[str, Any], body: bytes) -> str:
    """The operation of a call of the JSON, query or CBOR protocols; empty for REST, where the method says it."""
    target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
    if target:
        return target.rpartition(".")[2]
    path = str(environ["PATH_INFO"])
    if "/operation/" in path:
        return path.rpartition("/")[2]
    if str(environ.get("CONTENT_TYPE", environ.get("HTTP_CONTENT_TYPE", ""))).startswith("application/x-www-form"):
        return parse_qs(body.decode(errors="replace")).get("Action", [""])[0]
    return parse_qs(str(environ["QUERY_STRING"])).get("Action", [""])[0]


def changes(environ: Mapping[str, Any], body: bytes) -> bool:
    """Whether a call changes something that a new life should know."""
    action = action_of(environ, body)
    if action:
        return not action.startswith(_READS) and action not in _OF_THE_MOMENT
    return environ["REQUEST_METHOD"] not in ("GET", "HEAD", "OPTIONS")


def kept(environ: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed to make a call again: no signature, no session token."""
    return {
        name: _SECRET.sub(r"\1=0", value)
        for name, value in environ.items()
        if isinstance(value, str) and name.isupper() and name != "HTTP_X_AMZ_SECURITY_TOKEN"
    }


class _Source(threading.local):
    generator: random.Random | None = None


_source = _Source()
_anything = random.SystemRandom()


def _random() -> float:
    return (_source.generator or _anything).random()


def _getrandbits(bits: int) -> int:
    return (_source.generator or _anything).getrandbits(bits)


def install() -> None:
    """Have moto draw its identifiers from the seed of the call that is being made, where there is one."""
    mock_random.random = _random  # type: ignore[method-assign]
    mock_random.getrandbits = _getrandbits  # type: ignore[method-assign]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make this thread's draws repeatable."""
    _source.generator = random.Random(seed)  # noqa: S311 - names of resources are no secrets
    try:
        yield
    finally:
        _source.generator = None
