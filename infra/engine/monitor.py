"""The resource monitor: what the Pulumi SDK calls while a program runs, in this process instead of over gRPC.

Protocol: pulumi/proto/pulumi/resource.proto. Calls arrive on the threads of the program's executor. What is not
implemented is refused by name: either because its feature is not advertised (the SDK then refuses it) or here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlparse

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import callback_pb2, engine_pb2, provider_pb2, resource_pb2

from infra.engine import durations, urns
from infra.engine.deployment import Answer, Deployment
from infra.engine.errors import EngineError, ProviderError, unsupported
from infra.engine.planner import Goal
from infra.engine.project import Config
from infra.engine.result import Diagnostic
from infra.engine.steps import Steps
from infra.engine.transforms import Transforms
from infra.engine.values import Properties, from_struct, has_unknown, plain, to_struct

_FEATURES: Final = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_INVOKE_TRANSFORMS,
)
_REFUSED: Final = {
    "remote": "a remote component",
    "packageRef": "a parameterized package",
    "replace_with": "the option replaceWith",
    "replacement_trigger": "the option replacementTrigger",
    "state_migrations": "the option stateMigrations",
    "hooks": "the option hooks",
    "pluginDownloadURL": "the option pluginDownloadURL",
    "envVarMappings": "the option envVarMappings",
}


class RefusedError(grpc.RpcError):
    """A refusal in the form in which the SDK expects one: it raises it in the program with its text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text = text

    def code(self) -> grpc.StatusCode:
        """Unknown, as the real engine's errors are."""
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        """The reason."""
        return self._text


class Monitor:
    """The methods of the ResourceMonitor service, for one run of one program."""

    def __init__(self, deployment: Deployment, steps: Steps, config: Config, root: Path, *, parallel: int) -> None:
        self.stack_outputs: Properties = {}
        self._deployment, self._steps, self._config, self._root = deployment, steps, config, root
        self._parallel = parallel
        self._transforms = Transforms()

    def close(self) -> None:
        """The program has ended: nothing of it is called any more."""
        self._transforms.close()

    def GetDeploymentInfo(self, _: empty_pb2.Empty) -> resource_pb2.DeploymentInfo:  # noqa: N802 - the service's names
        """What the program may ask about its deployment, and which features there are."""
        return resource_pb2.DeploymentInfo(
            project=self._deployment.project,
            stack=self._deployment.stack,
            config=dict(self._config.values),
            configSecretKeys=sorted(self._config.secret_keys),
            dryRun=self._steps.preview,
            parallel=self._parallel,
            supportedFeatures=_FEATURES,
        )

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceResponse:  # noqa: N802
        """One resource that the program declares."""
        try:
            request = self._transforms.apply(request)
            answer = self._deployment.register(self._goal(request))
            self._transforms.registered(answer.urn, request)
        except EngineError as error:
            urn = self._urn(request)
            self._steps.refuse(urn, request.type, str(error))
            answer = Answer(urn, failed=True)
        return resource_pb2.RegisterResourceResponse(
            urn=answer.urn,
            id=answer.id,
            object=to_struct(answer.outputs or {}),
            result=resource_pb2.Result.FAIL if answer.failed else resource_pb2.Result.SUCCESS,
        )

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> empty_pb2.Empty:  # noqa: N802
        """The outputs of a component or of the stack."""
        outputs = from_struct(request.outputs)
        if urns.type_of(request.urn) == urns.STACK_TYPE:
            self.stack_outputs = outputs
        self._deployment.register_outputs(request.urn, outputs)
        return empty_pb2.Empty()

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> resource_pb2.ReadResourceResponse:  # noqa: N802
        """A resource that somebody else owns."""
        urn = self._urn(request)
        _refuse(urn, packageRef=request.packageRef, pluginDownloadURL=request.pluginDownloadURL)
        goal = Goal(
            urn=urn,
            type=request.type,
            custom=True,
            inputs=from_struct(request.properties),
            parent=request.parent,
            dependencies=tuple(sorted(request.dependencies)),
            provider=request.provider,
            version=request.version,
            additional_secret_outputs=tuple(request.additionalSecretOutputs),
            extra=self._source(request),
        )
        answer = self._deployment.read(goal, request.id)
        return resource_pb2.ReadResourceResponse(
            urn=answer.urn,
            id=answer.id,
            properties=to_struct(answer.outputs or {}),
            result=resource_pb2.Result.FAIL if answer.failed else resource_pb2.Result.SUCCESS,
        )

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeResponse:  # noqa: N802
        """A provider's function."""
        try:
            request = self._transforms.apply_to_invoke(request)
            args = from_struct(request.args)
            if request.tok == "pulumi:pulumi:getResource":
                return _returned(self._deployment.get_resource(str(plain(args.get("urn")))))
            plugin = self._deployment.invoke_plugin(request.tok, request.provider, request.version)
            if not plugin.ready or has_unknown(args):
                return resource_pb2.ResourceInvokeResponse(unknown=True)
            found, failures = plugin.invoke(request.tok, args)
        except (EngineError, ProviderError) as error:
            raise RefusedError(f"{request.tok}: {error}") from error
        if failures:
            told = [provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in failures]
            return resource_pb2.ResourceInvokeResponse(failures=told)
        return _returned(found)

    def RegisterStackTransform(self, callback: callback_pb2.Callback) -> empty_pb2.Empty:  # noqa: N802
        """A function of the program that every resource goes through."""
        self._transforms.for_stack(callback)
        return empty_pb2.Empty()

    def RegisterStackInvokeTransform(self, callback: callback_pb2.Callback) -> empty_pb2.Empty:  # noqa: N802
        """A function of the program that every call of a provider's function goes through."""
        self._transforms.for_invokes(callback)
        return empty_pb2.Empty()

    def SupportsFeature(self, request: resource_pb2.SupportsFeatureRequest) -> resource_pb2.SupportsFeatureResponse:  # noqa: N802
        """The older form of the handshake."""
        known = {"secrets", "resourceReferences", "aliasSpecs", "deletedWith", "transforms", "invokeTransforms"}
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in known)

    def SignalAndWaitForShutdown(self, _: empty_pb2.Empty) -> empty_pb2.Empty:  # noqa: N802
        """The program has registered everything. Nothing of ours calls it back, so that it may go."""
        return empty_pb2.Empty()

    def __getattr__(self, name: str) -> Any:
        """Any other method of the service: refused by its name."""
        if not name[:1].isupper():
            raise AttributeError(name)

        def refuse(_: object) -> None:
            raise RefusedError(str(unsupported(f"the resource monitor's {name}")))

        return refuse

    def _goal(self, request: resource_pb2.RegisterResourceRequest) -> Goal:
        urn = self._urn(request)
        present = {f.name for f, value in request.ListFields() if not hasattr(value, "ByteSize") or value.ByteSize()}
        _refuse(urn, **{name: name in present for name in _REFUSED})
        timeouts = request.customTimeouts
        given = {"create": timeouts.create, "update": timeouts.update, "delete": timeouts.delete}
        return Goal(
            urn=urn,
            type=request.type,
            custom=request.custom,
            inputs=from_struct(request.object),
            parent=request.parent,
            dependencies=tuple(sorted(request.dependencies)),
            property_dependencies={k: tuple(sorted(v.urns)) for k, v in request.propertyDependencies.items()},
            provider=request.provider,
            version=request.version,
            protect=request.protect if request.HasField("protect") else None,
            retain_on_delete=request.retainOnDelete if request.HasField("retainOnDelete") else None,
            delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
            ignore_changes=tuple(request.ignoreChanges),
            replace_on_changes=tuple(request.replaceOnChanges),
            additional_secret_outputs=tuple(request.additionalSecretOutputs),
            aliases=tuple(_aliases(request)),
            import_id=request.importId,
            deleted_with=request.deletedWith,
            custom_timeouts={k: durations.seconds(v, urn) for k, v in given.items() if v},
            extra={**self._source(request), **_recorded(request)},
        )

    def _urn(self, request: resource_pb2.RegisterResourceRequest | resource_pb2.ReadResourceRequest) -> str:
        deployment = self._deployment
        return urns.make(deployment.stack, deployment.project, request.parent, request.type, request.name)

    def _source(
        self, request: resource_pb2.RegisterResourceRequest | resource_pb2.ReadResourceRequest
    ) -> dict[str, Any]:
        """Where in the program the resource is declared, as checkpoints have it; nothing for places outside of it."""
        place = request.sourcePosition
        path = Path(unquote(urlparse(place.uri).path))
        if not place.uri or not path.is_relative_to(self._root):
            return {}
        return {"sourcePosition": f"project:///{path.relative_to(self._root).as_posix()}#{place.line}"}


class EngineLog:
    """The methods of the Engine service that programs use: their log goes to the events."""

    _SEVERITIES: Final = {engine_pb2.INFO: "info", engine_pb2.WARNING: "warning", engine_pb2.ERROR: "error"}

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._root = ""

    def Log(self, request: engine_pb2.LogRequest) -> empty_pb2.Empty:  # noqa: N802
        """One message; the SDK's own debugging is left out."""
        severity = self._SEVERITIES.get(request.severity)
        if severity is not None:
            self._steps.tell(Diagnostic(severity, request.message, request.urn))
        return empty_pb2.Empty()

    def tell(self, message: str) -> None:
        """A warning of the engine's own about the program."""
        self._steps.tell(Diagnostic("warning", message))

    def GetRootResource(self, _: engine_pb2.GetRootResourceRequest) -> engine_pb2.GetRootResourceResponse:  # noqa: N802
        """The stack's URN."""
        return engine_pb2.GetRootResourceResponse(urn=self._root)

    def SetRootResource(self, request: engine_pb2.SetRootResourceRequest) -> engine_pb2.SetRootResourceResponse:  # noqa: N802
        """Remembers the stack's URN."""
        self._root = request.urn
        return engine_pb2.SetRootResourceResponse()


def _recorded(request: resource_pb2.RegisterResourceRequest) -> dict[str, list[str]]:
    """Options that checkpoints only keep for the record."""
    found = {"ignoreChanges": list(request.ignoreChanges), "replaceOnChanges": list(request.replaceOnChanges)}
    return {name: paths for name, paths in found.items() if paths}


def _refuse(urn: str, **present: object) -> None:
    for name, is_present in present.items():
        if is_present:
            raise unsupported(f"{urns.label(urn)}: {_REFUSED[name]}")


def _aliases(request: resource_pb2.RegisterResourceRequest) -> Iterator[urns.Alias]:
    for urn in request.aliasURNs:
        yield urns.Alias(urn=urn)
    for alias in request.aliases:
        if alias.WhichOneof("alias") == "urn":
            yield urns.Alias(urn=alias.urn)
        else:
            spec = alias.spec
            yield urns.Alias("", spec.name, spec.type, spec.stack, spec.project, spec.parentUrn, spec.noParent)


def _returned(found: Properties) -> resource_pb2.ResourceInvokeResponse:
    answer = resource_pb2.ResourceInvokeResponse()
    getattr(answer, "return").CopyFrom(to_struct(found))
    return answer
