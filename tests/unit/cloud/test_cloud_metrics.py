from datetime import UTC, datetime, timedelta

import pytest
from moto.backends import get_backend

from infra.cloud.metrics import NAMESPACE, UNITS, Metrics, Series
from infra.cloud.moto_app import ACCOUNT, Moto

SERIES = Series("us-east-1", "demand", "champion", 29_000_000)


def counted(*statuses: int) -> Metrics:
    metrics = Metrics()
    for number, status in enumerate(statuses, start=1):
        metrics.count(SERIES, status, model_us=1000.0 * number, overhead_us=100, instances=2)
    return metrics


def test_errors_are_zero_or_one_per_request() -> None:
    data = {datum["MetricName"]: datum["StatisticValues"] for datum in counted(200, 400, 500, 0).take()["us-east-1"]}
    assert set(data) == set(UNITS)
    assert data["Invocations"] == {"SampleCount": 4, "Sum": 4, "Minimum": 1, "Maximum": 1}
    assert data["Invocation4XXErrors"] == {"SampleCount": 4, "Sum": 1, "Minimum": 0, "Maximum": 1}
    assert data["Invocation5XXErrors"]["Sum"] == 2
    assert data["InvocationModelErrors"]["Sum"] == 3
    assert data["InvocationsPerInstance"]["Sum"] == 2
    assert data["ModelLatency"] == {"SampleCount": 4, "Sum": 10_000, "Minimum": 1000, "Maximum": 4000}


def test_what_was_taken_is_not_taken_again() -> None:
    metrics = counted(200)
    assert metrics.take()
    assert metrics.take() == {}


def test_the_embedded_cloudwatch_answers_what_was_counted() -> None:
    moto = Moto()
    try:
        moto.put_metrics("us-east-1", NAMESPACE, counted(200, 500).take()["us-east-1"])
        moment = datetime.fromtimestamp(60 * SERIES.minute, UTC)
        cloudwatch = get_backend("cloudwatch")[ACCOUNT]["us-east-1"]
        (point,) = cloudwatch.get_metric_statistics(
            NAMESPACE,
            "ModelLatency",
            moment.replace(tzinfo=None),
            moment.replace(tzinfo=None) + timedelta(minutes=1),
            60,
            ["Average", "Maximum"],
            unit="Microseconds",
            dimensions=[{"Name": "EndpointName", "Value": "demand"}, {"Name": "VariantName", "Value": "champion"}],
        )
        assert point.average == pytest.approx(1500)
        assert point.maximum == 2000
    finally:
        moto.close()
        get_backend("cloudwatch")[ACCOUNT]["us-east-1"].reset()
