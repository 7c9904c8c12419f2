"""When an alarm fires: pure decisions on datapoints.

Source: CloudWatch user guide, 'Using Amazon CloudWatch alarms': evaluating an alarm, how missing data are treated,
percentile-based alarms and low data samples.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
EXTRA_POINTS = 2  # the range that is looked at is longer than the evaluation periods; the guide's tables have 5 for 3
_HALF, _WHOLE, _SIGNIFICANT = 50.0, 100.0, 10.0

_COMPARE: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
COMPARISONS = frozenset(_COMPARE)


@dataclass(frozen=True)
class Rule:
    """What an alarm watches for. `to_alarm` of the last `periods` datapoints have to breach."""

    comparison: str
    threshold: float
    periods: int
    to_alarm: int
    missing: str = "missing"
    percentile: float | None = None
    ignore_few_samples: bool = False


@dataclass(frozen=True)
class Point:
    """One period's datapoint: its value, and of how many samples it was made."""

    value: float
    samples: float = math.inf


@dataclass(frozen=True)
class Verdict:
    """The state that follows, and CloudWatch's sentence for it."""

    state: str
    reason: str


def evaluate(rule: Rule, points: Sequence[Point | None], current: str) -> Verdict | None:
    """The state that datapoints put an alarm into; None when it keeps the one it is in.

    Args:
        rule: the alarm.
        points: `periods` + `EXTRA_POINTS` periods, oldest first; None where there were no data.
        current: the state it is in.
    """
    real = [point for point in points if point is not None]
    if len(real) > rule.periods:
        real = real[-rule.periods :]  # the most recent real ones count, missing ones do not
    if rule.ignore_few_samples and any(point.samples < enough_samples(rule.percentile) for point in real):
        return None
    breaching = [_breaches(rule, point) for point in real]
    filled = max(0, rule.periods - len(real))
    if not real and rule.missing in ("missing", "ignore"):
        return None if rule.missing == "ignore" else _unless(current, INSUFFICIENT, _nothing(rule))
    hits = sum(breaching) + (filled if rule.missing == "breaching" else 0)
    if hits >= rule.to_alarm:
        state = ALARM
    elif filled and breaching and all(breaching) and rule.missing in ("missing", "ignore"):
        # Only breaching data, and fewer than it takes: ALARM when the oldest is old enough, no change otherwise.
        if rule.missing == "ignore" or _age_of_oldest(points[-rule.periods :]) < rule.to_alarm:
            return None
        state = ALARM
    else:
        state = OK
    return _unless(current, state, _reason(rule, real, breaching, state, filled))


def enough_samples(percentile: float | None) -> float:
    """How many samples make a percentile significant: 10 / (1 - p) above the median, 10 / p below it."""
    if percentile is None:
        return 0.0
    tail = _WHOLE - percentile if percentile >= _HALF else percentile
    return math.inf if tail <= 0 else _SIGNIFICANT * _WHOLE / tail


def _breaches(rule: Rule, point: Point) -> bool:
    return _COMPARE[rule.comparison][0](point.value, rule.threshold)


def _age_of_oldest(points: Sequence[Point | None]) -> int:
    """How many periods ago the oldest datapoint is; the newest period is 1."""
    return next((len(points) - index for index, point in enumerate(points) if point is not None), 0)


def _unless(current: str, state: str, reason: str) -> Verdict | None:
    return None if state == current else Verdict(state, reason)


def _nothing(rule: Rule) -> str:
    return f"Insufficient Data: {rule.periods} datapoint{'s' * (rule.periods > 1)} were unknown."


def _reason(rule: Rule, real: Sequence[Point], breaching: Sequence[bool], state: str, filled: int) -> str:
    """CloudWatch's own sentence."""
    hits = [point for point, hit in zip(real, breaching, strict=True) if hit]
    chosen = hits if state == ALARM else [point for point, hit in zip(real, breaching, strict=True) if not hit]
    if not chosen:
        kind = {"breaching": "[Breaching]", "notBreaching": "[NonBreaching]"}.get(rule.missing, "[Missing]")
        noun = "datapoint was" if filled == 1 else "datapoints were"
        received = f"no datapoints were received for {filled} period{'s' * (filled > 1)}"
        return f"Threshold Crossed: {received} and {filled} missing {noun} treated as {kind}."
    values = ", ".join(f"{point.value:.6g}" for point in reversed(chosen))
    noun = "datapoint" if len(chosen) == 1 else "datapoints"
    negated = "" if state == ALARM else "not "
    was = "was" if len(chosen) == 1 else "were"
    return (
        f"Threshold Crossed: {len(chosen)} out of the last {rule.periods} {noun} [{values}] {was} {negated}"
        f"{_COMPARE[rule.comparison][1]} the threshold ({rule.threshold:.15g}) (minimum {rule.to_alarm} datapoint"
        f"{'s' * (rule.to_alarm > 1)} for {'OK -> ALARM' if state == ALARM else 'ALARM -> OK'} transition)."
    )
