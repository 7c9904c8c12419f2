"""Pulumi's property values, as plain Python and back.

Plain values are None, bool, int, float, str, lists and dicts of them, and UNKNOWN. Secretness does not survive in
them: `carry_secrets` puts it back on what is returned, by looking at what was received.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

from pulumi.provider.experimental.property_value import Computed, PropertyValue, ResourceReference
from pulumi.runtime import rpc

from infra.provider.errors import ProviderError


class _Unknown(Enum):
    """A value that AWS has yet to compute; only previews have them."""

    UNKNOWN = "unknown"


UNKNOWN: Final = _Unknown.UNKNOWN
Plain: TypeAlias = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | _Unknown | None
Properties: TypeAlias = dict[str, Plain]
PropertyMap: TypeAlias = dict[str, PropertyValue]


def plain(value: PropertyValue) -> Plain:
    """The value without secretness and dependencies; whole numbers become ints; nulls inside objects are dropped.

    An unknown arrives as Computed in process and as Pulumi's sentinel string over the wire: both are UNKNOWN.

    Raises:
        ProviderError: the value is an asset or an archive, which no type here takes.
    """
    found: Plain
    match value.value:
        case Computed():
            found = UNKNOWN
        case ResourceReference() as reference:
            found = UNKNOWN if reference.resource_id is None else plain(reference.resource_id)
        case str() as inner:
            found = UNKNOWN if inner == rpc.UNKNOWN else inner
        case float() as inner:
            found = int(inner) if inner.is_integer() else inner
        case None | bool() as inner:
            found = inner
        case Mapping() as inner:
            found = plain_map(inner)
        case tuple() as inner:
            found = [plain(item) for item in inner]
        case inner:
            raise ProviderError(f"{type(inner).__name__} values are not supported here: give a string instead")
    return found


def plain_map(values: Mapping[str, PropertyValue]) -> Properties:
    """`plain` for each value; properties that are null are as good as absent."""
    return {name: plain(value) for name, value in values.items() if value.value is not None}


def property_value(value: Plain) -> PropertyValue:
    """The inverse of `plain`. Numbers are doubles; UNKNOWN is Pulumi's sentinel string, as on the wire."""
    if value is UNKNOWN:
        return PropertyValue(rpc.UNKNOWN)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return PropertyValue(value)
    if isinstance(value, int | float):
        return PropertyValue(float(value))
    if isinstance(value, list):
        return PropertyValue([property_value(item) for item in value])
    return PropertyValue({name: property_value(item) for name, item in value.items()})


def property_map(values: Properties, *like: Mapping[str, PropertyValue]) -> PropertyMap:
    """The values as Pulumi's, secret wherever the value of the same path in one of `like` is secret."""
    result = {name: property_value(value) for name, value in values.items()}
    for template in like:
        result = {name: carry_secrets(value, template.get(name)) for name, value in result.items()}
    return result


def carry_secrets(value: PropertyValue, like: PropertyValue | None) -> PropertyValue:
    """The value, marked secret where `like` is; a list whose length differs is secret as a whole if any part was."""
    if like is None or not like.contains_secret():
        return value
    if like.is_secret:
        return value.with_secret(is_secret=True)
    match value.value, like.value:
        case Mapping() as items, Mapping() as templates:
            return value.with_value({name: carry_secrets(item, templates.get(name)) for name, item in items.items()})
        case tuple() as items, tuple() as templates if len(items) == len(templates):
            return value.with_value([carry_secrets(*pair) for pair in zip(items, templates, strict=True)])
        case _:
            return value.with_secret(is_secret=True)


def contains_unknown(value: Plain) -> bool:
    """Whether the value, or any part of it, is still unknown."""
    if isinstance(value, list):
        return any(contains_unknown(item) for item in value)
    if isinstance(value, dict):
        return any(contains_unknown(item) for item in value.values())
    return value is UNKNOWN
