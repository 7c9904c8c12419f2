"""Tags: the same for a program in every service, told differently in every API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.provider.aws import Aws
from infra.provider.errors import AwsError
from infra.provider.reading import dig
from infra.provider.shapes import find_member, input_shape, output_shape, pair_members
from infra.provider.values import Properties

if TYPE_CHECKING:
    from infra.provider.types import ResourceType


@dataclass(frozen=True, kw_only=True)
class Tagging:
    """The calls that add, remove and list tags, and the member that names the resource in them.

    `by` is the property that this member takes; `id` is the resource's id.
    """

    add: str
    remove: str
    list: str
    target: str
    by: str = "arn"
    at_creation: bool = True

    def request(self, service: str, operation: str, tags: Mapping[str, str]) -> dict[str, Any]:
        """The tags as the operation's own member takes them: pairs or a map; nothing when there are none."""
        if not tags:
            return {}
        shape = input_shape(service, operation)
        member = find_member(shape, "tags")
        if member is None:
            raise KeyError(f"{service} {operation} takes no tags")
        pair = pair_members(shape.members[member].member) if shape.members[member].type_name == "list" else None
        if pair is None:
            return {member: dict(tags)}
        return {member: [{pair[0]: key, pair[1]: value} for key, value in tags.items()]}

    def update(
        self,
        aws: Aws,
        kind: ResourceType,
        resource_id: str,
        state: Properties,
        olds: Mapping[str, str],
        news: Mapping[str, str],
    ) -> None:
        """Make the resource's tags `news`, where they were `olds`."""
        target = self._target(resource_id, state)
        gone = sorted(olds.keys() - news.keys())
        changed = {key: value for key, value in news.items() if olds.get(key) != value}
        if gone:
            members = input_shape(kind.service, self.remove).members
            keys = next(name for name in members if name != self.target)
            kind.call(aws, self.remove, target | {keys: gone}, state)
        if changed:
            kind.call(aws, self.add, target | self.request(kind.service, self.add, changed), state)

    def find(self, aws: Aws, kind: ResourceType, resource_id: str, state: Properties) -> dict[str, str] | None:
        """The tags that the resource has; None where the cloud cannot tell (moto has no tag calls for scaling)."""
        try:
            answer = kind.call(aws, self.list, self._target(resource_id, state), state)
        except AwsError as error:
            if error.missing:
                return {}
            if error.unimplemented:
                return None
            raise
        member = next(name for name in output_shape(kind.service, self.list).members if name.lower().startswith("tag"))
        tags = dig(answer, member) or {}
        if isinstance(tags, dict):
            return dict(tags)
        pair = pair_members(output_shape(kind.service, self.list).members[member].member)
        return {} if pair is None else {tag[pair[0]]: tag.get(pair[1], "") for tag in tags}

    def _target(self, resource_id: str, state: Properties) -> dict[str, Any]:
        return {self.target: resource_id if self.by == "id" else state[self.by]}
