"""What is deployed: resources and pending operations, and their JSON form, Pulumi's deployment version 3.

Format: pulumi/sdk/go/common/apitype/core.go (DeploymentV3, ResourceV3). Fields that this engine does not use are kept
as they were found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from infra.engine.errors import EngineError
from infra.engine.secrets import Crypter
from infra.engine.values import SECRET, SIGNATURE, Properties, Secret

VERSION: Final = 3
Urns = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as it was left by its last operation. Never altered: a change makes a new one."""

    urn: str
    type: str
    custom: bool = True
    id: str = ""
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)
    parent: str = ""
    provider: str = ""
    """The reference `urn::id` of its provider; empty for components and providers."""
    dependencies: Urns = ()
    property_dependencies: Mapping[str, Urns] = field(default_factory=dict)
    protect: bool = False
    retain_on_delete: bool = False
    deleted_with: str = ""
    external: bool = False
    """Read, not owned: it is never deleted."""
    delete: bool = False
    """It has been replaced, and what is left of it has to be deleted."""
    pending_replacement: bool = False
    """It has been deleted to be replaced, and the replacement does not exist yet."""
    additional_secret_outputs: tuple[str, ...] = ()
    custom_timeouts: Mapping[str, float] = field(default_factory=dict)
    """Seconds by operation: create, update, delete."""
    import_id: str = ""
    created: str = ""
    modified: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def needs(self) -> Iterator[str]:
        """The URNs of all that must exist for this to exist; may repeat itself."""
        yield from self.dependencies
        for urns in self.property_dependencies.values():
            yield from urns
        if self.parent:
            yield self.parent
        if self.provider:
            yield self.provider.rpartition("::")[0]
        if self.deleted_with:
            yield self.deleted_with

    def renamed(self, names: Mapping[str, str]) -> Resource:
        """The same with every reference to an aliased URN brought up to date."""
        if not any(urn in names for urn in self.needs()):
            return self

        def new(urn: str) -> str:
            return names.get(urn, urn)

        owner, _, identity = self.provider.rpartition("::")
        return replace(
            self,
            parent=new(self.parent),
            dependencies=tuple(map(new, self.dependencies)),
            property_dependencies={k: tuple(map(new, v)) for k, v in self.property_dependencies.items()},
            provider=f"{new(owner)}::{identity}" if self.provider else "",
            deleted_with=new(self.deleted_with),
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """A change that was begun and whose end is not known: `creating`, `updating`, `deleting` or `reading`."""

    resource: Resource
    type: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stack's state. Every resource stands after all that it needs."""

    resources: tuple[Resource, ...] = ()
    pending: tuple[Operation, ...] = ()
    salt: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def outputs(self) -> Properties:
        """The stack's own outputs."""
        return next((r.outputs for r in self.resources if r.type == "pulumi:pulumi:Stack"), {})


# --- JSON -------------------------------------------------------------------------------------------------------------

_TEXTS: Final = {
    "urn": "urn", "type": "type", "id": "id", "parent": "parent", "provider": "provider", "deletedWith": "deleted_with",
    "importID": "import_id", "created": "created", "modified": "modified",
}  # fmt: skip
_FLAGS: Final = {
    "custom": "custom", "delete": "delete", "external": "external", "protect": "protect",
    "retainOnDelete": "retain_on_delete", "pendingReplacement": "pending_replacement",
}  # fmt: skip
_LISTS: Final = {"dependencies": "dependencies", "additionalSecretOutputs": "additional_secret_outputs"}
_OTHERS: Final = {"inputs", "outputs", "propertyDependencies", "customTimeouts"}


def resource_to_json(resource: Resource, crypter: Crypter) -> dict[str, Any]:
    """A resource as the checkpoint has it; empty fields are left out."""
    data: dict[str, Any] = {"urn": resource.urn, "custom": resource.custom}
    for table in (_TEXTS, _FLAGS, _LISTS):
        for key, name in table.items():
            value = getattr(resource, name)
            if value:
                data[key] = list(value) if isinstance(value, tuple) else value
    for key in ("inputs", "outputs"):
        if getattr(resource, key):
            data[key] = _seal(getattr(resource, key), crypter)
    if resource.property_dependencies:
        data["propertyDependencies"] = {k: list(v) for k, v in sorted(resource.property_dependencies.items())}
    if resource.custom_timeouts:
        data["customTimeouts"] = dict(resource.custom_timeouts)
    return {**data, **resource.extra}


def _seal(value: Any, crypter: Crypter) -> Any:
    if isinstance(value, Secret):
        sealed = value.ciphertext or crypter.encrypt(json.dumps(_seal(value.value, crypter), separators=(",", ":")))
        return {SIGNATURE: SECRET, "ciphertext": sealed}
    if isinstance(value, dict):
        return {k: _seal(v, crypter) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [_seal(v, crypter) for v in value]
    return value


def resource_from_json(data: Mapping[str, Any], crypter: Crypter) -> Resource:
    """The other way round.

    Raises:
        EngineError: a secret cannot be decrypted.
        KeyError, TypeError, AttributeError, ValueError: the data is no resource.
    """
    known: dict[str, Any] = {"urn": data["urn"], "type": data["type"]}
    for key, name in (_TEXTS | _FLAGS).items():
        if key in data:
            known[name] = data[key]
    for key, name in _LISTS.items():
        known[name] = tuple(data.get(key) or ())
    used = _TEXTS.keys() | _FLAGS.keys() | _LISTS.keys() | _OTHERS
    return Resource(
        **{**known, "custom": bool(data.get("custom"))},
        inputs=_open(data.get("inputs") or {}, crypter),
        outputs=_open(data.get("outputs") or {}, crypter),
        property_dependencies={k: tuple(v or ()) for k, v in (data.get("propertyDependencies") or {}).items()},
        custom_timeouts=dict(data.get("customTimeouts") or {}),
        extra={k: v for k, v in data.items() if k not in used},
    )


def _open(value: Any, crypter: Crypter) -> Any:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            if "plaintext" in value:
                return Secret(_open(json.loads(value["plaintext"]), crypter))
            return Secret(_open(json.loads(crypter.decrypt(value["ciphertext"])), crypter), value["ciphertext"])
        return {k: _open(v, crypter) for k, v in value.items()}
    if isinstance(value, list):
        return [_open(v, crypter) for v in value]
    return value


def manifest(time: str, version: str) -> dict[str, str]:
    """A deployment's manifest; its magic number is the hash of the version, as Pulumi computes it."""
    return {"time": time, "magic": hashlib.sha256(version.encode()).hexdigest(), "version": version}


def check_integrity(resources: tuple[Resource, ...], where: str) -> None:
    """Refuses a state whose resources need what is not there.

    Raises:
        EngineError: naming the resource and what it lacks.
    """
    seen: set[str] = set()
    for resource in resources:
        for urn in resource.needs():
            if urn not in seen and urn != resource.deleted_with:
                raise EngineError(
                    f"{where}: {resource.urn} needs {urn}, which is not in the state before it: the file was edited; "
                    "restore it from its backup (the same name with .bak)"
                )
        if (
            resource.urn in seen
            and not resource.delete
            and any(r.urn == resource.urn and not r.delete and r is not resource for r in resources)
        ):
            raise EngineError(f"{where}: {resource.urn} is in the state twice; restore the file from its .bak")
        seen.add(resource.urn)
