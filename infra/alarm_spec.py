"""Alarms as values: what is watched, in the author's units; and why one that cannot fire is refused."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, replace
from typing import Annotated, Any, Literal

from infra import limits, metrics
from infra.values import FROZEN, spec, within

Missing = Literal["notBreaching", "breaching", "ignore", "missing"]
Severity = Literal["critical", "warning"]

NO_DATA: Mapping[Missing, str] = {
    "notBreaching": "a minute without data is a good one: no request, nothing slow and nothing failed",
    "breaching": "a minute without data is a bad one: what is watched for is silence",
    "ignore": "a minute without data changes nothing",
    "missing": "without data the state is INSUFFICIENT_DATA: a machine that does not report is another alarm's matter",
}
"""What each treatment of missing data means: it goes into the alarm's description."""


def _known_metric(metric: str, namespace: str, published_by: str) -> Iterator[str]:
    known = metrics.METRICS.get(metric)
    if published_by:
        return
    if known is None:
        yield f"metric {metric!r} is not one that SageMaker publishes: published_by= must name what does"
    elif known.namespace != namespace:
        where = f"{known.namespace!r}, got namespace {namespace!r}"
        yield f"metric {metric} is published in {where} ({metrics.SOURCE})"


def _known_statistic(metric: str, statistic: str, published_by: str) -> Iterator[str]:
    if not limits.STATISTIC.fullmatch(statistic):
        names = "Average, Sum, Minimum, Maximum, SampleCount or a percentile such as p95"
        yield f"statistic must be {names}, got {statistic!r} ({limits.CLOUDWATCH})"
    known = None if published_by else metrics.METRICS.get(metric)
    if known is not None and known.statistics and statistic not in known.statistics:
        names = " or ".join(known.statistics)
        yield f"statistic of {metric} must be {names}, got {statistic!r} ({metrics.SOURCE})"


def _can_fire(
    metric: str, statistic: str, above: float | None, below: float | None, written: str, published_by: str
) -> Iterator[str]:
    given = written or (f"above={above:.15g}" if below is None and above is not None else f"below={below}")
    if (above is None) == (below is None):
        yield f"it needs either above or below, got above={above!r} and below={below!r}"
    known = None if published_by else metrics.METRICS.get(metric)
    if known is None:
        return
    if above is not None and above < 0:
        yield f"it would always fire: {metric} is never negative, got {given} ({metrics.SOURCE})"
    if below is not None and below <= 0:
        yield f"it could not fire: {metric} is never negative, got {given} ({metrics.SOURCE})"
    highest = None if statistic in {"Sum", "SampleCount"} else known.highest
    if highest is not None and above is not None and above >= highest:
        most = f"{highest:.15g} {known.unit}"
        yield f"it could not fire: {metric} is at most {most}, got {given} ({metrics.SOURCE})"


def _can_roll_back(metric: str, published_by: str, *, rolls_back: bool) -> Iterator[str]:
    known = metrics.METRICS.get(metric)
    if rolls_back and published_by:
        what = "EndpointConfigName, which tells the new fleet from the old one"
        yield f"it cannot roll back: {published_by} publishes {metric} without {what}; leave out rolls_back"
    elif rolls_back and known is not None and not known.by_variant:
        yield f"it cannot roll back: {metric} is the whole endpoint's, not one fleet's ({metrics.ASYNC_SOURCE})"


def _own_dimensions(dimensions: Mapping[str, Any] | None, published_by: str) -> Iterator[str]:
    if dimensions is None:
        return
    if not published_by:
        yield "dimensions are for a metric of one's own: published_by= must name what publishes it"
    if (problem := limits.DIMENSIONS.problem(len(dimensions))) is not None:
        yield f"dimensions: their number {problem}"
    for name, value in dimensions.items():
        if (problem := limits.DIMENSION_NAME.problem(name)) is not None:
            yield f"dimensions: a name {problem}"
        if isinstance(value, str) and (problem := limits.DIMENSION_VALUE.problem(value)) is not None:
            yield f"dimensions: {name} {problem}"


def _namespace(namespace: str) -> Iterator[str]:
    if namespace.startswith(":"):
        yield f"namespace must not begin with a colon, got {namespace!r} ({limits.CLOUDWATCH})"


@spec(_known_metric, _known_statistic, _can_fire, _can_roll_back, _own_dimensions, _namespace)
class Alarm:
    """A bound that a metric of one variant must not cross for some minutes on end. Use the constructors below.

    Attributes:
        name: what it watches, as a part of the alarm's name.
        metric: CloudWatch's name of the metric.
        namespace: CloudWatch's namespace.
        statistic: Average, Sum, Minimum, Maximum, SampleCount, or a percentile such as p95; over one minute.
        above: fires above this, in the metric's own unit (microseconds, or 0..1 for errors); for a metric that adds up
            over cores or GPUs, in that of one of them.
        below: fires below this.
        minutes: for how many minutes on end.
        missing: what a minute without data counts as.
        rolls_back: whether it takes a deployment back; then a twin of it watches the new fleet alone.
        severity: for those who are told, and for Prometheus.
        variant: the name of the one variant that it watches; None: each of them.
        published_by: what publishes a metric that is not SageMaker's own.
        dimensions: of a metric of one's own; None: EndpointName and VariantName, as SageMaker has them.
        written: the bound as its author wrote it, for error messages.
    """

    name: Annotated[str, within(limits.ALARM_NAME)]
    _: KW_ONLY
    metric: Annotated[str, within(limits.METRIC_NAME)]
    namespace: Annotated[str, within(limits.NAMESPACE)] = metrics.INVOCATION_METRICS
    statistic: str
    above: float | None = None
    below: float | None = None
    minutes: Annotated[int, within(limits.ALARM_MINUTES)] = 5
    missing: Missing = "notBreaching"
    rolls_back: bool = False
    severity: Severity = "warning"
    variant: str | None = None
    published_by: str = ""
    dimensions: Mapping[str, Any] | None = None
    written: str = ""

    @staticmethod
    def latency(percentile: str, *, above_ms: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The model latency that a share of the requests stays below: `Alarm.latency("p99.9", above_ms=200)`."""
        return _latency("ModelLatency", f"{percentile}-latency", percentile, above_ms, minutes, more)

    @staticmethod
    def p50_latency(*, above_ms: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The median model latency."""
        return Alarm.latency("p50", above_ms=above_ms, minutes=minutes, **more)

    @staticmethod
    def p90_latency(*, above_ms: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The model latency that 90 % of the requests stay below."""
        return Alarm.latency("p90", above_ms=above_ms, minutes=minutes, **more)

    @staticmethod
    def p95_latency(*, above_ms: float = 50, minutes: int = 5, **more: Any) -> "Alarm":
        """The model latency that 95 % of the requests stay below."""
        return Alarm.latency("p95", above_ms=above_ms, minutes=minutes, **more)

    @staticmethod
    def p99_latency(*, above_ms: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The model latency that 99 % of the requests stay below."""
        return Alarm.latency("p99", above_ms=above_ms, minutes=minutes, **more)

    @staticmethod
    def overhead_latency(percentile: str = "p95", *, above_ms: float, minutes: int = 5, **more: Any) -> "Alarm":
        """What SageMaker adds to the model's latency; not a fault of the model, so it does not roll back."""
        more = {"rolls_back": False, **more}
        return _latency("OverheadLatency", f"{percentile}-overhead", percentile, above_ms, minutes, more)

    @staticmethod
    def server_errors(*, above_percent: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The share of requests that ended in a 5XX answer. No requests, no errors: missing data is fine."""
        return _error_rate("5xx-rate", "Invocation5XXErrors", above_percent, minutes, more)

    @staticmethod
    def client_errors(*, above_percent: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The share of requests that ended in a 4XX answer; it rolls back, as a model may refuse what the last took."""
        return _error_rate("4xx-rate", "Invocation4XXErrors", above_percent, minutes, more)

    @staticmethod
    def server_error_count(*, above: float, minutes: int = 5, **more: Any) -> "Alarm":
        """How many requests of a minute ended in a 5XX answer."""
        return _error_count("5xx-count", "Invocation5XXErrors", above, minutes, more)

    @staticmethod
    def client_error_count(*, above: float, minutes: int = 5, **more: Any) -> "Alarm":
        """How many requests of a minute ended in a 4XX answer."""
        return _error_count("4xx-count", "Invocation4XXErrors", above, minutes, more)

    @staticmethod
    def silence(*, minutes: int = 15, **more: Any) -> "Alarm":
        """No invocation at all. A silent endpoint publishes nothing, so a minute without data counts as one."""
        fields = {"statistic": "Sum", "below": 1, "missing": "breaching", **more}
        return Alarm("silence", metric="Invocations", minutes=minutes, **fields)

    @staticmethod
    def cpu(*, above_percent: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The processors of the average instance: 100 % is all of its cores busy."""
        return _utilisation("cpu", "CPUUtilization", above_percent, minutes, more)

    @staticmethod
    def memory(*, above_percent: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The memory of the average instance."""
        return _utilisation("memory", "MemoryUtilization", above_percent, minutes, more)

    @staticmethod
    def gpu(*, above_percent: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The GPUs of the average instance: 100 % is all of them busy."""
        return _utilisation("gpu", "GPUUtilization", above_percent, minutes, more)

    @staticmethod
    def gpu_memory(*, above_percent: float, minutes: int = 5, **more: Any) -> "Alarm":
        """The memory of the GPUs of the average instance: 100 % is all of it in use."""
        return _utilisation("gpu-memory", "GPUMemoryUtilization", above_percent, minutes, more)

    @staticmethod
    def disk(*, above_percent: float = 75, minutes: int = 5, **more: Any) -> "Alarm":
        """The disk of the average instance: data capture stops when it is nearly full."""
        return _utilisation("disk", "DiskUtilization", above_percent, minutes, more)

    @staticmethod
    def backlog(*, above: float, minutes: int = 5, **more: Any) -> "Alarm":
        """Asynchronous endpoints: how many requests wait for one instance."""
        fields = {"statistic": "Maximum", "above": above, **more}
        return Alarm("backlog", metric="ApproximateBacklogSizePerInstance", minutes=minutes, **fields)

    @staticmethod
    def expired(*, above: float = 0, minutes: int = 1, **more: Any) -> "Alarm":
        """Asynchronous endpoints: requests that waited too long and were dropped."""
        return Alarm("expired", metric="ExpiredRequests", statistic="Sum", above=above, minutes=minutes, **more)

    @staticmethod
    def custom(name: str, *, metric: str, namespace: str, published_by: str, **more: Any) -> "Alarm":
        """A metric of one's own; `published_by` says what publishes it, so that somebody can look there."""
        fields = {"statistic": "Average", **more}
        return Alarm(name, metric=metric, namespace=namespace, published_by=published_by, **fields)

    def of(self, variant: str) -> "Alarm":
        """The same alarm for one variant."""
        return replace(self, variant=variant)


def _latency(metric: str, name: str, percentile: str, above_ms: float, minutes: int, more: Mapping[str, Any]) -> Alarm:
    """CloudWatch has latencies in microseconds. No requests, no latency: missing data is fine."""
    fields = {"rolls_back": True, "written": f"above_ms={above_ms}", **more}
    return Alarm(name, metric=metric, statistic=percentile, above=_times(above_ms, 1000), minutes=minutes, **fields)


def _error_rate(name: str, metric: str, above_percent: float, minutes: int, more: Mapping[str, Any]) -> Alarm:
    """The metric is 0 or 1 per request, so that its average is a rate."""
    fields = {"rolls_back": True, "written": f"above_percent={above_percent}", **more}
    return Alarm(name, metric=metric, statistic="Average", above=_times(above_percent, 0.01), minutes=minutes, **fields)


def _error_count(name: str, metric: str, above: float, minutes: int, more: Mapping[str, Any]) -> Alarm:
    """The metric is 0 or 1 per request, so that its sum is a count."""
    return Alarm(name, metric=metric, statistic="Sum", above=above, minutes=minutes, **{"rolls_back": True, **more})


def _utilisation(name: str, metric: str, above_percent: float, minutes: int, more: Mapping[str, Any]) -> Alarm:
    """An instance that does not report is another alarm's matter: missing data stays missing."""
    fields = {"missing": "missing", "written": f"above_percent={above_percent}", **more}
    return Alarm(
        name,
        metric=metric,
        namespace=metrics.INSTANCE_METRICS,
        statistic="Average",
        above=above_percent,
        minutes=minutes,
        **fields,
    )


def _times(value: float, factor: float) -> float:
    """The bound in CloudWatch's unit; what is no number goes on unchanged, for the alarm to refuse it by name."""
    return float(f"{value * factor:.12g}") if isinstance(value, int | float) else value


_OPERAND = re.compile(r"[A-Za-z0-9.-]+")


def _some_of(any_of: Sequence[str], all_of: Sequence[str]) -> Iterator[str]:
    if bool(any_of) == bool(all_of):
        yield f"it needs either any_of or all_of, got any_of={any_of} and all_of={all_of}"
    for field, names in (("any_of", any_of), ("all_of", all_of)):
        for one in names:
            if not _OPERAND.fullmatch(one):
                yield f"{field} holds names of alarms such as p95-latency, got {one!r}"


@spec(_some_of)
class Composite:
    """One alarm out of several of the same endpoint: fewer messages, and those that mean something.

    Attributes:
        name: what it watches, as a part of the alarm's name.
        any_of: names of alarms, such as "5xx-rate": it fires when one of them fires, for any variant.
        all_of: names of alarms: it fires when each of them fires, for any variant.
        severity: for those who are told.
    """

    name: Annotated[str, within(limits.VARIANT_NAME)]
    _: KW_ONLY
    any_of: Annotated[Sequence[str], FROZEN] = ()
    all_of: Annotated[Sequence[str], FROZEN] = ()
    severity: Severity = "warning"

    @property
    def parts(self) -> Sequence[str]:
        """The names of the alarms that it looks at."""
        return self.any_of or self.all_of
