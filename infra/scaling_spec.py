"""How a variant's capacity follows its load, as values."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, fields
from typing import Annotated, Any

from infra import limits
from infra.errors import SpecError
from infra.schedule_rules import time_problems, zone_problems
from infra.values import FROZEN, spec, within

_SOURCE = "Application Auto Scaling, RegisterScalableTarget"


def _ordered(minimum: int | None, maximum: int | None) -> Iterator[str]:
    if minimum is not None and maximum is not None and minimum > maximum:
        yield f"minimum must be at most maximum, got {minimum} > {maximum} ({_SOURCE})"


def _schedule_name(name: str) -> Iterator[str]:
    if not limits.SCHEDULE_NAME.fullmatch(name):
        pattern = limits.SCHEDULE_NAME.pattern
        yield f"name must match {pattern}, got {name!r} ({limits.SCHEDULE_SOURCE})"


def _schedule_time(when: str, timezone: str) -> Iterator[str]:
    yield from time_problems(when)
    yield from zone_problems(timezone)


def _some_bound(minimum: int | None, maximum: int | None) -> Iterator[str]:
    if minimum is None and maximum is None:
        yield f"it needs minimum, maximum or both, got neither ({limits.SCHEDULE_SOURCE})"


@spec(_schedule_name, _schedule_time, _ordered, _some_bound)
class Schedule:
    """Other bounds from a point of time on: `Schedule("mornings", "cron(0 7 ? * MON-FRI *)", minimum=4)`.

    Attributes:
        name: what it is called.
        when: `cron(minutes hours day month weekday year)`, `rate(1 day)` or `at(2026-11-27T06:00:00)`.
        minimum: instances from then on; None: as it was.
        maximum: instances from then on; None: as it was.
        timezone: of `when`.
    """

    name: str
    when: str
    _: KW_ONLY
    minimum: Annotated[int, within(limits.CAPACITY)] | None = None
    maximum: Annotated[int, within(limits.CAPACITY)] | None = None
    timezone: str = "UTC"


_TARGETS = ("invocations_per_minute", "concurrent_requests", "backlog_per_instance", "provisioned_utilisation")


def _one_target(
    invocations_per_minute: float | None,
    concurrent_requests: float | None,
    backlog_per_instance: float | None,
    provisioned_utilisation: float | None,
    schedule: Sequence[Schedule],
) -> Iterator[str]:
    values = (invocations_per_minute, concurrent_requests, backlog_per_instance, provisioned_utilisation)
    given = [f"{name}={value:g}" for name, value in zip(_TARGETS, values, strict=True) if value is not None]
    if len(given) > 1:
        yield f"it follows one of {', '.join(_TARGETS)}, got {' and '.join(given)}"
    if not given and not schedule:
        yield f"it follows one of {', '.join(_TARGETS)} or a schedule, got none: nothing would scale"
    names = [one.name for one in schedule]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"schedule names must be unique, got {name!r} {names.count(name)} times"


def _zero(minimum: int, backlog_per_instance: float | None, schedule: Sequence[Schedule]) -> Iterator[str]:
    if backlog_per_instance is not None:
        return
    least = limits.NOT_ZERO
    for name, value in (("minimum", minimum), *((f"schedule {one.name!r}: minimum", one.minimum) for one in schedule)):
        if value is not None and value < least.value:
            yield f"{name} must be at least {least.value:g}, got {value} ({least.source})"


def _some_capacity(maximum: int) -> Iterator[str]:
    if maximum < 1:
        yield f"maximum must be at least 1, got {maximum} ({_SOURCE})"


@spec(_ordered, _some_capacity, _zero, _one_target)
class Scaling:
    """Bounds of a variant's capacity, and what it follows between them.

    Attributes:
        minimum: instances; at least 1 but for asynchronous endpoints, which may sleep at 0.
        maximum: instances.
        invocations_per_minute: what one instance is to serve in a minute; instances are added above it.
        concurrent_requests: how many requests one copy of the model is to work on at once; seen within 10 seconds.
        backlog_per_instance: asynchronous endpoints: how many requests may wait for one instance.
        provisioned_utilisation: serverless: the share of the provisioned concurrency that is to be busy, 0.1 to 1.
        schedule: other bounds at fixed times.
        scale_in_cooldown_s: seconds after a removal before the next; AWS's default is 300.
        scale_out_cooldown_s: seconds after an addition before the next.
    """

    minimum: Annotated[int, within(limits.CAPACITY)]
    maximum: Annotated[int, within(limits.CAPACITY)]
    invocations_per_minute: Annotated[float, within(limits.TARGET_VALUE)] | None = None
    _: KW_ONLY
    concurrent_requests: Annotated[float, within(limits.TARGET_VALUE)] | None = None
    backlog_per_instance: Annotated[float, within(limits.TARGET_VALUE)] | None = None
    provisioned_utilisation: Annotated[float, within(limits.UTILISATION)] | None = None
    schedule: Annotated[Sequence[Schedule], FROZEN] = ()
    scale_in_cooldown_s: Annotated[int, within(limits.COOLDOWN_S)] = 300
    scale_out_cooldown_s: Annotated[int, within(limits.COOLDOWN_S)] = 300

    @staticmethod
    def from_capacity(
        minimum: int, maximum: int, *, requests_per_second: float, safety: float = 0.5, **more: Any
    ) -> "Scaling":
        """AWS's arithmetic from a load test: requests/s of one instance x safety x 60 s = invocations/min to hold.

        Args:
            minimum: instances.
            maximum: instances.
            requests_per_second: the most that one instance served with acceptable latency.
            safety: the share of it to use; AWS advises to begin with 0.5.
            more: the other fields of Scaling.

        Raises:
            SpecError: safety is not within 0.01 to 1, or Scaling refuses the result.
        """
        problems = []
        if requests_per_second <= 0:
            problems.append(f"Scaling: requests_per_second must be above 0, got {requests_per_second:g}")
        if (problem := limits.SAFETY.problem(safety)) is not None:
            problems.append(f"Scaling: safety {problem}")
        if problems:
            raise SpecError(problems)
        return Scaling(minimum, maximum, float(f"{requests_per_second * safety * 60:.12g}"), **more)

    @property
    def target(self) -> str | None:
        """What it follows, by the field's name; None: the schedule alone."""
        return next((one.name for one in fields(self) if one.name in _TARGETS and getattr(self, one.name)), None)
