"""Application Auto Scaling: scalable targets and their policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.provider.aws import Aws
from infra.provider.errors import ProviderError
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Plain, Properties

_KEY = ("serviceNamespace", "resourceId", "scalableDimension")


@dataclass(frozen=True, kw_only=True)
class ScalingType(ResourceType):
    """The id is one part of the key; what is imported is named by all parts, as in the real provider."""

    id_property: str

    def identify(self, inputs: Properties) -> str:
        """The id: the resource's own name, not unique by itself."""
        return str(inputs[self.id_property])

    def call(self, aws: Aws, operation: str, params: Mapping[str, Any], state: Properties) -> dict[str, Any]:
        """A call; of what is described, only the resource that was asked for: a cloud may answer all of a target's."""
        answer = super().call(aws, operation, params, state)
        if operation != self.read:
            return answer
        collection = self.found.partition(".")[0]
        wanted = {name.removesuffix("s"): value for name, value in params.items()}
        return {**answer, collection: [one for one in answer[collection] if _is(one, wanted)]}

    def key_values(self, resource_id: str, state: Properties) -> Properties:
        """The key from the state, or from `<namespace>/<resource id>/<dimension>[/<policy>]`."""
        if all(isinstance(state.get(name), str) for name in self.key):
            return {name: state[name] for name in self.key}
        parts = resource_id.split("/")
        tail = len(self.key) - 2
        if len(parts) < len(self.key):
            raise ProviderError(f"{self.pulumi_type}: the id {resource_id!r} must have the parts {'/'.join(self.key)}")
        values = [parts[0], "/".join(parts[1:-tail]), *parts[-tail:]]
        return dict(zip(self.key, values, strict=True))


def _is(one: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(one.get(name) in (value if isinstance(value, list) else [value]) for name, value in wanted.items())


TARGET = ScalingType(
    pulumi_type="aws:appautoscaling/target:Target",
    service="application-autoscaling",
    create="RegisterScalableTarget",
    read="DescribeScalableTargets",
    update="RegisterScalableTarget",
    delete="DeregisterScalableTarget",
    key=_KEY,
    id_property="resourceId",
    key_members={"resourceId": "ResourceId ResourceIds[]"},
    found="ScalableTargets.0",
    outputs={"arn": "ScalableTargetARN"},
    tagging=Tagging(add="TagResource", remove="UntagResource", list="ListTagsForResource", target="ResourceARN"),
    props=props(
        "resourceId!* scalableDimension!* serviceNamespace!* maxCapacity* minCapacity*",
        roleArn=Prop(member="RoleARN", computed=True),
        suspendedState=Prop(computed=True),
    ),
)

POLICY = ScalingType(
    pulumi_type="aws:appautoscaling/policy:Policy",
    service="application-autoscaling",
    create="PutScalingPolicy",
    read="DescribeScalingPolicies",
    update="PutScalingPolicy",
    delete="DeleteScalingPolicy",
    key=(*_KEY, "name"),
    id_property="name",
    key_members={"name": "PolicyName PolicyNames[]"},
    found="ScalingPolicies.0",
    name=AutoName(limit=256),
    outputs={"arn": "PolicyARN"},
    props=props(
        "resourceId!* scalableDimension!* serviceNamespace!* stepScalingPolicyConfiguration "
        "targetTrackingScalingPolicyConfiguration predictiveScalingPolicyConfiguration",
        name=Prop(member="PolicyName", replaces=True),
        policyType=Prop(default="StepScaling"),
    ),
)


def _moment(value: Plain) -> Plain:
    """A time as the program writes it; AWS answers one with its zone."""
    return value.replace("+00:00", "Z") if isinstance(value, str) else value


SCHEDULED_ACTION = ScalingType(
    pulumi_type="aws:appautoscaling/scheduledAction:ScheduledAction",
    service="application-autoscaling",
    create="PutScheduledAction",
    read="DescribeScheduledActions",
    update="PutScheduledAction",
    delete="DeleteScheduledAction",
    key=(*_KEY, "name"),
    id_property="name",
    key_members={"name": "ScheduledActionName ScheduledActionNames[]"},
    found="ScheduledActions.0",
    name=AutoName(limit=256),
    outputs={"arn": "ScheduledActionARN"},
    props=props(
        "resourceId!* scalableDimension!* serviceNamespace!* scalableTargetAction* schedule*",
        name=Prop(member="ScheduledActionName", replaces=True),
        startTime=Prop(back=_moment),
        endTime=Prop(back=_moment),
        timezone=Prop(default="UTC"),
    ),
)

TYPES = (TARGET, POLICY, SCHEDULED_ACTION)
