"""KMS: keys and their aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.provider.aws import Aws
from infra.provider.errors import AwsError
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.shapes import output_shape
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType, dig_shape
from infra.provider.values import Properties

DELETION_DAYS = 30  # AWS's own waiting period where none is given


@dataclass(frozen=True, kw_only=True)
class KeyType(ResourceType):
    """A key has a call for each of its settings, and is never deleted at once: it waits for its end."""

    def make(self, aws: Aws, inputs: Properties, tags: Mapping[str, str], timeout_s: float) -> str:
        """Create the key, then make rotation and state as declared."""
        made = super().make(aws, inputs, tags, timeout_s)
        fresh: Properties = {"isEnabled": True, "enableKeyRotation": False}
        kept: Properties = {name: inputs[name] for name in ("description", "policy") if name in inputs}
        self.change(aws, made, {**fresh, **kept}, inputs, timeout_s)
        return made

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """The key with its policy and rotation; one that waits for its deletion is gone."""
        target = {"KeyId": resource_id}
        try:
            metadata = self.call(aws, self.read, target, state)["KeyMetadata"]
        except AwsError as error:
            if error.missing:
                return None
            raise
        if metadata["KeyState"] in ("PendingDeletion", "PendingReplicaDeletion"):
            return None
        found = self.decoded(dig_shape(output_shape(self.service, self.read), self.found), metadata, state)
        policy = self.call(aws, "GetKeyPolicy", {**target, "PolicyName": "default"}, state)["Policy"]
        found["policy"] = state["policy"] if self.props["policy"].same(state.get("policy"), policy) else policy
        found["isEnabled"] = metadata["Enabled"]
        rotates = self.call(aws, "GetKeyRotationStatus", target, state).get("KeyRotationEnabled", False)
        return found | {"enableKeyRotation": rotates}

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Bring description, policy, rotation and state up to date; a disabled key takes none of the others."""
        del timeout_s
        target = {"KeyId": resource_id}
        changed = {name for name, prop in self.props.items() if not prop.same(olds.get(name), news.get(name))}
        if "isEnabled" in changed and news.get("isEnabled") is not False:
            self.call(aws, "EnableKey", target, olds)
        if "description" in changed:
            text = str(news.get("description") or "")
            self.call(aws, "UpdateKeyDescription", target | {"Description": text}, olds)
        if "policy" in changed:
            self.call(aws, "PutKeyPolicy", target | {"PolicyName": "default", "Policy": news["policy"]}, olds)
        if changed & {"enableKeyRotation", "rotationPeriodInDays"}:
            period = {"RotationPeriodInDays": news["rotationPeriodInDays"]} if news.get("rotationPeriodInDays") else {}
            if news.get("enableKeyRotation"):
                self.call(aws, "EnableKeyRotation", target | period, olds)
            else:
                self.call(aws, "DisableKeyRotation", target, olds)
        if "isEnabled" in changed and news.get("isEnabled") is False:
            self.call(aws, "DisableKey", target, olds)

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Schedule the deletion; a key for which that has been done is fine."""
        del timeout_s
        if self.find(aws, resource_id, state) is None:
            return
        days = state.get("deletionWindowInDays") or DELETION_DAYS
        self.call(aws, self.delete, {"KeyId": resource_id, "PendingWindowInDays": days}, state)


KEY = KeyType(
    pulumi_type="aws:kms/key:Key",
    service="kms",
    create="CreateKey",
    read="DescribeKey",
    delete="ScheduleKeyDeletion",
    key=("keyId",),
    id_output="KeyMetadata.KeyId",
    found="KeyMetadata",
    tagging=Tagging(add="TagResource", remove="UntagResource", list="ListResourceTags", target="KeyId", by="id"),
    outputs={"arn": "Arn", "keyId": "KeyId"},
    props=props(
        "customKeyStoreId! xksKeyId!",
        bypassPolicyLockoutSafetyCheck=Prop(default=False),
        customerMasterKeySpec=Prop(replaces=True, member="KeySpec", default="SYMMETRIC_DEFAULT"),
        deletionWindowInDays=Prop(sent=False),
        description=Prop(computed=True),
        enableKeyRotation=Prop(sent=False, default=False),
        isEnabled=Prop(sent=False, default=True),
        keyUsage=Prop(replaces=True, default="ENCRYPT_DECRYPT"),
        multiRegion=Prop(replaces=True, computed=True),
        policy=Prop(json=True, computed=True),
        rotationPeriodInDays=Prop(sent=False, computed=True),
    ),
)


@dataclass(frozen=True, kw_only=True)
class AliasType(ResourceType):
    """KMS tells aliases only as a list."""

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """The alias, from the list of all."""
        params: dict[str, str] = {}
        while True:
            answer = self.call(aws, self.read, params, state)
            for alias in answer["Aliases"]:
                if alias["AliasName"] == resource_id and alias.get("TargetKeyId"):
                    return self._told(aws, alias, state)
            if not answer.get("Truncated"):
                return None
            params = {"Marker": answer["NextMarker"]}

    def _told(self, aws: Aws, alias: Mapping[str, str], state: Properties) -> Properties | None:
        try:
            key = self.call(aws, "DescribeKey", {"KeyId": alias["TargetKeyId"]}, state)["KeyMetadata"]
        except AwsError as error:
            if error.missing:
                return None
            raise
        told = state.get("targetKeyId")  # a program names the key by id or by ARN
        target = told if told in (key["KeyId"], key["Arn"]) else key["KeyId"]
        return {"name": alias["AliasName"], "arn": alias["AliasArn"], "targetKeyArn": key["Arn"], "targetKeyId": target}


ALIAS = AliasType(
    pulumi_type="aws:kms/alias:Alias",
    service="kms",
    create="CreateAlias",
    read="ListAliases",
    update="UpdateAlias",
    delete="DeleteAlias",
    name=AutoName(limit=256, start="alias/"),
    outputs={"arn": "Aliases.0.AliasArn", "targetKeyArn": "Aliases.0.TargetKeyId"},
    props=props(
        "targetKeyId*",
        name=Prop(member="AliasName", replaces=True),
        namePrefix=Prop(replaces=True, sent=False),
    ),
)

TYPES = (KEY, ALIAS)
