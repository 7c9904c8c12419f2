"""`sagestage logs ENDPOINT`: what the instances of an endpoint print, out of CloudWatch Logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from sagestage import aws
from sagestage.errors import SagestageError
from sagestage.project import Project

GROUP = "/aws/sagemaker/Endpoints/"
LOOK_EVERY_S = 0.5


def show(project: Project, endpoint: str | None, *, follow: bool, variant: str | None, region: str | None) -> None:
    """Print the lines of an endpoint's instances, in the order of their time; go on until interrupted with `follow`.

    Raises:
        SagestageError: there is no such endpoint, or it has printed nothing.
    """
    info = aws.running_cloud(project, region)
    name = endpoint or _only(aws.client(info, "logs"))
    for stream, text in events(aws.client(info, "logs"), name, follow=follow, variant=variant):
        sys.stdout.write(f"{stream} {text}\n")
        sys.stdout.flush()


def events(
    logs: Any,
    endpoint: str,
    *,
    follow: bool = False,
    variant: str | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, str]]:
    """(stream, line) of an endpoint's instances; endless with `follow`.

    Raises:
        SagestageError: the endpoint has no logs.
    """
    group = f"{GROUP}{endpoint}"
    if group not in _groups(logs):
        known = ", ".join(found.removeprefix(GROUP) for found in _groups(logs)) or "none"
        raise SagestageError(f"endpoint {endpoint!r} has no logs; endpoints with logs: {known}")
    tokens: dict[str, str] = {}
    while True:
        fresh: list[tuple[int, str, str]] = []
        for stream in _streams(logs, group, variant):
            fresh += [(event["timestamp"], stream, event["message"]) for event in _new(logs, group, stream, tokens)]
        for _, stream, text in sorted(fresh, key=lambda event: event[0]):
            yield stream, text
        if not follow:
            return
        pause(LOOK_EVERY_S)


def _new(logs: Any, group: str, stream: str, tokens: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The events of a stream since the last call; `tokens` remembers how far each stream was read."""
    while True:
        since = {"nextToken": tokens[stream]} if stream in tokens else {}
        answer = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **since)
        yield from answer["events"]
        if tokens.get(stream) == answer["nextForwardToken"] or not answer["events"]:
            return
        tokens[stream] = answer["nextForwardToken"]


def _groups(logs: Any) -> list[str]:
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=GROUP)
    return [group["logGroupName"] for page in pages for group in page["logGroups"]]


def _streams(logs: Any, group: str, variant: str | None) -> list[str]:
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group)
    names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    return [name for name in names if variant is None or name.startswith(f"{variant}/")]


def _only(logs: Any) -> str:
    names = [group.removeprefix(GROUP) for group in _groups(logs)]
    if len(names) != 1:
        raise SagestageError(
            f"name the endpoint: there are logs of {', '.join(names) or 'none (sagestage up makes one)'}"
        )
    return names[0]
