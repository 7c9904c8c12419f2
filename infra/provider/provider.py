"""The stand-in for Pulumi's AWS provider: the same types, on this machine's embedded AWS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import ClassVar

from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.property_value import PropertyValue

from infra.provider.aws import Aws, ClientFactory
from infra.provider.catalogue import TYPES
from infra.provider.config import problems, settings
from infra.provider.difference import Change, Kind
from infra.provider.errors import ConfigurationError, ProviderError
from infra.provider.invokes import INVOKES
from infra.provider.planning import DEFAULTS, completed, differences, named_by_program, tags_all
from infra.provider.state import after_create, after_interruption, after_read, after_update, planned
from infra.provider.types import ResourceType
from infra.provider.values import Plain, Properties, plain_map, property_map, property_value

_KINDS = {
    (Kind.ADD, False): p.PropertyDiffKind.ADD,
    (Kind.ADD, True): p.PropertyDiffKind.ADD_REPLACE,
    (Kind.DELETE, False): p.PropertyDiffKind.DELETE,
    (Kind.DELETE, True): p.PropertyDiffKind.DELETE_REPLACE,
    (Kind.UPDATE, False): p.PropertyDiffKind.UPDATE,
    (Kind.UPDATE, True): p.PropertyDiffKind.UPDATE_REPLACE,
}


class AwsProvider(p.Provider):
    """The package `aws`, for the types in `catalogue` and the functions in `invokes`.

    Either engine drives it: in process, or over gRPC as the plugin `pulumi-resource-aws`. Its calls go to the
    configured endpoints, which must be on this machine. Unknown values leave it as Pulumi's sentinel string.
    `client` replaces botocore's clients in tests.
    """

    name: ClassVar[str] = "aws"
    version: ClassVar[str] = version("pulumi-aws")

    def __init__(self, *, client: ClientFactory | None = None) -> None:
        self._client = client
        self._aws: Aws | None = None

    # -- the provider itself ---------------------------------------------------------------------------------------

    async def get_schema(self, request: p.GetSchemaRequest) -> p.GetSchemaResponse:
        """Name and version: the SDK in the program carries the types."""
        del request
        return p.GetSchemaResponse(schema=json.dumps({"name": self.name, "version": self.version}))

    async def check_config(self, request: p.CheckRequest) -> p.CheckResponse:
        """Refuse a configuration that lacks an address or leads away from this machine."""
        found = problems(plain_map(request.new_inputs))
        return p.CheckResponse(inputs=request.new_inputs, failures=[p.CheckFailure(*each) for each in found])

    async def configure(self, request: p.ConfigureRequest) -> p.ConfigureResponse:
        """Take the configuration; no AWS profile, file or environment variable is asked.

        Raises:
            ConfigurationError: it is incomplete, or an endpoint is not on loopback.
        """
        self._aws = Aws(settings(plain_map(request.args)), client=self._client)
        return p.ConfigureResponse(accept_secrets=True, supports_preview=True)

    async def cancel(self) -> None:
        """End all waiting; calls under way are answered first."""
        if self._aws is not None:
            self._aws.cancel()

    async def invoke(self, request: p.InvokeRequest) -> p.InvokeResponse:
        """Call a function of the package.

        Raises:
            ProviderError: there is no such function here, or AWS refuses.
        """
        function = INVOKES.get(request.tok)
        if function is None:
            raise ProviderError(
                f"the local provider has no function {request.tok}: it has {', '.join(sorted(INVOKES))}"
            )
        answer = await asyncio.to_thread(function, self.aws, plain_map(request.args))
        return p.InvokeResponse(return_value=property_map(answer, request.args))

    # -- resources -------------------------------------------------------------------------------------------------

    async def check(self, request: p.CheckRequest) -> p.CheckResponse:
        """Fill in defaults and the name; every problem is a failure that names its property."""
        kind = TYPES.get(_type(request.urn))
        if kind is None:
            reason = f"the local provider has no resource type {_type(request.urn)}: it has {', '.join(sorted(TYPES))}"
            return p.CheckResponse(inputs=request.new_inputs, failures=[p.CheckFailure("", reason)])
        news = _given(request.new_inputs)
        inputs, issues = completed(kind, request.name, plain_map(request.old_inputs), news, request.random_seed or b"")
        values = {name: property_value(value) for name, value in inputs.items()}
        for name, value in request.new_inputs.items():
            if inputs.get(name) == news.get(name) and name in inputs:
                values[name] = value  # as it came: its secrets, unknowns and dependencies with it
            elif name in inputs:
                values[name] = values[name].with_secret(is_secret=value.contains_secret())
        return p.CheckResponse(inputs=values, failures=[p.CheckFailure(issue.path, issue.reason) for issue in issues])

    async def diff(self, request: p.DiffRequest) -> p.DiffResponse:
        """What would change, property by property, and what replaces the resource, as the real provider plans."""
        kind = self._kind(_type(request.urn))
        news = plain_map(request.new_inputs)
        found = differences(
            kind,
            plain_map(request.old_state),
            news,
            request.ignore_changes,
            self.aws.settings.default_tags,
            self.aws.settings.region,
        )
        replaces = sorted({_top(change) for change, replacing in found.items() if replacing})
        return p.DiffResponse(
            changes=bool(found),
            replaces=replaces,
            diffs=sorted({_top(change) for change in found}),
            detailed_diff={
                change.path: p.PropertyDiff(_KINDS[change.kind, replacing], input_diff=False)
                for change, replacing in found.items()
            },
            delete_before_replace=bool(replaces) and named_by_program(kind, news),
        )

    async def create(self, request: p.CreateRequest) -> p.CreateResponse:
        """Make the resource. A preview returns what is known; what AWS computes is left out, so that it is unknown.

        Raises:
            ProviderError: AWS refuses, or what was made does not become ready; nothing half-made is left.
        """
        kind = self._kind(_type(request.urn))
        inputs = _given(request.properties)
        tags = tags_all(kind, inputs, self.aws.settings.default_tags)
        if request.preview:
            state = planned(kind, {}, inputs, tags, self.aws.settings.region)
            return p.CreateResponse(properties=property_map(state, request.properties))
        resource_id, state = await asyncio.to_thread(after_create, self.aws, kind, inputs, tags, request.timeout)
        return p.CreateResponse(resource_id=resource_id, properties=property_map(state, request.properties))

    async def read(self, request: p.ReadRequest) -> p.ReadResponse:
        """What AWS has now; an empty id when the resource is gone.

        Asked without an id, after a crash (see infra.engine.plugins): what an interrupted creation made.

        Raises:
            ProviderError: AWS refuses, or what is there is not ours.
        """
        kind = self._kind(_type(request.urn))
        if not request.resource_id:
            return await self._interrupted(kind, request)
        olds, inputs = _given(request.properties), plain_map(request.inputs)
        found = await asyncio.to_thread(after_read, self.aws, kind, request.resource_id, olds, inputs)
        if found is None:
            return p.ReadResponse(resource_id="")
        state, now = found
        return p.ReadResponse(
            resource_id=request.resource_id if kind.id_output else kind.identify(state),
            properties=property_map(state, request.properties),
            inputs=property_map(now, request.inputs),
        )

    async def update(self, request: p.UpdateRequest) -> p.UpdateResponse:
        """Make the resource what the new inputs say.

        Raises:
            ProviderError: AWS refuses, fails, or rolls the change back.
        """
        kind = self._kind(_type(request.urn))
        olds, news = _given(request.olds), _given(request.news)
        tags = tags_all(kind, news, self.aws.settings.default_tags)
        if request.preview:
            state = planned(kind, olds, news, tags, self.aws.settings.region)
        else:
            job = (self.aws, kind, request.resource_id, olds, news, tags, request.timeout)
            state = await asyncio.to_thread(after_update, *job)
        return p.UpdateResponse(properties=property_map(state, request.olds, request.news))

    async def delete(self, request: p.DeleteRequest) -> None:
        """End the resource; one that is gone already is fine."""
        kind = self._kind(_type(request.urn))
        await asyncio.to_thread(kind.end, self.aws, request.resource_id, _given(request.properties), request.timeout)

    async def _interrupted(self, kind: ResourceType, request: p.ReadRequest) -> p.ReadResponse:
        inputs = plain_map(request.inputs)
        given = _given(request.inputs)
        tags = tags_all(kind, given, self.aws.settings.default_tags)
        found = await asyncio.to_thread(after_interruption, self.aws, kind, inputs, tags)
        if found is None:
            return p.ReadResponse(resource_id="")
        made, state = found
        state.pop(DEFAULTS, None)
        return p.ReadResponse(made, property_map(state, request.inputs), dict(request.inputs))

    # -- helpers ---------------------------------------------------------------------------------------------------

    @property
    def aws(self) -> Aws:
        """The connection.

        Raises:
            ConfigurationError: the engine has not configured the provider.
        """
        if self._aws is None:
            raise ConfigurationError("the provider is not configured: aws:region, aws:endpoints and keys are needed")
        return self._aws

    @staticmethod
    def _kind(pulumi_type: str) -> ResourceType:
        kind = TYPES.get(pulumi_type)
        if kind is None:
            raise ProviderError(f"the local provider has no resource type {pulumi_type}")
        return kind


def _given(values: Mapping[str, PropertyValue]) -> Properties:
    found: dict[str, Plain] = plain_map(values)
    found.pop(DEFAULTS, None)
    return found


def _type(urn: str) -> str:
    """The resource's own type: a URN names those of its parents before it."""
    return urn.split("::")[-2].rsplit("$", 1)[-1]


def _top(change: Change) -> str:
    return change.path.split(".", 1)[0].split("[", 1)[0]
