"""What CloudWatch's calls refuse: statistics, periods and alarms that cannot be."""

from collections.abc import Iterator, Mapping
from typing import Any

from moto.core.exceptions import ServiceException

from infra.cloud import alarms
from infra.cloud.watch import STATISTICS, known_statistic

Params = Mapping[str, Any]

_MINUTE, _DAY = 60, 86_400
_SHORT_PERIODS = (1, 5, 10, 20, 30)


class CallError(ServiceException):
    """A refusal in CloudWatch's words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_statistic(name: str) -> None:
    """Refuse a statistic that cannot be answered here."""
    if not known_statistic(name):
        raise CallError(
            "InvalidParameterValue",
            f"The value {name} for parameter ExtendedStatistic is not supported by the embedded cloud: use"
            f" {', '.join(sorted(STATISTICS))} or a percentile such as p95.",
        )


def check_period(period: int) -> None:
    """Refuse a period that CloudWatch does not have."""
    if period not in _SHORT_PERIODS and (period < _MINUTE or period % _MINUTE):
        raise CallError(
            "ValidationError", f"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, got {period}."
        )


def check_alarm(params: Params) -> None:
    """Refuse an alarm that cannot be, with everything that is wrong with it."""
    problems = list(_alarm_problems(params))
    if problems:
        raise CallError("ValidationError", " ".join(problems))


def _alarm_problems(params: Params) -> Iterator[str]:
    comparison = params.get("ComparisonOperator")
    if comparison not in alarms.COMPARISONS:
        yield f"ComparisonOperator {comparison} is not supported by the embedded cloud (no anomaly detection)."
    if "Threshold" not in params:
        yield "The parameter Threshold is required."
    if params.get("DatapointsToAlarm", 1) > params.get("EvaluationPeriods", 1):
        yield "DatapointsToAlarm must be less than or equal to EvaluationPeriods."
    if "Metrics" in params:
        if len([query for query in params["Metrics"] if query.get("ReturnData", True)]) != 1:
            yield "Exactly one element of the metrics list should return data."
    else:
        yield from _metric_problems(params)


def _metric_problems(params: Params) -> Iterator[str]:
    if not params.get("MetricName") or not params.get("Namespace"):
        yield "The parameters MetricName and Namespace are required."
    if ("Statistic" in params) == ("ExtendedStatistic" in params):
        yield "Exactly one of Statistic and ExtendedStatistic must be given."
    statistic = params.get("Statistic") or params.get("ExtendedStatistic")
    if statistic is not None and not known_statistic(statistic):
        yield f"The statistic {statistic} is not supported by the embedded cloud."
    period = params.get("Period", 0)
    if period not in _SHORT_PERIODS and (period <= 0 or period % _MINUTE):
        yield f"The parameter Period must be 10, 20, 30 or a multiple of 60, got {period}."
    elif period * params.get("EvaluationPeriods", 1) > (_DAY if period < _MINUTE * _MINUTE else 7 * _DAY):
        yield "EvaluationPeriods times Period must not be longer than one day (seven for periods of an hour and more)."
