"""A monitor as plain resource arguments: pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from infra import metrics
from infra.alarm_plan import SEVERITY_TAG, Args
from infra.alarm_spec import NO_DATA, Missing, Severity
from infra.monitor_spec import MonitorSpec, evaluations

NAMESPACE = "Sagestage/Model"
"""As `inference.contract.metrics` has it, which this package may not import; a test holds them together."""
FEATURE_DRIFT, DRIFTED_COLUMNS, ACCURACY, R2, RECORDS_READ = (
    "FeatureDrift", "DriftedColumns", "Accuracy", "R2", "RecordsRead",
)  # fmt: skip
INPUT_PATH, OUTPUT_PATH = "/opt/ml/processing/input/endpoint", "/opt/ml/processing/output"
REPORTS_PREFIX = "reports"
DRIFT, QUALITY, SILENT, DISK = "drift", "quality", "records-silent", "capture-disk"
DISK_MINUTES = 5


class Rule(NamedTuple):
    """One alarm of a variant.

    Attributes:
        name: `<variant>-<what>`.
        kind: what it watches: drift, quality, records-silent, capture-disk.
        above, below: the bound.
        period_s, evaluations: how long a value counts, and how many on end.
    """

    name: str
    kind: str
    variant: str
    metric: str
    above: float | None
    below: float | None
    statistic: str
    period_s: int
    evaluations: int
    missing: Missing
    severity: Severity
    namespace: str = NAMESPACE


def environment(spec: MonitorSpec, artifacts: Mapping[str, str], capture_uri: str) -> dict[str, str]:
    """What the job in the image needs to know beside SageMaker's own variables."""
    found = {
        "SAGESTAGE_JOB": "monitor",
        "SAGESTAGE_BASELINES": json.dumps(dict(artifacts), sort_keys=True),
        "SAGESTAGE_CAPTURE_URI": capture_uri,
    }
    if spec.quality is not None:
        found["SAGESTAGE_GROUND_TRUTH"] = spec.quality.ground_truth
        if spec.quality.labels_after_hours:
            found["SAGESTAGE_TRUTH_DELAY_S"] = str(spec.quality.labels_after_hours * 3600)
        if spec.quality.segment is not None:
            found["SAGESTAGE_SEGMENT"] = spec.quality.segment
    return found


def job_definition(
    spec: MonitorSpec, *, variables: Any, role_arn: Any, reports_uri: Any, endpoint_name: Any, tags: Mapping[str, Any]
) -> Args:
    """aws.sagemaker.DataQualityJobDefinition, without a name: it is immutable."""
    cluster: Args = {"instance_count": 1, "instance_type": spec.instance, "volume_size_in_gb": spec.volume_gb}
    output: Args = {
        "monitoring_outputs": {
            "s3_output": {"s3_uri": reports_uri, "local_path": OUTPUT_PATH, "s3_upload_mode": "EndOfJob"}
        }
    }
    if spec.kms_key is not None:
        cluster["volume_kms_key_id"] = spec.kms_key
        output["kms_key_id"] = spec.kms_key
    args: Args = {
        "data_quality_app_specification": {"image_uri": spec.image, "environment": variables},
        "data_quality_job_input": {
            "endpoint_input": {
                "endpoint_name": endpoint_name,
                "local_path": INPUT_PATH,
                "s3_input_mode": "File",
                "s3_data_distribution_type": "FullyReplicated",
            }
        },
        "data_quality_job_output_config": output,
        "job_resources": {"cluster_config": cluster},
        "stopping_condition": {"max_runtime_in_seconds": spec.max_minutes * 60},
        "role_arn": role_arn,
        "tags": {**(spec.tags or {}), **tags},
    }
    if spec.network is not None:
        network: Args = {"enable_network_isolation": spec.network.isolated}
        if spec.network.subnets:
            network["vpc_config"] = {
                "subnets": list(spec.network.subnets),
                "security_group_ids": list(spec.network.security_groups),
            }
        args["network_config"] = network
    return args


def schedule(spec: MonitorSpec, *, definition_name: Any, tags: Mapping[str, Any]) -> Args:
    """aws.sagemaker.MonitoringSchedule."""
    return {
        "name": spec.physical_name,
        "monitoring_schedule_config": {
            "monitoring_type": "DataQuality",
            "monitoring_job_definition_name": definition_name,
            "schedule_config": {"schedule_expression": spec.cron},
        },
        "tags": {**(spec.tags or {}), **tags},
    }


def rules(spec: MonitorSpec) -> Iterator[Rule]:
    """Every alarm of the monitor: those that its job's metrics feed look at whole periods of its schedule."""
    for variant in spec.artifacts:
        period = spec.period_s
        yield Rule(
            f"{variant}-{DRIFT}", DRIFT, variant, FEATURE_DRIFT, spec.drift_above, None, "Maximum", period,
            evaluations(spec.drift_minutes, spec.every_hours), "ignore", "critical",
        )  # fmt: skip
        if spec.quality is not None:
            accuracy = spec.quality.accuracy_below is not None
            below = spec.quality.accuracy_below if accuracy else spec.quality.r2_below
            yield Rule(
                f"{variant}-{'accuracy' if accuracy else 'r2'}", QUALITY, variant, ACCURACY if accuracy else R2, None,
                below, "Minimum", period, evaluations(spec.quality.minutes, spec.every_hours), "ignore", "critical",
            )  # fmt: skip
        if spec.silent_minutes is not None:
            yield Rule(
                f"{variant}-{SILENT}", SILENT, variant, RECORDS_READ, None, 1, "Sum", period,
                evaluations(spec.silent_minutes, spec.every_hours), "breaching", "warning",
            )  # fmt: skip
        yield Rule(
            f"{variant}-{DISK}", DISK, variant, "DiskUtilization", spec.disk_above_percent, None, "Average", 60,
            DISK_MINUTES, "missing", "warning", metrics.INSTANCE_METRICS,
        )  # fmt: skip


def alarm_name(spec: MonitorSpec, rule: Rule) -> str:
    """The alarm's name in CloudWatch: known before anything exists."""
    return f"{spec.physical_name}-{rule.name}"


def alarm(spec: MonitorSpec, rule: Rule, *, notify: Sequence[Any], tags: Mapping[str, Any]) -> Args:
    """aws.cloudwatch.MetricAlarm. Drift is metric math: the index counts where it is more than chance."""
    bound = rule.above if rule.above is not None else rule.below
    args: Args = {
        "name": alarm_name(spec, rule),
        "alarm_description": _description(spec, rule),
        "comparison_operator": "GreaterThanThreshold" if rule.above is not None else "LessThanThreshold",
        "threshold": bound,
        "evaluation_periods": rule.evaluations,
        "datapoints_to_alarm": rule.evaluations,
        "treat_missing_data": rule.missing,
        "tags": {**(spec.tags or {}), **tags, SEVERITY_TAG: rule.severity},
    }
    if notify:
        args |= {"alarm_actions": list(notify), "ok_actions": list(notify)}
    if rule.kind == DRIFT:
        queries = [
            {
                "id": name,
                "metric": {**_series(spec, rule, metric), "period": rule.period_s, "stat": rule.statistic},
                "return_data": False,
            }
            for name, metric in (("drift", rule.metric), ("columns", DRIFTED_COLUMNS))
        ]
        drift = {"id": "alarming", "expression": "IF(columns > 0, drift, 0)", "label": rule.metric, "return_data": True}
        return args | {"metric_queries": [*queries, drift]}
    return args | {**_series(spec, rule, rule.metric), "period": rule.period_s, "statistic": rule.statistic}


def _series(spec: MonitorSpec, rule: Rule, metric: str) -> Args:
    return {
        "namespace": rule.namespace,
        "metric_name": metric,
        "dimensions": {"EndpointName": spec.endpoint_name, "VariantName": rule.variant},
    }


def _description(spec: MonitorSpec, rule: Rule) -> str:
    """What it means, for the person who is woken by it; CloudWatch takes 1024 characters."""
    side = f"above {rule.above:.15g}" if rule.above is not None else f"below {rule.below:.15g}"
    minutes = rule.period_s * rule.evaluations // 60
    more = f" with {DRIFTED_COLUMNS} above 0" if rule.kind == DRIFT else ""
    who = f"{rule.variant} of {spec.endpoint_name}"
    source = "" if rule.namespace != NAMESPACE else f"; published by the monitor {spec.physical_name}"
    return f"{rule.severity}: {rule.metric} of {who} {side}{more} for {minutes} min{source}; {NO_DATA[rule.missing]}"[
        :1024
    ]
