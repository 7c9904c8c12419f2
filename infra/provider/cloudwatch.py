"""CloudWatch: alarms and dashboards."""

from __future__ import annotations

from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Plain

TAGGING = Tagging(add="TagResource", remove="UntagResource", list="ListTagsForResource", target="ResourceARN")
_STAT = {"period", "stat", "unit"}


def _queries_forth(queries: Plain) -> Plain:
    """`metric: {metricName, namespace, dimensions, period, stat}` as the API's MetricStat around a Metric."""
    return [_query_forth(query) for query in queries] if isinstance(queries, list) else queries


def _query_forth(query: Plain) -> Plain:
    if not isinstance(query, dict) or not isinstance(query.get("metric"), dict):
        return query
    rest = {name: value for name, value in query.items() if name != "metric"}
    metric = query["metric"]
    if not isinstance(metric, dict):
        return query
    stat: dict[str, Plain] = {name: value for name, value in metric.items() if name in _STAT}
    stat["metric"] = {name: value for name, value in metric.items() if name not in _STAT}
    return {**rest, "metricStat": stat}


def _queries_back(queries: Plain) -> Plain:
    return [_query_back(query) for query in queries] if isinstance(queries, list) else queries


def _query_back(query: Plain) -> Plain:
    if not isinstance(query, dict):
        return query
    stat = query.get("metricStat")
    if not isinstance(stat, dict) or not isinstance(stat.get("metric"), dict):
        return query
    rest: dict[str, Plain] = {name: value for name, value in query.items() if name != "metricStat"}
    metric = stat["metric"]
    inner = metric if isinstance(metric, dict) else {}
    return {**rest, "metric": {**inner, **{name: value for name, value in stat.items() if name != "metric"}}}


METRIC_ALARM = ResourceType(
    pulumi_type="aws:cloudwatch/metricAlarm:MetricAlarm",
    service="cloudwatch",
    create="PutMetricAlarm",
    read="DescribeAlarms",
    update="PutMetricAlarm",
    delete="DeleteAlarms",
    key_members={"name": "AlarmNames[]"},
    found="MetricAlarms.0",
    also={"AlarmTypes": ["MetricAlarm"]},
    name=AutoName(),
    tagging=TAGGING,
    outputs={"arn": "AlarmArn"},
    props=props(
        "alarmActions alarmDescription comparisonOperator datapointsToAlarm evaluateLowSampleCountPercentiles "
        "evaluationPeriods extendedStatistic insufficientDataActions metricName namespace okActions period statistic "
        "threshold thresholdMetricId unit evaluationInterval",
        name=Prop(member="AlarmName", replaces=True),
        actionsEnabled=Prop(default=True),
        treatMissingData=Prop(default="missing"),
        dimensions=Prop(pairs=True),
        metricQueries=Prop(member="Metrics", forth=_queries_forth, back=_queries_back),
        evaluationCriteria=Prop(unsupported="alarms on queries are not evaluated by the embedded AWS"),
        evaluationWindow=Prop(unsupported="alarms on queries are not evaluated by the embedded AWS"),
        warmUpConfiguration=Prop(unsupported="the embedded AWS has no warm-up of alarms"),
    ),
)

COMPOSITE_ALARM = ResourceType(
    pulumi_type="aws:cloudwatch/compositeAlarm:CompositeAlarm",
    service="cloudwatch",
    create="PutCompositeAlarm",
    read="DescribeAlarms",
    update="PutCompositeAlarm",
    delete="DeleteAlarms",
    key=("alarmName",),
    key_members={"alarmName": "AlarmNames[]"},
    found="CompositeAlarms.0",
    also={"AlarmTypes": ["CompositeAlarm"]},
    tagging=TAGGING,
    outputs={"arn": "AlarmArn"},
    props=props(
        "alarmName!* alarmRule* alarmActions alarmDescription insufficientDataActions okActions",
        actionsEnabled=Prop(replaces=True, default=True),
        actionsSuppressor=Prop(unsupported="the embedded AWS does not suppress actions"),
    ),
)

DASHBOARD = ResourceType(
    pulumi_type="aws:cloudwatch/dashboard:Dashboard",
    service="cloudwatch",
    create="PutDashboard",
    read="GetDashboard",
    update="PutDashboard",
    delete="DeleteDashboards",
    key=("dashboardName",),
    key_members={"dashboardName": "DashboardName DashboardNames[]"},
    outputs={"dashboardArn": "DashboardArn"},
    props=props("dashboardName!*", dashboardBody=Prop(json=True, required=True)),
)

TYPES = (METRIC_ALARM, COMPOSITE_ALARM, DASHBOARD)
