"""SageMaker: monitoring job definitions and their schedules, and pipelines."""

from __future__ import annotations

from infra.provider.difference import Kind
from infra.provider.props import Prop, props
from infra.provider.sagemaker import NAME, TAGGING
from infra.provider.types import ResourceType
from infra.provider.values import Plain


def _output_back(config: Plain) -> Plain:
    """`monitoringOutputs` is one object in Pulumi, and a list of one in the API."""
    outputs = config.get("monitoringOutputs") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(outputs, list) or len(outputs) != 1:
        return config
    return {**config, "monitoringOutputs": outputs[0]}


JOB_DEFINITION = ResourceType(
    pulumi_type="aws:sagemaker/dataQualityJobDefinition:DataQualityJobDefinition",
    service="sagemaker",
    create="CreateDataQualityJobDefinition",
    read="DescribeDataQualityJobDefinition",
    delete="DeleteDataQualityJobDefinition",
    name=NAME,
    tagging=TAGGING,
    outputs={"arn": "JobDefinitionArn"},
    props=props(
        # The real provider plans a change of the role as an update, and SageMaker has no call for it.
        "dataQualityAppSpecification!* dataQualityBaselineConfig! dataQualityJobInput!* jobResources!* "
        "networkConfig! roleArn*",
        dataQualityJobOutputConfig=Prop(replaces=True, required=True, back=_output_back),
        name=Prop(member="JobDefinitionName", replaces=True),
        stoppingCondition=Prop(replaces=True, exceptions={(Kind.DELETE, ""): False}),
    ),
)

SCHEDULE = ResourceType(
    pulumi_type="aws:sagemaker/monitoringSchedule:MonitoringSchedule",
    service="sagemaker",
    create="CreateMonitoringSchedule",
    read="DescribeMonitoringSchedule",
    update="UpdateMonitoringSchedule",
    delete="DeleteMonitoringSchedule",
    name=NAME,
    tagging=TAGGING,
    outputs={"arn": "MonitoringScheduleArn"},
    props=props("monitoringScheduleConfig*", name=Prop(member="MonitoringScheduleName", replaces=True)),
)

PIPELINE = ResourceType(
    pulumi_type="aws:sagemaker/pipeline:Pipeline",
    service="sagemaker",
    create="CreatePipeline",
    read="DescribePipeline",
    update="UpdatePipeline",
    delete="DeletePipeline",
    key=("pipelineName",),
    tagging=TAGGING,
    outputs={"arn": "PipelineArn"},
    props=props(
        "pipelineName!* pipelineDisplayName* pipelineDescription roleArn",
        pipelineDefinition=Prop(json=True),
        pipelineDefinitionS3Location=Prop(unsupported="the embedded AWS takes the definition itself"),
        parallelismConfiguration=Prop(unsupported="the embedded AWS runs the steps of a pipeline one by one"),
    ),
)

TYPES = (JOB_DEFINITION, SCHEDULE, PIPELINE)
