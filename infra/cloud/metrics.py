"""Invocation metrics: counted as cheaply as a request allows, then put into the metric store."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from infra.cloud.series import Key, Store, rounded

NAMESPACE = "AWS/SageMaker"
# Metric name to its unit: latencies are in microseconds, the errors are 0 or 1 per request.
UNITS = {
    "Invocations": "None",
    "InvocationsPerInstance": "None",
    "ModelLatency": "Microseconds",
    "OverheadLatency": "Microseconds",
    "Invocation4XXErrors": "None",
    "Invocation5XXErrors": "None",
    "InvocationModelErrors": "None",
    "ConcurrentRequestsPerModel": "None",
}
# Of some kinds of hosting; each is put when it happens.
OTHER_UNITS = {
    "ModelSetupTime": "Microseconds",
    "ModelLoadingWaitTime": "Microseconds",
    "ModelLoadingTime": "Microseconds",
    "ModelUnloadingTime": "Microseconds",
    "ModelDownloadingTime": "Microseconds",
    "ModelCacheHit": "None",
    "LoadedModelCount": "None",
    "ApproximateBacklogSize": "Count",
    "ApproximateBacklogSizePerInstance": "Count",
    "ApproximateAgeOfOldestRequest": "Seconds",
    "HasBacklogWithoutCapacity": "Count",
    "RequestDownloadFailures": "Count",
    "ResponseUploadFailures": "Count",
    "NotificationFailures": "Count",
    "RequestDownloadLatency": "Microseconds",
    "ResponseUploadLatency": "Microseconds",
    "ExpiredRequests": "Count",
    "InvocationFailures": "Count",
    "InvocationsProcessed": "Count",
    "TimeInBacklog": "Microseconds",
    "TotalProcessingTime": "Milliseconds",
}
# Asynchronous endpoints have no others of those that are counted for every invocation.
_ASYNCHRONOUS = frozenset({"ModelLatency", "Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors"})


class Series(NamedTuple):
    """Where an invocation is counted. `config` is its fleet's configuration from the first update on, or empty."""

    region: str
    endpoint: str
    variant: str
    config: str = ""
    asynchronous: bool = False


@dataclass
class Tally:
    """The invocations of one series in one cell of time."""

    count: int = 0
    client_errors: int = 0
    server_errors: int = 0
    model_errors: int = 0
    shares: Counter[float] = field(default_factory=Counter)
    concurrent: Counter[float] = field(default_factory=Counter)
    model_us: list[float] = field(default_factory=list)
    overhead_us: list[float] = field(default_factory=list)

    def values(self) -> Iterator[tuple[str, Counter[float]]]:
        """Every metric with its values, each with how often it came."""
        yield "Invocations", Counter({1.0: self.count})
        yield "InvocationsPerInstance", self.shares
        yield "ModelLatency", Counter(map(rounded, self.model_us))
        yield "OverheadLatency", Counter(map(rounded, self.overhead_us))
        yield "Invocation4XXErrors", _flags(self.client_errors, self.count)
        yield "Invocation5XXErrors", _flags(self.server_errors, self.count)
        yield "InvocationModelErrors", _flags(self.model_errors, self.count)
        yield "ConcurrentRequestsPerModel", self.concurrent


class Metrics:
    """Counts invocations between two flushes.

    Args:
        store: where they go.
        clock: seconds since 1970.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._tallies: dict[tuple[Series, int], Tally] = {}

    def count(
        self, series: Series, status: int, model_us: float, overhead_us: float, instances: int, outstanding: int = 1
    ) -> None:
        """Count one invocation.

        Args:
            series: endpoint, variant and fleet.
            status: what the container answered; 0 when it did not.
            model_us: time that the container took, microseconds.
            overhead_us: time that everything else took, microseconds.
            instances: healthy instances of the variant.
            outstanding: requests that the variant was working on, this one included.
        """
        key = (series, int(self._clock() // self._store.cell_s))
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        tally.count += 1
        if 400 <= status < 500:
            tally.client_errors += 1
        elif not 200 <= status < 300:
            tally.server_errors += 1
        if not 200 <= status < 300:
            tally.model_errors += 1
        tally.shares[1 / max(instances, 1)] += 1
        tally.concurrent[outstanding] += 1
        tally.model_us.append(model_us)
        tally.overhead_us.append(overhead_us)

    def put(self, region: str, endpoint: str, variant: str, name: str, value: float) -> None:
        """Put one value of a metric; without a variant, of the endpoint."""
        dimensions = [("EndpointName", endpoint), *([("VariantName", variant)] if variant else [])]
        self._store.put(Key(region, NAMESPACE, name, tuple(dimensions)), self._clock(), {value: 1.0}, OTHER_UNITS[name])

    def flush(self) -> None:
        """Put what was counted into the store: by endpoint and variant, and by configuration where that is known."""
        taken, self._tallies = self._tallies, {}
        for (series, cell), tally in taken.items():
            moment = (cell + 0.5) * self._store.cell_s
            for name, values in tally.values():
                if series.asynchronous and name not in _ASYNCHRONOUS:
                    continue
                for dimensions in _dimensions(series):
                    self._store.put(Key(series.region, NAMESPACE, name, dimensions), moment, values, UNITS[name])


def _dimensions(series: Series) -> Iterator[tuple[tuple[str, str], ...]]:
    """Sorted, as keys are."""
    endpoint, variant = ("EndpointName", series.endpoint), ("VariantName", series.variant)
    yield endpoint, variant
    if series.config:
        yield ("EndpointConfigName", series.config), endpoint, variant


def _flags(ones: int, count: int) -> Counter[float]:
    return +Counter({1.0: ones, 0.0: count - ones})
