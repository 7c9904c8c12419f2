"""The metrics of a window, to CloudWatch: Sagestage/Model with EndpointName and VariantName."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from inference.contract.metrics import ENDPOINT, NAMESPACE, VARIANT, Monitored
from training.errors import TrainingError

COUNTS = frozenset({Monitored.RECORDS_READ, Monitored.DRIFTED_COLUMNS})


def data(endpoint: str, metrics: Mapping[str, Mapping[Monitored, float]], at: datetime) -> Iterator[dict[str, Any]]:
    """MetricData, one a variant and metric."""
    for variant, one in metrics.items():
        dimensions = [{"Name": ENDPOINT, "Value": endpoint}, {"Name": VARIANT, "Value": variant}]
        for name, value in one.items():
            unit = "Count" if name in COUNTS else "None"
            yield {"MetricName": str(name), "Dimensions": dimensions, "Timestamp": at, "Value": value, "Unit": unit}


def publish(endpoint: str, metrics: Mapping[str, Mapping[Monitored, float]], at: datetime) -> int:
    """Put them; how many there were. The address, region and credentials are those of AWS's own variables.

    Raises:
        TrainingError: CloudWatch refuses or does not answer.
    """
    import boto3  # noqa: PLC0415  # only where something is published
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # likewise

    listed = list(data(endpoint, metrics, at))
    try:
        client: Any = boto3.client("cloudwatch")
        for start in range(0, len(listed), 500):  # PutMetricData takes at most 1,000
            client.put_metric_data(Namespace=NAMESPACE, MetricData=listed[start : start + 500])
    except (BotoCoreError, ClientError) as error:
        raise TrainingError(f"the metrics could not be published: {error}") from None
    return len(listed)
