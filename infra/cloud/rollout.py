"""Rollouts as pure decisions: a plan made of DeploymentConfig, a state, an event and the time in; what to do next out.

A blue/green rollout starts the whole new fleet, gives it its share of the traffic, bakes, and goes on; after the last
share the old fleet stays for the termination wait. A rolling one starts and retires a batch with every share. An alarm
counts from the first request that the new fleet takes until the old fleet is ended; the time limit counts throughout.
Source: SageMaker developer guide, deployment guardrails.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_PERCENT = 100


@dataclass(frozen=True)
class Plan:
    """What a deployment goes through. Times are declared seconds.

    Attributes:
        shares: the new fleet's share of the traffic, 0 to 1, step by step; rises to 1.
        wait_s: the bake between two steps.
        stay_s: the bake after the last one, while the old fleet is still there.
        maximum_s: when to give up; None is never.
        alarms: names of the alarms that take it back.
        rolling: instances are started and retired batch by batch.
        rollback_shares: rolling only: the new fleet's share on the way back, step by step; falls to 0.
    """

    shares: tuple[float, ...] = (1.0,)
    wait_s: float = 0.0
    stay_s: float = 0.0
    maximum_s: float | None = None
    alarms: tuple[str, ...] = ()
    rolling: bool = False
    rollback_shares: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class State:
    """Where a rollout stands.

    Attributes:
        began: when it began.
        step: the share that is being started, or is baking.
        since: when its traffic came; None while its instances start.
    """

    began: float
    step: int = 0
    since: float | None = None


@dataclass(frozen=True)
class Healthy:
    """Event: the instances that were asked for pass their health checks."""


@dataclass(frozen=True)
class Unhealthy:
    """Event: they do not, or the new fleet has lost its last healthy instance."""

    reason: str


@dataclass(frozen=True)
class Tick:
    """Event: time has passed; `in_alarm` are the names of all alarms in ALARM."""

    in_alarm: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Start:
    """Decision: have instances of the new fleet for this share."""

    share: float


@dataclass(frozen=True)
class Shift:
    """Decision: give the new fleet this share of the traffic."""

    share: float


@dataclass(frozen=True)
class Wait:
    """Decision: nothing to do before this moment, unless an alarm says so."""

    until: float


@dataclass(frozen=True)
class Finish:
    """Decision: the new fleet stands; end the old one."""


@dataclass(frozen=True)
class RollBack:
    """Decision: all traffic to the old fleet, end the new one."""

    reason: str


Event = Healthy | Unhealthy | Tick
Decision = Start | Shift | Wait | Finish | RollBack


def plan(config: Mapping[str, Any] | None, instances: int) -> Plan:
    """What a validated DeploymentConfig asks for; all at once, without a wait, where there is none.

    Args:
        config: the API's structure, or None.
        instances: of the fleet, to turn counts into shares.
    """
    config = config or {}
    alarms = tuple(
        alarm["AlarmName"]
        for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", ())
        if alarm.get("AlarmName")
    )
    if rolling := config.get("RollingUpdatePolicy"):
        batch = _share(rolling["MaximumBatchSize"], instances)
        back = _share(rolling["RollbackMaximumBatchSize"], instances) if "RollbackMaximumBatchSize" in rolling else 1.0
        return Plan(
            shares=_steps(batch),
            wait_s=rolling["WaitIntervalInSeconds"],
            maximum_s=rolling.get("MaximumExecutionTimeoutInSeconds"),
            alarms=alarms,
            rolling=True,
            rollback_shares=tuple(1 - share for share in _steps(back)),
        )
    policy = config.get("BlueGreenUpdatePolicy")
    if not policy:
        return Plan(alarms=alarms)
    routing = policy["TrafficRoutingConfiguration"]
    shares: tuple[float, ...] = (1.0,)
    match routing["Type"]:
        case "CANARY":
            shares = (_share(routing["CanarySize"], instances), 1.0)
        case "LINEAR":
            shares = _steps(_share(routing["LinearStepSize"], instances))
    return Plan(
        shares=shares,
        wait_s=routing["WaitIntervalInSeconds"],
        stay_s=policy.get("TerminationWaitInSeconds", 0),
        maximum_s=policy.get("MaximumExecutionTimeoutInSeconds"),
        alarms=alarms,
    )


def begin(made: Plan, now: float) -> tuple[State, Decision]:
    """The first state, and what to do."""
    return State(now), Start(made.shares[0] if made.rolling else 1.0)


def decide(made: Plan, state: State, event: Event, now: float) -> tuple[State, Decision]:
    """The next state, and what to do: the same for the same arguments."""
    if isinstance(event, Unhealthy):
        return state, RollBack(event.reason)
    if isinstance(event, Healthy) and state.since is None:
        return replace(state, since=now), Shift(made.shares[state.step])
    end = math.inf if made.maximum_s is None else state.began + made.maximum_s
    if now >= end:
        limit = f"the maximum execution time of {made.maximum_s:g} s has passed"
        return state, RollBack(f"The deployment was not complete: {limit}.")
    baking = state.since is not None
    in_alarm = event.in_alarm if isinstance(event, Tick) and baking else frozenset()
    if tripped := [name for name in made.alarms if name in in_alarm]:
        share = f"{made.shares[state.step]:.0%} of the traffic on the new fleet"
        return state, RollBack(f"Alarm {', '.join(tripped)} went into ALARM with {share}.")
    over = end if state.since is None else state.since + _bake_s(made, state.step)
    return (state, Wait(min(over, end))) if now < over else _go_on(made, state, now)


def _bake_s(made: Plan, step: int) -> float:
    last = step == len(made.shares) - 1
    return made.stay_s if last and not made.rolling else made.wait_s


def _go_on(made: Plan, state: State, now: float) -> tuple[State, Decision]:
    """What follows a step that has baked."""
    if state.step == len(made.shares) - 1:
        return state, Finish()
    following = State(state.began, state.step + 1)
    share = made.shares[following.step]
    return (following, Start(share)) if made.rolling else (replace(following, since=now), Shift(share))


def _share(size: Mapping[str, Any], instances: int) -> float:
    """A CapacitySize as a share of the fleet, at most all of it."""
    value = float(size["Value"])
    return min(1.0, value / _PERCENT if size["Type"] == "CAPACITY_PERCENT" else value / max(instances, 1))


def _steps(step: float) -> tuple[float, ...]:
    """Equal steps that end at 1; the last one may be shorter."""
    count = math.ceil(1 / step - 1e-9)
    return (*(round(number * step, 9) for number in itertools.islice(itertools.count(1), count - 1)), 1.0)
