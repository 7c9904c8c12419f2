"""SageMaker: models, endpoint configurations, endpoints, model package groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.provider.aws import Aws
from infra.provider.difference import Kind
from infra.provider.errors import AwsError, DeploymentError
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Properties
from infra.provider.waiting import ENDPOINT_DEADLINE_S, Done, Failed, Wait, at_rest, delay_s, endpoint_verdict

NAME = AutoName(limit=63)
TAGGING = Tagging(add="AddTags", remove="DeleteTags", list="ListTags", target="ResourceArn")

MODEL = ResourceType(
    pulumi_type="aws:sagemaker/model:Model",
    service="sagemaker",
    create="CreateModel",
    read="DescribeModel",
    delete="DeleteModel",
    name=NAME,
    tagging=TAGGING,
    outputs={"arn": "ModelArn"},
    props=props(
        "executionRoleArn!* enableNetworkIsolation!",
        name=Prop(member="ModelName", replaces=True),
        primaryContainer=Prop(replaces=True, exceptions={(Kind.DELETE, "modelDataSource"): False}),
        containers=Prop(
            replaces=True,
            exceptions={
                (Kind.DELETE, "modelDataSource"): False,
                (Kind.DELETE, "modelDataSource.s3DataSources.modelAccessConfig"): False,
            },
        ),
        # The real provider plans changes inside these two as updates, and SageMaker has no call for them.
        inferenceExecutionConfig=Prop(exceptions={(Kind.ADD, ""): True}),
        vpcConfig=Prop(exceptions={(Kind.ADD, ""): True, (Kind.DELETE, ""): True}),
    ),
)

ENDPOINT_CONFIGURATION = ResourceType(
    pulumi_type="aws:sagemaker/endpointConfiguration:EndpointConfiguration",
    service="sagemaker",
    create="CreateEndpointConfig",
    read="DescribeEndpointConfig",
    delete="DeleteEndpointConfig",
    name=NAME,
    tagging=TAGGING,
    outputs={"arn": "EndpointConfigArn"},
    props=props(
        "productionVariants!* shadowProductionVariants! dataCaptureConfig! asyncInferenceConfig! executionRoleArn!",
        name=Prop(member="EndpointConfigName", replaces=True),
        namePrefix=Prop(replaces=True, sent=False),
        kmsKeyArn=Prop(member="KmsKeyId", replaces=True),
    ),
)


@dataclass(frozen=True, kw_only=True)
class EndpointType(ResourceType):
    """An endpoint becomes ready over time, and an update of it may be rolled back without an error."""

    def make(self, aws: Aws, inputs: Properties, tags: Mapping[str, str], timeout_s: float) -> str:
        """Create the endpoint and wait until it is InService; one that fails is removed again.

        Raises:
            DeploymentError: it failed, with SageMaker's reason, or was not ready in time.
        """
        name = super().make(aws, inputs, tags, timeout_s)
        try:
            self._settle(aws, name, inputs, timeout_s)
        except DeploymentError:
            self.end(aws, name, inputs, timeout_s)  # its name is fixed: left behind, it would block the next attempt
            raise
        return name

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Update the endpoint and wait until it runs the desired configuration.

        Raises:
            DeploymentError: it failed or was rolled back, with SageMaker's reason, or was not ready in time.
        """
        # An update whose process died may still be under way.
        found = self._wait(aws, resource_id, olds, timeout_s, at_rest)
        if found is not None and found.get("EndpointConfigName") == news.get("endpointConfigName"):
            return  # another deployment policy alone: SageMaker takes it with the next update
        super().change(aws, resource_id, olds, news, timeout_s)
        self._settle(aws, resource_id, news, timeout_s)

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Delete the endpoint and wait until it is gone."""
        super().end(aws, resource_id, state, timeout_s)
        self._wait(aws, resource_id, state, timeout_s, lambda found: Done() if found is None else Wait())

    def recover(self, aws: Aws, inputs: Properties, timeout_s: float) -> str:
        """The endpoint, once it is ready; one that failed is removed, since its name blocks the next attempt."""
        name = super().recover(aws, inputs, timeout_s)
        if self._describe(aws, name, inputs) is None:
            return ""
        found = self._wait(aws, name, inputs, timeout_s, at_rest)
        if found is not None and found.get("EndpointStatus") == "Failed":
            self.end(aws, name, inputs, timeout_s)
            return ""
        return name

    def _settle(self, aws: Aws, name: str, wanted: Properties, timeout_s: float) -> None:
        configuration = str(wanted["endpointConfigName"])

        def judge(found: dict[str, Any] | None) -> Wait | Done | Failed:
            return (
                Failed("it disappeared while it was deployed")
                if found is None
                else endpoint_verdict(found, configuration)
            )

        self._wait(aws, name, wanted, timeout_s, judge)

    def _wait(
        self,
        aws: Aws,
        name: str,
        state: Properties,
        timeout_s: float,
        judge: Callable[[dict[str, Any] | None], Wait | Done | Failed],
    ) -> dict[str, Any] | None:
        """What the endpoint is described as, once the judge has what it waits for."""
        deadline = aws.clock() + (timeout_s or ENDPOINT_DEADLINE_S)
        attempt = 0
        while True:
            found = self._describe(aws, name, state)
            match judge(found):
                case Done():
                    return found
                case Failed(reason):
                    raise DeploymentError(f"endpoint {name}: {reason}")
                case Wait() if aws.clock() >= deadline:
                    raise DeploymentError(
                        f"endpoint {name}: not settled within {timeout_s or ENDPOINT_DEADLINE_S:.0f} s"
                    )
            aws.pause(delay_s(attempt))
            attempt += 1

    def _describe(self, aws: Aws, name: str, state: Properties) -> dict[str, Any] | None:
        try:
            return self.call(aws, self.read, {"EndpointName": name}, state)
        except AwsError as error:
            if error.missing:
                return None
            raise


ENDPOINT = EndpointType(
    pulumi_type="aws:sagemaker/endpoint:Endpoint",
    service="sagemaker",
    create="CreateEndpoint",
    read="DescribeEndpoint",
    update="UpdateEndpoint",
    delete="DeleteEndpoint",
    name=NAME,
    tagging=TAGGING,
    outputs={"arn": "EndpointArn"},
    props=props(
        "endpointConfigName*",
        name=Prop(member="EndpointName", replaces=True),
        deploymentConfig=Prop(
            exceptions={
                (kind, below): True for kind in (Kind.ADD, Kind.DELETE) for below in ("", "autoRollbackConfiguration")
            }
        ),
    ),
)

MODEL_PACKAGE_GROUP = ResourceType(
    pulumi_type="aws:sagemaker/modelPackageGroup:ModelPackageGroup",
    service="sagemaker",
    create="CreateModelPackageGroup",
    read="DescribeModelPackageGroup",
    delete="DeleteModelPackageGroup",
    key=("modelPackageGroupName",),
    tagging=TAGGING,
    outputs={"arn": "ModelPackageGroupArn"},
    props=props("modelPackageGroupName!* modelPackageGroupDescription!"),
)

TYPES = (MODEL, ENDPOINT_CONFIGURATION, ENDPOINT, MODEL_PACKAGE_GROUP)
