"""Every resource type that the provider has, by its name in Pulumi."""

from collections.abc import Mapping

from infra.provider import appautoscaling, cloudwatch, iam, s3, sagemaker, sns
from infra.provider.types import ResourceType

TYPES: Mapping[str, ResourceType] = {
    each.pulumi_type: each for module in (sagemaker, iam, s3, cloudwatch, appautoscaling, sns) for each in module.TYPES
}
