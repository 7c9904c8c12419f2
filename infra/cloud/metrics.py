"""Invocation metrics: tallied per minute, put into the embedded CloudWatch in batches."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

NAMESPACE = "AWS/SageMaker"
FLUSH_EVERY_S = 10.0
# Metric name to its unit: latencies are in microseconds, the errors are 0 or 1 per request.
UNITS = {
    "Invocations": "None",
    "InvocationsPerInstance": "None",
    "ModelLatency": "Microseconds",
    "OverheadLatency": "Microseconds",
    "Invocation4XXErrors": "None",
    "Invocation5XXErrors": "None",
    "InvocationModelErrors": "None",
}


class Series(NamedTuple):
    """Where an invocation is counted."""

    region: str
    endpoint: str
    variant: str
    minute: int


@dataclass
class Tally:
    """The statistics of one metric in one minute."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")

    def add(self, value: float) -> None:
        """Count one value."""
        self.count += 1
        self.total += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)


class Metrics:
    """Counts invocations between two flushes."""

    def __init__(self) -> None:
        self._tallies: dict[Series, dict[str, Tally]] = {}

    def count(self, series: Series, status: int, model_us: float, overhead_us: float, instances: int) -> None:
        """Count one invocation.

        Args:
            series: endpoint, variant and minute (seconds since 1970, divided by 60).
            status: what the container answered; 0 when it did not.
            model_us: time that the container took, microseconds.
            overhead_us: time that everything else took, microseconds.
            instances: healthy instances of the variant.
        """
        tallies = self._tallies.get(series)
        if tallies is None:
            tallies = self._tallies[series] = {name: Tally() for name in UNITS}
        client, ok = 400 <= status < 500, 200 <= status < 300
        tallies["Invocations"].add(1)
        tallies["InvocationsPerInstance"].add(1 / max(instances, 1))
        tallies["ModelLatency"].add(model_us)
        tallies["OverheadLatency"].add(overhead_us)
        tallies["Invocation4XXErrors"].add(client)
        tallies["Invocation5XXErrors"].add(not client and not ok)
        tallies["InvocationModelErrors"].add(not ok)

    def take(self) -> dict[str, list[dict[str, Any]]]:
        """What was counted since the last call: region to PutMetricData's MetricData."""
        taken, self._tallies = self._tallies, {}
        batches: dict[str, list[dict[str, Any]]] = {}
        for series, tallies in taken.items():
            for name, tally in tallies.items():
                batches.setdefault(series.region, []).append(_datum(series, name, tally))
        return batches


def _datum(series: Series, name: str, tally: Tally) -> dict[str, Any]:
    return {
        "MetricName": name,
        "Dimensions": [
            {"Name": "EndpointName", "Value": series.endpoint},
            {"Name": "VariantName", "Value": series.variant},
        ],
        "Timestamp": datetime.fromtimestamp(60 * series.minute, UTC),
        "Unit": UNITS[name],
        "StatisticValues": {
            "SampleCount": tally.count,
            "Sum": tally.total,
            "Minimum": tally.least,
            "Maximum": tally.most,
        },
    }
