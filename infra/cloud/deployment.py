"""Carrying a rollout out: the effects behind `rollout`'s decisions."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from infra.cloud import rollout
from infra.cloud.clock import Clock
from infra.cloud.errors import InstanceError
from infra.cloud.records import Endpoint, Fleet, Pending
from infra.cloud.rollout import Event, Finish, Healthy, Plan, RollBack, Shift, Start, Tick, Unhealthy, Wait

_LOOK_EVERY_S = 5.0  # declared
_QUICKEST_LOOK_S, _SLOWEST_LOOK_S = 0.05, 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crew:
    """What a rollout needs to have done.

    Attributes:
        clock: measures the waits.
        in_alarm: the names of the alarms that are in ALARM.
        grow: gives a fleet instances for a share of it; raises InstanceError when they are not healthy.
        retire: ends a fleet in the background, when its open requests are answered.
    """

    clock: Clock
    in_alarm: Callable[[], frozenset[str]]
    grow: Callable[[Fleet, float], Awaitable[None]]
    retire: Callable[[Fleet], None]


async def roll_out(endpoint: Endpoint, old: Fleet, pending: Pending, plan: Plan, crew: Crew) -> str | None:
    """Take an endpoint from its old fleet to the pending one, or back.

    Returns:
        None when the new fleet stands, and otherwise why the old one does. The endpoint has no pending fleet any more.

    Raises:
        InstanceError: a rolling deployment could not be rolled back: the old fleet's instances do not start again.
    """
    fresh = pending.fleet
    state, decision = rollout.begin(plan, crew.clock.now())
    while True:
        match decision:
            case Start(share):
                left = math.inf if plan.maximum_s is None else state.began + plan.maximum_s - crew.clock.now()
                event = await _started(crew, fresh, share, left)
            case Shift(share):
                log.info("endpoint %s: %.0f %% of the traffic to %s", endpoint.name, 100 * share, fresh.config.name)
                pending.shift(share)
                if plan.rolling:
                    await crew.grow(old, 1 - share)
                event = Tick(crew.in_alarm())
            case Wait(until):
                event = await _waited(crew, fresh, until)
            case Finish():
                fresh.updated = True
                endpoint.fleet, endpoint.pending, endpoint.config_name = fresh, None, fresh.config.name
                crew.retire(old)
                return None
            case RollBack(reason):
                log.warning("endpoint %s rolls back: %s", endpoint.name, reason)
                endpoint.become("RollingBack", reason)
                await _roll_back(old, pending, plan, crew)
                endpoint.pending = None
                crew.retire(fresh)
                return reason
        state, decision = rollout.decide(plan, state, event, crew.clock.now())


async def _started(crew: Crew, fleet: Fleet, share: float, left_s: float) -> Event:
    limit = None if left_s == math.inf else crew.clock.real(max(0.0, left_s))
    try:
        async with asyncio.timeout(limit):
            await crew.grow(fleet, share)
    except InstanceError as error:
        return Unhealthy(str(error))
    except TimeoutError:
        return Tick()
    return Healthy()


async def _waited(crew: Crew, fresh: Fleet, until: float) -> Event:
    """Wait for the moment, or for a look at the alarms and at the new fleet."""
    look = min(max(crew.clock.real(_LOOK_EVERY_S), _QUICKEST_LOOK_S), _SLOWEST_LOOK_S)
    await asyncio.sleep(min(look, max(0.0, crew.clock.real(until - crew.clock.now()))))
    lost = [variant.name for variant in fresh.variants.values() if variant.fleet.size and not variant.fleet.instances]
    if lost:
        return Unhealthy(f"Variant {', '.join(lost)} of the new fleet has no healthy instance left.")
    return Tick(crew.in_alarm())


async def _roll_back(old: Fleet, pending: Pending, plan: Plan, crew: Crew) -> None:
    """Give the traffic back: at once where the old fleet is whole, batch by batch where it has to grow again."""
    if not plan.rolling:
        pending.shift(0.0)
        return
    for share in plan.rollback_shares:
        if share < pending.share or share == 0:
            await crew.grow(old, 1 - share)
            pending.shift(share)
            if share:
                await crew.clock.sleep(plan.wait_s)
