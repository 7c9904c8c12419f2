"""Autoscaling decisions."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cloud.scaling import IN_POINTS, Past, Stepping, Tracking, due, step, track

POLICY = Tracking(target=100, out_cooldown_s=60, in_cooldown_s=300)


def minutes(*last: float | None, before: float | None = 95) -> list[float | None]:
    return [*([before] * (IN_POINTS - len(last))), *last]


@pytest.mark.parametrize(
    ("points", "capacity", "wanted"),
    [
        (minutes(150, 150, 150), 2, 3),
        (minutes(101, 400, 110), 2, 8),
        (minutes(400, 400, 400), 4, 10),
        (minutes(95, 400, 400), 2, 2),
        (minutes(None, 400, 400), 2, 2),
        (minutes(before=20), 5, 2),
        (minutes(before=20), 2, 2),
        (minutes(89, before=20), 8, 8),
        (minutes(before=None), 5, 5),
        (minutes(95), 1, 2),
        (minutes(95), 12, 10),
    ],
)
def test_target_tracking(points: list[float | None], capacity: int, wanted: int) -> None:
    assert track(POLICY, points, capacity, 2, 10, Past(), now=0.0)[0] == wanted


def test_cooldowns_hold_the_next_step_back() -> None:
    high, low = minutes(300, 300, 300), minutes(before=10)
    count, past = track(POLICY, high, 2, 1, 20, Past(), now=1000)
    assert count == 6
    assert track(POLICY, high, count, 1, 20, past, now=1059)[0] == 6
    assert track(POLICY, high, count, 1, 20, past, now=1060)[0] == 18
    assert track(POLICY, low, count, 1, 20, past, now=1299)[0] == 6
    assert track(POLICY, low, count, 1, 20, past, now=1300)[0] == 1


def test_scaling_in_can_be_switched_off() -> None:
    assert track(Tracking(100, scale_in=False), minutes(before=1), 5, 1, 9, Past(), 0)[0] == 5


@given(
    st.lists(st.none() | st.floats(0, 1e6), min_size=IN_POINTS, max_size=IN_POINTS),
    st.integers(1, 50),
    st.integers(1, 10),
    st.integers(0, 30),
)
def test_a_count_never_leaves_its_bounds(points: list[float | None], capacity: int, lowest: int, more: int) -> None:
    assert lowest <= track(POLICY, points, capacity, lowest, lowest + more, Past(), 0)[0] <= lowest + more


MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "fires"),
    [
        ("at(2026-11-23T09:00:00)", None, True),
        ("at(2026-11-23T10:00:00)", "Europe/Zurich", True),
        ("at(2026-11-23T10:00:00)", None, False),
        ("rate(30 minutes)", None, True),
        ("rate(7 hours)", None, False),
        ("cron(0 9 * * ? *)", None, True),
        ("cron(0 9 ? * MON-FRI *)", None, True),
        ("cron(0 9 ? * SAT,SUN *)", None, False),
        ("cron(0/15 8-10 23 NOV ? 2026)", None, True),
        ("cron(5 9 * * ? *)", None, False),
    ],
)
def test_schedules(schedule: str, zone: str | None, fires: object) -> None:
    made = MONDAY - timedelta(hours=1)
    assert due(schedule, zone, made, MONDAY - timedelta(seconds=30), MONDAY + timedelta(seconds=30)) is fires


@pytest.mark.parametrize("schedule", ["daily", "cron(1 2)", "every(5 minutes)"])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"none of|six fields"):
        due(schedule, None, MONDAY, MONDAY - timedelta(minutes=5), MONDAY)


@pytest.mark.parametrize(
    ("kind", "change", "beyond", "capacity", "wanted"),
    [
        ("ChangeInCapacity", 1, 0.0, 0, 1),
        ("ChangeInCapacity", 1, -0.1, 0, 0),  # below the step's lower bound
        ("ChangeInCapacity", 9, 0.0, 2, 4),  # within the target's bounds
        ("ExactCapacity", 3, 5.0, 1, 3),
        ("PercentChangeInCapacity", 50, 1.0, 2, 3),
        ("PercentChangeInCapacity", 10, 1.0, 2, 3),  # at least the smallest change
        ("PercentChangeInCapacity", -50, 1.0, 4, 2),
    ],
)
def test_a_step_policy_answers_an_alarm(kind: str, change: int, beyond: float, capacity: int, wanted: int) -> None:
    policy = Stepping(kind, ((0.0, math.inf, change),), cooldown_s=60, least=1)
    count, past = step(policy, beyond, capacity, 0, 4, Past(), 1000.0)
    assert count == wanted
    again, _ = step(policy, beyond, count, 0, 4, past, 1030.0)
    assert (again == count) or past == Past()  # within its cooldown it does nothing more
