"""Transforms: functions of the program that may change a resource before it is registered.

The program's SDK serves them over gRPC on loopback (pulumi/proto/pulumi/callback.proto), and registers a resource with
the addresses of its own; those of its ancestors and of the stack follow, in that order. Mirrors RegisterResource of
the real engine (pkg/resource/deploy/source_eval.go): values carry what they depend on as output values, and where a
resource has transforms of its own, its dependencies are what comes back from them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final

import grpc
from google.protobuf import struct_pb2
from pulumi.runtime.proto import alias_pb2, callback_pb2, callback_pb2_grpc, resource_pb2

from infra.engine.errors import EngineError
from infra.engine.values import OUTPUT, SECRET, SIGNATURE, UNKNOWN_TEXT

Request = resource_pb2.RegisterResourceRequest
Options = resource_pb2.TransformResourceOptions
Call = tuple[str, str]
"""Where a function is served, and its token."""

_SAME: Final = (  # options that both messages have: name in the request, name in the options
    ("ignoreChanges", "ignore_changes"), ("replaceOnChanges", "replace_on_changes"), ("version", "version"),
    ("provider", "provider"), ("pluginDownloadURL", "plugin_download_url"), ("deletedWith", "deleted_with"),
    ("additionalSecretOutputs", "additional_secret_outputs"), ("dependencies", "depends_on"),
    ("replace_with", "replace_with"), ("importId", "import"),
)  # fmt: skip
_MESSAGES: Final = (
    ("customTimeouts", "custom_timeouts"), ("hooks", "hooks"), ("replacement_trigger", "replacement_trigger"),
)  # fmt: skip
_FLAGS: Final = (("protect", "protect"), ("retainOnDelete", "retain_on_delete"))


class Transforms:
    """The transforms of one run of a program. Its methods are called from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stubs: dict[str, callback_pb2_grpc.CallbacksStub] = {}
        self._channels: list[grpc.Channel] = []
        self._parents: dict[str, str] = {}
        self._own: dict[str, tuple[Call, ...]] = {}
        self._stack: tuple[Call, ...] = ()
        self._invokes: tuple[Call, ...] = ()

    def for_stack(self, callback: callback_pb2.Callback) -> None:
        """Every resource that is registered from now on goes through this function."""
        with self._lock:
            self._stack = (*self._stack, (callback.target, callback.token))

    def for_invokes(self, callback: callback_pb2.Callback) -> None:
        """Every call of a provider's function from now on goes through this function."""
        with self._lock:
            self._invokes = (*self._invokes, (callback.target, callback.token))

    def registered(self, urn: str, request: Request) -> None:
        """Remembers a resource: its transforms are its descendants' as well."""
        with self._lock:
            self._parents[urn] = request.parent
            if request.transforms:
                self._own[urn] = _calls(request.transforms)

    def apply(self, request: Request) -> Request:
        """The request as the program's transforms want it; itself where there are none.

        Raises:
            EngineError: a transform raised.
        """
        own = _calls(request.transforms)
        with self._lock:
            calls = (*own, *self._inherited(request.parent), *self._stack)
        if not calls:
            return request
        properties = struct_pb2.Struct()
        for name, value in request.object.fields.items():
            upgraded = _upgraded(value)
            urns = request.propertyDependencies[name].urns if name in request.propertyDependencies else ()
            properties.fields[name].CopyFrom(_depending(upgraded, urns) if own and urns else upgraded)
        options = _options(request)
        for call in calls:
            sent = resource_pb2.TransformRequest(
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                properties=properties,
                options=options,
            )
            answer = resource_pb2.TransformResponse.FromString(self._call(call, sent, f"resource {request.name!r}"))
            properties = answer.properties if answer.HasField("properties") else properties
            options = answer.options if answer.HasField("options") else options
        return _rewritten(request, properties, options, redepend=bool(own))

    def apply_to_invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeRequest:
        """A call of a provider's function as the program's transforms want it.

        Raises:
            EngineError: a transform raised.
        """
        with self._lock:
            calls = self._invokes
        if not calls:
            return request
        args = request.args
        options = resource_pb2.TransformInvokeOptions(provider=request.provider, version=request.version)
        for call in calls:
            sent = resource_pb2.TransformInvokeRequest(token=request.tok, args=args, options=options)
            answer = resource_pb2.TransformInvokeResponse.FromString(self._call(call, sent, f"function {request.tok}"))
            args = answer.args if answer.HasField("args") else args
            options = answer.options if answer.HasField("options") else options
        changed = resource_pb2.ResourceInvokeRequest()
        changed.CopyFrom(request)
        changed.args.CopyFrom(args)
        changed.provider, changed.version = options.provider, options.version
        return changed

    def close(self) -> None:
        """Hangs up: the program that served the functions has ended."""
        for channel in self._channels:
            channel.close()

    def _inherited(self, urn: str) -> Iterator[Call]:
        while urn:
            yield from self._own.get(urn, ())
            urn = self._parents.get(urn, "")

    def _call(self, call: Call, message: Any, what: str) -> bytes:
        target, token = call
        with self._lock:
            stub = self._stubs.get(target)
            if stub is None:
                channel = grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)])
                self._channels.append(channel)
                stub = self._stubs[target] = callback_pb2_grpc.CallbacksStub(channel)
        sent = callback_pb2.CallbackInvokeRequest(token=token, request=message.SerializeToString())
        try:
            answer: bytes = stub.Invoke(sent).response
        except grpc.RpcError as error:
            told = str(error.details() if isinstance(error, grpc.Call) else error)
            raise EngineError(f"a transform of {what} raised: {told}; correct the program") from error
        return answer


def _calls(callbacks: Iterable[callback_pb2.Callback]) -> tuple[Call, ...]:
    return tuple((callback.target, callback.token) for callback in callbacks)


def _options(request: Request) -> Options:
    aliases = [alias_pb2.Alias(urn=urn) for urn in request.aliasURNs]
    options = Options(aliases=[*aliases, *request.aliases], providers=dict(request.providers))
    for theirs, ours in _SAME:
        value = getattr(request, theirs)
        if not value:
            continue
        if isinstance(value, str):
            setattr(options, ours, value)
        else:
            getattr(options, ours).extend(value)
    for theirs, ours in _MESSAGES:
        if request.HasField(theirs):  # type: ignore[arg-type]
            getattr(options, ours).CopyFrom(getattr(request, theirs))
    for theirs, ours in _FLAGS:
        if request.HasField(theirs):  # type: ignore[arg-type]
            setattr(options, ours, getattr(request, theirs))
    if request.deleteBeforeReplaceDefined:
        options.delete_before_replace = request.deleteBeforeReplace
    return options


def _rewritten(request: Request, properties: struct_pb2.Struct, options: Options, *, redepend: bool) -> Request:
    """The request with what came back. `redepend`: its dependencies are those that the properties still carry."""
    new = Request()
    new.CopyFrom(request)
    for theirs, ours in _SAME:
        if theirs == "dependencies" and not redepend:
            continue
        new.ClearField(theirs)  # type: ignore[arg-type]
        value = getattr(options, ours)
        if isinstance(value, str):
            setattr(new, theirs, value)
        else:
            getattr(new, theirs).extend(value)
    for theirs, ours in (*_MESSAGES, *_FLAGS):
        new.ClearField(theirs)  # type: ignore[arg-type]
        if options.HasField(ours):  # type: ignore[arg-type]
            value = getattr(options, ours)
            if isinstance(value, bool):
                setattr(new, theirs, value)
            else:
                getattr(new, theirs).CopyFrom(value)
    new.ClearField("aliasURNs")
    new.ClearField("aliases")
    new.aliases.extend(options.aliases)
    new.deleteBeforeReplaceDefined = options.HasField("delete_before_replace")
    new.deleteBeforeReplace = options.delete_before_replace
    new.providers.clear()
    new.providers.update(options.providers)
    _depend(new, properties, redepend=redepend)
    new.object.CopyFrom(properties)
    return new


def _depend(new: Request, properties: struct_pb2.Struct, *, redepend: bool) -> None:
    """Enters what each property depends on now; properties that are gone depend on nothing."""
    if redepend:
        new.propertyDependencies.clear()
    for name, value in properties.fields.items():
        found = set(_dependencies(value))
        known = new.propertyDependencies[name].urns  # makes the entry
        new.propertyDependencies[name].urns[:] = sorted(found.union(known))
        if redepend:
            new.dependencies[:] = sorted(found.union(new.dependencies))


# --- output values ----------------------------------------------------------------------------------------------------


def _signature(value: struct_pb2.Value) -> str:
    fields = value.struct_value.fields
    return fields[SIGNATURE].string_value if SIGNATURE in fields else ""


def _output(inner: struct_pb2.Value | None, *, secret: bool, urns: Iterable[str] = ()) -> struct_pb2.Value:
    value = struct_pb2.Value()
    fields = value.struct_value.fields
    fields[SIGNATURE].string_value = OUTPUT
    if inner is not None:
        fields["value"].CopyFrom(inner)
    if secret:
        fields["secret"].bool_value = True
    named = sorted(set(urns))
    if named:
        fields["dependencies"].list_value.values.extend(struct_pb2.Value(string_value=urn) for urn in named)
    return value


def _upgraded(value: struct_pb2.Value) -> struct_pb2.Value:
    """The value with each secret and each unknown in it as an output value."""
    kind = value.WhichOneof("kind")
    if kind == "string_value" and value.string_value == UNKNOWN_TEXT:
        return _output(None, secret=False)
    if kind == "list_value":
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=map(_upgraded, value.list_value.values)))
    if kind != "struct_value":
        return value
    if _signature(value) == SECRET:
        inner = _upgraded(value.struct_value.fields["value"])
        if _signature(inner) != OUTPUT:
            return _output(inner, secret=True)
        inner.struct_value.fields["secret"].bool_value = True
        return inner
    upgraded = struct_pb2.Value()
    upgraded.struct_value.SetInParent()
    for name, field in value.struct_value.fields.items():
        upgraded.struct_value.fields[name].CopyFrom(_upgraded(field))
    return upgraded


def _depending(value: struct_pb2.Value, urns: Iterable[str]) -> struct_pb2.Value:
    """The value as an output value that depends on these resources as well."""
    known = set(_dependencies(value))
    if known.issuperset(urns):
        return value
    if _signature(value) != OUTPUT:
        return _output(value, secret=False, urns=urns)
    fields = value.struct_value.fields
    inner = fields["value"] if "value" in fields else None  # noqa: SIM401 - protobuf maps make what `get` asks for
    own = [each.string_value for each in fields["dependencies"].list_value.values] if "dependencies" in fields else []
    return _output(inner, secret="secret" in fields and fields["secret"].bool_value, urns=[*own, *urns])


def _dependencies(value: struct_pb2.Value) -> Iterator[str]:
    """What the output values in a value depend on."""
    for each in value.list_value.values:
        yield from _dependencies(each)
    fields = value.struct_value.fields
    if _signature(value) == OUTPUT and "dependencies" in fields:
        yield from (each.string_value for each in fields["dependencies"].list_value.values)
    for name, each in fields.items():
        if name != "dependencies" or _signature(value) != OUTPUT:
            yield from _dependencies(each)
