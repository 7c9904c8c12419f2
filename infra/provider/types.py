"""How a resource type is declared, and the operations that follow from its declaration.

A type is mostly data: which API operations make, find, change and end it, which properties identify it, which ones make
AWS (that is, the real provider) replace it. `ResourceType` does the rest with botocore's service model. A type that
AWS treats in a way of its own overrides one of the four operations, in the file of its service.
"""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.provider.aws import Aws
from infra.provider.errors import AwsError, ProviderError
from infra.provider.naming import AutoName
from infra.provider.props import REGION, TAGS, Prop
from infra.provider.reading import dig
from infra.provider.shapes import Issue, decode, encode, find_member, input_shape, output_shape
from infra.provider.tagging import Tagging
from infra.provider.values import Plain, Properties


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """A type of the `aws` package, by its Pulumi type name.

    `key`: the properties that identify a resource; sent with every call, joined by `separator` they are its id.
    `id_output`: where `create` answers the id, when AWS makes it. `body`: the member of create and update that takes
    the other properties, when it is not the request itself. `found`: where `read` answers the resource.
    `key_members`: in `read` and `delete`, members of the key whose names differ there; `Names[]` takes a list.
    `outputs`: what AWS computes: property -> path in what `read` found. `also`: further parameters of `read`.
    """

    pulumi_type: str
    service: str
    props: Mapping[str, Prop]
    create: str
    read: str
    delete: str
    update: str = ""
    key: tuple[str, ...] = ("name",)
    separator: str = ":"
    id_output: str = ""
    key_members: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    found: str = ""
    also: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    name: AutoName | None = None
    tagging: Tagging | None = None
    regional: bool = True

    @property
    def inputs(self) -> dict[str, Prop]:
        """All input properties, with those that every type has."""
        own = dict(self.props)
        if self.tagging is not None:
            own["tags"] = TAGS
        if self.regional:
            own["region"] = REGION
        return own

    # -- the four operations ---------------------------------------------------------------------------------------

    def make(self, aws: Aws, inputs: Properties, tags: Mapping[str, str], timeout_s: float) -> str:
        """Create the resource; the answer is its id."""
        del timeout_s  # only types that become ready over time have a use for it
        params = self.request(self.create, inputs)
        if self.tagging is not None and self.tagging.at_creation:
            params |= self.tagging.request(self.service, self.create, tags)
        answer = self.call(aws, self.create, params, inputs)
        made = str(dig(answer, self.id_output)) if self.id_output else self.identify(inputs)
        if self.tagging is not None and not self.tagging.at_creation:
            self.tagging.update(aws, self, made, inputs, {}, tags)
        return made

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """What AWS has of the resource, in the form that `state` has it; None when it does not exist."""
        try:
            params = {**self.key_request(self.read, resource_id, state), **self.also}
            answer = self.call(aws, self.read, params, state)
        except AwsError as error:
            if error.missing:
                return None
            raise
        there = dig(answer, self.found)
        if not isinstance(there, dict):
            return None
        shape = dig_shape(output_shape(self.service, self.read), self.found)
        return self.decoded(shape, there, state)

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Make the resource what `news` says, in place (tags excepted)."""
        del timeout_s
        if not self.update or all(prop.same(olds.get(name), news.get(name)) for name, prop in self.sent_props()):
            return
        params = self.request(self.update, news, self.key_values(resource_id, olds))
        self.call(aws, self.update, params, olds)

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Delete the resource; one that is gone already is fine."""
        del timeout_s
        try:
            self.call(aws, self.delete, self.key_request(self.delete, resource_id, state), state)
        except AwsError as error:
            if not error.missing:
                raise

    def recover(self, aws: Aws, inputs: Properties, timeout_s: float) -> str:
        """The id of what an interrupted creation with these inputs may have made; find tells whether it did.

        Raises:
            ProviderError: AWS makes the id, and nothing that is known here leads to it.
        """
        del aws, timeout_s  # only types whose id AWS makes, or that become ready over time, have a use for them
        if self.id_output:
            raise ProviderError(
                f"{self.pulumi_type} has no name by which to look for it: where it was made, delete it by hand"
            )
        return self.identify(inputs)

    # -- building blocks -------------------------------------------------------------------------------------------

    def call(self, aws: Aws, operation: str, params: Mapping[str, Any], state: Properties) -> dict[str, Any]:
        """A call of this type's service in the resource's region."""
        region = state.get("region")
        return aws.call(self.service, operation, params, region=region if isinstance(region, str) else None)

    def sent_props(self) -> Iterator[tuple[str, Prop]]:
        """The properties that the generic calls carry."""
        return ((name, prop) for name, prop in self.props.items() if prop.sent)

    def request(self, operation: str, inputs: Properties, key: Properties | None = None) -> dict[str, Any]:
        """The parameters of `create` or `update`. Properties that the operation does not take are left out.

        Raises:
            ProviderError: a value does not fit; `check` finds the same before anything is done.
        """
        issues: list[Issue] = []
        params = self.encoded(operation, inputs | (key or {}), issues)
        if issues:
            raise ProviderError("; ".join(f"{issue.path} {issue.reason}" for issue in issues))
        return params

    def encoded(self, operation: str, inputs: Properties, issues: list[Issue]) -> dict[str, Any]:
        """The parameters of an operation, with everything that does not fit in `issues`."""
        shape = input_shape(self.service, operation)
        inner = shape.members.get(self.body, shape)
        params: dict[str, Any] = {}
        body: dict[str, Any] = {}
        for name, prop in self.sent_props():
            value = inputs.get(name)
            if value is None:
                continue
            for place, target in (
                ((shape, params), (inner, body)) if name in self.key else ((inner, body), (shape, params))
            ):
                member = self.member(place, name)
                if member is not None:
                    value = prop.forth(value) if prop.forth else value
                    target[member] = encode(place.members[member], value, name, issues)
                    break
        if inner is shape:
            return params | body
        params[self.body] = body
        return params

    def member(self, shape: Any, name: str) -> str | None:
        """The member of the shape that a property is."""
        declared = self.props[name].member if name in self.props else ""
        return declared if declared in shape.members else find_member(shape, name, singular=True)

    def identify(self, inputs: Properties) -> str:
        """The id that follows from the key."""
        return self.separator.join(str(inputs[name]) for name in self.key)

    def key_values(self, resource_id: str, state: Properties) -> Properties:
        """The key's values: from the state, or from the id of a resource that is being imported.

        Raises:
            ProviderError: the id has not as many parts as the key.
        """
        if all(isinstance(state.get(name), str) for name in self.key):
            return {name: state[name] for name in self.key}
        parts = resource_id.split(self.separator, len(self.key) - 1)
        if len(parts) != len(self.key):
            form = self.separator.join(f"<{name}>" for name in self.key)
            raise ProviderError(f"{self.pulumi_type}: the id {resource_id!r} is not of the form {form}")
        return dict(zip(self.key, parts, strict=True))

    def key_request(self, operation: str, resource_id: str, state: Properties) -> dict[str, Any]:
        """The parameters of `read` or `delete`: the key alone."""
        shape = input_shape(self.service, operation)
        params: dict[str, Any] = {}
        for name, value in self.key_values(resource_id, state).items():
            for member in (*self.key_members.get(name, "").split(), self.member(shape, name)):
                if member and member.removesuffix("[]") in shape.members:
                    params[member.removesuffix("[]")] = [value] if member.endswith("[]") else value
                    break
        return params

    def decoded(self, shape: Any, there: Mapping[str, Any], state: Properties) -> Properties:
        """Input and output properties out of what `read` found."""
        found: Properties = {}
        for name, prop in self.sent_props():
            member = self.member(shape, name)
            if member is None:
                continue  # AWS takes it and never tells: what the state has stays
            actual: Plain = None
            if there.get(member) is not None:
                like = {} if prop.pairs else state.get(name)
                like = prop.forth(like) if prop.forth and like is not None else like
                actual = decode(shape.members[member], there[member], like)
                if isinstance(actual, list) and len(actual) == 1 and member.lower() == f"{name}s".lower():
                    actual = actual[0]  # `rule` for a list of rules that has never more than one
                elif isinstance(actual, dict) and name.lower() == f"{member}s".lower():
                    actual = [actual]  # and the reverse: Pulumi's list of one
                actual = prop.back(actual) if prop.back else actual
                actual = json_text.dumps(actual) if prop.json and isinstance(actual, dict) else actual
            old = state.get(name)
            unsaid = actual is None and not old  # false, 0 and empty texts are what AWS likes to leave out
            found[name] = old if old is not None and (unsaid or prop.same(old, actual)) else actual
        for name, path in self.outputs.items():
            value = dig(there, path)
            if value is not None:
                found[name] = value.isoformat() if isinstance(value, datetime) else value
        return found


def dig_shape(shape: Any, path: str) -> Any:
    """The shape at a dotted path; a number steps into a list."""
    for step in filter(None, path.split(".")):
        shape = shape.member if step.isdigit() else shape.members[step]
    return shape
