"""The embedded CloudWatch's memory: metrics, alarms with their states and history, and what a change sets off."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.cloud import alarms, composite, metric_math
from infra.cloud.alarms import ALARM, INSUFFICIENT, OK, Point, Rule, Verdict
from infra.cloud.clock import Clock
from infra.cloud.errors import JournalError
from infra.cloud.journal import Journal
from infra.cloud.series import Key, Store

MOST_HISTORY = 1000
DOCUMENT = "alarms"
_ACTIONS = {ALARM: "AlarmActions", OK: "OKActions", INSUFFICIENT: "InsufficientDataActions"}
_FIRST_REASON = "Unchecked: Initial alarm creation"
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{0,10})?|100)")
STATISTICS = frozenset({"SampleCount", "Average", "Sum", "Minimum", "Maximum"})
Act = Callable[[str, str, str, str], None]
log = logging.getLogger(__name__)


@dataclass
class Alarm:
    """A metric or composite alarm: its request, its state, and the history of both."""

    region: str
    name: str
    arn: str
    request: dict[str, Any]
    configured: datetime
    state: str = INSUFFICIENT
    reason: str = _FIRST_REASON
    reason_data: str = ""
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    due: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_composite(self) -> bool:
        """Whether it watches other alarms."""
        return "AlarmRule" in self.request

    @property
    def period_s(self) -> float:
        """The declared period, in seconds."""
        found = [self.request.get("Period", 0)]
        for query in self.request.get("Metrics", ()):
            found += [query.get("Period", 0), query.get("MetricStat", {}).get("Period", 0)]
        return float(max(found) or 60)


class Watch:
    """Metrics and alarms of every region. Its methods may be called from any thread.

    Args:
        clock: an alarm's periods are declared seconds; time stamps are this machine's.
        account: the account number in ARNs.
        act: what an action does: region, ARN of the action, subject, message.
    """

    def __init__(self, clock: Clock, account: str, act: Act) -> None:
        self.clock = clock
        self._journal: Journal | None = None
        # A declared second, or ten where time runs fast: ten seconds are the shortest period there is.
        self.store = Store(1 / clock.scale if clock.scale < 10 else 10 / clock.scale)
        self.alarms: dict[tuple[str, str], Alarm] = {}
        self.heard: list[Callable[[str, str, str, tuple[str, str], str], None]] = []
        """Told of every change of state: region, name, ARN, the state before and after, the reason."""
        self._account = account
        self._act = act
        self._lock = threading.RLock()

    def restore(self, journal: Journal) -> None:
        """Give alarms the states and histories that they had in an earlier life, and write down theirs from now on."""
        for one in journal.load(DOCUMENT) or ():
            alarm = _read(one)
            period = self.clock.real(alarm.period_s)
            alarm.due = (time.time() // period + 1) * period  # the period that the kill fell into is judged at its end
            self.alarms[alarm.region, alarm.name] = alarm
        self._journal = journal

    def changed(self) -> None:
        """Write down what alarms are and have been."""
        if self._journal is not None:
            with self._lock:
                document = [asdict(alarm) for alarm in self.alarms.values()]
            try:
                self._journal.save(DOCUMENT, document)
            except JournalError:  # alarms go on
                log.exception("the journal cannot be written")

    def put_alarm(self, region: str, request: Mapping[str, Any]) -> Alarm:
        """Make an alarm, or give one of that name a new definition; its state stays."""
        name = request["AlarmName"]
        kept = {key: value for key, value in request.items() if key != "Tags"}
        with self._lock:
            known = self.alarms.get((region, name))
            if known is None:
                arn = f"arn:aws:cloudwatch:{region}:{self._account}:alarm:{name}"
                known = self.alarms[region, name] = Alarm(region, name, arn, kept, datetime.now(UTC))
                what = f'Alarm "{name}" created'
            else:
                known.request, known.configured = kept, datetime.now(UTC)
                what = f'Alarm "{name}" updated'
            _remember(known, "ConfigurationUpdate", what, {"version": "1.0", "type": what.rsplit(" ", 1)[1].title()})
        self.changed()
        return known

    def delete_alarm(self, region: str, name: str) -> None:
        """Forget an alarm; one that is not there is no error, as in CloudWatch's batch call."""
        with self._lock:
            self.alarms.pop((region, name), None)
        self.changed()

    def in_alarm(self, region: str) -> frozenset[str]:
        """The names of all alarms of a region that are in ALARM."""
        with self._lock:
            return frozenset(
                alarm.name for alarm in self.alarms.values() if alarm.region == region and alarm.state == ALARM
            )

    def set_state(self, alarm: Alarm, verdict: Verdict, reason_data: str = "") -> None:
        """Change an alarm's state, write it down, and set its actions off."""
        with self._lock:
            before = {"stateValue": alarm.state, "stateReason": alarm.reason}
            alarm.state, alarm.reason, alarm.reason_data = verdict.state, verdict.reason, reason_data
            alarm.updated = datetime.now(UTC)
            after = {"stateValue": alarm.state, "stateReason": alarm.reason}
            summary = f"Alarm updated from {before['stateValue']} to {alarm.state}"
            _remember(alarm, "StateUpdate", summary, {"version": "1.0", "oldState": before, "newState": after})
            actions = alarm.request.get(_ACTIONS[alarm.state], ()) if alarm.request.get("ActionsEnabled", True) else ()
        self.changed()
        log.info("alarm %s: %s: %s", alarm.name, summary, verdict.reason)
        for action in actions:
            self._set_off(alarm, str(action), before["stateValue"])
        for hear in self.heard:
            hear(alarm.region, alarm.name, alarm.arn, (before["stateValue"], alarm.state), alarm.reason)

    def tick(self, now: float) -> None:
        """Evaluate every alarm of which a period has ended.

        Args:
            now: seconds since 1970.
        """
        with self._lock:
            every = list(self.alarms.values())
        for alarm in every:
            if not alarm.is_composite and now >= alarm.due:
                period = self.clock.real(alarm.period_s)
                end = now // period * period
                alarm.due = end + period
                self._judge(alarm, end)
        for alarm in every:
            if alarm.is_composite:
                self._judge_composite(alarm)

    def points(self, alarm: Alarm, end: float) -> list[Point | None]:
        """The datapoints that an evaluation at `end` sees, oldest first."""
        period = self.clock.real(alarm.period_s)
        count = alarm.request["EvaluationPeriods"] + alarms.EXTRA_POINTS
        start = end - count * period
        known = self._series(alarm.region, alarm.request, start, end)
        half = period / 2  # moments are sums of floats
        return [next((p for at, p in known.items() if abs(at - start - k * period) < half), None) for k in range(count)]

    def _series(self, region: str, request: Mapping[str, Any], start: float, end: float) -> dict[float, Point]:
        if "Metrics" in request:
            results = self.data(region, request["Metrics"], start, end, scaled=True)
            returned = [query["Id"] for query in request["Metrics"] if query.get("ReturnData", True)]
            return {at: Point(value) for at, value in results[returned[0]].items()}
        statistic = request.get("Statistic") or request["ExtendedStatistic"]
        cells = self.store.periods(key_of(region, request), start, end, self.clock.real(request["Period"]))
        found = {at: (cell.statistic(statistic), cell.count) for at, cell in cells.items()}
        return {at: Point(value, count) for at, (value, count) in found.items() if value is not None}

    def data(
        self, region: str, queries: Sequence[Mapping[str, Any]], start: float, end: float, *, scaled: bool = False
    ) -> dict[str, dict[float, float]]:
        """GetMetricData: the id of each query to its points.

        Args:
            region: where the metrics are.
            queries: MetricDataQueries.
            start: seconds since 1970.
            end: likewise, exclusive.
            scaled: periods are declared seconds, as in alarms.

        Raises:
            MathError: an expression cannot be worked out.
        """
        made: dict[str, dict[float, float]] = {}
        moments: list[float] = []
        for query in queries:
            if "MetricStat" in query:
                stat = query["MetricStat"]
                period = self.clock.real(stat["Period"]) if scaled else float(stat["Period"])
                cells = self.store.periods(key_of(region, stat["Metric"]), start, end, period)
                values = {at: cell.statistic(stat["Stat"]) for at, cell in sorted(cells.items())}
                made[query["Id"]] = {at: value for at, value in values.items() if value is not None}
                first = start // period * period
                moments = moments or [first + k * period for k in range(max(0, round((end - first) / period)))]
        waiting = [query for query in queries if "Expression" in query]
        while waiting:
            ready = [q for q in waiting if not metric_math.names(q["Expression"]) & {w["Id"] for w in waiting}]
            if not ready:
                raise metric_math.MathError(f"expressions refer to each other: {waiting[0]['Expression']!r}")
            for query in ready:
                made[query["Id"]] = dict(metric_math.evaluate(query["Expression"], made, moments))
            waiting = [query for query in waiting if query not in ready]
        return made

    def _judge(self, alarm: Alarm, end: float) -> None:
        try:
            verdict = alarms.evaluate(rule_of(alarm.request), self.points(alarm, end), alarm.state)
        except metric_math.MathError as error:
            verdict = None if alarm.state == INSUFFICIENT else Verdict(INSUFFICIENT, str(error))
        if verdict is not None:
            self.set_state(alarm, verdict)

    def _judge_composite(self, alarm: Alarm) -> None:
        rule = alarm.request["AlarmRule"]

        def state(name: str) -> str:
            known = self.alarms.get((alarm.region, name))
            return INSUFFICIENT if known is None else known.state

        verdict = ALARM if composite.parse(rule)(state) else OK
        if verdict != alarm.state:
            causes = ", ".join(sorted(f"{name} is in {state(name)}" for name in composite.children(rule)))
            self.set_state(alarm, Verdict(verdict, f"{alarm.arn} transitioned to {verdict}: {causes}"))

    def _set_off(self, alarm: Alarm, action: str, before: str) -> None:
        subject = f'{alarm.state}: "{alarm.name}" in {alarm.region}'
        message = {
            "AlarmName": alarm.name,
            "AlarmDescription": alarm.request.get("AlarmDescription"),
            "AWSAccountId": self._account,
            "NewStateValue": alarm.state,
            "NewStateReason": alarm.reason,
            "StateChangeTime": f"{alarm.updated:%Y-%m-%dT%H:%M:%S}.{alarm.updated.microsecond // 1000:03d}+0000",
            "Region": alarm.region,
            "AlarmArn": alarm.arn,
            "OldStateValue": before,
            "Trigger": {key: value for key, value in alarm.request.items() if not key.startswith("Alarm")},
        }
        outcome = "Successfully executed"
        try:
            self._act(alarm.region, action, subject, json.dumps(message, default=str))
        except Exception as error:
            log.exception("action %s of alarm %s", action, alarm.name)
            outcome = f"Failed to execute ({error})"
        with self._lock:
            _remember(
                alarm, "Action", f"{outcome} action {action}", {"actionState": outcome, "notificationResource": action}
            )


def _read(one: Mapping[str, Any]) -> Alarm:
    moments = {name: datetime.fromisoformat(one[name]) for name in ("configured", "updated")}
    history = [item | {"Timestamp": datetime.fromisoformat(item["Timestamp"])} for item in one["history"]]
    return Alarm(**{**one, **moments, "due": 0.0, "history": history})


def rule_of(request: Mapping[str, Any]) -> Rule:
    """What PutMetricAlarm's members say, as a rule."""
    extended = _PERCENTILE.fullmatch(request.get("ExtendedStatistic", ""))
    return Rule(
        comparison=request["ComparisonOperator"],
        threshold=float(request["Threshold"]),
        periods=request["EvaluationPeriods"],
        to_alarm=request.get("DatapointsToAlarm", request["EvaluationPeriods"]),
        missing=request.get("TreatMissingData", "missing"),
        percentile=float(extended[1]) if extended else None,
        ignore_few_samples=request.get("EvaluateLowSampleCountPercentile") == "ignore",
    )


def known_statistic(name: str) -> bool:
    """Whether a statistic can be answered here."""
    return name in STATISTICS or _PERCENTILE.fullmatch(name) is not None


def key_of(region: str, metric: Mapping[str, Any]) -> Key:
    """The series that Namespace, MetricName and Dimensions name."""
    pairs = sorted((d["Name"], d["Value"]) for d in metric.get("Dimensions", ()))
    return Key(region, metric["Namespace"], metric["MetricName"], tuple(pairs))


def _remember(alarm: Alarm, kind: str, summary: str, data: Mapping[str, Any]) -> None:
    alarm.history.append(
        {
            "AlarmName": alarm.name,
            "AlarmType": "CompositeAlarm" if alarm.is_composite else "MetricAlarm",
            "Timestamp": datetime.fromtimestamp(time.time(), UTC),
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps(data),
        }
    )
    del alarm.history[:-MOST_HISTORY]
