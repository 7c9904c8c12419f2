"""How an update reaches the traffic, as values: all at once, canary, linear or rolling."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY
from typing import Annotated

from infra import limits
from infra.values import spec, within

# What a fleet may take to start, beyond the waits, before SageMaker gives up on a deployment.
STARTING_MINUTES = 30


def _waits(names: str, total: int) -> Iterator[str]:
    if total > limits.WAITS_MINUTES.value:
        yield f"{names} must be at most {limits.WAITS_MINUTES.value:g}, got {total} ({limits.WAITS_MINUTES.source})"


def _time_for_waits(total: int, maximum_minutes: int | None, source: str = "BlueGreenUpdatePolicy") -> Iterator[str]:
    if maximum_minutes is not None and maximum_minutes <= total:
        yield (
            f"maximum_minutes must be above the sum of the waits, {total}, got {maximum_minutes}"
            f" (SageMaker API, {source})"
        )


def _one_size(percent: int | None, instances: int | None) -> Iterator[str]:
    if (percent is None) == (instances is None):
        yield f"it needs either percent or instances, got percent={percent} and instances={instances}"


def _canary_waits(bake_minutes: int, keep_old_minutes: int, maximum_minutes: int | None) -> Iterator[str]:
    total = bake_minutes + keep_old_minutes
    yield from _waits("bake_minutes + keep_old_minutes", total)
    yield from _time_for_waits(total, maximum_minutes)


@spec(_one_size, _canary_waits)
class Canary:
    """A new fleet takes a part of the traffic first, and the rest when no rollback alarm fired while it baked.

    Attributes:
        percent: of each variant's capacity, at most 50; or give `instances`.
        bake_minutes: how long the alarms watch the canary.
        instances: of each variant, at most half of them.
        keep_old_minutes: how long the old fleet stays after all traffic moved; alarms still roll back to it.
        maximum_minutes: the whole update's limit; None: the waits and half an hour to start the fleet.
    """

    percent: Annotated[int, within(limits.CANARY_PERCENT)] | None = None
    bake_minutes: Annotated[int, within(limits.WAIT_MINUTES)] = 10
    _: KW_ONLY
    instances: Annotated[int, within(limits.STEP_INSTANCES)] | None = None
    keep_old_minutes: Annotated[int, within(limits.WAIT_MINUTES)] = 5
    maximum_minutes: Annotated[int, within(limits.MAXIMUM_MINUTES)] | None = None

    def waits(self, instances: int) -> int:  # noqa: ARG002 - one question, asked of every kind of deployment
        """Minutes of waiting in an update of so many instances that goes well."""
        return self.bake_minutes + self.keep_old_minutes


def _linear_waits(
    percent: int | None, bake_minutes: int, keep_old_minutes: int, maximum_minutes: int | None
) -> Iterator[str]:
    if percent is None:
        return  # the endpoint knows how many instances there are to step through
    steps = math.ceil(100 / percent)
    total = (steps - 1) * bake_minutes + keep_old_minutes
    yield from _waits(f"{steps - 1} waits of bake_minutes, between {steps} steps, + keep_old_minutes", total)
    yield from _time_for_waits(total, maximum_minutes)


@spec(_one_size, _linear_waits)
class Linear:
    """A new fleet takes the traffic in equal steps, and the alarms watch it after each.

    Attributes:
        percent: the size of a step, 10 to 50 % of each variant's capacity; or give `instances`.
        bake_minutes: how long the alarms watch after each step.
        instances: the size of a step, at most half of each variant's instances.
        keep_old_minutes: how long the old fleet stays after the last step.
        maximum_minutes: the whole update's limit; None: the waits and half an hour to start the fleet.
    """

    percent: Annotated[int, within(limits.LINEAR_PERCENT)] | None = None
    bake_minutes: Annotated[int, within(limits.WAIT_MINUTES)] = 10
    _: KW_ONLY
    instances: Annotated[int, within(limits.STEP_INSTANCES)] | None = None
    keep_old_minutes: Annotated[int, within(limits.WAIT_MINUTES)] = 5
    maximum_minutes: Annotated[int, within(limits.MAXIMUM_MINUTES)] | None = None

    def waits(self, instances: int) -> int:
        """Minutes of waiting in an update of so many instances that goes well."""
        return (_steps(self, instances) - 1) * self.bake_minutes + self.keep_old_minutes


def _rolling_size(percent: int | None, instances: int | None, rollback_percent: int | None) -> Iterator[str]:
    yield from _one_size(percent, instances)
    if rollback_percent is not None and not 1 <= rollback_percent <= 100:
        source = "SageMaker API, RollingUpdatePolicy"
        yield f"rollback_percent must lie between 1 and 100, got {rollback_percent} ({source})"


def _rolling_waits(percent: int | None, bake_minutes: int, maximum_minutes: int | None) -> Iterator[str]:
    if percent is None:
        return  # the endpoint knows how many instances there are to step through
    steps = math.ceil(100 / percent)
    yield from _waits(f"{steps} batches of bake_minutes", steps * bake_minutes)
    yield from _time_for_waits(steps * bake_minutes, maximum_minutes, "RollingUpdatePolicy")


@spec(_rolling_size, _rolling_waits)
class Rolling:
    """The fleet is replaced in batches: no second fleet to pay for. For endpoints with one variant.

    Attributes:
        percent: the size of a batch, 5 to 50 % of the variant's instances; or give `instances`.
        bake_minutes: how long the alarms watch after each batch.
        instances: the size of a batch, at most half of the variant's instances.
        rollback_percent: the size of a batch on the way back; None: all at once.
        maximum_minutes: the whole update's limit; None: the waits and half an hour to start instances.
    """

    percent: Annotated[int, within(limits.ROLLING_PERCENT)] | None = None
    bake_minutes: Annotated[int, within(limits.WAIT_MINUTES)] = 10
    _: KW_ONLY
    instances: Annotated[int, within(limits.STEP_INSTANCES)] | None = None
    rollback_percent: int | None = None
    maximum_minutes: Annotated[int, within(limits.MAXIMUM_MINUTES)] | None = None

    def waits(self, instances: int) -> int:
        """Minutes of waiting in an update of so many instances that goes well."""
        return _steps(self, instances) * self.bake_minutes


def _all_at_once_waits(bake_minutes: int, maximum_minutes: int | None) -> Iterator[str]:
    yield from _waits("bake_minutes", bake_minutes)
    yield from _time_for_waits(bake_minutes, maximum_minutes)


@spec(_all_at_once_waits)
class AllAtOnce:
    """A new fleet takes all traffic at once; the old one stays while it bakes, and takes it back when an alarm fires.

    Attributes:
        bake_minutes: how long the alarms watch the new fleet before the old one goes.
        maximum_minutes: the whole update's limit; None: the wait and half an hour to start the fleet.
    """

    bake_minutes: Annotated[int, within(limits.WAIT_MINUTES)] = 10
    _: KW_ONLY
    maximum_minutes: Annotated[int, within(limits.MAXIMUM_MINUTES)] | None = None

    def waits(self, instances: int) -> int:  # noqa: ARG002 - one question, asked of every kind of deployment
        """Minutes of waiting in an update of so many instances that goes well."""
        return self.bake_minutes


Deployment = AllAtOnce | Canary | Linear | Rolling


def _steps(deploy: Linear | Rolling, instances: int) -> int:
    """How many steps take all the traffic, or replace all the instances, of a variant that has so many."""
    if deploy.instances is not None:
        return math.ceil(instances / deploy.instances)
    return math.ceil(100 / (deploy.percent or 100))


def maximum_minutes(deploy: Deployment, instances: int) -> int:
    """The limit of the whole update: what was given, or the waits and time to start a fleet.

    Args:
        deploy: how the update reaches the traffic.
        instances: the most that a variant may have when the update begins.
    """
    return deploy.waits(instances) + STARTING_MINUTES if deploy.maximum_minutes is None else deploy.maximum_minutes


def waiting_problems(deploy: Deployment, instances: int) -> Iterator[str]:
    """Why steps of a number of instances take too long for a variant that may have so many."""
    if not isinstance(deploy, Linear | Rolling) or deploy.instances is None:
        return
    total = deploy.waits(instances)
    kind = type(deploy).__name__
    names = f"{kind}: the waits of {_steps(deploy, instances)} steps of {deploy.instances}, for {instances} instances,"
    yield from _waits(names, total)
    policy = "RollingUpdatePolicy" if isinstance(deploy, Rolling) else "BlueGreenUpdatePolicy"
    yield from (f"{kind}: {one}" for one in _time_for_waits(total, deploy.maximum_minutes, policy))


def step_problem(deploy: Deployment, count: int) -> str | None:
    """Why a fleet of `count` instances cannot be replaced in the steps that are asked for, or None."""
    kind = type(deploy).__name__.lower()
    if isinstance(deploy, AllAtOnce):
        return None
    if count < limits.CANARY_INSTANCES.value:
        return f"needs at least {limits.CANARY_INSTANCES.value:g} instances for a {kind} update, got {count}"
    if deploy.instances is not None and deploy.instances * 2 > count:
        return f"has {count} instances, of which a step of a {kind} update is at most half, got {deploy.instances}"
    return None
