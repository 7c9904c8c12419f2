"""CloudWatch's calls on metrics and alarms, put in the place of moto's: moto parses the protocols, `Watch` answers.

moto 5.2.5 stores alarms without ever evaluating them, has no percentiles, no composite alarms and no history.
Dashboards and tags stay moto's.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

from infra.cloud import alarms, composite, metric_math
from infra.cloud.alarm_checks import CallError, check_alarm, check_period, check_statistic
from infra.cloud.series import Cell, Key
from infra.cloud.watch import Alarm, Watch, key_of

Params = Mapping[str, Any]
Answer = dict[str, Any]

_MOST_POINTS = 1440
_PAGE, _LIST_PAGE = 100, 500
_MINUTE, _DAY = 60, 86_400
_SHORT_PERIODS = (1, 5, 10, 20, 30)


class Calls:
    """CloudWatch's operations over a `Watch`: (region, parameters) -> members of the answer."""

    def __init__(self, watch: Watch, account: str) -> None:
        self._watch = watch
        self._account = account

    def install(self) -> None:
        """Answer from now on instead of moto."""
        for name in (
            "put_metric_data", "get_metric_data", "get_metric_statistics", "list_metrics", "put_metric_alarm",
            "put_composite_alarm", "describe_alarms", "describe_alarms_for_metric", "describe_alarm_history",
            "delete_alarms", "set_alarm_state", "enable_alarm_actions", "disable_alarm_actions", "tag_resource",
        ):  # fmt: skip
            setattr(CloudWatchResponse, name, _method(getattr(self, name)))

    def put_metric_data(self, region: str, params: Params) -> Answer:
        """Values, counted values or statistics of metrics."""
        for number, datum in enumerate(params.get("MetricData", ()), start=1):
            key = key_of(region, {"Namespace": params["Namespace"], **datum})
            moment = datum["Timestamp"].timestamp() if "Timestamp" in datum else time.time()
            unit = datum.get("Unit", "None")
            values = datum.get("Values") or ([datum["Value"]] if "Value" in datum else [])
            counts = datum.get("Counts") or [1.0] * len(values)
            if any(not math.isfinite(value) for value in values) or len(counts) != len(values):
                where = f"MetricData.member.{number}"
                raise CallError("InvalidParameterValue", f"{where}: values must be finite, each with its count")
            if values:
                counted: dict[float, float] = {}
                for value, count in zip(values, counts, strict=True):
                    counted[value] = counted.get(value, 0.0) + count
                self._watch.store.put(key, moment, counted, unit)
            if "StatisticValues" in datum:
                self._watch.store.put_cell(key, moment, _cell(datum["StatisticValues"]), unit)
        return {}

    def get_metric_statistics(self, region: str, params: Params) -> Answer:
        """Datapoints of one metric."""
        plain, extended = params.get("Statistics", []), params.get("ExtendedStatistics", [])
        if not plain and not extended:
            raise CallError("InvalidParameterCombination", "Must specify either Statistics or ExtendedStatistics")
        for name in (*plain, *extended):
            check_statistic(name)
        start, end, period = params["StartTime"].timestamp(), params["EndTime"].timestamp(), params["Period"]
        check_period(period)
        if start >= end:
            raise CallError("InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.")
        if (end - start) / period > _MOST_POINTS:
            requested = f"{math.ceil((end - start) / period):,}"
            raise CallError(
                "InvalidParameterCombination",
                f"You have requested up to {requested} datapoints, which exceeds the limit of {_MOST_POINTS:,}. You may"
                " reduce the datapoints requested by increasing Period, or decreasing the time range.",
            )
        key = key_of(region, params)
        unit = self._watch.store.unit(key)
        if params.get("Unit", unit) != unit:
            return {"Label": params["MetricName"], "Datapoints": []}
        points = [
            {
                "Timestamp": _moment(at),
                "Unit": unit,
                **{name: cell.statistic(name) for name in plain},
                **({"ExtendedStatistics": _known({n: cell.statistic(n) for n in extended})} if extended else {}),
            }
            for at, cell in sorted(self._watch.store.periods(key, start, end, period).items())
        ]
        return {"Label": params["MetricName"], "Datapoints": points}

    def get_metric_data(self, region: str, params: Params) -> Answer:
        """Several metrics and expressions over them."""
        queries = params.get("MetricDataQueries", [])
        for query in queries:
            if "MetricStat" in query:
                check_statistic(query["MetricStat"]["Stat"])
                check_period(query["MetricStat"]["Period"])
            elif "Expression" not in query:
                raise CallError("ValidationError", f"Query {query.get('Id')} needs MetricStat or Expression.")
        start, end = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        try:
            found = self._watch.data(region, queries, start, end)
        except metric_math.MathError as error:
            raise CallError("ValidationError", f"Error in expression: {error}") from error
        descending = params.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        results = []
        for query in queries:
            if query.get("ReturnData", True):
                points = sorted(found[query["Id"]].items(), reverse=descending)
                name = query.get("MetricStat", {}).get("Metric", {}).get("MetricName", query["Id"])
                results.append(
                    {
                        "Id": query["Id"],
                        "Label": query.get("Label", name),
                        "StatusCode": "Complete",
                        "Timestamps": [_moment(at) for at, _ in points],
                        "Values": [value for _, value in points],
                    }
                )
        return {"MetricDataResults": results}

    def list_metrics(self, region: str, params: Params) -> Answer:
        """The metrics that have data."""
        found = [
            {"Namespace": key.namespace, "MetricName": key.name, "Dimensions": _dimensions(key)}
            for key in sorted(self._watch.store.keys())
            if key.region == region and _matches(key, params)
        ]
        page, token = _page(found, params, _LIST_PAGE)
        return {"Metrics": page, **token}

    def put_metric_alarm(self, region: str, params: Params) -> Answer:
        """Make or change a metric alarm."""
        check_alarm(params)
        return self._put(region, params)

    def put_composite_alarm(self, region: str, params: Params) -> Answer:
        """Make or change a composite alarm."""
        try:
            composite.parse(params["AlarmRule"])
        except composite.RuleError as error:
            raise CallError(
                "ValidationError", f"AlarmRule must not contain leading or invalid parts: {error}"
            ) from error
        return self._put(region, params)

    def _put(self, region: str, params: Params) -> Answer:
        alarm = self._watch.put_alarm(region, params)
        if params.get("Tags"):
            cloudwatch_backends[self._account][region].tagger.tag_resource(alarm.arn, params["Tags"])
        return {}

    def describe_alarms(self, region: str, params: Params) -> Answer:
        """Alarms by name, prefix, state or action; metric alarms alone unless the types say otherwise."""
        types = params.get("AlarmTypes") or ["MetricAlarm"]
        names, prefix = params.get("AlarmNames"), params.get("AlarmNamePrefix", "")
        found = [
            alarm
            for alarm in self._of(region)
            if (names is None or not names or alarm.name in names)
            and alarm.name.startswith(prefix)
            and params.get("StateValue", alarm.state) == alarm.state
            and ("CompositeAlarm" if alarm.is_composite else "MetricAlarm") in types
            and _has_action(alarm, params.get("ActionPrefix", ""))
        ]
        page, token = _page(found, params, _PAGE, "MaxRecords")
        return {
            "MetricAlarms": [_described(alarm) for alarm in page if not alarm.is_composite],
            "CompositeAlarms": [_described(alarm) for alarm in page if alarm.is_composite],
            **token,
        }

    def describe_alarms_for_metric(self, region: str, params: Params) -> Answer:
        """The metric alarms on one metric."""
        key = key_of(region, params)
        found = [a for a in self._of(region) if "MetricName" in a.request and key_of(region, a.request) == key]
        return {"MetricAlarms": [_described(alarm) for alarm in found]}

    def describe_alarm_history(self, region: str, params: Params) -> Answer:
        """What happened to alarms, the newest first unless told otherwise."""
        items = [
            item
            for alarm in self._of(region)
            if params.get("AlarmName", alarm.name) == alarm.name
            for item in alarm.history
            if params.get("HistoryItemType", item["HistoryItemType"]) == item["HistoryItemType"]
            and _aware(params.get("StartDate", item["Timestamp"])) <= item["Timestamp"]
            and item["Timestamp"] <= _aware(params.get("EndDate", item["Timestamp"]))
        ]
        items.sort(key=lambda item: item["Timestamp"], reverse=params.get("ScanBy") != "TimestampAscending")
        page, token = _page(items, params, _PAGE, "MaxRecords")
        return {"AlarmHistoryItems": page, **token}

    def delete_alarms(self, region: str, params: Params) -> Answer:
        """Forget alarms."""
        for name in params.get("AlarmNames", ()):
            self._watch.delete_alarm(region, name)
        return {}

    def set_alarm_state(self, region: str, params: Params) -> Answer:
        """Put an alarm into a state until its next evaluation."""
        alarm = self._one(region, params["AlarmName"])
        verdict = alarms.Verdict(params["StateValue"], params["StateReason"])
        if verdict.state != alarm.state:
            self._watch.set_state(alarm, verdict, params.get("StateReasonData", ""))
        return {}

    def enable_alarm_actions(self, region: str, params: Params) -> Answer:
        """Let alarms act again."""
        return self._switch(region, params, enabled=True)

    def disable_alarm_actions(self, region: str, params: Params) -> Answer:
        """Keep alarms from acting."""
        return self._switch(region, params, enabled=False)

    def tag_resource(self, region: str, params: Params) -> Answer:
        """Tag an alarm."""
        arn = params["ResourceARN"]
        if all(alarm.arn != arn for alarm in self._of(region)):
            raise CallError("ResourceNotFoundException", f"{arn} does not exist")
        cloudwatch_backends[self._account][region].tagger.tag_resource(arn, params["Tags"])
        return {}

    def _switch(self, region: str, params: Params, *, enabled: bool) -> Answer:
        for name in params.get("AlarmNames", ()):
            self._one(region, name).request["ActionsEnabled"] = enabled
        self._watch.changed()
        return {}

    def _of(self, region: str) -> list[Alarm]:
        return sorted((a for a in self._watch.alarms.copy().values() if a.region == region), key=lambda a: a.name)

    def _one(self, region: str, name: str) -> Alarm:
        found = self._watch.alarms.get((region, name))
        if found is None:
            raise CallError("ResourceNotFound", f"Unknown alarm {name}")
        return found


def _method(call: Callable[[str, Params], Answer]) -> Callable[[CloudWatchResponse], ActionResult]:
    def method(response: CloudWatchResponse) -> ActionResult:
        return ActionResult(call(response.region, response._get_params()))  # noqa: SLF001 - what moto's own methods call

    return method


def _cell(statistics: Mapping[str, float]) -> Cell:
    """A statistic set. Its distribution is known only where all values are the same."""
    count, low, high = statistics["SampleCount"], statistics["Minimum"], statistics["Maximum"]
    values = {low: count} if low == high or count == 1 else None
    return Cell(count, statistics["Sum"], low, high, values)


def _described(alarm: Alarm) -> Answer:
    request = {
        "ActionsEnabled": True,
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        **alarm.request,
    }
    if not alarm.is_composite and "Metrics" not in request:
        request.setdefault("Dimensions", [])
    return {
        **request,
        "AlarmArn": alarm.arn,
        "AlarmConfigurationUpdatedTimestamp": alarm.configured,
        "StateValue": alarm.state,
        "StateReason": alarm.reason,
        **({"StateReasonData": alarm.reason_data} if alarm.reason_data else {}),
        "StateUpdatedTimestamp": alarm.updated,
        "StateTransitionedTimestamp": alarm.updated,
    }


def _has_action(alarm: Alarm, prefix: str) -> bool:
    kinds = ("OKActions", "AlarmActions", "InsufficientDataActions")
    return not prefix or any(str(a).startswith(prefix) for kind in kinds for a in alarm.request.get(kind, ()))


def _matches(key: Key, params: Params) -> bool:
    if params.get("Namespace", key.namespace) != key.namespace or params.get("MetricName", key.name) != key.name:
        return False
    own = dict(key.dimensions)
    return all(
        f["Name"] in own and f.get("Value", own[f["Name"]]) == own[f["Name"]] for f in params.get("Dimensions", ())
    )


def _dimensions(key: Key) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in key.dimensions]


def _page(
    items: Sequence[Any], params: Params, most: int, limit: str = "MaxResults"
) -> tuple[list[Any], dict[str, str]]:
    token = params.get("NextToken") or "0"
    if not token.isdecimal():
        raise CallError("InvalidNextToken", f"The token {token} is not one that was given out")
    start, size = int(token), min(params.get(limit, most), most)
    following = {"NextToken": str(start + size)} if start + size < len(items) else {}
    return list(items[start : start + size]), following


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
