"""A CloudWatch dashboard of an endpoint, as JSON: pure.

Source of the format: CloudWatch, dashboard body structure and syntax. The grid is 24 units wide.
"""

import json
from collections.abc import Iterable
from typing import Any

from infra import limits
from infra.endpoint_spec import EndpointSpec
from infra.plan import alarm_name, watches
from infra.policies import Home

Widget = dict[str, Any]

_HALF, _HEIGHT = 12, 6


def body(spec: EndpointSpec, home: Home) -> str:
    """The whole dashboard: latency, traffic, errors, utilisation and the states of the alarms."""
    latency = [("ModelLatency", percentile) for percentile in ("p50", "p95", "p99")]
    errors = [("Invocation4XXErrors", "Sum"), ("Invocation5XXErrors", "Sum")]
    usage = [(metric, "Average") for metric in ("CPUUtilization", "MemoryUtilization", "DiskUtilization")]
    alarms = [home.arn("cloudwatch", f"alarm:{alarm_name(spec, watch)}") for watch in watches(spec)]
    widgets = [
        _graph("Model latency (microseconds)", spec, home, latency),
        _graph("Requests per minute", spec, home, [("Invocations", "Sum")]),
        _graph("Failed requests per minute", spec, home, errors),
        _graph("Utilisation (percent; processors: 100 per core)", spec, home, usage),
        {"type": "alarm", "properties": {"title": "Alarms", "alarms": alarms}},
    ]
    placed = [
        {**widget, "x": i % 2 * _HALF, "y": i // 2 * _HEIGHT, "width": _HALF, "height": _HEIGHT}
        for i, widget in enumerate(widgets)
    ]
    return json.dumps({"widgets": placed}, sort_keys=True)


def _graph(title: str, spec: EndpointSpec, home: Home, metrics: Iterable[tuple[str, str]]) -> Widget:
    lines = [
        [
            limits.METRICS[metric].namespace,
            metric,
            "EndpointName",
            spec.physical_name,
            "VariantName",
            variant.name,
            {"stat": statistic, "label": f"{variant.name} {metric} {statistic}"},
        ]
        for variant in spec.variants
        for metric, statistic in metrics
    ]
    return {
        "type": "metric",
        "properties": {"title": title, "region": home.region, "view": "timeSeries", "period": 60, "metrics": lines},
    }
