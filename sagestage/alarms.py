"""A stack's alarms, listed, and the same bounds as rules for Prometheus.

The rules are over what the server exports at /metrics (`inference.exposition`). It knows its model, not the endpoint
and the variant that it runs for: the scrape configuration gives these as the labels `endpoint` and `variant`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from rich import box
from rich.markup import escape
from rich.table import Table

from sagestage import output
from sagestage.project import Project

if TYPE_CHECKING:
    from sagestage.offline import Declared

REQUESTS = "sagestage_requests_total"
LATENCY = "sagestage_latency_seconds"
WINDOW = "2m"
"""Two scrapes must lie within it for a rate, and 30 seconds to a minute between scrapes is usual."""
PER_MINUTE = 60
MICROSECONDS = 1e6
_ERRORS = {"Invocation4XXErrors": "4..", "Invocation5XXErrors": "5.."}
_NOT_EXPORTED = {
    "OverheadLatency": "it is SageMaker's own share, which the server cannot see",
    "InvocationsPerInstance": "the server does not know how many instances there are",
}
_UTILISATION = ["CPUUtilization", "MemoryUtilization", "DiskUtilization", "GPUUtilization", "GPUMemoryUtilization"]


@dataclass(frozen=True)
class Bound:
    """One standing alarm of a stack, as CloudWatch gets it."""

    name: str
    metric: str
    statistic: str
    above: bool
    threshold: float
    minutes: int
    missing: str
    severity: str
    dimensions: Mapping[str, str]
    description: str

    @property
    def selector(self) -> str:
        """The labels of the server's metrics that belong to it."""
        labels = {"endpoint": self.dimensions.get("EndpointName"), "variant": self.dimensions.get("VariantName")}
        return ", ".join(f'{name}="{value}"' for name, value in labels.items() if value is not None)


def show(project: Project, stack: str, *, prometheus: bool, as_json: bool) -> None:
    """List the alarms that a stack declares, or print their rules for Prometheus. Needs no cloud and no credentials."""
    from sagestage.offline import declared

    resources = declared(project, stack)
    if prometheus:
        print(rules(stack, bounds(resources)), end="")  # noqa: T201 - a file for another program
    elif as_json:
        output.print_json({"stack": stack, "alarms": [_plain(one) for one in resources if _is_alarm(one)]})
    else:
        output.console().print(_table(one for one in resources if _is_alarm(one)))


def bounds(resources: Iterable[Declared]) -> list[Bound]:
    """The metric alarms that watch at all times: those of a deployment's new fleet have no counterpart."""
    return [
        _bound(one.inputs)
        for one in resources
        if one.type.endswith(":MetricAlarm") and "EndpointConfigName" not in one.inputs.get("dimensions", {})
    ]


def rules(stack: str, alarms: Iterable[Bound]) -> str:
    """A rules file for Prometheus; what has no counterpart is listed as a comment, with the reason."""
    groups: dict[str, list[dict[str, Any]]] = {}
    left_out = []
    for one in alarms:
        expression = promql(one)
        if expression is None:
            left_out.append(f"#   {one.name}: {_reason(one)}")
            continue
        rule = {
            "alert": one.name,
            "expr": expression,
            "for": f"{one.minutes}m",
            "labels": {"severity": one.severity},
            "annotations": {"summary": one.description},
        }
        groups.setdefault(one.dimensions.get("EndpointName", stack), []).append(rule)
    body = {"groups": [{"name": name, "rules": listed} for name, listed in groups.items()]}
    head = [
        f"# Alarms of stack {stack}, over what sagestage's server exports at /metrics.",
        "# The scrape configuration gives each target the labels `endpoint` and `variant`.",
        *(["# Without a counterpart here, and watched in CloudWatch alone:", *left_out] if left_out else []),
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(body, sort_keys=False, width=1000)


def promql(one: Bound) -> str | None:
    """The bound as PromQL, in Prometheus's units (seconds); None where the server exports nothing like it."""
    compare = f"{'>' if one.above else '<'} {one.threshold:.15g}"
    if one.metric == "ModelLatency":
        return _latency(one)
    if one.metric in _ERRORS:
        every = f"sum(rate({REQUESTS}{{{one.selector}}}[{WINDOW}]))"
        status = f'status=~"{_ERRORS[one.metric]}"'
        failed = f"sum(rate({REQUESTS}{{{', '.join(filter(None, [one.selector, status]))}}}[{WINDOW}]))"
        match one.statistic:
            case "Average":
                return f"{failed} / {every} {compare}"
            case "Sum":
                return f"{failed} * {PER_MINUTE} {compare}"
            case _:
                return None
    if one.metric == "Invocations" and one.statistic == "Sum":
        series = f"{REQUESTS}{{{one.selector}}}"
        silent = f" or absent({series})" if one.missing == "breaching" else ""
        return f"sum(rate({series}[{WINDOW}])) * {PER_MINUTE} {compare}{silent}"
    return None


def _latency(one: Bound) -> str | None:
    labels = ", ".join(filter(None, [one.selector, 'stage="request"']))
    compare = f"{'>' if one.above else '<'} {one.threshold / MICROSECONDS:.15g}"
    if one.statistic.startswith("p"):
        share = f"{float(one.statistic[1:]) / 100:.6g}"
        return f"histogram_quantile({share}, sum by (le) (rate({LATENCY}_bucket{{{labels}}}[{WINDOW}]))) {compare}"
    if one.statistic == "Average":
        total, number = (f"sum(rate({LATENCY}_{part}{{{labels}}}[{WINDOW}]))" for part in ("sum", "count"))
        return f"{total} / {number} {compare}"
    return None


def _reason(one: Bound) -> str:
    if one.metric in _NOT_EXPORTED:
        return f"{one.metric}: {_NOT_EXPORTED[one.metric]}"
    if one.metric in _UTILISATION:
        return f"{one.metric}: the machine's, which its own exporter tells, not the server"
    return f"{one.statistic} of {one.metric}: the server exports nothing like it"


def _bound(inputs: Mapping[str, Any]) -> Bound:
    queried = [query["metric"] for query in inputs.get("metricQueries", ()) if "metric" in query]
    what = queried[0] if queried else inputs
    return Bound(
        name=str(inputs["name"]),
        metric=str(what["metricName"]),
        statistic=str(inputs.get("extendedStatistic") or inputs.get("statistic") or what.get("stat")),
        above=str(inputs["comparisonOperator"]).startswith("GreaterThan"),
        threshold=float(inputs["threshold"]),
        minutes=int(inputs["evaluationPeriods"]) * int(what["period"]) // PER_MINUTE,
        missing=str(inputs["treatMissingData"]),
        severity=str(inputs.get("tags", {}).get("sagestage:severity", "warning")),
        dimensions={str(name): str(value) for name, value in what.get("dimensions", {}).items()},
        description=str(inputs["alarmDescription"]),
    )


def _is_alarm(one: Declared) -> bool:
    return one.type.endswith((":MetricAlarm", ":CompositeAlarm"))


def _plain(one: Declared) -> dict[str, Any]:
    told = ("name", "alarmName", "alarmDescription", "metricName", "threshold", "evaluationPeriods", "alarmRule")
    shown = {name: one.inputs[name] for name in told if name in one.inputs}
    return {**shown, "rollsBack": "EndpointConfigName" in one.inputs.get("dimensions", {})}


def _table(alarms: Iterable[Declared]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("alarm", "rolls back", "what it means"):
        table.add_column(column)
    for one in alarms:
        shown = _plain(one)
        name = str(shown.get("name") or shown.get("alarmName"))
        means = str(shown.get("alarmDescription", ""))
        table.add_row(escape(name), "yes" if shown["rollsBack"] else "", escape(means))
    return table
