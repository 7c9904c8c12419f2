"""Specs as plain resource arguments: snake_case keywords for pulumi_aws's classes, with nothing done.

Outputs of other resources are passed on untouched. Units are converted here, once.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from infra import limits
from infra.alarm_spec import Alarm
from infra.endpoint_spec import EndpointSpec
from infra.names import DIGEST_TAG, DIGEST_VARIABLE
from infra.spec import AllAtOnce, Canary, Capture, ModelSpec, Scaling, Variant

Args = dict[str, Any]

CAPTURE_PREFIX = "capture"
# What a fleet may take to start, beyond the waits, before SageMaker gives up on a deployment.
STARTING_MINUTES = 30


def model(spec: ModelSpec, *, digest: Any, role_arn: Any, tags: Mapping[str, str]) -> Args:
    """aws.sagemaker.Model: the digest goes in as a tag and a variable, so that new content is a new model."""
    return {
        "execution_role_arn": role_arn,
        "primary_container": {
            "image": spec.image,
            "model_data_url": spec.artifact,
            "environment": {**spec.environment, DIGEST_VARIABLE: digest},
        },
        "tags": {**tags, DIGEST_TAG: digest},
    }


def endpoint_config(spec: EndpointSpec, *, capture_uri: Any, tags: Mapping[str, str]) -> Args:
    """aws.sagemaker.EndpointConfiguration, without a name: it is immutable, so that a name would stand in its way."""
    args: Args = {"production_variants": [_variant(variant) for variant in spec.variants], "tags": dict(tags)}
    if spec.capture is not None:
        args["data_capture_config"] = _capture(spec.capture, capture_uri)
    return args


def _variant(variant: Variant) -> Args:
    args: Args = {
        "variant_name": variant.name,
        "model_name": variant.model.model_name,
        "instance_type": variant.instance,
        "initial_instance_count": variant.count,
        "initial_variant_weight": variant.weight,
    }
    if variant.startup_timeout_s is not None:
        args["container_startup_health_check_timeout_in_seconds"] = variant.startup_timeout_s
    if variant.download_timeout_s is not None:
        args["model_data_download_timeout_in_seconds"] = variant.download_timeout_s
    return args


def _capture(capture: Capture, uri: Any) -> Args:
    """Both directions, with the same content types: monitors fail on records whose two encodings differ."""
    args: Args = {
        "enable_capture": True,
        "initial_sampling_percentage": capture.percent,
        "destination_s3_uri": uri,
        "capture_options": [{"capture_mode": "Input"}, {"capture_mode": "Output"}],
        "capture_content_type_header": {
            "csv_content_types": list(capture.csv_types),
            "json_content_types": list(capture.json_types),
        },
    }
    if capture.kms_key is not None:
        args["kms_key_id"] = capture.kms_key
    return args


def endpoint(spec: EndpointSpec, *, config_name: Any, alarm_names: Sequence[Any], tags: Mapping[str, str]) -> Args:
    """aws.sagemaker.Endpoint. The rollback block is always there: adding it later replaces a live endpoint."""
    return {
        "name": spec.physical_name,
        "endpoint_config_name": config_name,
        "deployment_config": {
            "blue_green_update_policy": _blue_green(spec.deploy),
            "auto_rollback_configuration": {"alarms": [{"alarm_name": name} for name in alarm_names]},
        },
        "tags": dict(tags),
    }


def _blue_green(deploy: Canary | AllAtOnce) -> Args:
    """With all traffic moved at once there is nothing to wait for between steps: the old fleet's stay is the bake."""
    match deploy:
        case Canary():
            routing: Args = {
                "type": "CANARY",
                "wait_interval_in_seconds": deploy.bake_minutes * 60,
                "canary_size": {"type": "CAPACITY_PERCENT", "value": deploy.percent},
            }
            wait, stay = deploy.bake_minutes, deploy.keep_old_minutes
        case AllAtOnce():
            routing = {"type": "ALL_AT_ONCE", "wait_interval_in_seconds": 0}
            wait, stay = 0, deploy.bake_minutes
    longest = wait + stay + STARTING_MINUTES if deploy.maximum_minutes is None else deploy.maximum_minutes
    return {
        "traffic_routing_configuration": routing,
        "termination_wait_in_seconds": stay * 60,
        "maximum_execution_timeout_in_seconds": longest * 60,
    }


class Watch(NamedTuple):
    """One alarm on one variant, with the part of its name that both make up."""

    name: str
    alarm: Alarm
    variant: Variant


def watches(spec: EndpointSpec) -> Iterator[Watch]:
    """Every alarm of the endpoint, one for each variant that it watches."""
    for alarm in spec.watched:
        for variant in spec.variants:
            if alarm.variant in {None, variant.name}:
                yield Watch(f"{variant.name}-{alarm.name}", alarm, variant)


def alarm_name(spec: EndpointSpec, watch: Watch) -> str:
    """The alarm's name in CloudWatch: known before anything exists."""
    return f"{spec.physical_name}-{watch.name}"


def alarm(spec: EndpointSpec, watch: Watch, *, config_name: Any, tags: Mapping[str, str]) -> Args:
    """aws.cloudwatch.MetricAlarm. One that rolls back watches the fleet of the configuration being deployed alone.

    Both fleets pooled would hide a bad canary: at 10 % of the traffic, its errors count a tenth.
    """
    rule = watch.alarm
    dimensions = {"EndpointName": spec.physical_name, "VariantName": watch.variant.name}
    if rule.rolls_back:
        dimensions["EndpointConfigName"] = config_name
    known = limits.METRICS.get(rule.metric)
    scale = limits.cores(watch.variant.instance) if known is not None and known.per_core else 1
    bound = (rule.above if rule.above is not None else rule.below or 0.0) * scale
    above = rule.above is not None
    args: Args = {
        "name": alarm_name(spec, watch),
        "alarm_description": _description(rule, watch.variant, bound),
        "namespace": rule.namespace,
        "metric_name": rule.metric,
        "dimensions": dimensions,
        "comparison_operator": "GreaterThanThreshold" if above else "LessThanThreshold",
        "threshold": bound,
        "period": 60,
        "evaluation_periods": rule.minutes,
        "datapoints_to_alarm": rule.minutes,
        "treat_missing_data": rule.missing,
        "tags": dict(tags),
    }
    args["extended_statistic" if rule.statistic.startswith("p") else "statistic"] = rule.statistic
    return args


def _description(rule: Alarm, variant: Variant, bound: float) -> str:
    side = f"{'above' if rule.above is not None else 'below'} {bound:.15g} for {rule.minutes} min"
    effect = "; rolls a deployment back" if rule.rolls_back else ""
    written = f" ({rule.written})" if rule.written else ""
    return f"{rule.statistic} of {rule.metric} of {variant.name} {side}{written}{effect}"


def scaling_target(endpoint_name: str, variant: str, scaling: Scaling, tags: Mapping[str, str]) -> Args:
    """aws.appautoscaling.Target of a variant."""
    return {
        "service_namespace": "sagemaker",
        "scalable_dimension": "sagemaker:variant:DesiredInstanceCount",
        "resource_id": f"endpoint/{endpoint_name}/variant/{variant}",
        "min_capacity": scaling.minimum,
        "max_capacity": scaling.maximum,
        "tags": dict(tags),
    }


def scaling_policy(scaling: Scaling) -> Args:
    """aws.appautoscaling.Policy, without the identity that it takes from its target."""
    return {
        "policy_type": "TargetTrackingScaling",
        "target_tracking_scaling_policy_configuration": {
            "target_value": scaling.invocations_per_minute,
            "predefined_metric_specification": {
                "predefined_metric_type": "SageMakerVariantInvocationsPerInstance",
            },
            "scale_in_cooldown": scaling.scale_in_cooldown_s,
            "scale_out_cooldown": scaling.scale_out_cooldown_s,
        },
    }


def bucket_encryption(capture: Capture) -> Args:
    """aws.s3.BucketServerSideEncryptionConfiguration: never optional; the key is S3's own unless one is given."""
    if capture.kms_key is None:
        default: Args = {"sse_algorithm": "AES256"}
    else:
        default = {"sse_algorithm": "aws:kms", "kms_master_key_id": capture.kms_key}
    rule: Args = {"apply_server_side_encryption_by_default": default}
    if capture.kms_key is not None:
        rule["bucket_key_enabled"] = True  # one call to KMS for many records
    return {"rules": [rule]}


def bucket_lifecycle(capture: Capture) -> Args:
    """aws.s3.BucketLifecycleConfiguration: records go after their days, broken uploads after one."""
    return {
        "rules": [
            {
                "id": "expire-captured-records",
                "status": "Enabled",
                "filter": {"prefix": f"{CAPTURE_PREFIX}/"},
                "expiration": {"days": capture.keep_days},
                "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
            },
        ],
    }


BLOCKED = {
    "block_public_acls": True,
    "block_public_policy": True,
    "ignore_public_acls": True,
    "restrict_public_buckets": True,
}


def document(statements: Sequence[Args]) -> str:
    """An IAM policy document as JSON text, the same for the same statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)
