"""Alarms as values: what is watched, in the author's units; and why one that cannot fire is refused."""

from collections.abc import Iterator
from dataclasses import KW_ONLY
from typing import Annotated, Literal

from infra import limits
from infra.values import spec, within

Missing = Literal["notBreaching", "breaching", "ignore", "missing"]


def _known_metric(metric: str, namespace: str, published_by: str) -> Iterator[str]:
    known = limits.METRICS.get(metric)
    if published_by:
        return
    if known is None:
        yield f"metric {metric!r} is not one that SageMaker publishes: published_by= must name what does"
    elif known.namespace != namespace:
        where = f"{known.namespace!r}, got namespace {namespace!r}"
        yield f"metric {metric} is published in {where} ({limits.METRICS_SOURCE})"


def _known_statistic(metric: str, statistic: str) -> Iterator[str]:
    if not limits.STATISTIC.fullmatch(statistic):
        names = "Average, Sum, Minimum, Maximum, SampleCount or a percentile such as p95"
        yield f"statistic must be {names}, got {statistic!r} ({limits.CLOUDWATCH})"
    known = limits.METRICS.get(metric)
    if known is not None and known.statistics and statistic not in known.statistics:
        names = " or ".join(known.statistics)
        yield f"statistic of {metric} must be {names}, got {statistic!r} ({limits.METRICS_SOURCE})"


def _can_fire(metric: str, statistic: str, above: float | None, below: float | None, written: str) -> Iterator[str]:
    given = written or (f"above={above:.15g}" if below is None and above is not None else f"below={below}")
    if (above is None) == (below is None):
        yield f"it needs either above or below, got above={above!r} and below={below!r}"
    known = limits.METRICS.get(metric)
    if known is None:
        return
    if above is not None and above < 0:
        yield f"it would always fire: {metric} is never negative, got {given} ({limits.METRICS_SOURCE})"
    if below is not None and below <= 0:
        yield f"it could not fire: {metric} is never negative, got {given} ({limits.METRICS_SOURCE})"
    highest = None if statistic in {"Sum", "SampleCount"} else known.highest
    if highest is not None and above is not None and above >= highest:
        most = f"{highest:.15g} {known.unit}"
        yield f"it could not fire: {metric} is at most {most}, got {given} ({limits.METRICS_SOURCE})"


@spec(_known_metric, _known_statistic, _can_fire)
class Alarm:
    """A bound that a metric of one variant must not cross for some minutes on end. Use the constructors below.

    Attributes:
        name: what it watches, as a part of the alarm's name.
        metric: CloudWatch's name of the metric.
        namespace: CloudWatch's namespace.
        statistic: Average, Sum, Minimum, Maximum, SampleCount, or a percentile such as p95; over one minute.
        above: fires above this, in the metric's own unit (microseconds, or 0..1 for errors); for a metric that adds up
            over cores, in that of one core.
        below: fires below this.
        minutes: for how many minutes on end.
        missing: what a minute without data counts as.
        rolls_back: whether it takes a deployment back; then it watches the new fleet alone.
        variant: the name of the one variant that it watches; None: each of them.
        published_by: what publishes a metric that is not SageMaker's own.
        written: the bound as its author wrote it, for error messages.
    """

    name: Annotated[str, within(limits.VARIANT_NAME)]
    _: KW_ONLY
    metric: str
    namespace: str = limits.INVOCATION_METRICS
    statistic: str
    above: float | None = None
    below: float | None = None
    minutes: Annotated[int, within(limits.ALARM_MINUTES)] = 5
    missing: Missing = "notBreaching"
    rolls_back: bool = False
    variant: str | None = None
    published_by: str = ""
    written: str = ""

    @staticmethod
    def p50_latency(*, above_ms: float, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The median model latency."""
        return _latency("p50", above_ms, minutes, variant)

    @staticmethod
    def p90_latency(*, above_ms: float, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The model latency that 90 % of the requests stay below."""
        return _latency("p90", above_ms, minutes, variant)

    @staticmethod
    def p95_latency(*, above_ms: float = 50, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The model latency that 95 % of the requests stay below."""
        return _latency("p95", above_ms, minutes, variant)

    @staticmethod
    def p99_latency(*, above_ms: float, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The model latency that 99 % of the requests stay below."""
        return _latency("p99", above_ms, minutes, variant)

    @staticmethod
    def server_errors(*, above_percent: float, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The share of requests that ended in a 5XX answer. No requests, no errors: missing data is fine."""
        return _errors("5xx-rate", "Invocation5XXErrors", above_percent, minutes, variant)

    @staticmethod
    def client_errors(*, above_percent: float, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The share of requests that ended in a 4XX answer; it rolls back, as a model may refuse what the last took."""
        return _errors("4xx-rate", "Invocation4XXErrors", above_percent, minutes, variant)

    @staticmethod
    def silence(*, minutes: int = 15, variant: str | None = None) -> "Alarm":
        """No invocation at all. A silent endpoint publishes nothing, so a minute without data counts as one."""
        return Alarm(
            "silence",
            metric="Invocations",
            statistic="Sum",
            below=1,
            minutes=minutes,
            missing="breaching",
            variant=variant,
        )

    @staticmethod
    def cpu(*, above_percent: float, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The processors of the average instance: 100 % is all of its cores busy."""
        return _utilisation("cpu", "CPUUtilization", above_percent, minutes, variant)

    @staticmethod
    def memory(*, above_percent: float, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The memory of the average instance."""
        return _utilisation("memory", "MemoryUtilization", above_percent, minutes, variant)

    @staticmethod
    def disk(*, above_percent: float = 75, minutes: int = 5, variant: str | None = None) -> "Alarm":
        """The disk of the average instance: data capture stops when it is nearly full."""
        return _utilisation("disk", "DiskUtilization", above_percent, minutes, variant)


def _latency(percentile: str, above_ms: float, minutes: int, variant: str | None) -> Alarm:
    """CloudWatch has latencies in microseconds. No requests, no latency: missing data is fine."""
    return Alarm(
        f"{percentile}-latency",
        metric="ModelLatency",
        statistic=percentile,
        above=_times(above_ms, 1000),
        minutes=minutes,
        rolls_back=True,
        variant=variant,
        written=f"above_ms={above_ms}",
    )


def _errors(name: str, metric: str, above_percent: float, minutes: int, variant: str | None) -> Alarm:
    """The metric is 0 or 1 per request, so that its average is a rate."""
    return Alarm(
        name,
        metric=metric,
        statistic="Average",
        above=_times(above_percent, 0.01),
        minutes=minutes,
        rolls_back=True,
        variant=variant,
        written=f"above_percent={above_percent}",
    )


def _utilisation(name: str, metric: str, above_percent: float, minutes: int, variant: str | None) -> Alarm:
    """An instance that does not report is another alarm's matter: missing data stays missing."""
    return Alarm(
        name,
        metric=metric,
        namespace=limits.INSTANCE_METRICS,
        statistic="Average",
        above=above_percent,
        minutes=minutes,
        missing="missing",
        variant=variant,
        written=f"above_percent={above_percent}",
    )


def _times(value: float, factor: float) -> float:
    """The bound in CloudWatch's unit; what is no number goes on unchanged, for the alarm to refuse it by name."""
    return float(f"{value * factor:.12g}") if isinstance(value, int | float) else value
