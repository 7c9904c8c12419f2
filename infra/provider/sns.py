"""SNS: topics, whose settings are attributes with text for values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.provider.aws import Aws
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.shapes import Issue
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Plain, Properties


@dataclass(frozen=True, kw_only=True)
class AttributesType(ResourceType):
    """A resource whose settings are a map of text: `attributes` are the properties that go into it."""

    set_attribute: str
    attributes: Mapping[str, str]

    def encoded(self, operation: str, inputs: Properties, issues: list[Issue]) -> dict[str, Any]:
        """The parameters of an operation; those of `create` with all attributes."""
        params = super().encoded(operation, inputs, issues)
        texts = {to: _text(inputs[name]) for name, to in self.attributes.items() if inputs.get(name) is not None}
        return params | ({"Attributes": texts} if operation == self.create and texts else {})

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Set the attributes that differ, one call each; an empty text takes an attribute away."""
        del timeout_s
        for name, member in self.attributes.items():
            if not self.props[name].same(olds.get(name), news.get(name)):
                value = "" if news.get(name) is None else _text(news[name])
                params = {**self.key_request(self.set_attribute, resource_id, olds), "AttributeName": member}
                self.call(aws, self.set_attribute, params | {"AttributeValue": value}, olds)

    def decoded(self, shape: Any, there: Mapping[str, Any], state: Properties) -> Properties:
        """The attributes, in the types that the state has; those that it lacks are AWS's own."""
        del shape  # a map: it says nothing of its keys
        found: Properties = {name: there[path] for name, path in self.outputs.items() if path in there}
        if not state:  # an import: what its ARN and attributes tell
            told = {"topic": "TopicArn", "protocol": "Protocol", "endpoint": "Endpoint"}
            found |= {name: there[member] for name, member in told.items() if name in self.props and member in there}
            if self.name is not None:
                found["name"] = str(there["TopicArn"]).rsplit(":", 1)[-1]
        for name, member in self.attributes.items():
            if name in state or not state or self.props[name].computed:
                text, old = there.get(member), state.get(name)
                unsaid = text is None and not old
                unchanged = old is not None and (
                    unsaid or (text is not None and self.props[name].same(_text(old), text))
                )
                found[name] = old if unchanged else text
        return found


def _text(value: Plain) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


_FEEDBACK = {
    f"{spelled}{end}": f"{member}{end[0].upper()}{end[1:]}"
    for spelled, member in (
        ("application", "Application"),
        ("firehose", "Firehose"),
        ("http", "HTTP"),
        ("lambda", "Lambda"),
        ("sqs", "SQS"),
    )
    for end in ("FailureFeedbackRoleArn", "SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate")
}
_TOPIC = {
    "archivePolicy": "ArchivePolicy",
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deliveryPolicy": "DeliveryPolicy",
    "displayName": "DisplayName",
    "fifoThroughputScope": "FifoThroughputScope",
    "fifoTopic": "FifoTopic",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "maximumMessageSize": "MaximumMessageSize",
    "policy": "Policy",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
    **_FEEDBACK,
}
_COMPUTED = {"fifoThroughputScope", "maximumMessageSize", "signatureVersion", "tracingConfig"}
_JSON = {"archivePolicy", "deliveryPolicy"}


@dataclass(frozen=True, kw_only=True)
class TopicType(AttributesType):
    """A topic's ARN is made from its name."""

    def recover(self, aws: Aws, inputs: Properties, timeout_s: float) -> str:
        """The ARN of the topic of that name, from the list of all."""
        del timeout_s
        arns = _listed(self, aws, "ListTopics", {}, inputs, "Topics")
        return next((arn["TopicArn"] for arn in arns if arn["TopicArn"].rpartition(":")[2] == inputs["name"]), "")


def _listed(
    kind: ResourceType, aws: Aws, operation: str, params: Mapping[str, str], state: Properties, member: str
) -> Iterator[dict[str, str]]:
    """What a paginated operation lists."""
    token: dict[str, str] = {}
    while True:
        answer = kind.call(aws, operation, {**params, **token}, state)
        yield from answer.get(member, [])
        if not answer.get("NextToken"):
            return
        token = {"NextToken": answer["NextToken"]}


TOPIC = TopicType(
    pulumi_type="aws:sns/topic:Topic",
    service="sns",
    create="CreateTopic",
    read="GetTopicAttributes",
    delete="DeleteTopic",
    set_attribute="SetTopicAttributes",
    key=("arn",),
    key_members={"arn": "TopicArn"},
    id_output="TopicArn",
    found="Attributes",
    name=AutoName(limit=256),
    tagging=Tagging(add="TagResource", remove="UntagResource", list="ListTagsForResource", target="ResourceArn"),
    attributes=_TOPIC,
    outputs={"arn": "TopicArn", "owner": "Owner"},
    props={
        **{name: Prop(sent=False, computed=name in _COMPUTED, json=name in _JSON) for name in _TOPIC},
        **props(
            "name!",
            namePrefix=Prop(replaces=True, sent=False),
            policy=Prop(sent=False, computed=True, json=True),
            fifoTopic=Prop(sent=False, replaces=True, default=False),
        ),
    },
)

_SUBSCRIPTION = {
    "deliveryPolicy": "DeliveryPolicy",
    "filterPolicy": "FilterPolicy",
    "filterPolicyScope": "FilterPolicyScope",
    "rawMessageDelivery": "RawMessageDelivery",
    "redrivePolicy": "RedrivePolicy",
    "replayPolicy": "ReplayPolicy",
    "subscriptionRoleArn": "SubscriptionRoleArn",
}


@dataclass(frozen=True, kw_only=True)
class SubscriptionType(AttributesType):
    """A subscription, whose ARN is asked for although nobody has confirmed it yet."""

    def encoded(self, operation: str, inputs: Properties, issues: list[Issue]) -> dict[str, Any]:
        """The parameters of an operation; `create` answers the ARN at once."""
        params = super().encoded(operation, inputs, issues)
        return params | ({"ReturnSubscriptionArn": True} if operation == self.create else {})

    def recover(self, aws: Aws, inputs: Properties, timeout_s: float) -> str:
        """The ARN of the topic's subscription with that protocol and endpoint."""
        del timeout_s
        topic = {"TopicArn": str(inputs["topic"])}
        wanted = (inputs["protocol"], inputs["endpoint"])
        found = _listed(self, aws, "ListSubscriptionsByTopic", topic, inputs, "Subscriptions")
        return next((one["SubscriptionArn"] for one in found if (one["Protocol"], one["Endpoint"]) == wanted), "")


SUBSCRIPTION = SubscriptionType(
    pulumi_type="aws:sns/topicSubscription:TopicSubscription",
    service="sns",
    create="Subscribe",
    read="GetSubscriptionAttributes",
    delete="Unsubscribe",
    set_attribute="SetSubscriptionAttributes",
    key=("arn",),
    key_members={"arn": "SubscriptionArn"},
    id_output="SubscriptionArn",
    found="Attributes",
    attributes=_SUBSCRIPTION,
    outputs={"arn": "SubscriptionArn", "ownerId": "Owner"},
    props={
        **{
            name: Prop(sent=False, computed=name == "filterPolicyScope", json=name.endswith("Policy"))
            for name in _SUBSCRIPTION
        },
        **props(
            "endpoint!* protocol!*",
            topic=Prop(member="TopicArn", replaces=True, required=True),
            rawMessageDelivery=Prop(sent=False, default=False),
            confirmationTimeoutInMinutes=Prop(sent=False, default=1),
            endpointAutoConfirms=Prop(sent=False, default=False),
        ),
    },
)

TYPES = (TOPIC, SUBSCRIPTION)
