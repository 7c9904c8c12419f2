"""Property values inside the engine, and their four foreign forms.

Inside, a property is plain JSON data (None, bool, int, float, str, list, dict), `UNKNOWN` (a preview's value that only
the deployment will know) or `Secret(value)`. Assets, archives and resource references stay the dictionaries with a
signature that Pulumi's wire and checkpoint formats share. Foreign forms: protobuf Structs (the SDK), PropertyValue
(providers), checkpoint JSON (the state file, secrets encrypted) and text for people (secrets masked).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pulumi
from google.protobuf import struct_pb2
from pulumi.provider.experimental.property_value import Computed, PropertyValue, ResourceReference

# Pulumi's signatures: sdk/go/common/resource/{properties,asset}.go
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
ASSET: Final = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE: Final = "0def7320c3a5731c473e5ecbe6d01bc7"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a format's signature, no password
REFERENCE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_TEXT: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
MASK: Final = "[secret]"

Properties = dict[str, Any]


class _Unknown:
    """The type of UNKNOWN, which has no other instance."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __deepcopy__(self, memo: object) -> _Unknown:
        return self


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is encrypted at rest and never shown. `ciphertext` is its form in the state file, if it is there."""

    value: Any
    ciphertext: str | None = field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        return MASK


def plain(value: Any) -> Any:
    """The value without any mark of secrecy, all the way down."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def has_unknown(value: Any) -> bool:
    """Whether any part of the value is unknown."""
    if isinstance(value, Secret):
        return has_unknown(value.value)
    if isinstance(value, dict):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return value is UNKNOWN


def has_secret(value: Any) -> bool:
    """Whether any part of the value is secret."""
    if isinstance(value, dict):
        return any(map(has_secret, value.values()))
    if isinstance(value, list):
        return any(map(has_secret, value))
    return isinstance(value, Secret)


def masked(value: Any) -> Any:
    """The value for people and logs: secrets and unknowns replaced by words."""
    if isinstance(value, Secret):
        return MASK
    if value is UNKNOWN:
        return "[unknown]"
    if isinstance(value, dict):
        return {k: masked(v) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(v) for v in value]
    return value


def number(value: float) -> int | float:
    """Protobuf and Go know doubles only: an integral one becomes an int again (exact below 2**53)."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


# --- the SDK's form ---------------------------------------------------------------------------------------------------


def from_struct(struct: struct_pb2.Struct) -> Properties:
    """Properties as the SDK sends them."""
    return {k: _from_proto(v) for k, v in struct.fields.items()}


def _from_proto(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            return number(value.number_value)
        case "string_value":
            return UNKNOWN if value.string_value == UNKNOWN_TEXT else value.string_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_from_proto(v) for v in value.list_value.values]
        case "struct_value":
            return _marked({k: _from_proto(v) for k, v in value.struct_value.fields.items()})
        case _:
            return None


def _marked(data: dict[str, Any]) -> Any:
    """A dictionary, or what its signature says that it stands for."""
    signature = data.get(SIGNATURE)
    if signature == SECRET:
        inner = data.get("value")
        return inner if isinstance(inner, Secret) else Secret(inner)
    if signature == OUTPUT:
        inner = data.get("value", UNKNOWN)
        return Secret(inner) if data.get("secret") and not isinstance(inner, Secret) else inner
    if signature == ASSET and not data.get("hash"):
        return {**data, "hash": _asset_hash(data)}
    return data


def _asset_hash(data: dict[str, Any]) -> str:
    if "path" in data:
        return hashlib.sha256(Path(data["path"]).read_bytes()).hexdigest()
    return hashlib.sha256(str(data.get("text", data.get("uri", ""))).encode()).hexdigest()


def to_struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """Properties as the SDK reads them."""
    return struct_pb2.Struct(fields={k: _to_proto(v) for k, v in properties.items()})


_SCALARS: Final = {bool: "bool_value", int: "number_value", float: "number_value", str: "string_value"}


def _to_proto(value: Any) -> struct_pb2.Value:
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return struct_pb2.Value(**{scalar: value})
    if isinstance(value, Secret):
        return struct_pb2.Value(struct_value=to_struct({SIGNATURE: SECRET, "value": value.value}))
    if isinstance(value, list):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_to_proto(v) for v in value]))
    if isinstance(value, dict):
        return struct_pb2.Value(struct_value=to_struct(value))
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=UNKNOWN_TEXT)
    return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)


# --- the provider's form ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a provider said in `configure` that it can be given."""

    secrets: bool = True
    references: bool = True


def to_properties(properties: Mapping[str, Any], accepts: Accepts) -> dict[str, PropertyValue]:
    """Properties as a provider gets them over the wire: numbers as floats, an unknown as its sentinel text."""
    return {k: _to_property(v, accepts) for k, v in properties.items()}


def _to_property(value: Any, accepts: Accepts) -> PropertyValue:
    if isinstance(value, Secret):
        return _to_property(value.value, accepts).with_secret(accepts.secrets)
    if value is UNKNOWN:
        return PropertyValue(UNKNOWN_TEXT)
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    if isinstance(value, list):
        return PropertyValue([_to_property(v, accepts) for v in value])
    if isinstance(value, dict):
        return _to_map(value, accepts)
    return PropertyValue(value)


def _to_map(value: dict[str, Any], accepts: Accepts) -> PropertyValue:
    signature = value.get(SIGNATURE)
    if signature in (ASSET, ARCHIVE):
        return PropertyValue.unmarshal(_to_proto(value))
    if signature == REFERENCE:
        identity = _to_property(value.get("id", value["urn"]), accepts)
        return PropertyValue(ResourceReference(value["urn"], identity)) if accepts.references else identity
    return PropertyValue(to_properties(value, accepts))


def from_properties(properties: Mapping[str, PropertyValue] | None) -> Properties:
    """Properties as a provider answers them. Keys with a null value are kept, as the real engine keeps them."""
    return {k: _from_property(v) for k, v in (properties or {}).items()}


def _from_property(value: PropertyValue) -> Any:
    inner = _from_python(value.value)
    return Secret(inner) if value.is_secret and not isinstance(inner, Secret) else inner


def _from_python(value: Any) -> Any:
    if isinstance(value, Computed) or value == UNKNOWN_TEXT:
        return UNKNOWN
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return {k: _from_property(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_from_property(v) for v in value]
    return _from_object(value)


def _from_object(value: Any) -> Any:
    if isinstance(value, (pulumi.Asset, pulumi.Archive)):
        return _from_proto(PropertyValue(value).marshal())
    if isinstance(value, ResourceReference):
        reference = {SIGNATURE: REFERENCE, "urn": value.urn}
        return reference if value.resource_id is None else {**reference, "id": _from_property(value.resource_id)}
    return value


def keep_secret(values: Properties, like: Mapping[str, Any]) -> Properties:
    """Marks as secret what a provider that cannot see secrets answered under a name that held one."""
    return {k: Secret(v) if has_secret(like.get(k)) and not has_secret(v) else v for k, v in values.items()}
