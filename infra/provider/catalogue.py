"""Every resource type that the provider has, by its name in Pulumi."""

from collections.abc import Mapping

from infra.provider import (
    appautoscaling,
    budgets,
    cloudwatch,
    ecr,
    events,
    iam,
    kms,
    logs,
    monitoring,
    s3,
    sagemaker,
    sns,
)
from infra.provider.types import ResourceType

_SERVICES = (sagemaker, monitoring, events, iam, s3, cloudwatch, appautoscaling, budgets, sns, kms, ecr, logs)
TYPES: Mapping[str, ResourceType] = {each.pulumi_type: each for module in _SERVICES for each in module.TYPES}
