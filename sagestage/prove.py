"""The alarm liveness proof: an alarm is fed values on both sides of its threshold; it must fire and recover."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sagestage import report
from sagestage.errors import SagestageError

if TYPE_CHECKING:
    from rich.table import Table

GOOD, BAD = "OK", "ALARM"
SAMPLES = 300.0
"""Of each value that is fed: more than a p95 needs to be significant."""
AT_MOST_1 = frozenset({"R2", "Accuracy"})
SLACK_PERIODS, SLACK_S = 6, 3.0
FEEDS_A_PERIOD = 3
SLOWEST_S = 1.0


@dataclass
class Proof:
    """What became of one alarm.

    Attributes:
        name: the alarm.
        rule: what it watches for, in words.
        values: a value on the good side and one on the bad side, such as the metric can take.
        reached: the states that it went through: OK, ALARM, OK when it is alive.
    """

    name: str
    rule: str
    values: tuple[float, float]
    reached: list[str]

    @property
    def alive(self) -> bool:
        """Whether it fired and recovered."""
        return self.reached == [GOOD, BAD, GOOD]


def prove(
    cloudwatch: Any,
    prefix: str,
    scale: float,
    *,
    on_progress: Callable[[str], None] = lambda _text: None,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Proof]:
    """Feed every metric alarm whose name begins with `prefix`, all at once: good values, bad ones, good ones.

    Composite alarms are not fed: they have to follow the alarms that they name.

    Args:
        cloudwatch: a boto3 client of the embedded CloudWatch.
        prefix: of the alarms' names.
        scale: how much faster than declared its periods pass.
        on_progress: told which side is being fed.
        pause: waits, in seconds.
        clock: seconds.

    Raises:
        SagestageError: there is no alarm.
    """
    found = _alarms(cloudwatch, prefix)
    if not found:
        raise SagestageError(f"no alarm's name begins with {prefix}: declare alarms=[…] on the endpoint")
    proofs = {alarm["AlarmName"]: Proof(alarm["AlarmName"], _words(alarm), values(alarm), []) for alarm in found}
    alarms = [alarm for alarm in found if "AlarmRule" not in alarm]
    slowest = max((period(alarm) * (alarm["EvaluationPeriods"] + SLACK_PERIODS) for alarm in alarms), default=0)
    quickest = min(map(period, alarms), default=0)
    for side, wanted in enumerate((GOOD, BAD, GOOD)):
        on_progress(f"values that must lead to {wanted}")
        waiting = [alarm for alarm in found if len(proofs[alarm["AlarmName"]].reached) == side]
        deadline = clock() + slowest / scale + SLACK_S
        while waiting and clock() < deadline:
            for alarm in alarms:
                _feed(cloudwatch, alarm, proofs[alarm["AlarmName"]].values[wanted == BAD])
            pause(min(SLOWEST_S, quickest / scale / FEEDS_A_PERIOD))
            states = _states(cloudwatch, prefix)
            for alarm in list(waiting):
                if states.get(alarm["AlarmName"]) == wanted:
                    proofs[alarm["AlarmName"]].reached.append(wanted)
                    waiting.remove(alarm)
    return list(proofs.values())


def values(alarm: Mapping[str, Any]) -> tuple[float, float]:
    """A good and a bad value of an alarm's metric: on either side of the threshold, and such as the metric can take."""
    from infra.metrics import METRICS

    if "AlarmRule" in alarm:
        return math.nan, math.nan
    threshold = float(alarm["Threshold"])
    above, below = 2 * threshold + 1, threshold / 2
    name = series(alarm)[0]["MetricName"]
    known = METRICS.get(name)
    if known is not None and known.highest is not None and alarm.get("Statistic") not in {"Sum", "SampleCount"}:
        above = min(above, known.highest if not known.adds_up_over else above)
    if name in AT_MOST_1:
        above = (1 + threshold) / 2
    if name.endswith("Errors"):
        above, below = min(above, 1.0), 0.0  # 0 or 1 a request
    if alarm["ComparisonOperator"].startswith("Greater"):
        return below, above
    return above, 0.0


def series(alarm: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Namespace, MetricName and Dimensions of what an alarm looks at: one metric, or those of its expression."""
    queried = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", ()) if "MetricStat" in query]
    found = queried or [alarm]
    return [{name: one[name] for name in ("Namespace", "MetricName", "Dimensions")} for one in found]


def period(alarm: Mapping[str, Any]) -> int:
    """The period that an alarm is evaluated by, in declared seconds."""
    if "Period" in alarm:
        return int(alarm["Period"])
    return max(int(query["MetricStat"]["Period"]) for query in alarm["Metrics"] if "MetricStat" in query)


def table_of(proofs: Sequence[Proof]) -> Table:
    """Every alarm, and what it did."""
    made = report.table("Alarm liveness", "alarm", "fires when", "fed", "went through", "", right=(2,))
    for proof in proofs:
        fed = "" if math.isnan(proof.values[0]) else f"{proof.values[0]:g} / {proof.values[1]:g}"
        verdict = "[green]alive[/]" if proof.alive else "[red]cannot fire or recover[/]"
        made.add_row(proof.name, proof.rule, fed, " → ".join(proof.reached), verdict)
    return made


def problems(proofs: Sequence[Proof]) -> list[str]:
    """The alarms that did not do what they are for."""
    return [_problem(proof) for proof in proofs if not proof.alive]


def _problem(proof: Proof) -> str:
    went = " → ".join(proof.reached) or "nothing"
    good, bad = proof.values
    fed = "while others were fed" if math.isnan(good) else f"when it was fed {good:g}, {bad:g} and {good:g}"
    return f"alarm {proof.name} ({proof.rule}) went through {went} {fed}: it must be OK → ALARM → OK"


def _words(alarm: Mapping[str, Any]) -> str:
    if "AlarmRule" in alarm:
        return str(alarm["AlarmRule"])
    statistic = alarm.get("Statistic") or alarm.get("ExtendedStatistic")
    queries = alarm.get("Metrics", ())
    what = next((query["Expression"] for query in queries if "Expression" in query), None)
    what = f"{statistic} {series(alarm)[0]['MetricName']}" if what is None else what
    sign = {"GreaterThanThreshold": ">", "GreaterThanOrEqualToThreshold": "≥", "LessThanThreshold": "<"}
    comparison = sign.get(alarm["ComparisonOperator"], "≤")
    minutes = period(alarm) * alarm["EvaluationPeriods"] / 60
    return f"{what} {comparison} {alarm['Threshold']:g} for {minutes:g} min"


def _feed(cloudwatch: Any, alarm: Mapping[str, Any], value: float) -> None:
    for one in series(alarm):
        datum = {"MetricName": one["MetricName"], "Dimensions": one["Dimensions"], "Values": [value]}
        cloudwatch.put_metric_data(Namespace=one["Namespace"], MetricData=[{**datum, "Counts": [SAMPLES]}])


def _states(cloudwatch: Any, prefix: str) -> dict[str, str]:
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in _alarms(cloudwatch, prefix)}


def _alarms(cloudwatch: Any, prefix: str) -> list[Any]:
    pages = cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    return [alarm for page in pages for kind in ("MetricAlarms", "CompositeAlarms") for alarm in page.get(kind, ())]
