"""When to wait and when to give up, decided from values; the waiting itself is the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.provider.errors import AwsError

ROLE_PATIENCE_S: Final = 60.0  # IAM is eventually consistent; AWS's own tools wait about that long for a new role
THROTTLE_PATIENCE_S: Final = 30.0
BUSY_PATIENCE_S: Final = 900.0  # an autoscaling step takes minutes; a longer deployment is somebody else's, and says so
ENDPOINT_DEADLINE_S: Final = 3600.0  # what the real AWS provider waits for an endpoint
FIRST_DELAY_S: Final = 0.05
LONGEST_DELAY_S: Final = 2.0
_GROWTH: Final = 1.5

_MOVING: Final = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@dataclass(frozen=True)
class Wait:
    """Ask again."""


@dataclass(frozen=True)
class Done:
    """What was asked for is so."""


@dataclass(frozen=True)
class Failed:
    """It will not become so; `reason` says why, in AWS's words."""

    reason: str


def delay_s(attempt: int) -> float:
    """Seconds to wait before asking again after `attempt` answers."""
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * _GROWTH ** min(attempt, 20))


def retry_after_s(error: AwsError, attempt: int, waited_s: float) -> float | None:
    """Seconds after which to repeat a refused call, or None when its refusal stands.

    Only these pass by themselves: a role that the service cannot assume yet, throttling, and an endpoint that is being
    changed, which autoscaling may begin at any moment.
    """
    return delay_s(attempt) if waited_s < _patience_s(error) else None


def _patience_s(error: AwsError) -> float:
    if error.role_pending:
        return ROLE_PATIENCE_S
    if error.throttled:
        return THROTTLE_PATIENCE_S
    return BUSY_PATIENCE_S if error.busy else 0.0


def at_rest(description: Mapping[str, Any] | None) -> Wait | Done:
    """Whether an endpoint is neither being made, changed nor deleted; one that is gone is at rest too."""
    moving = description is not None and str(description.get("EndpointStatus", "")) in _MOVING
    return Wait() if moving else Done()


def endpoint_verdict(description: Mapping[str, Any], configuration: str) -> Wait | Done | Failed:
    """What an answer of DescribeEndpoint means for one who wants it to run `configuration`.

    An endpoint that is InService with another configuration was rolled back: that is a failure, although its status
    says nothing of it.
    """
    status = str(description.get("EndpointStatus", ""))
    reason = str(description.get("FailureReason", "")) or "AWS gives no reason"
    if status in _MOVING:
        return Wait()
    if status == "InService":
        runs = str(description.get("EndpointConfigName", ""))
        if runs == configuration:
            return Done()
        return Failed(f"rolled back: it runs the configuration {runs}, not {configuration}: {reason}")
    return Failed(f"status {status or 'unknown'}: {reason}")
