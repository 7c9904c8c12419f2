"""EventBridge: rules, and the targets that each has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from infra.provider.aws import Aws
from infra.provider.errors import AwsError
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.shapes import Issue, decode, encode, input_shape, output_shape
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Properties

_MEMBERS = {
    "arn": "Arn",
    "input": "Input",
    "inputPath": "InputPath",
    "roleArn": "RoleArn",
    "sagemakerPipelineTarget": "SageMakerPipelineParameters",
}
_NO_OTHERS = "the embedded AWS starts pipelines, and no other targets"

RULE = ResourceType(
    pulumi_type="aws:cloudwatch/eventRule:EventRule",
    service="events",
    create="PutRule",
    read="DescribeRule",
    update="PutRule",
    delete="DeleteRule",
    name=AutoName(limit=64),
    tagging=Tagging(
        add="TagResource", remove="UntagResource", list="ListTagsForResource", target="ResourceARN", by="arn"
    ),
    outputs={"arn": "Arn"},
    props=props(
        "description roleArn scheduleExpression",
        name=Prop(replaces=True),
        eventBusName=Prop(replaces=True, default="default"),
        namePrefix=Prop(replaces=True, sent=False),
        eventPattern=Prop(json=True),
        forceDestroy=Prop(sent=False),
        isEnabled=Prop(unsupported="state takes its place"),
        state=Prop(computed=True),
    ),
)


@dataclass(frozen=True, kw_only=True)
class TargetType(ResourceType):
    """A target is an entry of its rule; its calls take and answer lists."""

    def make(self, aws: Aws, inputs: Properties, tags: Any, timeout_s: float) -> str:
        """Put the target; the answer is `<rule>-<target>`. One without an id gets one, as from the real provider."""
        del tags, timeout_s
        self._put(aws, _identified(inputs))
        return self.identify(inputs)

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """The entry of the rule with this id; None where there is no such rule or entry."""
        key = self.key_values(resource_id, state)
        try:
            answer = self.call(aws, self.read, {"Rule": key["rule"]}, state)
        except AwsError as error:
            if error.missing:
                return None
            raise
        there = next((one for one in answer.get("Targets", ()) if one.get("Id") == key["targetId"]), None)
        if there is None:
            return None
        shape = output_shape(self.service, self.read).members["Targets"].member
        found: Properties = {"rule": key["rule"], "targetId": key["targetId"]}
        for name, member in _MEMBERS.items():
            value, old = there.get(member), state.get(name)
            found[name] = old if value is None and not old else None
            if value is not None:
                found[name] = decode(shape.members[member], value, old)
        return found

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Put it again: PutTargets overwrites the entry."""
        del timeout_s
        self._put(aws, {**news, **self.key_values(resource_id, olds)})

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Remove it; one that is gone already is fine."""
        del timeout_s
        key = self.key_values(resource_id, state)
        try:
            self.call(aws, self.delete, {"Rule": key["rule"], "Ids": [key["targetId"]]}, state)
        except AwsError as error:
            if not error.missing:
                raise

    def identify(self, inputs: Properties) -> str:
        """`<rule>-<target>`."""
        return super().identify(_identified(inputs))

    def encoded(self, operation: str, inputs: Properties, issues: list[Issue]) -> dict[str, Any]:
        """The rule, and its one entry."""
        params = super().encoded(operation, inputs, issues)
        shape = input_shape(self.service, self.create).members["Targets"].member
        given = _identified(inputs)
        entry = {
            member: encode(shape.members[member], given[name], name, issues)
            for name, member in {**_MEMBERS, "targetId": "Id"}.items()
            if given.get(name) is not None
        }
        return {**params, "Targets": [entry]}

    def _put(self, aws: Aws, inputs: Properties) -> None:
        self.call(aws, self.create, self.request(self.create, inputs), inputs)


def _identified(inputs: Properties) -> Properties:
    """With an id for the target, where the program gives none."""
    if inputs.get("targetId"):
        return inputs
    made = hashlib.sha256(f"{inputs.get('rule')} {inputs.get('arn')}".encode()).hexdigest()
    return {**inputs, "targetId": f"terraform-{made[:26]}"}


TARGET = TargetType(
    pulumi_type="aws:cloudwatch/eventTarget:EventTarget",
    service="events",
    create="PutTargets",
    read="ListTargetsByRule",
    update="PutTargets",
    delete="RemoveTargets",
    key=("rule", "targetId"),
    separator="-",
    props=props(
        "rule!*",
        targetId=Prop(replaces=True, sent=False, computed=True),
        arn=Prop(required=True, sent=False),
        input=Prop(sent=False),
        inputPath=Prop(sent=False),
        roleArn=Prop(sent=False),
        sagemakerPipelineTarget=Prop(sent=False),
        eventBusName=Prop(replaces=True, sent=False, default="default"),
        forceDestroy=Prop(sent=False),
        **{
            name: Prop(unsupported=_NO_OTHERS)
            for name in (
                "appsyncTarget", "batchTarget", "deadLetterConfig", "ecsTarget", "httpTarget", "inputTransformer",
                "kinesisTarget", "redshiftTarget", "retryPolicy", "runCommandTargets", "sqsTarget",
            )
        },
    ),
)  # fmt: skip

TYPES = (RULE, TARGET)
