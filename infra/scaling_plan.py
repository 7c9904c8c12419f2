"""Scaling as arguments of Application Auto Scaling's resources: pure."""

from collections.abc import Mapping
from typing import Any

from infra.scaling_spec import Scaling, Schedule

Args = dict[str, Any]

INSTANCES = "sagemaker:variant:DesiredInstanceCount"
PROVISIONED = "sagemaker:variant:DesiredProvisionedConcurrency"
_METRICS = {
    "invocations_per_minute": "SageMakerVariantInvocationsPerInstance",
    "concurrent_requests": "SageMakerVariantConcurrentRequestsPerModelHighResolution",
    "provisioned_utilisation": "SageMakerVariantProvisionedConcurrencyUtilization",
}


def dimension(scaling: Scaling, *, serverless: bool) -> str:
    """What is scaled: instances, or the provisioned concurrency of a serverless variant."""
    return PROVISIONED if serverless or scaling.target == "provisioned_utilisation" else INSTANCES


def target(endpoint_name: str, variant: str, scaling: Scaling, tags: Mapping[str, Any], *, serverless: bool) -> Args:
    """aws.appautoscaling.Target of a variant."""
    return {
        "service_namespace": "sagemaker",
        "scalable_dimension": dimension(scaling, serverless=serverless),
        "resource_id": f"endpoint/{endpoint_name}/variant/{variant}",
        "min_capacity": scaling.minimum,
        "max_capacity": scaling.maximum,
        "tags": dict(tags),
    }


def policy(scaling: Scaling, endpoint_name: str) -> Args | None:
    """aws.appautoscaling.Policy without the identity that it takes from its target; None: the schedule alone scales."""
    if scaling.target is None:
        return None
    tracking: Args = {
        "target_value": getattr(scaling, scaling.target),
        "scale_in_cooldown": scaling.scale_in_cooldown_s,
        "scale_out_cooldown": scaling.scale_out_cooldown_s,
    }
    if scaling.target == "backlog_per_instance":
        tracking["customized_metric_specification"] = {
            "metric_name": "ApproximateBacklogSizePerInstance",
            "namespace": "AWS/SageMaker",
            "dimensions": [{"name": "EndpointName", "value": endpoint_name}],
            "statistic": "Average",
        }
    else:
        tracking["predefined_metric_specification"] = {"predefined_metric_type": _METRICS[scaling.target]}
    return {
        "policy_type": "TargetTrackingScaling",
        "target_tracking_scaling_policy_configuration": tracking,
    }


def wakes(scaling: Scaling) -> bool:
    """Whether the variant may sleep at zero: a backlog per instance cannot wake it, as there is no instance."""
    return scaling.target == "backlog_per_instance" and (
        scaling.minimum == 0 or any(one.minimum == 0 for one in scaling.schedule)
    )


def wake_policy() -> Args:
    """aws.appautoscaling.Policy that brings the first instance."""
    return {
        "policy_type": "StepScaling",
        "step_scaling_policy_configuration": {
            "adjustment_type": "ChangeInCapacity",
            "metric_aggregation_type": "Average",
            "cooldown": 300,
            "step_adjustments": [{"metric_interval_lower_bound": "0", "scaling_adjustment": 1}],
        },
    }


def wake_alarm(endpoint_name: str, variant: str, policy_arn: Any, tags: Mapping[str, Any]) -> Args:
    """aws.cloudwatch.MetricAlarm on requests that wait while there is no instance."""
    return {
        "name": f"{endpoint_name}-{variant}-wake",
        "alarm_description": f"wakes {variant} of {endpoint_name}: requests wait and there is no instance",
        "namespace": "AWS/SageMaker",
        "metric_name": "HasBacklogWithoutCapacity",
        "dimensions": {"EndpointName": endpoint_name},
        "statistic": "Average",
        "comparison_operator": "GreaterThanOrEqualToThreshold",
        "threshold": 1,
        "period": 60,
        "evaluation_periods": 2,
        "datapoints_to_alarm": 2,
        "treat_missing_data": "missing",
        "alarm_actions": [policy_arn],
        "tags": dict(tags),
    }


def scheduled(endpoint_name: str, variant: str, one: Schedule) -> Args:
    """aws.appautoscaling.ScheduledAction, without the identity that it takes from its target."""
    bounds = {"min_capacity": one.minimum, "max_capacity": one.maximum}
    return {
        "name": f"{endpoint_name}-{variant}-{one.name}",
        "schedule": one.when,
        "timezone": one.timezone,
        "scalable_target_action": {name: value for name, value in bounds.items() if value is not None},
    }
