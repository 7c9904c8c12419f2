"""Invariants of rollouts: whatever happens when, traffic only moves as declared, and every rollout ends."""

import itertools
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.cloud import rollout
from infra.cloud.rollout import Finish, Healthy, Plan, RollBack, Shift, Start, Tick, Unhealthy, Wait

ALARM = "late"


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING"]))
    wait = draw(st.integers(0, 3600))
    size = {"Type": "CAPACITY_PERCENT", "Value": draw(st.integers(10, 50))}
    alarms = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ALARM}]}}
    if kind == "ROLLING":
        return {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": wait}, **alarms}
    routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": wait}
    routing |= {"CANARY": {"CanarySize": size}, "LINEAR": {"LinearStepSize": size}}.get(kind, {})
    stay = draw(st.integers(0, 3600))
    return {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": stay},
        **alarms,
    }


plans = st.builds(rollout.plan, policies(), st.integers(2, 10))


def run(
    plan: Plan, alarm_at: float | None = None, start_s: float = 3.0
) -> tuple[list[tuple[float, float]], Any, float]:
    """Play a rollout: (moment, share) of every shift, the last decision, and when it came."""
    now = 0.0
    shifts: list[tuple[float, float]] = []
    state, decision = rollout.begin(plan, now)
    while True:
        match decision:
            case Start():
                now += start_s
                state, decision = rollout.decide(plan, state, Healthy(), now)
            case Shift(share):
                shifts.append((now, share))
                state, decision = rollout.decide(plan, state, Tick(alarms(alarm_at, now)), now)
            case Wait(until):
                now = until if alarm_at is None or not now < alarm_at < until else alarm_at
                state, decision = rollout.decide(plan, state, Tick(alarms(alarm_at, now)), now)
            case _:
                return shifts, decision, now


def alarms(at: float | None, now: float) -> frozenset[str]:
    return frozenset() if at is None or now < at else frozenset({ALARM})


@given(plans)
def test_traffic_rises_step_by_step_to_all_of_it_with_the_declared_waits_between(plan: Plan) -> None:
    shifts, decision, ended = run(plan)
    assert decision == Finish()
    shares = [share for _, share in shifts]
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    pauses = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(shifts)]
    assert all(pause >= plan.wait_s for pause in pauses)
    assert ended - shifts[-1][0] >= (plan.wait_s if plan.rolling else plan.stay_s)


@given(plans, st.floats(0, 20_000))
def test_an_alarm_while_both_fleets_stand_always_rolls_back_and_names_the_alarm(plan: Plan, moment: float) -> None:
    _, undisturbed, ended = run(plan)
    _, decision, _ = run(plan, alarm_at=moment)
    if moment < ended:
        assert isinstance(decision, RollBack)
        assert ALARM in decision.reason
    elif moment > ended:
        assert decision == undisturbed


@given(plans, st.integers(600, 28_800))
def test_no_rollout_lasts_longer_than_its_maximum(plan: Plan, maximum: int) -> None:
    _, decision, ended = run(replace(plan, maximum_s=maximum))
    if isinstance(decision, RollBack):
        assert "maximum execution time" in decision.reason
    # What begins before the limit may end after it only by the time that instances need to start.
    assert ended <= maximum + 3.0 * len(plan.shares)


@given(plans, st.text(min_size=1))
def test_a_fleet_that_does_not_become_healthy_rolls_back_before_it_gets_traffic(plan: Plan, reason: str) -> None:
    state, decision = rollout.begin(plan, 0.0)
    assert isinstance(decision, Start)
    assert rollout.decide(plan, state, Unhealthy(reason), 1.0)[1] == RollBack(reason)


@given(plans)
def test_an_alarm_before_the_new_fleet_has_traffic_is_not_its_doing(plan: Plan) -> None:
    state, _ = rollout.begin(plan, 0.0)
    assert isinstance(rollout.decide(plan, state, Tick(frozenset({ALARM})), 1.0)[1], Wait)
