"""A CloudWatch dashboard of an endpoint, as JSON: pure.

Source of the format: CloudWatch, dashboard body structure and syntax. The grid is 24 units wide.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from infra import metrics
from infra.alarm_plan import alarm_name, watches
from infra.endpoint_spec import EndpointSpec
from infra.policies import Home
from infra.spec import Variant

Widget = dict[str, Any]
Line = list[Any]

_HALF, _HEIGHT = 12, 6
_ALARMS = 100  # an alarm widget shows no more
_PERCENTILES = ("p50", "p90", "p95", "p99")


def body(spec: EndpointSpec, home: Home) -> str:
    """The whole dashboard: what one looks at first stands on top."""
    widgets = list(_widgets(spec, home))
    placed = [
        {**widget, "x": i % 2 * _HALF, "y": i // 2 * _HEIGHT, "width": _HALF, "height": _HEIGHT}
        for i, widget in enumerate(widgets)
    ]
    return json.dumps({"widgets": placed}, sort_keys=True)


def _widgets(spec: EndpointSpec, home: Home) -> Iterator[Widget]:
    alarms = [home.arn("cloudwatch", f"alarm:{alarm_name(spec, watch)}") for watch in watches(spec)]
    alarms += [home.arn("cloudwatch", f"alarm:{spec.physical_name}-{rule.name}") for rule in spec.composites]
    for first in range(0, len(alarms), _ALARMS):
        yield {"type": "alarm", "properties": {"title": "Alarms", "alarms": alarms[first : first + _ALARMS]}}
    for variant in _all(spec):
        lines = _lines(spec, [variant], [("ModelLatency", percentile) for percentile in _PERCENTILES])
        yield _graph(f"Model latency of {variant.name} (microseconds)", home, lines)
    if spec.hosting == "async":
        whole: list[Line] = [
            ["AWS/SageMaker", metric, "EndpointName", spec.physical_name, {"stat": "Maximum", "label": metric}]
            for metric in ("ApproximateBacklogSize", "ApproximateBacklogSizePerInstance")
        ]
        yield _graph("Requests that wait", home, whole)
    else:
        yield _graph("Overhead latency (microseconds)", home, _lines(spec, _all(spec), [("OverheadLatency", "p95")]))
        shares = _lines(spec, _all(spec), [("Invocations", "Sum")])
        yield _graph("Requests per minute, and how they split", home, shares, stacked=True)
    errors = [("Invocation4XXErrors", "Sum"), ("Invocation5XXErrors", "Sum")]
    yield _graph("Failed requests per minute", home, _lines(spec, _all(spec), errors))
    if spec.hosting != "serverless":
        yield _instances(spec, home)
        yield from _utilisation(spec, home)
    else:
        yield _graph("Memory (percent)", home, _lines(spec, _all(spec), [("MemoryUtilization", "Maximum")]))
    yield {"type": "text", "properties": {"markdown": _cost(spec)}}


def _all(spec: EndpointSpec) -> list[Variant]:
    return [*spec.variants, *([spec.shadow] if spec.shadow else [])]


def _instances(spec: EndpointSpec, home: Home) -> Widget:
    """Each instance reports its processors once a minute: the number of reports is the number of instances."""
    lines = _lines(spec, _all(spec), [("CPUUtilization", "SampleCount")], label="{variant} instances")
    bounds = [
        {"label": f"{variant.name} {word}", "value": value}
        for variant in _all(spec)
        for word, value in (
            (("minimum", variant.scaling.minimum), ("maximum", variant.scaling.maximum))
            if variant.scaling is not None
            else (("declared", variant.count),)
        )
    ]
    widget = _graph("Instances, and what was declared", home, lines)
    widget["properties"]["annotations"] = {"horizontal": bounds}
    followed = [
        variant
        for variant in spec.variants
        if variant.scaling is not None and variant.scaling.target == "invocations_per_minute"
    ]
    if followed:
        own = _lines(spec, followed, [("InvocationsPerInstance", "Sum")])
        widget["properties"]["metrics"] = lines + [[*line[:-1], {**line[-1], "yAxis": "right"}] for line in own]
        widget["properties"]["yAxis"] = {"right": {"label": "requests per instance and minute"}}
        bounds += [
            {
                "label": f"{variant.name} target",
                "value": variant.scaling.invocations_per_minute,
                "yAxis": "right",
            }
            for variant in followed
            if variant.scaling is not None
        ]
    return widget


def _utilisation(spec: EndpointSpec, home: Home) -> Iterator[Widget]:
    names = ("CPUUtilization", "MemoryUtilization", "DiskUtilization")
    lines = _lines(spec, _all(spec), [(metric, "Average") for metric in names])
    yield _graph("Utilisation (percent; processors: 100 per core)", home, lines)
    with_gpus = [variant for variant in _all(spec) if metrics.gpus(str(variant.instance)) != 0]
    if with_gpus:
        pair = [("GPUUtilization", "Average"), ("GPUMemoryUtilization", "Average")]
        yield _graph("GPUs (100 percent each)", home, _lines(spec, with_gpus, pair))


def _cost(spec: EndpointSpec) -> str:
    """What is paid for, in units: prices differ by region and contract, so none stands here."""
    rows = [_paid(variant) for variant in _all(spec)]
    extra = [] if spec.capture is None else [f"captured records: {spec.capture.percent} % of requests, in S3"]
    prices = "[prices](https://aws.amazon.com/sagemaker/ai/pricing/)"
    return "\n".join(["### What is paid for", *(f"- {row}" for row in [*rows, *extra]), "", prices])


def _paid(variant: Variant) -> str:
    if variant.serverless is not None:
        warm = variant.serverless.provisioned
        kept = "nothing while no request comes" if warm is None else f"{warm} kept warm around the clock"
        return f"{variant.name}: serverless, {variant.serverless.memory_mb} MB, by the millisecond; {kept}"
    if variant.scaling is None:
        hours = variant.count * 24 * 30
        return f"{variant.name}: {variant.count} x {variant.instance}, {hours} instance hours in 30 days"
    low, high = (bound * 24 * 30 for bound in (variant.scaling.minimum, variant.scaling.maximum))
    bounds = f"{variant.scaling.minimum} to {variant.scaling.maximum}"
    return f"{variant.name}: {bounds} x {variant.instance}, {low} to {high} instance hours in 30 days"


def _lines(
    spec: EndpointSpec, variants: Iterable[Variant], wanted: Iterable[tuple[str, str]], label: str = ""
) -> list[Line]:
    pairs = list(wanted)
    text = label or "{variant} {metric} {statistic}"
    return [
        [
            metrics.METRICS[metric].namespace,
            metric,
            "EndpointName",
            spec.physical_name,
            "VariantName",
            variant.name,
            {"stat": statistic, "label": text.format(variant=variant.name, metric=metric, statistic=statistic)},
        ]
        for variant in variants
        for metric, statistic in pairs
    ]


def _graph(title: str, home: Home, lines: list[Line], *, stacked: bool = False) -> Widget:
    return {
        "type": "metric",
        "properties": {
            "title": title,
            "region": home.region,
            "view": "timeSeries",
            "stacked": stacked,
            "period": 60,
            "metrics": lines,
        },
    }
