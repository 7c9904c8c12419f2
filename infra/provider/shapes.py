"""Properties as Pulumi spells them <-> members as an AWS API spells them, driven by botocore's service model.

The names differ in ways that follow rules: camelCase against PascalCase with capital acronyms (`kmsKeyId`, `KmsKeyId`,
`KMSMasterKeyID`), lists in the plural (`routingConfigs` for `RoutingConfig`), single structures as lists of one, and
maps where the API wants pairs (`{"Name": …, "Value": …}`). Everything else is a declaration in the resource type.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, cast

import botocore.session
from botocore import xform_name
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as _SESSION_VARIABLES

from infra.provider.values import UNKNOWN, Plain, Properties

PAIR_KEYS = ("Key", "Name", "TagKey")
PAIR_VALUES = ("Value", "TagValue")


@dataclass(frozen=True)
class Issue:
    """Something about an input that AWS would refuse: the property's path, and what is wrong with its value."""

    path: str
    reason: str


@cache
def service_model(service: str) -> Any:
    """The model that botocore has of a service (about 0.1 s for SageMaker, once per process)."""
    return isolated_session().get_service_model(service)


@cache
def isolated_session() -> Any:
    """A botocore session that reads no environment variable and no file of the user's; one per process.

    Its loader keeps the service models, so that clients and checks share them.
    """
    silent = {name: (None, None, default, convert) for name, (_, _, default, convert) in _SESSION_VARIABLES.items()}
    for name in ("config_file", "credentials_file"):
        silent[name] = (None, None, os.devnull, None)
    return botocore.session.Session(session_vars=silent)


@cache
def input_shape(service: str, operation: str) -> Any:
    """The structure that the operation takes."""
    return service_model(service).operation_model(operation).input_shape


@cache
def output_shape(service: str, operation: str) -> Any:
    """The structure that the operation answers with."""
    return service_model(service).operation_model(operation).output_shape


def find_member(shape: Any, name: str, *, singular: bool = False) -> str | None:
    """The member that a camelCase property means, or None.

    A list may be in the plural where the API has the singular; with `singular`, also the other way round (`rule` for
    a list of rules that has never more than one).
    """
    wanted = name.rstrip("_").lower()
    spelled: dict[str, str] = {member.lower(): member for member in shape.members}
    candidates = [wanted, wanted.removesuffix("s"), wanted.removesuffix("ies") + "y"]
    for candidate in [*candidates, f"{wanted}s"] if singular else candidates:
        if candidate in spelled:
            return spelled[candidate]
    return None


def camel(member: str) -> str:
    """The property name that Pulumi's AWS package would give a member: `SSEAlgorithm` -> `sseAlgorithm`."""
    first, *rest = xform_name(member).split("_")
    return str(first) + "".join(word.capitalize() for word in rest)


def encode(shape: Any, value: Plain, path: str, issues: list[Issue]) -> Any:
    """The value as the API takes it. What does not fit is added to `issues`; unknown parts pass as UNKNOWN."""
    if value is UNKNOWN or value is None:
        return value
    match shape.type_name:
        case "structure":
            return _encode_structure(shape, value, path, issues)
        case "list":
            return _encode_list(shape, value, path, issues)
        case "map":
            return _encode_map(shape, value, path, issues)
        case _:
            return _encode_scalar(shape, value, path, issues)


def _encode_structure(shape: Any, value: Plain, path: str, issues: list[Issue]) -> Any:
    if isinstance(value, list) and len(value) == 1:
        return encode(shape, value[0], f"{path}[0]", issues)
    if not isinstance(value, dict):
        issues.append(Issue(path, f"must be an object, got {value!r}"))
        return None
    result: dict[str, Any] = {}
    for name, item in value.items():
        member = find_member(shape, name)
        if member is None:
            known = ", ".join(sorted(camel(each) for each in shape.members))
            issues.append(Issue(f"{path}.{name}", f"is not a property of {path}: it takes {known}"))
        elif item is not None:
            result[member] = encode(shape.members[member], item, f"{path}.{name}", issues)
    issues.extend(
        Issue(f"{path}.{camel(member)}", "is required and missing")
        for member in shape.required_members
        if member not in result
    )
    return result


def _encode_list(shape: Any, value: Plain, path: str, issues: list[Issue]) -> Any:
    pair = pair_members(shape.member)
    if isinstance(value, dict) and pair is not None:
        key, content = pair
        return [{key: name, content: _text(item)} for name, item in value.items()]
    if isinstance(value, dict):
        return [encode(shape.member, value, path, issues)]
    if not isinstance(value, list):
        issues.append(Issue(path, f"must be a list, got {value!r}"))
        return None
    return [encode(shape.member, item, f"{path}[{index}]", issues) for index, item in enumerate(value)]


def _encode_map(shape: Any, value: Plain, path: str, issues: list[Issue]) -> Any:
    if not isinstance(value, dict):
        issues.append(Issue(path, f"must be an object, got {value!r}"))
        return None
    return {name: encode(shape.value, item, f'{path}["{name}"]', issues) for name, item in value.items()}


def _encode_scalar(shape: Any, value: Plain, path: str, issues: list[Issue]) -> Any:
    try:
        match shape.type_name:
            case "integer" | "long":
                number: Any = _integer(value)
            case "float" | "double":
                number = _float(value)
            case "boolean":
                return _boolean(value)
            case _:
                return _one_of(shape, _text(value), path, issues)
    except ValueError:
        wanted = {"integer": "a whole number", "long": "a whole number", "boolean": "true or false"}
        issues.append(Issue(path, f"must be {wanted.get(shape.type_name, 'a number')}, got {value!r}"))
        return None
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and number < least:
        issues.append(Issue(path, f"must be at least {least}, got {number}"))
    if most is not None and number > most:
        issues.append(Issue(path, f"must be at most {most}, got {number}"))
    return number


def _one_of(shape: Any, text: str, path: str, issues: list[Issue]) -> str:
    if shape.type_name == "string" and shape.enum and text not in shape.enum:
        some = ", ".join(shape.enum[:12]) + (" …" if len(shape.enum) > 12 else "")
        issues.append(Issue(path, f"must be one of {some}; got {text!r}"))
    return text


def _integer(value: Plain) -> int:
    number = _float(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(number)


def _float(value: Plain) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        return float(value)
    raise ValueError(value)


def _boolean(value: Plain) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError(value)


def _text(value: Plain) -> str:
    """Strings as they are; what a program may write where AWS wants text, the way Terraform writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | str):
        return str(value)
    raise ValueError(value)


def pair_members(shape: Any) -> tuple[str, str] | None:
    """For a structure that is a key and its value (tags, dimensions): the two members' names."""
    if shape.type_name != "structure" or len(shape.members) != len(("key", "value")):
        return None
    key = next((name for name in PAIR_KEYS if name in shape.members), None)
    value = next((name for name in PAIR_VALUES if name in shape.members), None)
    return None if key is None or value is None else (key, value)


def decode(shape: Any, value: Any, like: Plain = None) -> Plain:
    """What an API answered, in Pulumi's spelling and in the form of `like` (the value that the state has)."""
    match shape.type_name:
        case "structure":
            return _decode_structure(shape, value, like)
        case "list":
            return _decode_list(shape, value, like)
        case "map":
            olds = like if isinstance(like, dict) else {}
            return {str(name): decode(shape.value, item, olds.get(str(name))) for name, item in value.items()}
        case _:
            return _decode_scalar(value, like)


def _decode_structure(shape: Any, value: Mapping[str, Any], like: Plain) -> Plain:
    if isinstance(like, list):
        return [_decode_structure(shape, value, like[0] if len(like) == 1 else None)]
    olds = like if isinstance(like, dict) else {}
    spelled = {find_member(shape, name): name for name in olds}
    result: Properties = {}
    for member, item in value.items():
        if isinstance(like, dict) and member not in spelled:
            continue  # AWS answers members of its own making (defaults, times): what a program did not say is no drift
        if member in shape.members and item is not None:
            name = spelled.get(member, camel(member))
            result[name] = decode(shape.members[member], item, olds.get(name))
    return result


def _decode_list(shape: Any, value: Sequence[Any], like: Plain) -> Plain:
    pair = pair_members(shape.member)
    if isinstance(like, dict) and pair is not None:
        return {str(item[pair[0]]): cast("Plain", item.get(pair[1])) for item in value}
    before: Plain = [like] if isinstance(like, dict) else like
    known = isinstance(before, list) and len(before) == len(value)
    olds = cast("list[Plain]", before) if known else [None] * len(value)
    return [decode(shape.member, item, old) for item, old in zip(value, olds, strict=True)]


def _decode_scalar(value: Any, like: Plain) -> Plain:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(like, str) and isinstance(value, int | float) and not isinstance(value, bool):
        return like if float(value) == _maybe(like) else str(value)
    return cast("Plain", value)


def _maybe(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
