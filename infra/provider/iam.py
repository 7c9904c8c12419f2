"""IAM: roles, their inline policies, managed policies and attachments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.provider.aws import Aws
from infra.provider.errors import AwsError
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.reading import dig
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Plain, Properties


@dataclass(frozen=True, kw_only=True)
class RoleType(ResourceType):
    """A role changes by several calls, and may carry policies of which AWS keeps separate lists."""

    def make(self, aws: Aws, inputs: Properties, tags: Mapping[str, str], timeout_s: float) -> str:
        """Create the role with the policies that its declaration names."""
        name = super().make(aws, inputs, tags, timeout_s)
        self._policies(aws, name, {}, inputs)
        return name

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """The role; its policies only where the declaration names them, since other resources attach some as well."""
        found = super().find(aws, resource_id, state)
        if found is None:
            return None
        target = {"RoleName": resource_id}
        if state.get("managedPolicyArns"):
            attached = self.call(aws, "ListAttachedRolePolicies", target, state)["AttachedPolicies"]
            found["managedPolicyArns"] = [policy["PolicyArn"] for policy in attached]
        if state.get("inlinePolicies"):
            found["inlinePolicies"] = [
                self._inline(aws, resource_id, name, state)
                for name in self.call(aws, "ListRolePolicies", target, state)["PolicyNames"]
            ]
            if self.props["inlinePolicies"].same(_by_name(state["inlinePolicies"]), _by_name(found["inlinePolicies"])):
                found["inlinePolicies"] = state["inlinePolicies"]
        return found

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Bring trust policy, description, session length, boundary and policies up to date."""
        del timeout_s
        target = {"RoleName": resource_id}
        changed = {name for name, prop in self.props.items() if not prop.same(olds.get(name), news.get(name))}
        if "assumeRolePolicy" in changed:
            self.call(aws, "UpdateAssumeRolePolicy", target | {"PolicyDocument": news["assumeRolePolicy"]}, olds)
        if changed & {"description", "maxSessionDuration"}:
            description = {"Description": str(news.get("description") or "")}
            self.call(aws, "UpdateRole", self.request("UpdateRole", news) | target | description, olds)
        if "permissionsBoundary" in changed:
            boundary = news.get("permissionsBoundary")
            if boundary:
                self.call(aws, "PutRolePermissionsBoundary", target | {"PermissionsBoundary": boundary}, olds)
            else:
                self.call(aws, "DeleteRolePermissionsBoundary", target, olds)
        self._policies(aws, resource_id, olds, news)

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Delete the role and the policies that its declaration names; with forceDetachPolicies, all of them."""
        try:
            if state.get("forceDetachPolicies"):
                everything: Properties = {"managedPolicyArns": [""], "inlinePolicies": [{}]}
                state = state | (self.find(aws, resource_id, state | everything) or {})
            self._policies(aws, resource_id, state, {})
        except AwsError as error:
            if error.missing:
                return
            raise
        super().end(aws, resource_id, state, timeout_s)

    def _policies(self, aws: Aws, name: str, olds: Properties, news: Properties) -> None:
        target = {"RoleName": name}
        before, after = _texts(olds.get("managedPolicyArns")), _texts(news.get("managedPolicyArns"))
        for arn in sorted(before - after):
            self._gone(aws, "DetachRolePolicy", target | {"PolicyArn": arn}, olds)
        for arn in sorted(after - before):
            self.call(aws, "AttachRolePolicy", target | {"PolicyArn": arn}, news)
        old_inline, new_inline = _by_name(olds.get("inlinePolicies")), _by_name(news.get("inlinePolicies"))
        for policy in sorted(old_inline.keys() - new_inline.keys()):
            self._gone(aws, "DeleteRolePolicy", target | {"PolicyName": policy}, olds)
        for policy, document in new_inline.items():
            if old_inline.get(policy) != document:
                self.call(aws, "PutRolePolicy", target | {"PolicyName": policy, "PolicyDocument": document}, news)

    def _gone(self, aws: Aws, operation: str, params: Mapping[str, Any], state: Properties) -> None:
        try:
            self.call(aws, operation, params, state)
        except AwsError as error:
            if not error.missing:
                raise

    def _inline(self, aws: Aws, role: str, name: str, state: Properties) -> Plain:
        document = self.call(aws, "GetRolePolicy", {"RoleName": role, "PolicyName": name}, state)["PolicyDocument"]
        return {"name": name, "policy": document if isinstance(document, str) else json.dumps(document)}


def _texts(value: Plain) -> set[str]:
    return {str(item) for item in value} if isinstance(value, list) else set()


def _by_name(value: Plain) -> dict[str, Plain]:
    policies = value if isinstance(value, list) else []
    return {str(each["name"]): each.get("policy") for each in policies if isinstance(each, dict) and "name" in each}


ROLE = RoleType(
    pulumi_type="aws:iam/role:Role",
    service="iam",
    create="CreateRole",
    read="GetRole",
    delete="DeleteRole",
    found="Role",
    name=AutoName(limit=64),
    regional=False,
    tagging=Tagging(add="TagRole", remove="UntagRole", list="ListRoleTags", target="RoleName", by="id"),
    outputs={"arn": "Arn", "createDate": "CreateDate", "uniqueId": "RoleId"},
    props=props(
        "description",
        name=Prop(member="RoleName", replaces=True),
        namePrefix=Prop(replaces=True, sent=False),
        path=Prop(replaces=True, default="/"),
        assumeRolePolicy=Prop(member="AssumeRolePolicyDocument", required=True, json=True),
        maxSessionDuration=Prop(default=3600),
        forceDetachPolicies=Prop(sent=False, default=False),
        permissionsBoundary=Prop(),
        managedPolicyArns=Prop(sent=False, computed=True),
        inlinePolicies=Prop(sent=False, computed=True),
    ),
)

ROLE_POLICY = ResourceType(
    pulumi_type="aws:iam/rolePolicy:RolePolicy",
    service="iam",
    create="PutRolePolicy",
    read="GetRolePolicy",
    update="PutRolePolicy",
    delete="DeleteRolePolicy",
    key=("role", "name"),
    name=AutoName(limit=128),
    regional=False,
    props=props(
        name=Prop(member="PolicyName", replaces=True),
        namePrefix=Prop(replaces=True, sent=False),
        role=Prop(member="RoleName", replaces=True, required=True),
        policy=Prop(member="PolicyDocument", json=True, required=True),
    ),
)


@dataclass(frozen=True, kw_only=True)
class AttachmentType(ResourceType):
    """IAM tells attachments only as a list."""

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """The attachment, when the role's list has it."""
        key = self.key_values(resource_id, state)
        try:
            attached = self.call(aws, self.read, {"RoleName": key["role"]}, state)
        except AwsError as error:
            if error.missing:
                return None
            raise
        arns = {policy["PolicyArn"] for policy in dig(attached, "AttachedPolicies") or []}
        return key if key["policyArn"] in arns else None


ROLE_POLICY_ATTACHMENT = AttachmentType(
    pulumi_type="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    service="iam",
    create="AttachRolePolicy",
    read="ListAttachedRolePolicies",
    delete="DetachRolePolicy",
    key=("role", "policyArn"),
    separator="/",
    regional=False,
    props=props("policyArn!*", role=Prop(member="RoleName", replaces=True, required=True)),
)

TYPES = (ROLE, ROLE_POLICY, ROLE_POLICY_ATTACHMENT)
