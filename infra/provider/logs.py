"""CloudWatch Logs: log groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.provider.aws import Aws
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Properties


@dataclass(frozen=True, kw_only=True)
class LogGroupType(ResourceType):
    """How long a group keeps its events is set by a call of its own; groups are found by a prefix of their names."""

    def make(self, aws: Aws, inputs: Properties, tags: Mapping[str, str], timeout_s: float) -> str:
        """Create the group, then say how long it keeps its events."""
        name = super().make(aws, inputs, tags, timeout_s)
        self.change(aws, name, {}, inputs, timeout_s)
        return name

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """The group of exactly this name."""
        params = {"logGroupNamePrefix": resource_id}
        while True:
            answer = self.call(aws, self.read, params, state)
            for group in answer.get("logGroups", []):
                if group["logGroupName"] == resource_id:
                    found: Properties = {"name": resource_id, "arn": group["arn"].removesuffix(":*")}
                    found["retentionInDays"] = group.get("retentionInDays", 0)
                    found["kmsKeyId"] = group.get("kmsKeyId")
                    found["logGroupClass"] = group.get("logGroupClass", state.get("logGroupClass"))
                    return found
            if "nextToken" not in answer:
                return None
            params["nextToken"] = answer["nextToken"]

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Set or lift the time that events are kept (0 days: for ever), and the key after creation."""
        del timeout_s
        target = {"logGroupName": resource_id}
        before, after = olds.get("retentionInDays") or 0, news.get("retentionInDays") or 0
        if before != after and after:
            self.call(aws, "PutRetentionPolicy", target | {"retentionInDays": after}, olds)
        elif before != after:
            self.call(aws, "DeleteRetentionPolicy", target, olds)
        if olds and olds.get("kmsKeyId") != news.get("kmsKeyId"):
            key = news.get("kmsKeyId")
            operation, params = ("AssociateKmsKey", {"kmsKeyId": key}) if key else ("DisassociateKmsKey", {})
            self.call(aws, operation, target | params, olds)


LOG_GROUP = LogGroupType(
    pulumi_type="aws:cloudwatch/logGroup:LogGroup",
    service="logs",
    create="CreateLogGroup",
    read="DescribeLogGroups",
    delete="DeleteLogGroup",
    found="logGroups.0",
    name=AutoName(limit=512),
    tagging=Tagging(add="TagResource", remove="UntagResource", list="ListTagsForResource", target="resourceArn"),
    outputs={"arn": "arn"},
    props=props(
        "kmsKeyId",
        name=Prop(member="logGroupName", replaces=True),
        namePrefix=Prop(replaces=True, sent=False),
        logGroupClass=Prop(replaces=True, computed=True),
        retentionInDays=Prop(sent=False, default=0),
        skipDestroy=Prop(unsupported="leave it out: `pulumi.ResourceOptions(retain_on_delete=True)` does the same"),
        deletionProtectionEnabled=Prop(unsupported="the embedded AWS does not protect log groups"),
    ),
)

TYPES = (LOG_GROUP,)
