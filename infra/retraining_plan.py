"""What an alarm of a monitor starts: a pipeline that trains again, and what becomes of the new model. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra import names
from infra.alarm_plan import Args
from infra.monitor_plan import DRIFT, QUALITY, alarm_name, rules
from infra.monitor_spec import MonitorSpec, Retraining
from infra.plan import document
from infra.policies import Home, Statement, allow, pull, report, vpc

VERSION = "2020-12-01"
"""Of the schema of pipeline definitions (SageMaker, Pipelines)."""
TRAINED = {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}
VOLUME_GB = 30


@dataclass(frozen=True)
class Known:
    """What outputs of other resources have become by now: plain texts."""

    image: str
    serving_image: str
    artifact: str
    data: str
    group: str
    role_arn: str


def definition(spec: MonitorSpec, wish: Retraining, known: Known) -> str:
    """The pipeline's definition: train (the gate is the job's own: a model that misses it fails the step), release."""
    found = names.artifact(known.artifact)
    home = known.artifact.rsplit(found.sha256, 1)[0]
    texts = {name: _text(value) for name, value in wish.hyperparameters.items()}
    train: Args = {
        "AlgorithmSpecification": {"TrainingImage": known.image, "TrainingInputMode": "File"},
        "RoleArn": known.role_arn,
        "HyperParameters": {**texts, "champion": known.artifact},
        "InputDataConfig": [
            {
                "ChannelName": "training",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": known.data,
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
        ],
        "OutputDataConfig": {"S3OutputPath": f"{home}retrained"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": wish.instance, "VolumeSizeInGB": VOLUME_GB},
        "StoppingCondition": {"MaxRuntimeInSeconds": wish.max_minutes * 60},
    }
    release: Args = {
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": spec.instance, "VolumeSizeInGB": VOLUME_GB}
        },
        "AppSpecification": {"ImageUri": known.image, "ContainerArguments": ["release"]},
        "RoleArn": known.role_arn,
        "Environment": {
            "SAGESTAGE_MODEL": TRAINED,
            "SAGESTAGE_HOME": home,
            "SAGESTAGE_GROUP": known.group,
            "SAGESTAGE_IMAGE": known.serving_image,
            "SAGESTAGE_APPROVED": "true" if wish.rollout == "canary" else "false",
            "SAGESTAGE_ENDPOINT": spec.endpoint_name if wish.rollout == "canary" else "",
            "SAGESTAGE_VARIANT": spec.retrained,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }
    if spec.network is not None and spec.network.subnets:
        where = {"Subnets": list(spec.network.subnets), "SecurityGroupIds": list(spec.network.security_groups)}
        train["VpcConfig"] = where
        release["NetworkConfig"] = {"VpcConfig": where}
    steps = [
        {"Name": "Train", "Type": "Training", "Arguments": train},
        {"Name": "Release", "Type": "Processing", "Arguments": release, "DependsOn": ["Train"]},
    ]
    return json.dumps({"Version": VERSION, "Parameters": [], "Steps": steps}, sort_keys=True)


def _text(value: Any) -> str:
    """A hyperparameter as SageMaker takes it."""
    if isinstance(value, list | tuple):
        return ",".join(str(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def pipeline(spec: MonitorSpec, *, text: Any, role_arn: Any, tags: Mapping[str, Any]) -> Args:
    """aws.sagemaker.Pipeline."""
    name = f"{spec.physical_name}-retraining"
    return {
        "pipeline_name": name,
        "pipeline_display_name": name,
        "pipeline_description": f"trains {spec.retrained} of {spec.endpoint_name} again on the newest data",
        "pipeline_definition": text,
        "role_arn": role_arn,
        "tags": {**(spec.tags or {}), **tags},
    }


def pattern(spec: MonitorSpec, wish: Retraining) -> str:
    """The events that start it: an alarm of the retrained variant that goes into ALARM."""
    kinds = {"drift": DRIFT, "quality": QUALITY}
    wanted = {kinds[one] for one in wish.on}
    watched = [alarm_name(spec, rule) for rule in rules(spec) if rule.kind in wanted and rule.variant == spec.retrained]
    event = {
        "source": ["aws.cloudwatch"],
        "detail-type": ["CloudWatch Alarm State Change"],
        "detail": {"alarmName": watched, "state": {"value": ["ALARM"]}},
    }
    return json.dumps(event, sort_keys=True)


def rule(spec: MonitorSpec, wish: Retraining, *, tags: Mapping[str, Any]) -> Args:
    """aws.cloudwatch.EventRule."""
    return {
        "description": f"an alarm of {spec.physical_name} starts its retraining",
        "event_pattern": pattern(spec, wish),
        "tags": {**(spec.tags or {}), **tags},
    }


def policy(home: Home, spec: MonitorSpec, wish: Retraining, known: Known, model_roles: Sequence[str]) -> str:
    """What the pipeline and its jobs do, and nothing more."""
    found = names.artifact(known.artifact)
    s3 = f"arn:{home.partition}:s3:::"
    place = f"{found.bucket}/{found.key.split(found.sha256)[0]}*"
    data_bucket, _, data_prefix = known.data.removeprefix("s3://").partition("/")
    group = known.group
    statements: list[Statement] = [
        allow("ReadNewest", ["s3:GetObject"], f"{s3}{data_bucket}/{data_prefix}*"),
        allow("FindNewest", ["s3:ListBucket"], sorted({f"{s3}{data_bucket}", f"{s3}{found.bucket}"})),
        allow("KeepModels", ["s3:GetObject", "s3:PutObject"], f"{s3}{place}"),
        *pull(home, [known.image]),
        allow(
            "RunJobs",
            [
                "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob",
                "sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob", "sagemaker:StopProcessingJob",
                "sagemaker:AddTags",
            ],
            [home.arn("sagemaker", f"{kind}/pipelines-*") for kind in ("training-job", "processing-job")],
        ),
        allow(
            "RegisterModels",
            ["sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage"],
            [home.arn("sagemaker", f"model-package-group/{group}"), home.arn("sagemaker", f"model-package/{group}/*")],
        ),
        *report(
            home,
            ["/aws/sagemaker/TrainingJobs*", "/aws/sagemaker/ProcessingJobs*"],
            ["/aws/sagemaker/TrainingJobs"],
        ),
        allow(
            "PassRoles", ["iam:PassRole"], [known.role_arn, *model_roles],
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        ),
        *(vpc(home) if spec.network is not None and spec.network.subnets else []),
    ]  # fmt: skip
    if wish.rollout == "canary":
        endpoint = spec.endpoint_name
        statements += [
            allow(
                "RollOut",
                ["sagemaker:DescribeEndpoint", "sagemaker:UpdateEndpoint"],
                [home.arn("sagemaker", f"endpoint/{endpoint}"), home.arn("sagemaker", "endpoint-config/*")],
            ),
            allow(
                "MakeModels",
                ["sagemaker:DescribeEndpointConfig", "sagemaker:CreateEndpointConfig", "sagemaker:DescribeModel",
                 "sagemaker:CreateModel", "sagemaker:ListTags", "sagemaker:AddTags"],
                [home.arn("sagemaker", "endpoint-config/*"), home.arn("sagemaker", "model/*")],
            ),
        ]  # fmt: skip
    if spec.kms_key is not None:
        statements.append(allow("UseKeys", ["kms:GenerateDataKey", "kms:Decrypt"], spec.kms_key))
    return document(statements)


def starter(pipeline_arn: str) -> str:
    """What the rule's role may do: start that one pipeline."""
    return document([allow("StartRetraining", ["sagemaker:StartPipelineExecution"], pipeline_arn)])


def events_trust(home: Home) -> str:
    """Who may assume the rule's role: EventBridge, for this account alone."""
    return document(
        [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "events.amazonaws.com"},
                "Condition": {"StringEquals": {"aws:SourceAccount": home.account}},
            }
        ]
    )


def job_policy(
    home: Home,
    spec: MonitorSpec,
    *,
    image: str,
    artifacts: Sequence[str],
    labels: str | None,
    capture: str,
    reports: str,
) -> str:
    """What a monitoring job does: read records, baselines and labels; write reports, logs and its own metrics."""
    s3 = f"arn:{home.partition}:s3:::"
    baselines = []
    for uri in artifacts:
        found = names.artifact(uri)
        baselines.append(f"{s3}{found.bucket}/{found.key.replace(found.sha256, '*').rsplit('/', 1)[0]}/*")
    buckets = {f"{s3}{capture}", f"{s3}{reports}"}
    reads = [f"{s3}{capture}/*", *sorted(set(baselines))]
    if labels is not None:
        bucket, _, prefix = labels.removeprefix("s3://").partition("/")
        buckets.add(f"{s3}{bucket}")
        reads.append(f"{s3}{bucket}/{prefix}*")
    statements: list[Statement] = [
        allow("ReadRecords", ["s3:GetObject"], reads),
        allow("FindRecords", ["s3:ListBucket", "s3:GetBucketLocation"], sorted(buckets)),
        allow("WriteReports", ["s3:PutObject"], f"{s3}{reports}/*"),
        *pull(home, [image]),
        *report(home, ["/aws/sagemaker/ProcessingJobs*"], ["Sagestage/Model", "/aws/sagemaker/ProcessingJobs"]),
        allow(
            "SeeEndpoint",
            ["sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig"],
            [home.arn("sagemaker", f"endpoint/{spec.endpoint_name}"), home.arn("sagemaker", "endpoint-config/*")],
        ),
        *(vpc(home) if spec.network is not None and spec.network.subnets else []),
    ]
    if spec.kms_key is not None:
        statements.append(allow("UseKeys", ["kms:GenerateDataKey", "kms:Decrypt", "kms:CreateGrant"], spec.kms_key))
    return document(statements)
