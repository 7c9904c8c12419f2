"""Autoscaling as pure decisions: target tracking on datapoints, steps of an alarm, and when a scheduled action is due.

Target tracking is two alarms, as Application Auto Scaling makes them for SageMaker: three minutes above the target
scale out in proportion; fifteen below nine tenths of it scale in, unless that is switched off. Source: Application Auto
Scaling user guide.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

OUT_POINTS, IN_POINTS = 3, 15
IN_BELOW = 0.9
_PERCENT = 100
_FIELDS = ("minute", "hour", "day", "month")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))
_NAMES = {
    name: str(number)
    for names in (("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), (
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"))
    for number, name in enumerate(names, start=1)
}  # fmt: skip
_UNITS = {"minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True)
class Tracking:
    """A target tracking policy. Cooldowns are declared seconds."""

    target: float
    out_cooldown_s: float = 300.0
    in_cooldown_s: float = 300.0
    scale_in: bool = True


@dataclass(frozen=True)
class Past:
    """When a policy last scaled, in declared seconds."""

    out: float = -math.inf
    into: float = -math.inf


def bounded(capacity: int, lowest: int, highest: int) -> int:
    """A capacity within its target's bounds."""
    return max(lowest, min(highest, capacity))


def track(
    policy: Tracking, points: Sequence[float | None], capacity: int, lowest: int, highest: int, past: Past, now: float
) -> tuple[int, Past]:
    """The capacity that follows, and when it was last changed.

    Args:
        policy: what is aimed at.
        points: the metric of the last minutes, oldest first; None where there were no data, which never scales.
        capacity: instances now.
        lowest: the fewest that are allowed.
        highest: the most that are allowed.
        past: earlier changes.
        now: declared seconds.
    """
    recent = [point for point in points[-OUT_POINTS:] if point is not None]
    if len(recent) == OUT_POINTS and min(recent) > policy.target:
        wanted = bounded(max(capacity, math.ceil(capacity * max(recent) / policy.target)), lowest, highest)
        # A larger step than the last may follow at once; within the cooldown it would answer the same load twice.
        if wanted > capacity and now - past.out >= policy.out_cooldown_s:
            return wanted, replace(past, out=now)
        return bounded(capacity, lowest, highest), past
    long = [point for point in points[-IN_POINTS:] if point is not None]
    calm = len(long) == IN_POINTS and max(long) < IN_BELOW * policy.target
    if policy.scale_in and calm and now - max(past.into, past.out) >= policy.in_cooldown_s:
        wanted = bounded(min(capacity, math.ceil(capacity * max(long) / policy.target)), lowest, highest)
        if wanted < capacity:
            return wanted, replace(past, into=now)
    return bounded(capacity, lowest, highest), past


@dataclass(frozen=True)
class Stepping:
    """A step scaling policy.

    Attributes:
        kind: ChangeInCapacity, PercentChangeInCapacity or ExactCapacity.
        steps: (lower bound, upper bound, adjustment); bounds are distances from the alarm's threshold.
        cooldown_s: declared seconds.
        least: the smallest change that a percentage makes.
    """

    kind: str
    steps: tuple[tuple[float, float, int], ...]
    cooldown_s: float = 300.0
    least: int = 0


def step(
    policy: Stepping, beyond: float, capacity: int, lowest: int, highest: int, past: Past, now: float
) -> tuple[int, Past]:
    """The capacity that an alarm in ALARM asks for, and when it was last changed.

    Args:
        policy: what to do.
        beyond: the metric's distance from the alarm's threshold.
        capacity: instances now.
        lowest: the fewest that are allowed.
        highest: the most that are allowed.
        past: earlier changes.
        now: declared seconds.
    """
    change = next((change for low, high, change in policy.steps if low <= beyond < high), None)
    if change is None or now - past.out < policy.cooldown_s:
        return capacity, past
    match policy.kind:
        case "ExactCapacity":
            wanted = change
        case "PercentChangeInCapacity":
            size = max(abs(capacity * change) / _PERCENT, policy.least)
            wanted = capacity + (math.floor(size) if change > 0 else -math.floor(size))
        case _:
            wanted = capacity + change
    wanted = bounded(wanted, lowest, highest)
    return wanted, replace(past, out=now) if wanted != capacity else past


def due(schedule: str, zone: str | None, made: datetime, since: datetime, now: datetime) -> bool:
    """Whether a moment of `at(…)`, `rate(…)` or `cron(…)` lies after `since` and not after `now`; all aware.

    Raises:
        ValueError: the expression is none of these.
    """
    kind, _, inner = schedule.strip().rstrip(")").partition("(")
    place = ZoneInfo(zone or "UTC")
    match kind:
        case "at":
            return since < datetime.fromisoformat(inner).replace(tzinfo=place) <= now
        case "rate":
            count, unit = inner.split()
            step = int(count) * _UNITS[unit.rstrip("s")]
            return (now - made).total_seconds() // step > max(0.0, (since - made).total_seconds()) // step
        case "cron":
            minute = max(since, now - timedelta(hours=1)).astimezone(place).replace(second=0, microsecond=0)
            while (minute := minute + timedelta(minutes=1)) <= now:
                if _matches(inner, minute):
                    return True
            return False
    raise ValueError(f"schedule {schedule!r} is none of at(…), rate(…) and cron(…)")


def _matches(fields: str, moment: datetime) -> bool:
    values = [getattr(moment, name) for name in _FIELDS] + [moment.isoweekday() % 7 + 1, moment.year]
    parts = fields.upper().split()
    if len(parts) != len(_RANGES):
        raise ValueError(f"cron({fields}) must have six fields")
    return all(_in(part, value, low) for part, value, (low, _) in zip(parts, values, _RANGES, strict=True))


def _in(part: str, value: int, low: int) -> bool:
    """`*`, `?`, `5`, `1-5`, `MON-FRI`, `0/15`, and lists of them."""
    named = re.sub("[A-Z]{3}", lambda found: _NAMES.get(found[0], found[0]), part)
    for item in named.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        start = low if first in {"*", "?"} else int(first)
        end = int(last) if last else (value if first in {"*", "?"} or step else start)
        if start <= value <= end and (value - start) % int(step or 1) == 0:
            return True
    return False
